"""`twin merge`: what it finds of both sessions in the store, and what it refuses before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.cli.merge import _for_merge
from stages.base import Resources, Stage, StageContext, StageReport, run_stage
from stages.core.capture import capture_ref
from stages.core.errors import CaptureError, StoreError
from stages.core.merged_capture import INPUT_KINDS, KINDS, session_refs, write_merge
from stages.core.routes import route_of
from stages.core.store import Store
from stages.graph import look_at
from stages.merge.config import MergeConfig


class Maker(Stage):
    """A stage that writes all kinds that a session gives."""

    name, version, needs, inputs, outputs = "maker", 1, Resources(), (), KINDS
    Config = MergeConfig

    def check(self, inputs, config) -> None:
        pass

    def run(self, inputs, config, out: Path, context: StageContext) -> StageReport:
        for kind in KINDS:
            (out / kind).write_text(f"{kind} {config.max_points}")
        return StageReport()


def twin(folder: Path, store: Store, points: int) -> Path:
    """A twin folder whose run.json names a result of the store."""
    manifest = run_stage(Maker(), {}, MergeConfig(max_points=points), store).manifest
    folder.mkdir()
    (folder / "run.json").write_text(
        json.dumps({"schema_version": 1, "stages": {"maker": {"fingerprint": manifest["fingerprint"]}}})
    )
    return folder


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("TWIN_STORE", str(tmp_path / "store"))
    return Store()


def test_a_merged_capture_names_results_and_nothing_else(store, tmp_path):
    made = [run_stage(Maker(), {}, MergeConfig(max_points=n), store).manifest["fingerprint"] for n in (100, 200)]
    sessions = {name: {k: ("maker", f) for k in KINDS} for name, f in zip("ab", made, strict=True)}
    write_merge(tmp_path / "both", sessions)
    assert route_of(tmp_path / "both") == "merge" and look_at(tmp_path / "both", MergeConfig()).lines()[0].split() == [
        "sessions",
        "a",
    ]
    refs = session_refs(tmp_path / "both", store)
    assert set(refs) == set(INPUT_KINDS) and refs["second/masks"].path.read_text() == "masks 200"
    before = capture_ref(tmp_path / "both").fingerprint
    write_merge(tmp_path / "both", dict(reversed(sessions.items())))
    assert capture_ref(tmp_path / "both").fingerprint != before, "which session is the first decides the twin"
    (store.artifact_dir("maker", made[0]) / "masks").write_text("damaged")
    with pytest.raises(StoreError, match="session a is no longer in the store"):
        session_refs(tmp_path / "both", store)


@pytest.mark.parametrize(
    "broken", ["[]", '{"schema_version": 1, "sessions": [1, 2]}', '{"schema_version": 1, "sessions": []}', "{"]
)
def test_a_broken_merge_file_is_refused(tmp_path, broken):
    (tmp_path / "merge.json").write_text(broken)
    with pytest.raises(CaptureError):
        capture_ref(tmp_path)


@pytest.mark.parametrize(
    ("stage", "fingerprint"), [("../../etc", "0" * 64), ("maker", "../" * 20), ("maker", "0" * 63)]
)
def test_names_of_results_cannot_leave_the_store(tmp_path, stage, fingerprint):
    write_merge(tmp_path, {name: {k: (stage, fingerprint) for k in KINDS} for name in "ab"})
    with pytest.raises(CaptureError, match="name no result"):
        capture_ref(tmp_path)


def test_what_cannot_be_merged_is_refused_before_work(store, tmp_path, capsys):
    a, b = twin(tmp_path / "a", store, 100), twin(tmp_path / "b", store, 100)
    out = ["--out", str(tmp_path / "c")]
    assert main(["merge", str(a), str(a), *out]) == 3 and "named twice" in capsys.readouterr().err
    assert main(["merge", str(a), str(b), *out]) == 3 and "hold the same session" in capsys.readouterr().err
    assert (
        main(["merge", str(a), str(tmp_path / "nowhere"), *out]) == 3 and "is not a folder" in capsys.readouterr().err
    )
    assert main(["merge", str(a), str(b), "--out", str(b)]) == 5 and "is one of the sessions" in capsys.readouterr().err
    (b / "run.json").write_text(json.dumps({"schema_version": 1, "stages": {"maker": {"fingerprint": "0" * 64}}}))
    assert main(["merge", str(a), str(b), *out]) == 5 and "the store" in capsys.readouterr().err
    posed = tmp_path / "posed"
    posed.mkdir()
    (posed / "transforms.json").write_text("{}")
    assert main(["merge", str(a), str(posed), *out]) == 3 and "known cameras" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_settings_go_to_the_sessions_or_to_the_merge(store, tmp_path):
    (tmp_path / "capture/left").mkdir(parents=True)
    a, capture = twin(tmp_path / "a", store, 100), tmp_path / "capture"
    asked = ["rectify.max_width=800", "merge.min_spots=20", "surface.method=fusion"]
    assert _for_merge(asked, [a, capture]) == ("merge.min_spots=20", "surface.method=fusion")
    assert _for_merge(asked, [a, a]) == tuple(asked), (
        "no session is computed, so rectify has no effect: refused by the run"
    )
