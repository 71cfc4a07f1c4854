"""Some thousand damaged inputs: every reader of foreign files reads or refuses each, quickly, in bounded memory, and never dies of one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 200


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures its memory in /proc: fuzz test not run")
@pytest.mark.parametrize(
    ("group", "readers"),
    [
        ("listing", 1),
        ("picture", 8),
        ("calibration", 8),
        ("maker", 14),
        ("rgbd", 6),
        ("text", 6),
        ("map", 3),
        ("video", 3),
    ],
)
def test_damaged_inputs_are_read_or_refused(group, readers, tmp_path):
    command = [sys.executable, "-m", "tests.rectify.fuzz", group, str(COUNT), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, f"at {(tmp_path / 'now').read_text()}: {done.stderr[-2000:]}"
    ends = json.loads(done.stdout.splitlines()[-1])
    assert len(ends) == readers and all(sum(e.values()) == COUNT and e["refused"] > 8 for e in ends.values())


def test_damaged_recordings_are_read_or_refused(tmp_path):
    pytest.importorskip("rosbags", reason="rosbags (extra `bags`) is not installed: recordings not damaged")
    test_damaged_inputs_are_read_or_refused("bag", 3, tmp_path)
