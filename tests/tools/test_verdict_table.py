"""The table that compares verdicts with the truth counts what it says it counts; a cut capture is a capture."""

from __future__ import annotations

import pytest

from stages.core.capture import find_files
from tools.bench_verdict import BEGIN, END, cut, true_size_mm, write_between
from tools.verdict_table import is_off, page, ratios


def case(name="cup", word="usable", chamfer=0.5, watertight=True, expected=(0.1, 0.5), true=(0.1, 0.5)):
    facts = {"error_median_mm": expected[0], "error_p95_mm": expected[1]}
    surface = {"chamfer_mm": chamfer, "accuracy_median_mm": true[0], "accuracy_p95_mm": true[1]}
    scores = {"watertight": watertight, "surface_pose_aligned": surface}
    return {
        "case": name,
        "verdict": {"word": word, "why": ["because"], "facts": facts},
        "scores": scores,
        "size_mm": 100.0,
    }


@pytest.mark.parametrize(("change", "off"), [({}, False), ({"chamfer": 2.1}, True), ({"watertight": False}, True)])
def test_off(change, off):
    assert is_off(case(**change)) is off


def test_counts():
    stopped = {"case": "blur", "exit_code": 4}
    lost = {**case("lost", "do not use"), "scores": {"frames_posed": 0}}
    cases = [
        case(),
        case("b", chamfer=3.0),
        case("c", "do not use"),
        lost,
        case("d", "partial", expected=(0.1, 2.0)),
        stopped,
    ]
    text = page(cases)
    assert "6 cases, 1 of them stopped" in text
    assert "*usable* and off: 1 of 2" in text and "*do not use* and right: 1 of 2" in text
    assert "of the 3 not refused: median 3, 95 % 2" in text
    assert all(name in text for name in ("cup", "blur", "lost")) and text.count("\n| ") == len(cases) + 1
    assert ratios(lost) is None and ratios(case(true=(0.2, 0.25))) == (0.5, 2.0)


def test_a_cut_capture(synthetic_capture, tmp_path):
    out = cut(synthetic_capture, tmp_path / "cut", 4)
    files = find_files(out)
    assert len(files.left) == len(files.right) == 4 and files.calibration and not (out / "gt").exists()
    assert true_size_mm(synthetic_capture) > 50


def test_docs_keep_what_stands_around_the_table(tmp_path):
    (tmp_path / "b.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_between(tmp_path / "b.md", "new")
    assert (tmp_path / "b.md").read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
