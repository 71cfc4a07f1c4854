"""The command line as a user meets it, on the toy pipeline."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.cli import main as cli
from tests.flows.conftest import wait_for

HEAVY = ("torch", "prefect", "numpy", "cv2", "pydantic", "yaml")


@pytest.fixture
def twin(toy, monkeypatch, capsys):
    """Runs `twin` in this process without Prefect; returns (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(list(words))
        out = capsys.readouterr()
        return code, out.out, out.err

    run.reconstruct = lambda *more: run(
        "reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"), "--no-prefect", *more
    )
    return run


@pytest.fixture(autouse=True)
def _own_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_help_imports_nothing_heavy():
    code = f"import flows.cli.main, sys; flows.cli.main.parser().format_help(); print([m for m in {HEAVY} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_reconstruct_names_twin_and_report(toy, twin):
    code, out, err = twin.reconstruct()
    assert code == 0 and str(toy.folder / "twin") in out and "report.html" in out
    assert (toy.folder / "twin" / "report.html").exists() and "note: toy warning" in err
    record = json.loads((toy.folder / "twin" / "run.json").read_text())
    assert (
        list(record["stages"]) == ["a", "b", "c", "d"]
        and record["profile"] == "standard"
        and record["capture"] == "capture"
    )


def test_settings_after_options_and_their_errors(toy, twin):
    assert twin.reconstruct("c.gain=2", "--profile", "preview", "d.size=[1,2]")[0] == 0
    assert twin.reconstruct("c.gian=2")[0] == 2
    code, _, err = twin.reconstruct("c.steps=4", "c.method=plain")
    assert code == 2 and "c.steps has no effect" in err and "What to do" in err and "Traceback" not in err
    with pytest.raises(SystemExit) as usage:
        twin.reconstruct("--gain=3")
    assert usage.value.code == 2
    assert toy.counts() == {"a": 1, "b": 1, "c": 1, "d": 1}


@pytest.mark.parametrize(
    ("order", "code", "words"),
    [
        ("raise", 3, "copy it again"),
        ("no weights", 6, "twin weights fetch"),
        ("kill 9", 5, "run the same command again"),
        ("fault", 1, "fault of the program"),
    ],
)
def test_exit_codes(toy, twin, order, code, words):
    toy.order("c", order)
    got, _, err = twin.reconstruct()
    assert got == code and words in err and "Traceback" not in err


def test_unknown_capture_and_stage(toy, twin):
    assert twin("reconstruct", str(toy.folder / "nothing"), "--out", str(toy.folder / "x"), "--no-prefect")[0] == 3
    code, _, err = twin.reconstruct("--from", "bundel")
    assert code == 2 and "choose one of a, b, c, d" in err


@pytest.mark.parametrize("at", [0, 99])
def test_verbose_shows_the_traceback(toy, twin, at):
    toy.order("b", "fault")
    words = ["reconstruct", str(toy.capture), "--out", str(toy.folder / "t"), "--no-prefect"]
    words.insert(at, "--verbose")
    code = cli.main(words)
    assert code == 1


def test_resume_after_failure_runs_only_what_is_missing(toy, twin):
    toy.order("c", "kill 9")
    assert twin.reconstruct("--force", "d.gain=3")[0] == 5
    _, out, _ = twin("status")
    assert "failed" in out and "2/4 stages done: a b c:failed" in out and "memory" in out
    toy.order("c", "")
    assert twin("resume", "--no-prefect")[0] == 0
    assert toy.counts() == {"a": 1, "b": 1, "c": 2, "d": 1}  # also what --force asked for is not done twice
    _, out, _ = twin("status")
    assert out.count("capture ->") == 1 and "done" in out
    data = json.loads(twin("status", "--json")[1])
    assert data["runs"][0]["stages"]["c"]["state"] == "done" and data["bytes"]["artifacts"] > 0
    assert "d(3)" in next((toy.store.root / "artifacts" / "d").glob("*/d.txt")).read_text()


def test_status_shows_the_verdict(toy, twin):
    assert twin.reconstruct()[0] == 0
    path = toy.folder / "twin" / "run.json"
    path.write_text(
        json.dumps(
            {**json.loads(path.read_text()), "verdict": {"word": "partial", "line": "partial: the mesh is open"}}
        )
    )
    assert "partial: the mesh is open" in twin("status")[1]


def test_from_and_until(toy, twin):
    code, out, _ = twin.reconstruct("--until", "b")
    assert code == 0 and "stopped after b" in out and not (toy.folder / "twin").exists()
    twin.reconstruct()
    twin.reconstruct("--from", "c")
    assert toy.counts() == {"a": 1, "b": 1, "c": 2, "d": 2}


