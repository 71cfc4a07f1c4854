"""No part of an installation starts with an empty secret, with the example's, or from an image without a digest."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.cli import main as cli
from flows.serve import deployed
from flows.web.deploy_secrets import COMPOSE, IMAGES, SERVER, why_unsafe
from stages.core.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DIGEST = f"sha256:{'5a' * 32}"
GOOD = {
    "TWIN_AUTH": "admin:a b:c",
    "POSTGRES_PASSWORD": "s3cret",
    "REDIS_PASSWORD": "s3cretToo",
    "PREFECT_API_AUTH_STRING": "admin:a b:c",
    "PREFECT_SERVER_API_AUTH_STRING": "admin:a b:c",
    "PREFECT_REDIS_MESSAGING_PASSWORD": "s3cretToo",
    "PREFECT_SERVER_DOCKET_URL": "redis://:s3cretToo@redis:6379/1",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect:s3cret@postgres:5432/prefect",
    **{name: f"{name.lower()}:1.2@{DIGEST}" for name in IMAGES},
}
ASKED = [(part, name) for part, p in deployed.PARTS.items() for name in p.secrets]


def _example(path: str) -> dict[str, str]:
    """Values of an example file, whatever its form."""
    text = (DEPLOY / path).read_text()
    if path.endswith(".yaml"):
        return {k: v for d in yaml.safe_load_all(text) for k, v in d["stringData"].items()}
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def _start(part: str, environment: dict[str, str], monkeypatch) -> tuple[int, list]:
    """Its exit code, and whether it was begun: what a part does then is not of interest here."""
    begun: list = []
    for name in GOOD:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    old = deployed.PARTS[part]
    monkeypatch.setitem(deployed.PARTS, part, deployed._Part(begun.append, old.secrets, old.options))
    options = {
        "api": ["--port", "1"],
        "files": ["--port", "1"],
        "metrics": ["--port", "1"],
        "worker": ["--pool", "twin"],
    }
    return deployed.main([part, *options.get(part, [])]), begun


@pytest.mark.parametrize(("part", "name"), ASKED, ids=lambda x: x)
@pytest.mark.parametrize("value", ("", "change-me", "redis://:Change_Me@redis:6379/1", "admin:change-me-too"))
def test_no_part_starts_without_its_secrets(part, name, value, monkeypatch, capsys):
    code, begun = _start(part, GOOD | {name: value}, monkeypatch)
    said = capsys.readouterr().err
    assert code == 2 and not begun and said.startswith(f"{part} is not started: {name} is ") and "openssl rand" in said
    assert not value or value not in said  # a secret is not repeated


@pytest.mark.parametrize("part", deployed.PARTS)
def test_every_part_starts_with_good_ones(part, monkeypatch):
    code, begun = _start(part, GOOD, monkeypatch)
    assert code == 0 and len(begun) == 1


@pytest.mark.parametrize(
    "path", ("compose.env.example", "kubernetes/secrets.example.yaml", "systemd/stereotwin.env.example")
)
def test_an_example_that_was_copied_and_not_changed_is_refused(path):
    values = {k: v for k, v in _example(path).items() if k in GOOD and k not in IMAGES}
    assert len(values) >= 3 and all(why_unsafe(k, v) == "is still the example's" for k, v in values.items()), values


def test_addresses_and_users_need_their_passwords():
    assert why_unsafe("PREFECT_SERVER_DOCKET_URL", "redis://redis:6379/1").startswith("holds no password")
    assert why_unsafe("PREFECT_SERVER_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:///x.db").startswith(
        "holds no password"
    )
    assert why_unsafe("TWIN_AUTH", "admin:") == why_unsafe("TWIN_AUTH", "secret") == "is not user:password"
    assert "letters and digits" in why_unsafe("POSTGRES_PASSWORD", "a@b/c")
    assert not any(why_unsafe(k, GOOD[k]) for k in (*SERVER, *COMPOSE))


def test_compose_begins_with_the_check_which_finds_images_without_digests():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["check"]
    assert set(service["environment"]) == {*COMPOSE, *IMAGES}

    def run(env):
        return subprocess.run(
            [sys.executable, *service["command"][1:]],
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            timeout=120,
        )

    given = {k: GOOD[k] for k in service["environment"]}
    assert run(given).returncode == 0
    loose = run(given | {"REDIS_IMAGE": "redis:7.2.5", "NGINX_IMAGE": ""})
    assert (
        loose.returncode == 2
        and "REDIS_IMAGE (redis:7.2.5), NGINX_IMAGE (empty)" in loose.stderr
        and "pin_images.sh" in loose.stderr
    )


def test_every_other_service_of_compose_waits_for_the_check():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]

    def comes_after_check(name: str) -> bool:
        return name == "check" or any(comes_after_check(other) for other in services[name].get("depends_on", {}))

    assert all(comes_after_check(name) for name in services)


def test_nginx_gets_no_user_without_a_password(tmp_path):
    def run(auth):
        return subprocess.run(
            ["sh", str(DEPLOY / "nginx" / "users.sh")],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "USERS_FILE": str(tmp_path / "users"), "TWIN_AUTH": auth},
        )

    for wrong in ("", "admin:", ":x", "admin:change-me"):
        assert run(wrong).returncode == 1 and not (tmp_path / "users").exists(), wrong
    assert run("admin:a b:c").returncode == 0 and (tmp_path / "users").read_text() == "admin:{PLAIN}a b:c\n"
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == 0o600


@pytest.fixture
def registry(tmp_path) -> dict[str, str]:
    """A `docker` that answers as a registry would; there is none to ask in a test."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ "$4" != nothere:1 ] || exit 1\n[ "$1 $2 $3" = "buildx imagetools inspect" ] && echo {DIGEST}\n'
    )
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


def test_images_are_pinned_once_and_kept(tmp_path, registry):
    env = tmp_path / "env"
    env.write_text((DEPLOY / "compose.env.example").read_text())

    def pin():
        return subprocess.run(
            ["bash", str(DEPLOY / "pin_images.sh"), str(env)], env=registry, capture_output=True, text=True
        )

    assert pin().returncode == 0
    lines = dict(re.findall(r"^(\w+_IMAGE)=(.*)$", env.read_text(), re.MULTILINE))
    assert set(lines) == set(IMAGES) and lines["POSTGRES_IMAGE"] == f"postgres:16.4@{DIGEST}"
    assert all(v.endswith(f"@{DIGEST}") for v in lines.values())
    assert (again := pin()).returncode == 0 and not again.stdout  # nothing is left to ask for
    env.write_text("NGINX_IMAGE=nothere:1\n")
    assert pin().returncode != 0 and env.read_text() == "NGINX_IMAGE=nothere:1\n"


def test_images_of_the_cluster_that_are_not_ours_get_their_line(registry):
    done = subprocess.run(
        ["bash", str(DEPLOY / "pin_images.sh"), "--kubernetes"],
        env=registry,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"  - {{name: redis, digest: {DIGEST}}}\n"


def test_twin_serve_does_not_start_with_the_examples_password(monkeypatch, capsys):
    values = _example("systemd/stereotwin.env.example")
    monkeypatch.setenv("TWIN_AUTH", values["TWIN_AUTH"])
    assert cli.main(["serve", "--port", "1"]) == 2
    said = capsys.readouterr().err
    assert "TWIN_AUTH, or --auth, is still the example's" in said and values["TWIN_AUTH"] not in said


def test_check_itself_refuses(monkeypatch):
    for name in IMAGES:
        monkeypatch.setenv(name, "x:1")
    with pytest.raises(ConfigError, match="no digest"):
        deployed.check(None)
