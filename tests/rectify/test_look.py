"""`twin check`: how a capture was understood and what is odd, before any work; text, JSON, exit codes, and what a run says of it."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import pytest

from flows.cli.main import main
from stages.core.capture import capture_ref
from stages.rectify.config import RectifyConfig
from stages.rectify.look import look_at


def _sections(look):
    return {title: " ".join(lines) for title, lines in look.sections}


def test_a_good_capture_is_fine_and_nothing_is_changed(capture, capsys):
    before = capture_ref(capture).fingerprint
    assert main(["check", str(capture)]) == 0
    said = capsys.readouterr().out
    for words in (
        "8 pairs by the number",
        "left000000.jpg + right000000.jpg",
        "rectified, 400x300 px, baseline 63.00 mm",
        "44 degrees wide",
        "box_xyxy",
        "over ",
        "px off",
        "what was matched lies 0.3",
        "nothing odd",
    ):
        assert words in said
    assert capture_ref(capture).fingerprint == before and sorted(p.name for p in capture.iterdir()) == [
        "calibration.json",
        "left",
        "prompt.json",
        "right",
    ]


def test_as_json_with_an_odd_pairing(capture, capsys):
    for path in sorted((capture / "right").iterdir(), reverse=True):
        path.rename(path.with_name(f"right{int(path.stem[-6:]) + 1:06d}.jpg"))
    assert main(["check", str(capture), "--json"]) == 7
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "odd" and any("fits the right one after its partner" in text for text in found["odd"])
    assert abs(found["figures"]["row_offset_before_px"]) < 0.1 and 0.2 < found["figures"]["distance_m"][1] < 0.5


def test_refusals_name_the_reason_and_the_rest_is_still_told(capture, capsys):
    data = json.loads((capture / "calibration.json").read_text())
    (capture / "calibration.json").write_text(json.dumps({**data, "baseline_m": 63.0}))
    (capture / "prompt.json").write_text('{"frame": 0, "bbox": [1, 2, 3, 4]}')
    assert main(["check", str(capture)]) == 3
    said = capsys.readouterr().out
    assert "8 pairs" in said and "baseline is 63 m" in said and "unknown key 'bbox'" in said and "what to do" in said
    assert main(["check", str(capture / "nothing")]) == 3


def test_quick_reads_no_picture(capture):
    for path in capture.glob("right/*"):
        path.write_bytes(b"x")
    assert look_at(capture, RectifyConfig(), pictures=False).verdict == "fine"
    assert look_at(capture, RectifyConfig()).verdict == "refused"


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_calibration_of_another_zoom_and_masks(synthetic_capture, scale, tmp_path):
    capture = tmp_path / "c"
    shutil.copytree(synthetic_capture, capture)
    shutil.copytree(capture / "gt/masks", capture / "masks")
    if scale == 2.0:
        for path in capture.glob("masks/*"):
            cv2.imwrite(str(path), 255 - cv2.imread(str(path), 0))
        assert "looks inverted" in look_at(capture, RectifyConfig()).refused[0]
        return
    data = json.loads((capture / "calibration.json").read_text())
    data["K"][0], data["K"][4] = data["K"][0] * scale, data["K"][4] * scale
    (capture / "calibration.json").write_text(json.dumps(data))
    found = look_at(capture, RectifyConfig())
    assert any("the pictures fit a focal length of about" in text for text in found.odd)
    assert "16 of 16" in _sections(found)["masks"] and "% of the picture" in _sections(found)["mask share"]


def test_long_videos_are_sampled(capture):
    pairs = [
        cv2.hconcat([cv2.imread(str(capture / f"{s}/{s}{k:06d}.jpg")) for s in ("left", "right")]) for k in range(8)
    ]
    for side in ("left", "right"):
        for path in (capture / side).iterdir():
            path.unlink()
        (capture / side).rmdir()
    out = cv2.VideoWriter(str(capture / "stereo.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, pairs[0].shape[1::-1])
    for k in range(96):
        out.write(pairs[k // 12])
    out.release()
    found = look_at(capture, RectifyConfig())
    assert found.refused is None and found.pictures_read <= 48 and "96 frames" in _sections(found)["pictures"]


def test_a_run_tells_it_first(capture, tmp_path):
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "--verbose",
        "reconstruct",
        str(capture),
        "--out",
        str(tmp_path / "out"),
        "--until",
        "rectify",
        "--no-prefect",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "TWIN_STORE": str(tmp_path / "store")}
    )
    lines = done.stderr.splitlines()
    told = next(k for k, line in enumerate(lines) if "capture: calibration" in line)
    assert told < next(k for k, line in enumerate(lines) if "rectify: computing" in line)
