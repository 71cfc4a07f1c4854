"""The files of deploy/ beside one another, without running them: what they name exists, and they set the same."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from typing import Any

import pytest

from flows import deployments
from tests.deploy.deploy_files import DEPLOY, REDIS_NAMES, ROOT, TEXTS, UNITS, documents


@pytest.fixture(scope="module")
def prefect_names() -> set[str]:
    from prefect.settings import Settings

    return set(_names(Settings)) | REDIS_NAMES


def _names(cls: Any) -> Iterator[str]:
    """Environment names of a settings class and of those nested in it."""
    for name, field in cls.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from _names(field.annotation)
        else:
            yield f"{cls.model_config['env_prefix']}{name}".upper()


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(DEPLOY)))
def test_prefect_settings_exist(path, prefect_names):
    used = set(re.findall(r"\bPREFECT_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    assert (
        used - prefect_names - set(deployments.FLOW_ENVIRONMENT) == set()
    )  # that one overrides a line of Prefect's logging.yml


def test_own_settings_exist():
    """Each TWIN_ name is read by the program, or by the deploy files themselves."""
    program = "".join(p.read_text() for folder in ("flows", "stages/core") for p in (ROOT / folder).rglob("*.py"))
    shown = (DEPLOY / "compose.env.example").read_text()
    for path in TEXTS:
        for name in set(re.findall(r"\bTWIN_[A-Z0-9_]*[A-Z0-9]\b", path.read_text())):
            assert name in program or name in shown or name == "TWIN_RUNS", f"{path.name}: {name}"


def test_every_api_is_the_guarded_one(compose, objects):
    """`prefect server start` would answer any page and any host name."""
    apis = [o for o in objects if o["kind"] == "StatefulSet" and o["metadata"]["name"] == "api"]
    pods = [o["spec"]["template"]["spec"]["containers"][0]["command"] for o in apis]
    units = [(DEPLOY / "systemd" / "twin-server.service").read_text().split("ExecStart=")[1].split()]
    commands = [compose["services"]["api-1"]["command"], compose["services"]["api-2"]["command"], *pods, *units]
    assert len(commands) == 4 and all(c[1:5] == ["-P", "-m", "flows.serve.deployed", "api"] for c in commands)
    for path in TEXTS:
        assert "prefect server start --" not in path.read_text() and "prefect, server, start" not in path.read_text(), (
            path.name
        )
    settings = compose["services"]["api-1"]["environment"]
    assert (
        settings["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true" and "front" in settings["TWIN_ALLOWED_HOSTS"]
    )
    assert settings["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"].startswith("${TWIN_PUBLIC_URL:-http")


def test_workers_serve_the_pools_of_the_deployments(compose, objects):
    commands = [s["command"] for n, s in compose["services"].items() if n.startswith("worker")]
    commands += [
        o["spec"]["template"]["spec"]["containers"][0]["command"]
        for o in objects
        if o["kind"] == "Deployment" and o["metadata"]["name"].startswith("worker")
    ]
    assert all(c[:5] == ["python", "-P", "-m", "flows.serve.deployed", "worker"] for c in commands), (
        "not the worker of serve/worker.py"
    )
    pools = {c[c.index("--pool") + 1] for c in commands}
    assert len(commands) == 6 and pools == {deployments.POOL, deployments.BATCH_POOL, "${GPU_POOL:-twin}"}


def test_systemd_and_kubernetes_set_what_compose_sets(compose, objects):
    """compose.yaml is the one that a test starts for real (tests/flows/test_two_machines.py): the others may differ in addresses only."""
    addresses = {
        "PREFECT_API_URL",
        "PREFECT_SERVER_API_HOST",
        "PREFECT_SERVER_UI_API_URL",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
        "PREFECT_SERVER_DOCKET_URL",
        "PREFECT_REDIS_MESSAGING_HOST",
        "TWIN_FILES_URL",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_REDIS_MESSAGING_PASSWORD",
        "TWIN_ALLOWED_HOSTS",
        "TWIN_ALIVE_FILE",
        "PREFECT_WORKER_WEBSERVER_HOST",
        "PREFECT_HOME",
    }
    services = compose["services"]
    wanted = {"server": services["api-1"]["environment"], "client": services["watcher"]["environment"]}
    unit = dict(
        line.split("=", 1)
        for line in (DEPLOY / "systemd" / "stereotwin.env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    for side, settings in wanted.items():
        cluster = {
            k: v
            for o in objects
            if o["metadata"]["name"] == f"stereotwin-{side}"
            for k, v in {**o.get("data", {}), **o.get("stringData", {})}.items()
        }
        for name, value in settings.items():
            plain = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
            for place, found in (("systemd", unit), ("kubernetes", cluster)):
                assert name in found and (name in addresses or found[name] == plain), (
                    f"{place}: {name}={found.get(name)}, compose: {plain}"
                )


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.name)
def test_units_have_their_sections(path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(path)
    assert (
        unit["Unit"]["Description"]
        and unit["Service"]["User"] == "twin"
        and unit["Service"]["ExecStart"].startswith("/")
    )
    assert "Install" in unit or path.with_suffix(".timer").exists()
    for other in unit["Unit"].get("After", "").split():
        assert not other.startswith("twin-") or (path.parent / other).exists()


def test_prefect_file_points_at_flows():
    described = documents(DEPLOY / "prefect.yaml")[0]
    flows = {
        f"{d.entrypoint.rpartition('.')[0].replace('.', '/')}.py:{d.entrypoint.rpartition('.')[2]}"
        for d in deployments.DEPLOYMENTS
    }
    for d in described["deployments"]:
        assert (
            d["entrypoint"] in flows
            and d["name"] != "twin"
            and d["work_pool"]["job_variables"]["env"] == deployments.FLOW_ENVIRONMENT
        )
    assert "WORKDIR /opt/stereotwin" in (DEPLOY / "Dockerfile.cpu").read_text()
    assert described["pull"][0]["prefect.deployments.steps.set_working_directory"]["directory"] == "/opt/stereotwin"
