"""The password of `twin serve`: made once, kept for its owner only, found by the commands that need it."""

from __future__ import annotations

import json
import os

import pytest

from flows.cli import main as cli
from flows.web.address import Address, holding, home, read_address, use_server
from flows.web.open_page import link
from flows.web.password import is_authorized, kept_password
from stages.core.errors import StoreError, TwinError
from stages.core.store import Store


def test_it_is_made_once_and_for_its_owner_only(tmp_path):
    path = tmp_path / "password"
    first = kept_password(path)
    assert first == kept_password(path) and len(first) > 32 and first.startswith("twin:")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)  # others may have read it
    assert kept_password(path) != first and path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "nothing", ":", "user:", "a:b\nc:d", "\udcff"])
def test_a_file_that_holds_none_is_named(tmp_path, text):
    path = tmp_path / "password"
    path.write_text(text, errors="surrogateescape")
    path.chmod(0o600)
    with pytest.raises(StoreError, match=str(path)) as error:
        kept_password(path)
    assert "remove" in error.value.advice


def test_only_the_whole_password_is_one(tmp_path):
    auth = kept_password(tmp_path / "password")
    assert (
        is_authorized("", None)
        and not is_authorized(auth, None)
        and not is_authorized(auth, "Basic ")
        and not is_authorized(auth, "é")
    )


def test_the_link_says_it_where_no_server_hears_it():
    assert link("http://127.0.0.1:4200", "admin:a #&% word") == "http://127.0.0.1:4200/open#admin:a%20%23%26%25%20word"
    assert link("http://127.0.0.1:4200", "") == "http://127.0.0.1:4200"


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("TWIN_STORE", str(tmp_path))
    for name in ("TWIN_AUTH", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return Store(tmp_path)


def test_a_second_server_is_told_where_the_first_is_and_takes_nothing_away(store):
    with holding(store, "http://127.0.0.1:4200", "http://127.0.0.1:4200/api", "twin:word"):
        file = home(store) / "address.json"
        assert file.stat().st_mode & 0o777 == 0o600
        with pytest.raises(StoreError, match=r"runs already at http://127\.0\.0\.1:4200 ") as error:
            with holding(store, "http://127.0.0.1:4300", "http://127.0.0.1:4300/api", ""):
                pass
        assert "TWIN_STORE" in error.value.advice and "word" not in str(error.value)
        written = Address(
            "http://127.0.0.1:4200", "http://127.0.0.1:4200/api", os.getpid(), os.uname().nodename, "twin:word"
        )
        assert read_address(store) == written
    assert read_address(store) is None
    with holding(store, "http://127.0.0.1:4300", "http://127.0.0.1:4300/api", ""):
        assert json.loads(file.read_text())["ui"].endswith("4300")


@pytest.mark.parametrize("text", ["null", "[]", "{", "3"])
def test_an_address_that_cannot_be_read_is_none(store, text):
    home(store).mkdir(parents=True)
    (home(store) / "address.json").write_text(text)
    assert read_address(store) is None or read_address(store).api == ""
    with pytest.raises(TwinError, match="no Prefect server answers"):
        use_server(store)


def test_settings_that_contradict_each_other(store, monkeypatch, capsys):
    assert cli.main(["serve", "--auth", "nothing"]) == 2 and "nothing" not in capsys.readouterr().err
    monkeypatch.setenv("TWIN_AUTH", "user:word")
    assert cli.main(["serve", "--no-password"]) == 2 and "leave out one" in capsys.readouterr().err


def test_a_link_without_a_server(store, capsys):
    assert cli.main(["serve", "--link"]) == 5 and "start one: twin serve" in capsys.readouterr().err


def test_a_schedule_of_a_folder_that_is_not_there_is_refused_before_anything_is_asked(store, capsys):
    (store.root / "file").write_text("")
    for root in (store.root / "nowhere", store.root / "file"):
        assert cli.main(["schedule", "--cron", "0 2 * * *", "--root", str(root)]) == 2
        assert f"--root {root}: expected a folder with captures" in capsys.readouterr().err
