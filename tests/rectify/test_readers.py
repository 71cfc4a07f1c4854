"""What the readers yield: pairs in capture order, nothing lost in silence."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.core.errors import CaptureError
from stages.core.frame_names import natural, pair_files
from stages.rectify.raw_pairs import decode, is_truncated
from stages.rectify.read_folders import FolderReader
from stages.rectify.read_stereo_video import StereoVideoReader
from stages.rectify.read_videos import VideoPairReader


def _names(*names):
    return tuple(Path(n) for n in names)


def test_pairs_by_number_over_gaps_and_any_start():
    pairs, _ = pair_files(
        _names("l5.png", "l7.png", "l9.png", "l10.png"), _names("r05.jpg", "r07.jpg", "r08.jpg", "r10.jpg")
    )
    assert [(a and a.name, b and b.name) for a, b in pairs] == [
        ("l5.png", "r05.jpg"),
        ("l7.png", "r07.jpg"),
        (None, "r08.jpg"),
        ("l9.png", None),
        ("l10.png", "r10.jpg"),
    ]


def test_pairs_by_order_without_distinct_numbers():
    pairs, _ = pair_files(_names("a_cam0.png", "b_cam0.png"), _names("a_cam1.png", "b_cam1.png"))
    assert [(a.name, b.name) for a, b in pairs] == [("a_cam0.png", "a_cam1.png"), ("b_cam0.png", "b_cam1.png")]
    with pytest.raises(CaptureError, match="left/ has 2 pictures and right/ has 1"):
        pair_files(_names("a.png", "b.png"), _names("a.png"))


def _paired(left, right):
    pairs, notes = pair_files(_names(*left), _names(*right))
    return [(a and a.name, b and b.name) for a, b in pairs], notes


def test_times_in_seconds_are_one_number():
    names = [f"{1305031102.175304 + 0.331 * k:.6f}.png" for k in range(12)]
    assert (
        len({n[-10:] for n in names}) == 12 and sorted(names, key=lambda n: n[-10:]) != names
    )  # the fraction alone misleads
    assert _paired(names[::-1], names) == ([(n, n) for n in names], [])
    short = ["1305031102.5.png", "1305031102.75.png", "1305031103.25.png"]
    assert _paired(short, short)[0] == [(n, n) for n in short]


def test_a_second_picture_of_one_number_comes_after_the_first():
    names = [
        "IMG_20240501_101504.jpg",
        "IMG_20240501_101505.jpg",
        "IMG_20240501_101505 (1).jpg",
        "IMG_20240501_101505 (2).jpg",
        "IMG_20240501_101506.jpg",
    ]
    assert _paired(sorted(names), names)[0] == [(n, n) for n in names]


def test_times_that_differ_between_the_eyes_pair_by_the_nearest():
    left = [f"{1700000000 + 0.1 * k:.6f}.png" for k in range(6)]
    right = [f"{1700000000 + 0.1 * k + 0.004:.6f}.png" for k in range(6) if k != 2]
    pairs, (note,) = _paired(left, right)
    assert pairs == [(n, None if k == 2 else right[k - (k > 2)]) for k, n in enumerate(left)] and "0.004 apart" in note


def test_a_last_number_that_is_not_the_order_of_the_names_does_not_decide():
    left, right = ["take1_e9.png", "take2_e7.png", "take10_e8.png"], ["r1_e3.png", "r2_e1.png", "r10_e2.png"]
    assert _paired(left, right)[0] == list(zip(left, right, strict=True))
    assert [p.name for p in sorted(_names("b2", "a10", "a9"), key=natural)] == ["a9", "a10", "b2"]


def test_a_picture_that_is_there_twice_is_refused():
    with pytest.raises(CaptureError, match=r"holds l1\.jpg and l1\.png"):
        pair_files(_names("l1.jpg", "l1.png"), _names("r1.jpg", "r2.jpg"))


def test_numbers_that_never_meet_are_refused():
    with pytest.raises(CaptureError, match="no number occurs"):
        pair_files(_names("l0.png", "l1.png"), _names("r7.png", "r8.png"))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_pictures_are_found(tmp_path, suffix):
    rng = np.random.default_rng(0)
    data = cv2.imencode(suffix, rng.integers(0, 255, (64, 96, 3), np.uint8))[1].tobytes()
    assert not is_truncated(data) and is_truncated(data[:-40])
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CaptureError, match="truncated"):
        decode(path)
    path.write_bytes(b"no picture")
    with pytest.raises(CaptureError, match="not a readable picture"):
        decode(path)


def test_end_mark_of_a_thumbnail_does_not_count():
    rng = np.random.default_rng(0)
    data = cv2.imencode(".jpg", rng.integers(0, 255, (64, 96), np.uint8))[1].tobytes()
    thumbnail = b"\xff\xd8 small \xff\xd9"
    with_app = data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]
    assert not is_truncated(with_app) and is_truncated(with_app[:-60])


def _frames(count, width=64, height=48):
    out = []
    for k in range(count):
        image = np.full((height, width, 3), 20 + 10 * k, np.uint8)
        image[:, : width // 8] = 0
        out.append(image)
    return out


def _write_video(path, frames, rate=10.0):
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), rate, frames[0].shape[1::-1])
    for f in frames:
        video.write(f)
    video.release()


def _levels(reader, wanted=lambda frame: True):
    return [
        (p.frame, *(None if s is None else int(s.pixels()[10, 30].mean()) for s in (p.left, p.right)))
        for p in reader.stream(wanted)
    ]


def test_two_videos_pair_by_index_and_a_short_side_leaves_missing_pairs(tmp_path):
    frames = _frames(6)
    _write_video(tmp_path / "left.mp4", frames)
    _write_video(tmp_path / "right.mp4", frames[:5])
    found = _levels(VideoPairReader(tmp_path / "left.mp4", tmp_path / "right.mp4"))
    assert [f[0] for f in found] == list(range(6)) and found[5][2] is None
    assert all(abs(f[1] - (20 + 10 * f[0])) <= 5 for f in found) and all(abs(f[2] - f[1]) <= 3 for f in found[:5])


def test_only_wanted_frames_are_converted_and_ids_stay(tmp_path):
    frames = _frames(6)
    for side in ("left", "right"):
        _write_video(tmp_path / f"{side}.mp4", frames)
    reader = VideoPairReader(tmp_path / "left.mp4", tmp_path / "right.mp4")
    assert [f[0] for f in _levels(reader, {1, 4}.__contains__)] == [1, 4]
    assert [f[0] for f in _levels(reader)] == list(range(6))  # may be streamed again


def test_side_by_side_video_is_split_left_first(tmp_path):
    frames = [np.hstack([f, 255 - f]) for f in _frames(3)]
    _write_video(tmp_path / "stereo.mp4", frames)
    found = _levels(StereoVideoReader(tmp_path / "stereo.mp4"))
    assert len(found) == 3 and all(abs(a + b - 255) <= 6 and a < b for _, a, b in found)


def test_videos_at_different_rates_are_noted(tmp_path):
    _write_video(tmp_path / "left.mp4", _frames(3), 10.0)
    _write_video(tmp_path / "right.mp4", _frames(3), 12.0)
    (note,) = VideoPairReader(tmp_path / "left.mp4", tmp_path / "right.mp4").notes
    assert "drift apart" in note


def test_unreadable_video(tmp_path):
    (tmp_path / "stereo.mp4").write_bytes(b"not a video")
    with pytest.raises(CaptureError, match=r"stereo\.mp4 cannot be opened as a video \(11 bytes\)"):
        StereoVideoReader(tmp_path / "stereo.mp4")


def test_folder_reader_reads_nothing_before_it_is_asked(tmp_path):
    reader = FolderReader(_names("/nowhere/a1.png"), _names("/nowhere/b1.png"))
    (pair,) = reader.stream()
    with pytest.raises(CaptureError, match=r"cannot read a1\.png"):
        pair.left.pixels()
