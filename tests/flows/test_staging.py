"""Captures fetched from a bucket and twins sent to one: whole or not at all, cut off anywhere. A real S3 server answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.captures.sent_twin import read_sent, send_twin
from flows.captures.staged_capture import SYNC_EVERY, list_capture, staged
from flows.captures.staging_space import held, make_room, unsent
from flows.records.places import twin_folder
from flows.records.s3_addresses import address_of, checked_address, place_of_address, staging_root
from stages.core.bucket import CHUNK_BYTES, Bucket, tag_of
from stages.core.errors import CaptureError, ConfigError, StoreError
from tests.flows.conftest import Toy, make_capture, wait_for
from tests.flows.s3_captures import Bucket as Bare
from tests.flows.s3_captures import tree

pytest.importorskip(
    "obstore", reason="obstore is not installed (pip install 'stereotwin[s3]'): the bucket is NOT tested"
)
pytest.importorskip(
    "moto.server", reason="moto is not installed (pip install 'moto[s3]' flask flask-cors): the bucket is NOT tested"
)

from tests.core.s3_server import S3Server

ADDRESS, TWIN = "s3://results/captures/day/ball", "s3://results/twins/ball"


@pytest.fixture
def bare(fresh_s3: S3Server, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Bare:
    """The bucket with one capture; the store has none of its own there."""
    bare = Bare(fresh_s3)
    bare.upload(toy.capture, "captures/day/ball")
    return bare


def _stage(toy: Toy, address: str = ADDRESS) -> tuple[dict[str, bytes], list[str]]:
    said: list[str] = []
    with staged(toy.store, address, said.append) as place:
        assert place == place_of_address(address) and address_of(place) == address
        return tree(place), said


def _cut(script: str, *words: str, when) -> None:
    """Run a script and kill it once `when` says so."""
    running = subprocess.Popen([sys.executable, "-c", script, *words])
    try:
        wait_for(when, 240)
        assert running.poll() is None, "it ended before it could be cut off"
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


def test_a_capture_comes_whole_once_and_what_changed_comes_anew(toy, bare):
    bare.put("captures/day/ball2/READY", b"")  # begins with the same letters
    found, said = _stage(toy)
    assert found == {**tree(toy.capture), "READY": b""} and "5 of 5 files" in said[-1]
    assert _stage(toy) == (found, [])  # nothing travels again
    marker = (place_of_address(ADDRESS) / "READY").stat().st_mtime_ns
    assert marker == list_capture(ADDRESS)["READY"].changed_ns
    bare.put("captures/day/ball/text", b"another text")
    bare.delete("captures/day/ball/right/000000.png")
    bare.put("captures/day/ball/right/000001.png", b"right")
    (place_of_address(ADDRESS) / "left" / "stray.png").write_bytes(b"not of the bucket")
    now, said = _stage(toy)
    assert now == {
        **{k: v for k, v in found.items() if "right" not in k},
        "text": b"another text",
        "right/000001.png": b"right",
    }
    assert "2 of 2 files" in said[-1]  # the others were here


_STAGE = """
import sys
from flows.captures.staged_capture import staged
from stages.core.store import Store
with staged(Store(), sys.argv[1], print):
    pass
