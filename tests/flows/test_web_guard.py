"""Which requests our web servers answer, without a server: names, origins, and where a page came from."""

from __future__ import annotations

import pytest

from flows.web.guard import Allowed

OWN = "127.0.0.1:4200"


def _refused(allowed: Allowed, method: str = "GET", **headers: str) -> str:
    return allowed.why_refused(method, [(k.replace("_", "-"), v) for k, v in headers.items()])


@pytest.fixture
def here(monkeypatch) -> Allowed:
    monkeypatch.delenv("TWIN_ALLOWED_HOSTS", raising=False)
    return Allowed.at("127.0.0.1")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:4200", "127.0.0.1", "localhost:4200", "LOCALHOST", "localhost.:4200", "[::1]:4200"]
)
def test_names_of_this_machine(here, host):
    assert not _refused(here, host=host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4200",
        "127.0.0.1.evil.example",
        "localhost.evil.example:4200",
        "10.0.0.7:4200",
        "127.0.0.1@evil.example",
        "[::2]:4200",
        "",
        ":4200",
    ],
)
def test_other_names(here, host):
    assert "is not a name of this server" in _refused(here, host=host)


def test_no_host_and_two_hosts(here):
    assert "no Host" in here.why_refused("GET", [])
    assert here.why_refused("GET", [("host", OWN), ("host", OWN)])


def test_a_server_of_the_network_answers_to_its_addresses_and_to_names_that_are_set(monkeypatch):
    """A page cannot send a number address unless it came from there itself."""
    monkeypatch.setenv("TWIN_ALLOWED_HOSTS", "twins.example.org, Proxy")
    everywhere = Allowed.at("0.0.0.0")
    for host in ("192.168.1.5:4200", "[fd00::5]:4200", "twins.example.org", "proxy:4200", "localhost:4200"):
        assert not _refused(everywhere, host=host), host
    assert _refused(everywhere, host="evil.example:4200")
    assert "TWIN_ALLOWED_HOSTS" in _refused(everywhere, host="evil.example:4200")
    assert not _refused(Allowed.at("127.0.0.1"), host="twins.example.org") and _refused(
        Allowed.at("127.0.0.1"), host="192.168.1.5"
    )


def test_pages_of_our_own_and_of_others(here):
    assert not _refused(here, "POST", host=OWN, origin=f"http://{OWN}", sec_fetch_site="same-origin")
    assert not _refused(here, "POST", host="localhost:4200", origin="https://localhost:4200")  # behind TLS
    for origin in (
        "http://evil.example",
        "http://127.0.0.1:4201",
        "http://localhost:4200",
        "null",
        "http://127.0.0.1",
        "file://",
    ):
        assert "may not use this server" in _refused(here, "POST", host=OWN, origin=origin), origin


def test_origins_that_are_set_and_a_star_that_is_not_taken():
    proxied = Allowed.at("127.0.0.1", "https://twins.example.org/, http://other.example")
    assert not _refused(proxied, "POST", host=OWN, origin="https://twins.example.org", sec_fetch_site="cross-site")
    assert _refused(Allowed.at("127.0.0.1", "*"), "POST", host=OWN, origin="https://twins.example.org")


def test_the_address_that_browsers_use_is_ours():
    proxied = Allowed.at("127.0.0.1", address="https://Twins.example.org/api")
    assert not _refused(proxied, host="twins.example.org") and not _refused(
        Allowed.at("127.0.0.1", address="/api"), host=OWN
    )


def test_where_a_request_without_origin_came_from(here):
    visit = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    for site in ("cross-site", "same-site"):
        assert not _refused(here, host=OWN, sec_fetch_site=site, **visit)  # a link that was followed
        assert _refused(here, "POST", host=OWN, sec_fetch_site=site, **visit)
        assert _refused(here, host=OWN, sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="iframe")
        assert _refused(here, host=OWN, sec_fetch_site=site, sec_fetch_mode="no-cors", sec_fetch_dest="image")
    assert not _refused(here, host=OWN, sec_fetch_site="none") and not _refused(
        here, host=OWN, sec_fetch_site="same-origin"
    )