def test_resume_without_any_run(toy, twin):
    assert twin("resume")[0] == 5
    assert twin("resume", "2020")[0] == 5


def test_inspect_says_why(toy, twin):
    def why(stage: str) -> str:
        return twin("inspect", str(toy.capture), stage)[1]

    twin.reconstruct()
    assert "no earlier result for this capture" in why("d")
    twin.reconstruct("b.gain=2")
    assert "b.gain changed from 1.0 to 2.0" in why("b") and "b.gain changed from 1.0 to 2.0" in why("d")
    assert "from the store" in why("a")
    (toy.capture / "calibration.json").write_text('{"changed": 1}')
    twin.reconstruct("b.gain=2")
    assert "the content of the capture changed" in why("a")
    twin.reconstruct("b.gain=2", "--from", "d")
    assert "asked for" in twin("inspect", str(toy.folder / "twin"), "d")[1]
    for path in (toy.store.root / "artifacts" / "c").glob("*/c.txt"):
        path.write_text("damaged")
    twin.reconstruct("b.gain=2")
    assert "was damaged: files that differ from what was written: 1 of 2 (first: c.txt); set aside" in why("c")
    assert "results were found damaged and set aside" in twin("status")[1]
    assert twin("inspect", str(toy.capture), "x")[0] == 2


def test_kill_of_everything_and_resume(toy):
    """A real process, kill -9, then `twin resume`: the run shows as died, and only what was missing runs."""
    toy.order("c", "sleep 60")
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(toy.capture),
        "--out",
        str(toy.folder / "twin"),
        "--no-prefect",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    child = toy.wait_started("c")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not Path(f"/proc/{child}").exists())
    status = subprocess.run(
        [sys.executable, "-m", "flows.cli", "status"], capture_output=True, text=True, check=True
    ).stdout
    assert "died" in status and "c:running" not in status
    toy.order("c", "")
    subprocess.run(
        [sys.executable, "-m", "flows.cli", "resume", "--last", "--no-prefect"], check=True, capture_output=True
    )
    assert toy.counts() == {"a": 1, "b": 1, "c": 2, "d": 1}


def test_polite_end(toy):
    toy.order("b", "sleep 60")
    command = [
        sys.executable,
        "-m",
        "flows.cli",
        "reconstruct",
        str(toy.capture),
        "--out",
        str(toy.folder / "twin"),
        "--no-prefect",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    toy.wait_started("b")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "twin resume" in err and not list((toy.store.root / "tmp").glob("*"))


def test_clean(toy, twin):
    twin.reconstruct()
    next((toy.store.root / "artifacts" / "b").glob("*/b.txt")).write_text("damaged")
    twin.reconstruct()
    (toy.store.root / "tmp" / f"{'0' * 64}.1").mkdir()
    assert "would remove 2 folders" in twin("clean", "--dry-run")[1]
    assert "removed 2 folders" in twin("clean")[1]
    twin.reconstruct()
    assert toy.counts()["b"] == 2
    assert "removed 4 folders and 3 run records" in twin("clean", "--older-than", "0")[1]
    twin.reconstruct()
    assert toy.counts() == {"a": 2, "b": 3, "c": 2, "d": 2}


def test_progress_without_a_terminal(toy, twin, monkeypatch):
    monkeypatch.setattr("flows.ui.progress_line.PLAIN_LINE_EVERY_S", 0.2)
    toy.order("b", "sleep 1.5")
    _, _, err = twin.reconstruct()
    assert "1/2" in err and "left  half way" in err and "\r" not in err


def test_a_capture_that_is_not_there_is_refused_before_anything_starts(toy):
    """With Prefect, in a process of its own: nothing heavy is imported, nothing is recorded."""
    code = (
        "import sys; from flows.cli import main as cli; code = cli.main(sys.argv[1:]); "
        f"print(code, [m for m in {HEAVY} if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "reconstruct", str(toy.folder / "nowhere"), "--out", str(toy.folder / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3 []" and "is not a folder" in done.stderr and "What to do" in done.stderr
    assert not toy.store.root.exists() and not (toy.folder / "x").exists()


def test_out_is_checked_before_any_work(toy, twin, monkeypatch):
    (toy.folder / "file").write_text("mine")
    (toy.folder / "thesis").mkdir()
    (toy.folder / "thesis" / "thesis.tex").write_text("years of work")

    def out(where):
        return twin("reconstruct", str(toy.capture), "--out", str(where), "--no-prefect")

    for where, words in (
        ("file", "is a file"),
        ("file/below", "is not a folder"),
        ("thesis", "no twin"),
        ("capture", "no twin"),
    ):
        code, _, err = out(toy.folder / where)
        assert code == 5 and words in err and "--out" in err, where
    code, _, err = out("/proc/nothing/here")
    assert code == 5 and "cannot be written" in err
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=1 << 40, used=0, free=1_000_000))
    code, _, err = out(toy.folder / "small")
    assert code == 5 and "1 MB free" in err
    assert toy.counts() == {"a": 0, "b": 0, "c": 0, "d": 0} and not (toy.store.root / "runs").exists()


