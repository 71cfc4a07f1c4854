"""The drop where people look: report, Prefect artifact, animation; and its absence where no engine is installed."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec

import numpy as np
import pytest

from flows.ui.artifacts import MOST_PICTURE_BYTES, stage_markdown
from stages.base import StageContext, run_stage
from stages.core.camera import Rig
from stages.core.frames import FramePose, write_poses
from stages.core.store import ArtifactRef, Store
from stages.core.twin import assemble_twin
from stages.package.stage import STAGE as PACKAGE
from stages.physics import drop_test
from stages.physics.config import PhysicsConfig
from stages.physics.stage import STAGE
from tests.physics.made import box
from tests.physics.test_stage import write_inputs
from tests.physics.test_support import floor


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("box") / "in", box((0.06, 0.1, 0.08)), floor(0.05))


def physics(given, store):
    return run_stage(STAGE, given, PhysicsConfig(colliders="hull", material="wood"), Store(store), StageContext())


def folder_of(result):
    return result.refs["physics"].path.parent


def test_an_animation_shows_it_fall(given, tmp_path):
    pytest.importorskip("mujoco", reason="mujoco is not installed (extra simulate): nothing dropped")
    from PIL import Image

    made = physics(given, tmp_path)
    record = json.loads((made.refs["physics"].path / "physics.json").read_text())
    assert [d["fault"] for d in record["drop"]["drops"]] == [""] * 7 and "7 of 7" in made.manifest["report"]["metrics"][
        "drop"
    ]
    path = folder_of(made) / "pictures/drop.webp"
    assert path.stat().st_size < MOST_PICTURE_BYTES
    with Image.open(path) as film:
        shape = (film.height, film.width)
        frames = []
        for k in range(film.n_frames):
            film.seek(k)
            frames.append(np.asarray(film.convert("RGB"), int))
    brown = [
        [np.abs(f[:, side] - (180, 90, 40)).max(-1) < 60 for f in (frames[0], frames[-1])]
        for side in (slice(0, shape[0]), slice(shape[0], 2 * shape[0]), slice(2 * shape[0], None))
    ]
    lowest = [[np.flatnonzero(m.any(1)).max() for m in pair] for pair in brown]
    assert len(frames) > 5 and all(before < after - 15 for before, after in lowest), (
        "in each of three panels it ends lower than it began"
    )
    text = stage_markdown("physics", made.manifest, folder_of(made))
    assert "data:image/webp;base64," in text and "- tilted: at rest after" in text


def test_without_an_engine_the_report_says_so(given, tmp_path, monkeypatch):
    monkeypatch.setattr(drop_test, "engines_here", lambda: [])
    made = physics(given, tmp_path)
    report = made.manifest["report"]
    assert "not dropped: mujoco is not installed" in report["metrics"]["drop"] and report["warnings"] == []
    assert [path for _, path in report["pictures"]] == ["pictures/colliders.jpg"]
    assert "**Drop:** not dropped" in stage_markdown("physics", made.manifest, folder_of(made))


def test_a_failed_drop_is_a_warning(given, tmp_path, monkeypatch):
    pytest.importorskip("mujoco", reason="mujoco is not installed (extra simulate): nothing dropped")
    monkeypatch.setattr("stages.core.drop.result.MOST_SUNK_MM", -1.0)
    made = physics(given, tmp_path)
    assert any("drop test failed" in w and "sank" in w for w in made.manifest["report"]["warnings"])
    assert "0 of 7" in made.manifest["report"]["metrics"]["drop"]


def test_report_and_artifact_say_what_was_assumed_and_who_judged(given, tmp_path):
    made = physics(given, tmp_path)
    packed = run_stage(PACKAGE, {**given, **made.refs}, PACKAGE.Config(preview_px=64), Store(tmp_path), StageContext())
    Rig(64, 48, 80.0, 80.0, 31.5, 23.5, 0.05).save(tmp_path / "rig.json")
    write_poses(tmp_path / "poses_refined.json", [FramePose(0, np.eye(4), "ok", 9, 0.1)])
    more = {n: ArtifactRef(n, tmp_path / n, n) for n in ("rig.json", "poses_refined.json")}
    manifests = {"physics": made.manifest, "package": packed.manifest}
    out = assemble_twin(tmp_path / "twin", {**given, **more, **made.refs, **packed.refs}, manifests)
    page, text = (out / "report.html").read_text(), stage_markdown("physics", made.manifest, folder_of(made))
    section = page[page.index('<section id="simulation">') :].split("</section>")[0]
    kilograms, weighed = (
        re.search("<td>mass</td><td>(.*?) kg</td><td>given density times volume", section)[1],
        650 * 0.06 * 0.1 * 0.08,
    )
    assert (
        float(kilograms) == pytest.approx(weighed, rel=0.01)
        and f"| mass | {kilograms} kg | given density times volume |" in text
    )
    for shown in ("<td>given material</td>", "<td>drop test</td>", "<td>simready-validate", "<td>passed</td>"):
        assert shown in section
    if find_spec("mujoco") is None:
        assert "not dropped: mujoco is not installed" in section
    else:
        assert "data:image/webp;base64," in page