"""


@pytest.mark.slow
def test_a_download_that_is_cut_off_is_taken_for_nothing_and_goes_on(toy, bare):
    for k in range(80):
        (toy.capture / "left" / f"{k:06}.png").write_bytes(str(k).encode() * 5000)
    big = toy.capture / "big.bin"
    big.write_bytes(os.urandom(24 << 20))
    bare.upload(toy.capture, "captures/day/ball")
    place, coming = place_of_address(ADDRESS), place_of_address(ADDRESS, "coming")

    def some_have_come() -> bool:
        return len(list(coming.glob("left/*.png"))) > 10

    _cut(_STAGE, ADDRESS, when=some_have_come)
    assert not place.exists() and coming.is_dir()
    whole = {p.name: p.stat().st_ino for p in (coming / "left").glob("*.png")}
    found, _ = _stage(toy)
    assert found == {**tree(toy.capture), "READY": b""} and not coming.exists()
    assert all((place / "left" / name).stat().st_ino == number for name, number in whole.items())  # not fetched twice


def test_a_begun_file_goes_on_where_it_is_certain_and_only_if_it_is_the_same(toy, bare):
    data = os.urandom(30 << 20)
    bare.put("captures/day/ball/big.bin", data)
    entry = list_capture(ADDRESS)["big.bin"]
    coming = place_of_address(ADDRESS, "coming")
    coming.mkdir(parents=True)
    part = coming / f"big.bin.{entry.tag.strip(chr(34)).replace('-', '')[:40]}.part"
    lost = data[: 6 << 20] + b"\0" * (2 * SYNC_EVERY)  # a power cut: the end never reached the disk
    part.write_bytes(lost)
    (coming / f"big.bin.{'0' * 32}.part").write_bytes(b"of another version")
    found, said = _stage(toy)
    assert found["big.bin"] == data and set(found) == {*tree(toy.capture), "READY", "big.bin"}
    assert f"{(len(data) - (6 << 20)) / 1e6:.1f} of" in said[-1]  # the rest was not fetched


def test_what_is_wrong_is_said(toy, bare, monkeypatch):
    with pytest.raises(CaptureError, match=r"(?s)nothing at s3://results/captures/day/bal\b.*there are ball"):
        _stage(toy, "s3://results/captures/day/bal")
    with pytest.raises(StoreError, match=r"no bucket of that name"):
        _stage(toy, "s3://nowhere/captures/ball")
    for wrong in ("s3://results", "s3://results/a/../b", "s3:///a/b"):
        with pytest.raises(CaptureError):
            checked_address(wrong)
    bare.put("captures/odd/a", b"file")
    bare.put("captures/odd/a/b", b"and folder")
    with pytest.raises(CaptureError, match="no folder can hold"):
        _stage(toy, "s3://results/captures/odd")
    monkeypatch.setenv("TWIN_STAGED_GB", "much")
    with pytest.raises(ConfigError, match="TWIN_STAGED_GB"):
        _stage(toy)


def test_keys_without_permission_are_said(toy, bare, s3_server):
    with s3_server.guarded():
        with pytest.raises(StoreError, match=r"does not know AWS_ACCESS_KEY_ID|no permission"):
            _stage(toy)


def test_the_cache_is_bounded_and_never_takes_what_is_held_or_not_sent(toy, bare, monkeypatch):
    for name in ("one", "two", "three"):
        bare.put(f"captures/day/{name}/file", name.encode() * 100_000)
    monkeypatch.setenv("TWIN_STAGED_GB", "0.0008")
    places = {n: place_of_address(f"s3://results/captures/day/{n}") for n in ("one", "two", "three")}
    _stage(toy, "s3://results/captures/day/one")
    with staged(toy.store, "s3://results/captures/day/two", lambda text: None):
        os.utime(places["two"].parent / ".two.used", (1, 1))  # used longest ago, but held
        _stage(toy, "s3://results/captures/day/three")
        assert [n for n, p in places.items() if p.exists()] == ["two", "three"]
    twin = place_of_address(TWIN, "twins")
    twin.mkdir(parents=True)
    (twin / "twin.glb").write_bytes(b"x" * 700_000)
    toy.store.disk.replace(unsent(TWIN), b"{}")
    with held(toy.store, places["three"]):
        make_room(toy.store, 0, Path("of/another"))
    assert twin.exists() and places["three"].exists() and not places["two"].exists()
    unsent(TWIN).unlink()
    make_room(toy.store, 700_000, Path("of/another"))
    assert not twin.exists()


def _twin(toy: Toy, name: str = "twin", **record) -> Path:
    folder = toy.folder / name
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for k in range(120):
        (folder / "masks" / f"{k}.png").write_bytes(str(k).encode() * 3000)
    (folder / "twin.glb").write_bytes(b"glb" * (CHUNK_BYTES // 2))  # sent in parts
    (folder / "run.json").write_text(json.dumps({"run": "r", "profile": "standard", "source": "s", **record}))
    return folder


def _sent(bare: Bare, key: str = "twins/ball") -> dict[str, bytes] | None:
    """What a reader gets who goes by the manifest; every file has to be as it says."""
    import hashlib

    there = bare.files(key)
    if "twin.json" not in there:
        return None
    manifest = json.loads(there["twin.json"])
    found = {name: there[f"{manifest['version']}/{name}"] for name in manifest["files"]}
    assert {n: (len(d), hashlib.sha256(d).hexdigest()) for n, d in found.items()} == {
        n: (f["bytes"], f["sha256"]) for n, f in manifest["files"].items()
    }
    return found


_SEND = """
import sys
from pathlib import Path
from flows.captures.sent_twin import send_twin
from stages.core.store import Store
send_twin(Store(), Path(sys.argv[1]), sys.argv[2], print)
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_sending_keeps_the_former_twin_and_the_next_try_sends_the_rest(toy, bare):
    first = _twin(toy)
    send_twin(toy.store, first, TWIN, print)
    before = _sent(bare)
    assert before == tree(first) and not unsent(TWIN).exists()
    for k in range(120):
        (first / "masks" / f"{k}.png").write_bytes(f"new {k}".encode() * 3000)
    former = read_sent(TWIN).version

    def begun() -> int:
        return sum(not n.startswith(f"{former}/") for n in bare.names("twins/ball")) - 1

    _cut(_SEND, str(first), TWIN, when=lambda: begun() > 5)
    assert 5 < begun() < 122 and _sent(bare) == before and unsent(TWIN).exists()
    (first / "run.json").write_text(
        json.dumps({"run": "r2", "profile": "standard", "source": "s"})
    )  # the next try's own record
    send_twin(toy.store, first, TWIN, print)
    assert _sent(bare) == tree(first) and not unsent(TWIN).exists()
    assert len(bare.names("twins/ball")) == len(tree(first)) + 1  # nothing is left of the other versions


