"""What keeps an installation in a cluster up by itself: spread over nodes, budgets, cleaning, volumes that are not gone through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

from flows.cli.main import parser
from flows.serve import metrics_server
from flows.serve.deployed import take_compiled

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
OBJECTS = [o for p in sorted(FOLDER.glob("*.yaml")) for o in yaml.safe_load_all(p.read_text()) if o]


def _pods() -> dict[str, dict[str, Any]]:
    found = {}
    for o in OBJECTS:
        if o["kind"] in ("Deployment", "StatefulSet", "Job"):
            found[o["metadata"]["name"]] = o["spec"]["template"]
        if o["kind"] == "CronJob":
            found[o["metadata"]["name"]] = o["spec"]["jobTemplate"]["spec"]["template"]
    return found


def test_what_runs_twice_lies_on_two_nodes_and_keeps_one_when_a_node_is_emptied():
    several = {
        o["metadata"]["name"]
        for o in OBJECTS
        if o["kind"] in ("Deployment", "StatefulSet") and o["spec"]["replicas"] > 1
    }
    kept = {o["spec"]["selector"]["matchLabels"]["app"] for o in OBJECTS if o["kind"] == "PodDisruptionBudget"}
    assert several == kept == {"api", "watcher", "worker-cpu"}
    for name in several:
        pod = _pods()[name]
        spread = pod["spec"]["topologySpreadConstraints"][0]
        assert (
            spread["topologyKey"] == "kubernetes.io/hostname"
            and spread["labelSelector"]["matchLabels"] == pod["metadata"]["labels"]
        )


def test_no_start_goes_through_a_large_volume_to_give_it_away():
    contexts = [p["spec"]["securityContext"] for p in _pods().values()]
    assert all(c["fsGroupChangePolicy"] == "OnRootMismatch" for c in contexts if "fsGroup" in c)


def test_every_pod_is_confined_bounded_and_watched():
    for name, pod in _pods().items():
        for c in pod["spec"]["containers"]:
            inside = c["securityContext"]
            assert inside["readOnlyRootFilesystem"] and inside["capabilities"] == {"drop": ["ALL"]}, name
            assert (
                pod["spec"]["securityContext"]["runAsNonRoot"] and {"cpu", "memory"} <= c["resources"]["limits"].keys()
            ), name
            assert "livenessProbe" in c or pod["spec"].get("restartPolicy") in ("Never", "OnFailure"), name


def test_cleaning_is_a_command_that_exists_and_sees_the_store():
    pod = _pods()["clean"]["spec"]
    program, *words = pod["containers"][0]["command"]
    args = parser().parse_args(words)
    assert program == "twin" and args.older_than and args.keep_gb
    assert {"name": "store", "mountPath": "/store"} in pod["containers"][0]["volumeMounts"]


def test_images_are_named_by_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {
        c["image"] for p in _pods().values() for c in p["spec"]["containers"] if c["image"].startswith("stereotwin")
    }
    assert ours == {f"stereotwin:{version}-cpu", f"stereotwin-cuda:{version}"}
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert set(re.findall(r"stereotwin:(\S+)", compose)) == {
        f"${{TWIN_VERSION:-{version}}}-{kind}" for kind in ("cpu", "cuda")
    }
    assert f"TWIN_VERSION={version}\n" in (ROOT / "deploy" / "compose.env.example").read_text()
    for kind in ("cpu", "cuda"):
        assert f"ARG VERSION={version}\nLABEL" in (ROOT / "deploy" / f"Dockerfile.{kind}").read_text()


def test_api_servers_come_and_are_replaced_one_after_the_other():
    (api,) = [o for o in OBJECTS if o["metadata"]["name"] == "api" and o["kind"] == "StatefulSet"]
    assert api["spec"]["podManagementPolicy"] == "OrderedReady" and api["spec"]["updateStrategy"] == {
        "type": "RollingUpdate"
    }
    assert "readinessProbe" in _pods()["api"]["spec"]["containers"][0]  # what the next one waits for
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    assert services["api-2"]["depends_on"]["api-1"] == {"condition": "service_healthy"}


def test_captures_come_in_by_one_pod_that_reaches_nothing():
    writers = {
        name
        for name, p in _pods().items()
        for v in p["spec"].get("volumes", [])
        if v.get("persistentVolumeClaim", {}).get("claimName") == "captures"
        and not v["persistentVolumeClaim"].get("readOnly")
    }
    assert writers == {"captures-in"}
    rules = [o["spec"] for o in OBJECTS if o["kind"] == "NetworkPolicy"]
    assert not [r for r in rules if "captures-in" in str(r)] and any(
        r["podSelector"] == {} and "egress" not in r for r in rules
    )


def test_workers_follow_the_queue_by_figures_that_are_served():
    (scaled,) = [o["spec"] for o in OBJECTS if o["kind"] == "ScaledObject"]
    assert scaled["scaleTargetRef"]["name"] in _pods()
    asked = {
        t["name"]: re.fullmatch(r'twin_flow_runs\{state="(\w+)"\}', t["metadata"]["valueLocation"])[1]
        for t in scaled["triggers"]
    }
    assert set(asked.values()) == {s.lower() for s in metrics_server.STATES}
    assert set(re.findall(r"\w+", scaled["advanced"]["scalingModifiers"]["formula"])) == set(asked)
    port = next(
        o["spec"]["ports"][0]["port"] for o in OBJECTS if o["kind"] == "Service" and o["metadata"]["name"] == "metrics"
    )
    assert {t["metadata"]["url"] for t in scaled["triggers"]} == {f"http://metrics.stereotwin.svc:{port}/metrics"}
    allowed = _pods()["metrics"]["spec"]["containers"][0]["env"][0]["value"].split(",")
    assert "metrics.stereotwin.svc" in allowed  # or it answers 403
    keys = {r["key"] for o in OBJECTS if o["kind"] == "TriggerAuthentication" for r in o["spec"]["secretTargetRef"]}
    secret = next(o for o in OBJECTS if o["kind"] == "Secret" and o["metadata"]["name"] == "stereotwin-autoscaling")
    assert keys == set(secret["stringData"])


def test_code_compiled_into_the_image_is_for_other_machines_too(tmp_path):
    """numba keeps code by the name of the processor: with the image's settings it is not that of the machine which built it."""
    text = (ROOT / "deploy" / "Dockerfile.cpu").read_text()
    cpu = re.search(r"^ARG NUMBA_CPU=(\S+)$", text, re.MULTILINE)[1]
    assert "NUMBA_CPU_NAME=${NUMBA_CPU}" in text and 'NUMBA_CPU_FEATURES=""' in text
    program = "from numba.core.registry import cpu_target as t; print(t.target_context.codegen().magic_tuple()[1:])"
    env = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    said = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"('{cpu}', '')"
    built, target = tmp_path / "image", tmp_path / "tmp" / "numba"
    (built / "kernels").mkdir(parents=True)
    (built / "kernels" / "a.nbi").write_bytes(b"code")
    take_compiled(str(built), str(target))
    (target / "kernels" / "a.nbi").write_bytes(b"newer")
    take_compiled(str(built), str(target))
    assert (target / "kernels" / "a.nbi").read_bytes() == b"newer"
    take_compiled("", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_no_kind_of_deployment_lets_its_store_grow_for_ever():
    client = next(
        o["data"] for o in OBJECTS if o["metadata"]["name"] == "stereotwin-client" and o["kind"] == "ConfigMap"
    )
    watcher = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["watcher"]["environment"]
    assert float(client["TWIN_KEEP_GB"]) > 0 and watcher["TWIN_KEEP_GB"] == "${TWIN_KEEP_GB:-400}"
    assert "TWIN_KEEP_TWINS_DAYS" in client and "TWIN_KEEP_TWINS_DAYS" in watcher
    assert (ROOT / "deploy" / "systemd" / "twin-clean.timer").exists()
