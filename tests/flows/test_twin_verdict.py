"""A twin that is not to be used is not green: state of its run, batch page, command line."""

from __future__ import annotations

import json

import pytest

from flows import deployments
from flows.records.twin_verdict import fails, failure_of, verdict_of
from flows.ui.batch_page import DONE_BEFORE, Outcome, write_summary
from stages.core.errors import ConfigError

BAD = {
    "word": "do not use",
    "line": "do not use: only 4 frames. Expected error: unknown",
    "facts": {"error_median_mm": 1.234},
}
PARTIAL = {"word": "partial", "line": "partial: the mesh is open", "facts": {}}


@pytest.fixture
def twin(tmp_path):
    """twin(verdict) -> its folder."""

    def write(verdict, name="cup"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"stages": {}, "verdict": verdict}))
        return tmp_path / name

    return write


def test_run_of_the_ui_fails_with_the_verdict_as_its_message(twin, monkeypatch):
    out = twin(BAD)
    monkeypatch.setattr(deployments, "reconstruct_as_flow", lambda request: str(out))
    state = deployments.reconstruct_capture.fn(capture=str(out))
    assert state.is_failed() and "only 4 frames" in state.message and str(out) in state.message
    monkeypatch.setenv("TWIN_FAIL_ON", "never")
    assert deployments.reconstruct_capture.fn(capture=str(out)) == str(out)


def test_what_counts_as_failed_is_a_setting(twin, monkeypatch):
    out = twin(PARTIAL)
    assert failure_of(out) == "" and not fails("usable")
    monkeypatch.setenv("TWIN_FAIL_ON", "partial")
    assert "the mesh is open" in failure_of(out) and not fails("usable")
    monkeypatch.setenv("TWIN_FAIL_ON", "sometimes")
    with pytest.raises(ConfigError, match="TWIN_FAIL_ON"):
        failure_of(out)


@pytest.mark.parametrize(
    "content", ["", "null", "[]", '{"verdict": null}', '{"verdict": {"word": 3}}', '{"verdict": {"word": "usable"}}']
)
def test_a_record_without_a_verdict_has_none(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert verdict_of(tmp_path) is None and failure_of(tmp_path) == ""
    assert failure_of(None) == "" and verdict_of(tmp_path / "gone") is None


@pytest.mark.parametrize("status", ["Completed", DONE_BEFORE])
def test_batch_counts_it_as_failed_and_says_why(twin, tmp_path, status):
    outcomes = [Outcome("cup", status, 3.0, out=str(twin(BAD))), Outcome("jug", status, out=str(twin(PARTIAL, "jug")))]
    assert [o.bad for o in outcomes] == [True, False]
    assert outcomes[0].row()["reason"] == BAD["line"] and outcomes[0].row()["verdict"] == "do not use"
    text = write_summary(outcomes, tmp_path).read_text()
    assert "1 failed" in text and "only 4 frames" in text and "partial" in text and "expected error, mm" in text
