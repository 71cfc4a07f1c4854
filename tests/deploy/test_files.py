"""The files of deploy/, checked without running them: what they name exists, and their parts fit each other.

No container is built and no cluster asked here. `docker compose config` and `kubectl kustomize` run where they are installed.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import deployments

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
REDIS_NAMES = {f"PREFECT_REDIS_MESSAGING_{x}" for x in ("HOST", "PORT", "DB", "PASSWORD")}
"""settings of prefect-redis, which Prefect does not know"""
SHARED_BY_SERVERS = {
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_SERVER_DOCKET_URL",
    "PREFECT_SERVER_API_AUTH_STRING",
    *REDIS_NAMES,
}
TEXTS = sorted(p for p in DEPLOY.rglob("*") if p.is_file())
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def _documents(path: Path) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all(path.read_text()) if d]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return _documents(DEPLOY / "compose.yaml")[0]


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return [d for p in MANIFESTS for d in _documents(p)]


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
        for name in set(re.findall(r"\bTWIN_[A-Z_]*[A-Z]\b", path.read_text())):
            assert name in program or name in shown or name == "TWIN_RUNS", f"{path.name}: {name}"


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


def test_compose_variables_are_in_the_example_or_have_a_default():
    text, example = (DEPLOY / "compose.yaml").read_text(), (DEPLOY / "compose.env.example").read_text()
    for name, rest in re.findall(r"(?<!\$)\$\{([A-Z_]+)([^}]*)\}", text):
        assert re.search(rf"^{name}=", example, re.MULTILINE) or rest.startswith(":-"), name


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


@pytest.mark.parametrize("kind", ("cpu", "cuda"))
def test_dockerfiles_copy_what_exists_and_is_not_ignored(kind):
    text = (DEPLOY / f"Dockerfile.{kind}").read_text()
    kept = {x[1:] for x in (DEPLOY / f"Dockerfile.{kind}.dockerignore").read_text().split() if x.startswith("!")}
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists() and source in kept, source
    assert (
        re.search(r"^USER twin$", text, re.MULTILINE) and "--require-hashes --no-deps -r constraints-hashes.txt" in text
    )
    assert "extra-index-url" not in text + (ROOT / "tools" / "setup.sh").read_text()
    assert set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)) == {
        "configs",
        "weights",
        "stages",
        "flows",
        "stereotwin",
    }


def test_cuda_kits_are_pinned_and_off():
    text = (DEPLOY / "Dockerfile.cuda").read_text()
    assert "ARG WITH_TINY_CUDA_NN=0" in text and "ARG WITH_NVDIFFRAST=0" in text
    pins = re.findall(r"^ARG (\w+)_COMMIT=([0-9a-f]{40})$", text, re.MULTILINE)
    script = (DEPLOY / "build_cuda_kits.sh").read_text()
    assert len(pins) == 2 and all(
        f"{name.lower()}_commit=${{{k}:-{pin}}}" in script for k, (name, pin) in enumerate(pins, 1)
    )
    assert re.search(r"^ARG CUDA_IMAGE=nvidia/cuda:13\.\d+\.\d+-devel-", text, re.MULTILINE), (
        "torch 2.13 is built for CUDA 13"
    )
    assert all(x in script for x in ("--no-build-isolation", 'NVCC_APPEND_FLAGS="-std=$std"', "stubs", "pkg_resources"))
    assert all(x in text for x in ("MAX_JOBS=$MAX_JOBS", "TCNN_CUDA_ARCHITECTURES=", "TORCH_CUDA_ARCH_LIST="))


@pytest.mark.parametrize("path", ("build_cuda_kits.sh", "nginx/users.sh", "pin_images.sh"))
def test_scripts_parse(path):
    subprocess.run(["bash", "-n", str(DEPLOY / path)], check=True)


def test_kits_are_built_as_torchs_headers_need_it(tmp_path):
    """torch 2.13's headers do not compile as C++17, which tiny-cuda-nn's setup.py asks for."""
    (tmp_path / "setup.py").write_text("if True:\n    cpp_standard = 17\n")
    (tmp_path / "pip").write_text('#!/bin/sh\necho "$CXXFLAGS $NVCC_APPEND_FLAGS $*"\n')
    (tmp_path / "pip").chmod(0o755)
    script = (DEPLOY / "build_cuda_kits.sh").read_text()
    parts = "\n".join(
        re.search(rf"^{name}\(\) {{.*?^}}", script, re.MULTILINE | re.DOTALL).group()
        for name in ("standard", "install")
    )
    env = os.environ | {"PATH": f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", f"{parts}\ninstall {tmp_path}"], capture_output=True, text=True, check=True, env=env
    )
    standard = re.search(r"-std=c\+\+(\d+) -std=c\+\+\1 install .*--no-build-isolation", done.stdout)
    assert standard and f"cpp_standard = {standard.group(1)}" in (tmp_path / "setup.py").read_text()


def test_no_kit_is_built_unasked():
    done = subprocess.run(
        ["bash", str(DEPLOY / "build_cuda_kits.sh"), "0000000", "0000000"], capture_output=True, text=True, check=True
    )
    assert "no CUDA kit was asked for" in done.stdout


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_manifests_are_complete(path):
    for o in _documents(path):
        assert o["apiVersion"] and o["kind"] and o["metadata"]["name"]
        if o["kind"] not in (
            "Namespace",
            "Kustomization",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ):
            assert o["metadata"]["namespace"] == "stereotwin", f"{o['kind']} {o['metadata']['name']}"


def test_manifests_fit_together(objects):
    names = {
        kind: {o["metadata"]["name"] for o in objects if o["kind"] == kind}
        for kind in ("ConfigMap", "Secret", "PersistentVolumeClaim", "Deployment")
    }
    labels = {}
    for o in objects:
        if o["kind"] in ("Deployment", "StatefulSet", "Job"):
            pod = o["spec"]["template"]
            labels[o["metadata"]["name"]] = pod["metadata"]["labels"]
            if o["kind"] != "Job":
                assert o["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
            assert pod["spec"]["securityContext"]["runAsNonRoot"] and not pod["spec"]["automountServiceAccountToken"]
            _check_pod(pod["spec"], names)
    for o in objects:
        if o["kind"] == "Service":
            chosen = [n for n, have in labels.items() if o["spec"]["selector"].items() <= have.items()]
            assert chosen == [o["metadata"]["name"]]


def _check_pod(pod: dict[str, Any], names: dict[str, set[str]]) -> None:
    volumes = {v["name"] for v in pod.get("volumes", [])}
    for v in pod.get("volumes", []):
        assert "emptyDir" in v or v["persistentVolumeClaim"]["claimName"] in names["PersistentVolumeClaim"]
    for c in pod["containers"]:
        assert {m["name"] for m in c.get("volumeMounts", [])} == volumes
        for source in c.get("envFrom", []):
            ((kind, ref),) = source.items()
            assert ref["name"] in names[{"configMapRef": "ConfigMap", "secretRef": "Secret"}[kind]]
        ports = {p["containerPort"] for p in c.get("ports", [])}
        assert {c[k]["httpGet"]["port"] for k in c if k.endswith("Probe") and "httpGet" in c[k]} <= ports


def test_pods_are_confined_and_asked_whether_they_live(objects):
    for o in objects:
        if o["kind"] not in ("Deployment", "StatefulSet", "Job"):
            continue
        name, pod = o["metadata"]["name"], o["spec"]["template"]["spec"]
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for c in pod["containers"]:
            assert c["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(c["resources"]["requests"]) and {"cpu", "memory"} <= set(
                c["resources"]["limits"]
            ), name
            assert o["kind"] == "Job" or "livenessProbe" in c, name


def test_pods_reach_what_is_named_and_nothing_else(objects):
    """The policies, read as a network plugin does: who may open a connection to whom, at which port."""
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]
    apps = {
        o["spec"]["template"]["metadata"]["labels"]["app"]
        for o in objects
        if o["kind"] in ("Deployment", "StatefulSet", "Job")
    }

    def chosen(selector: dict[str, Any]) -> set[str]:
        named = [set(e["values"]) for e in selector.get("matchExpressions", [])]
        return set.intersection(
            apps, *named, *([{selector["matchLabels"]["app"]}] if "matchLabels" in selector else [])
        )

    def may(way: str, app: str, other: str) -> set[int]:
        sides = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[way]
        mine = [p for p in policies if way in p["policyTypes"] and app in chosen(p["podSelector"])]
        assert mine, f"{app}: no policy, so everything is open"
        peers = [
            (rule, peer)
            for p in mine
            for rule in p.get(sides[0], [])
            for peer in rule.get(sides[1], [])
            if "podSelector" in peer
        ]
        return {port["port"] for rule, peer in peers if other in chosen(peer["podSelector"]) for port in rule["ports"]}

    clients = {"worker-cpu", "worker-gpu", "worker-batch", "watcher", "register", "metrics"}
    wanted = {(c, "api"): {4200} for c in clients} | {(c, "redis"): {6379} for c in ("api", "services")}
    assert {(a, b): both for a in apps for b in apps if (both := may("Egress", a, b) & may("Ingress", b, a))} == wanted
    out = {
        a for a in apps for p in policies if a in chosen(p["podSelector"]) for r in p.get("egress", []) if "to" not in r
    }
    assert out == {"api", "services", "migrate"}  # to PostgreSQL, wherever it is
    assert {p["port"] for s in policies for r in s.get("egress", []) if "to" not in r for p in r["ports"]} == {5432}


def test_manifests_set_what_servers_share(objects):
    have = {
        k
        for o in objects
        if o["metadata"]["name"] == "stereotwin-server"
        for k in {**o.get("data", {}), **o.get("stringData", {})}
    }
    assert have >= SHARED_BY_SERVERS


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


def test_kustomization_names_every_manifest():
    text = (DEPLOY / "kubernetes" / "kustomization.yaml").read_text()
    assert all(p.name in text for p in MANIFESTS if p.name not in ("kustomization.yaml", "secrets.example.yaml"))


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
    described = _documents(DEPLOY / "prefect.yaml")[0]
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


def test_docker_compose_accepts_the_file():
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed: compose.yaml is only checked by the tests above")
    files = ["--env-file", str(DEPLOY / "compose.env.example"), "-f", str(DEPLOY / "compose.yaml")]
    subprocess.run(["docker", "compose", *files, "config", "--quiet"], check=True, timeout=30)


def test_kustomize_accepts_the_manifests():
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed: the manifests are only checked by the tests above")
    built = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / "kubernetes")], capture_output=True, text=True, timeout=30
    )
    assert built.returncode == 0, built.stderr
    assert {"Deployment", "Job", "Service", "PersistentVolumeClaim"} <= {
        d["kind"] for d in yaml.safe_load_all(built.stdout)
    }