def test_a_run_without_prefect_does_not_wait_for_its_import(toy):
    words = ["reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"), "--no-prefect"]
    code = (
        f"import flows.cli.main, sys; code = flows.cli.main.main({words}); sys.exit(code or 'prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "report.html" in done.stdout, done.stderr


def test_first_line_comes_before_prefect(toy, twin):
    _, _, err = twin.reconstruct("--profile", "preview")
    assert err.splitlines()[0] == f"{toy.capture} -> {toy.folder / 'twin'} (preview)"


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("recontruct", "x"), "Did you mean reconstruct?"),
        (("status", "--al"), ""),
        (("reconstruct", "x", "--out", "y", "--profile", "standart"), "Did you mean standard?"),
        (("reconstruct", "x", "--out", "y", "--untill=b"), "Did you mean --until?"),
    ],
)
def test_what_is_mistyped_gets_a_suggestion(twin, capsys, words, near):
    if near:
        with pytest.raises(SystemExit) as usage:
            twin(*words)
        assert usage.value.code == 2 and near in capsys.readouterr().err
    else:
        assert twin(*words)[0] == 0  # an unambiguous beginning will do


def test_version_without_any_command(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out.split()[1][0].isdigit()


def test_quiet_and_json(toy, twin):
    code, out, err = twin.reconstruct("--quiet")
    assert code == 0 and err == "" and "report.html" in out
    code, out, _ = twin.reconstruct("--json", "--quiet")
    found = json.loads(out)
    assert (
        code == 0
        and found["twin"] == str(toy.folder / "twin")
        and Path(found["report"]).exists()
        and found["verdict"] is None
    )
    assert json.loads(twin.reconstruct("--until", "b", "--json")[1])["twin"] is None


def test_settings_for_machines(twin):
    found = json.loads(twin("settings", "--json")[1])
    assert found["c"]["gain"]["default"] == 1.0 and found["c"]["gain"]["type"] == "float"
    assert list(json.loads(twin("settings", "d", "--json")[1])) == ["d"]


def test_completion_in_a_real_bash(twin):
    script = twin("completion", "bash")[1]

    def completed(*words: str) -> list[str]:
        line = f'{script}\nCOMP_WORDS=({" ".join(words)}"" ); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); _twin; echo "${{COMPREPLY[@]}}"'
        return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout.split()

    assert completed("twin", "recon") == ["reconstruct"]
    assert completed("twin", "reconstruct", "--pro") == ["--profile"]
    assert completed("twin", "reconstruct", "--profile", "qua") == ["quality"]
    assert completed("twin", "weights", "ver") == ["verify"]
    assert "complete -c twin" in twin("completion", "fish")[1]


def test_every_kind_of_error_has_an_exit_code_that_says_whose_fault_it_was():
    from stages.core import errors

    kinds = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.TwinError)}
    assert set(kinds) == set(cli.EXIT_CODES)
    assert {n: cli.EXIT_CODES[n] for n in ("CaptureError", "StageError", "MachineError", "TwinError")} == {
        "CaptureError": 3,
        "StageError": 4,
        "MachineError": 5,
        "TwinError": 5,
    }
    assert "Exit codes say whose fault it was" in cli.parser().format_help()


def test_no_server_is_the_machines_fault(toy, twin, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, _, err = twin("reconstruct", str(toy.capture), "--out", str(toy.folder / "twin"))
    assert code == 5 and "no Prefect server answers" in err


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_whose_reader_wants_them(monkeypatch):
    from flows.records.run_record import StageRecord
    from flows.ui.progress_line import ProgressLine

    def said(stream: io.StringIO) -> str:
        line = ProgressLine(stream)
        line.stage_finished("depth", StageRecord(state="done", seconds=1.0), ["dark"])
        return stream.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert (
        "\x1b[32mdepth" in said(_Terminal()) and "\x1b[33m" in said(_Terminal()) and "\x1b" not in said(io.StringIO())
    )
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in said(_Terminal()) and "note: dark" in said(_Terminal())
    from flows.ui.colour import bar

    assert bar(1, 4) == "━" * 5 + "╌" * 15 and bar(0, 0) == "" and bar(9, 4) == "━" * 20
