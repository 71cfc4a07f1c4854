"""All that prompt.json may say: box with points, masks, corrections on later frames; and what is refused."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.images import read_mask
from stages.core.object_prompt import map_prompt, move_to_usable
from tests.rectify.raw_capture import LEFT_TURN, _maps, make_raw

WHOLE = {
    "frame": 1,
    "box_xyxy": [100, 60, 300, 250],
    "points": [[200, 150, 1], [10, 10, 0]],
    "corrections": [{"frame": 4, "points": [[20, 30, 0]]}, {"frame": 6, "mask": "six.png"}],
}


def ask(capture, prompt, masks=("six.png",)) -> None:
    (capture / "prompt.json").write_text(json.dumps(prompt))
    (capture / "prompt").mkdir(exist_ok=True)
    for name in masks:
        painted = np.zeros((300, 400), np.uint8)
        painted[50:200, 100:260] = 255
        cv2.imwrite(str(capture / "prompt" / name), painted)


def test_everything_reaches_the_rectified_pair(capture, rectify):
    ask(capture, WHOLE)
    made = rectify(capture)
    wanted = {**WHOLE, "corrections": [WHOLE["corrections"][0], {"frame": 6, "mask": "prompt/000006.png"}]}
    assert json.loads((made.out / "prompt.json").read_text()) == wanted
    mask = read_mask(made.out / "given/prompt/000006.png")
    assert mask.sum() == 150 * 160 and mask[60, 110]


def test_smaller_pictures_and_a_raw_capture(capture, synthetic_capture, rectify, tmp_path):
    ask(capture, WHOLE)
    made = rectify(capture, max_width=200)
    prompt = json.loads((made.out / "prompt.json").read_text())
    assert prompt["corrections"][0]["points"] == [[9.75, 14.75, 0]] and prompt["box_xyxy"][0] == pytest.approx(49.75)
    assert read_mask(made.out / "given/prompt/000006.png").shape == (150, 200)
    raw, c = make_raw(synthetic_capture, tmp_path / "raw", frames=2)
    from stages.core.camera import Rig

    rig = Rig.load(synthetic_capture / "calibration.json")
    true = cv2.imread(str(synthetic_capture / "gt/masks/000001.png"), 0)
    ask(raw, {"frame": 1, "mask": "prompt/one.png"}, masks=())
    cv2.imwrite(str(raw / "prompt/one.png"), cv2.remap(true, *_maps(rig, c.left, cv2.Rodrigues(LEFT_TURN)[0]), 0))
    made = rectify(raw)
    out_rig = Rig.load(made.out / "rig.json")
    area = read_mask(made.out / "given/prompt/000001.png").sum() * (rig.fx / out_rig.fx) ** 2
    assert area == pytest.approx((true > 127).sum(), rel=0.06)


def test_another_mask_is_another_capture(capture):
    from stages.core.capture import capture_ref

    ask(capture, WHOLE)
    before = capture_ref(capture).fingerprint
    cv2.imwrite(str(capture / "prompt/six.png"), np.full((300, 400), 255, np.uint8))
    assert capture_ref(capture).fingerprint != before


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"frame": 0, "mask": "none.png"}, r"names the mask none\.png, which is not in .* prompt/"),
        ({"frame": 0, "mask": "six.png", "points": [[1, 2, 1]]}, "a mask says it all"),
        ({"corrections": [{"frame": 1, "points": [[1, 2, 0]]}]}, "says nowhere what the object is"),
        ({"box_xyxy": [9, 9, 90, 90], "corrections": [{"frame": 1}]}, "correction of frame 1 says nothing"),
        ({"box_xyxy": [9, 9, 90, 90], "corrections": [{"frame": 0, "points": [[1, 2, 0]]}]}, "speaks of frame 0 twice"),
        (
            {"box_xyxy": [9, 9, 90, 90], "corrections": [{"frame": 8, "points": [[1, 2, 0]]}]},
            "capture has frames 0 to 7",
        ),
        (
            {"box_xyxy": [9, 9, 90, 90], "corrections": [{"frame": 3, "points": [[401, 2, 0]]}]},
            "lie outside the 400x300",
        ),
        ({"points": [[9, 9, 0]]}, "mark no object"),
    ],
)
def test_what_cannot_be_meant_is_refused(capture, rectify, prompt, message):
    ask(capture, prompt)
    with pytest.raises(CaptureError, match=message):
        rectify(capture)


def test_an_empty_mask_is_refused(capture, rectify):
    ask(capture, {"frame": 0, "mask": "six.png"})
    cv2.imwrite(str(capture / "prompt/six.png"), np.zeros((300, 400), np.uint8))
    with pytest.raises(CaptureError, match="shows no object"):
        rectify(capture)


def test_frames_that_cannot_be_used():
    moved, warning = move_to_usable(WHOLE, [0, 2, 3, 6])
    assert moved["frame"] == 0 and [c["frame"] for c in moved["corrections"]] == [6]
    assert "taken for frame 0" in warning and "left out: 4" in warning
    with pytest.raises(CaptureError, match="cannot be used"):
        move_to_usable({"frame": 1, "mask": "six.png"}, [0, 2])
    assert map_prompt({}, lambda uv: uv, (10, 10)) == {}