def test_of_two_machines_the_first_counts_and_a_lesser_twin_goes_beside(toy, bare):
    mine, theirs = _twin(toy), _twin(toy, "theirs", run="theirs", profile="quality")

    def another_comes_first() -> None:
        send_twin(toy.store, theirs, TWIN, print)

    there = send_twin(toy.store, mine, TWIN, print, still_mine=another_comes_first)
    assert _sent(bare) == tree(theirs) and there == f"{TWIN}/{read_sent(TWIN).version}"
    assert {n.partition("/")[0] for n in bare.names("twins/ball")} == {"twin.json", read_sent(TWIN).version}
    send_twin(toy.store, mine, TWIN, print, keep_better=True)
    assert _sent(bare) == tree(theirs) and _sent(bare, "twins/ball.standard") == tree(mine)
    send_twin(toy.store, mine, TWIN, print)  # as it is told
    assert _sent(bare) == tree(mine)


def test_tags_are_those_of_the_server(toy, bare):
    for size in (0, 7, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES):
        path = toy.folder / "file"
        path.write_bytes(b"x" * size)
        Bucket("s3://results/tags").upload("file", path)
        (entry,) = Bucket("s3://results/tags").entries()
        assert (entry.tag, entry.size) == (tag_of(path), size)


def _but_log(files: dict[str, bytes]) -> dict[str, bytes]:
    """Without the log, whose last lines come after it was sent."""
    return {name: data for name, data in files.items() if name != "run.log"}


def _command(toy: Toy, *words: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *words], env={**os.environ, **env}, capture_output=True, text=True
    )


@pytest.mark.slow
def test_reconstruct_from_a_bucket_into_a_bucket(toy, bare, s3_server):
    done = _command(toy, "reconstruct", ADDRESS, "--out", "s3://results/twins/", "--no-prefect", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (
        said["sent"] == TWIN
        and _but_log(_sent(bare)) == _but_log(tree(Path(said["twin"])))
        and b"run" in _sent(bare)["run.log"]
    )
    assert "5 of 5 files" in done.stderr and f"{ADDRESS} -> {TWIN}" in done.stderr
    shutil.rmtree(staging_root())
    again = _command(toy, "reconstruct", ADDRESS, "--out", "s3://results/twins/", "--no-prefect", "--json")
    assert again.returncode == 0, again.stderr
    assert set(toy.counts().values()) == {1}  # the same capture, from wherever
    wrong = _command(toy, "reconstruct", f"{ADDRESS}x", "--out", "s3://results/twins/", "--no-prefect")
    assert wrong.returncode == 3 and "there are ball" in wrong.stderr
    away = _command(toy, "reconstruct", ADDRESS, "--out", "s3://nowhere/twins/", "--no-prefect")
    assert away.returncode == 5 and "no bucket of that name" in away.stderr


@pytest.mark.slow
def test_a_bucket_that_goes_away_before_the_twin_is_sent_costs_nothing(toy, bare, s3_server):
    toy.order("d", "sleep 5")
    running = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "reconstruct", ADDRESS, "--out", TWIN, "--no-prefect"],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: toy.counts()["d"], 240)
    s3_server.drop_bucket()
    _, told = running.communicate(timeout=120)
    assert running.returncode == 5 and "the twin is whole in" in told and "twin resume" in told
    s3_server.empty()
    bare.upload(toy.capture, "captures/day/ball")
    assert _command(toy, "resume", "--last", "--no-prefect").returncode == 0
    assert _but_log(_sent(bare)) == _but_log(tree(place_of_address(TWIN, "twins"))) and set(toy.counts().values()) == {
        1
    }


def test_where_twins_of_a_bucket_go(toy, monkeypatch):
    monkeypatch.setenv("TWIN_TWINS", str(toy.folder / "twins"))
    monkeypatch.setenv("TWIN_CAPTURES_S3", "s3://results/captures/")
    assert twin_folder(place_of_address(ADDRESS)) == toy.folder / "twins" / "day" / "ball"
    other = twin_folder(place_of_address("s3://elsewhere/day/ball"))
    assert other.parent == toy.folder / "twins" and other.name.startswith("ball-")
    assert make_capture(toy.folder / "plain") and address_of(toy.folder / "plain") == ""
