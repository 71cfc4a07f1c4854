"""deploy/compose.yaml: its parts fit each other and are confined. `docker compose config` runs where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.deploy.deploy_files import DEPLOY, SHARED_BY_SERVERS


def test_compose_services_fit_together(compose):
    services, volumes = compose["services"], set(compose["volumes"])
    images_built = {s["image"] for s in services.values() if "build" in s}
    for name, s in services.items():
        for other, how in s.get("depends_on", {}).items():
            assert other in services, f"{name} waits for {other}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{other} is waited for but has no health check"
        for volume in s.get("volumes", []):
            source, colon, _ = volume.partition(":")
            assert source in volumes or source == "${TWIN_CAPTURES_DIR" or not colon or (DEPLOY / source).is_file(), (
                volume
            )
        pinned = re.fullmatch(r"\$\{[A-Z]+_IMAGE:\?run deploy/pin_images.sh\}", s["image"])
        assert s["image"] in images_built or pinned, f"{name}: not pinned"
        if "build" in s:
            assert (DEPLOY / s["build"]["context"] / s["build"]["dockerfile"]).resolve().is_file()
    assert (
        volumes == {v.split(":")[0] for s in services.values() for v in s.get("volumes", [])} & volumes
    )  # none is left over


def test_compose_confines_every_part(compose):
    """No root and no way to it, nothing to write to but what is named, and a bound on what it takes."""
    for name, s in compose["services"].items():
        assert (
            s["read_only"] is True and s["cap_drop"] == ["ALL"] and s["security_opt"] == ["no-new-privileges:true"]
        ), name
        assert set(s["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert "privileged" not in s and s.get("cap_add", []) == (["CHOWN"] if name == "prepare" else []), name
        assert s.get("user") != "root" or s["network_mode"] == "none", name
        assert "healthcheck" in s or s.get("restart") in ("no", "on-failure"), f"{name}: nobody asks whether it lives"


def test_compose_networks_keep_workers_from_the_data(compose):
    networks, services = compose["networks"], compose["services"]

    def on(network):
        return {n for n, s in services.items() if network in s.get("networks", [])}

    assert on("data") == {"postgres", "redis", "migrate", "api-1", "api-2", "services"}
    assert on("work") == {"front", "register", "watcher", "metrics", "worker-cpu", "worker-batch", "worker-gpu"}
    assert on("door") == {"front", "api-1", "api-2"} and on("outside") == {"front"}
    assert {n for n, v in networks.items() if not v.get("internal")} == {"outside"}
    assert all(s.get("networks") or s["network_mode"] == "none" for s in services.values())


def test_compose_servers_share_what_they_must_and_workers_see_no_database(compose):
    for name in ("migrate", "api-1", "api-2", "services"):
        assert set(compose["services"][name]["environment"]) >= SHARED_BY_SERVERS, name
    for name in ("worker-cpu", "worker-gpu", "worker-batch", "watcher", "register"):
        settings = compose["services"][name]["environment"]
        assert {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"} <= set(settings) and not any(
            "DATABASE" in k for k in settings
        )
    published = {name for name, s in compose["services"].items() if "ports" in s}
    assert published == {"front"} and all(
        p.startswith("${TWIN_BIND:-127.0.0.1}") for p in compose["services"]["front"]["ports"]
    )


def test_compose_variables_are_in_the_example_or_have_a_default():
    text, example = (DEPLOY / "compose.yaml").read_text(), (DEPLOY / "compose.env.example").read_text()
    for name, rest in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)([^}]*)\}", text):
        assert re.search(rf"^{name}=", example, re.MULTILINE) or rest.startswith(":-"), name


def test_docker_compose_accepts_the_file():
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed: compose.yaml is only checked by the tests above")
    files = ["--env-file", str(DEPLOY / "compose.env.example"), "-f", str(DEPLOY / "compose.yaml")]
    subprocess.run(["docker", "compose", *files, "config", "--quiet"], check=True, timeout=30)
