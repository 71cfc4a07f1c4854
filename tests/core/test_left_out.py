"""What a run's settings left out is said in run.json and on the page."""

from __future__ import annotations

from pathlib import Path

from stages.core.config import resolve
from stages.core.fingerprint import plain
from stages.core.report import left_out
from stages.core.report.page import page
from stages.graph import stages


def _manifests(profile: str) -> dict:
    """As stages with these settings leave them, of a capture of 50 frames 1280 px wide."""
    configs, small = resolve({s.name: s.Config for s in stages()}, profile).stages, profile == "preview"
    found = {n: {"settings": plain(c), "report": {}, "outputs": []} for n, c in configs.items()}
    frames = {"ok": 41, "not_selected": 9} if small else {"ok": 50}
    found["rectify"]["report"] = {"frames": frames, "metrics": {"width_px": 480 if small else 1280}}
    found["surface"]["report"] = {"method": "fusion" if small else "neural"}
    return found


def test_a_preview_says_what_it_lacks():
    said = "\n".join(left_out(_manifests("preview")))
    for what in (
        "9 of 50 frames",
        "480 px wide",
        "focal length",
        "neural field",
        "as each pair gave it",
        "every frame (package.maps)",
        "simulators",
        "twin.usdz",
    ):
        assert what in said
    shown = page(_manifests("preview"), {}, Path("none"), {"left_out": said.splitlines()})
    assert "Left out, as the settings ask" in shown and "9 of 50 frames" in shown


def test_the_standard_profile_leaves_nothing_out():
    assert left_out(_manifests("standard")) == [] == left_out(_manifests("quality"))


def test_pictures_that_are_smaller_anyway_lose_nothing():
    manifests = _manifests("preview")
    manifests["rectify"]["report"]["metrics"]["width_px"] = 320
    assert "px wide" not in "\n".join(left_out(manifests))
