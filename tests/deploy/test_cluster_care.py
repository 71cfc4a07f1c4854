"""What keeps an installation in a cluster up by itself: spread over nodes, budgets, cleaning, volumes that are not gone through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flows.cli import parser

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
OBJECTS = [o for p in sorted(FOLDER.glob("*.yaml")) for o in yaml.safe_load_all(p.read_text()) if o]


def _pods() -> dict[str, dict[str, Any]]:
    found = {}
    for o in OBJECTS:
        if o["kind"] in ("Deployment", "Job"):
            found[o["metadata"]["name"]] = o["spec"]["template"]
        if o["kind"] == "CronJob":
            found[o["metadata"]["name"]] = o["spec"]["jobTemplate"]["spec"]["template"]
    return found


def test_what_runs_twice_lies_on_two_nodes_and_keeps_one_when_a_node_is_emptied():
    several = {o["metadata"]["name"] for o in OBJECTS if o["kind"] == "Deployment" and o["spec"]["replicas"] > 1}
    kept = {o["spec"]["selector"]["matchLabels"]["app"] for o in OBJECTS if o["kind"] == "PodDisruptionBudget"}
    assert several == kept == {"api", "watcher", "worker-cpu"}
    for name in several:
        pod = _pods()[name]
        spread = pod["spec"]["topologySpreadConstraints"][0]
        assert spread["topologyKey"] == "kubernetes.io/hostname" and spread["labelSelector"]["matchLabels"] == pod["metadata"]["labels"]


def test_no_start_goes_through_a_large_volume_to_give_it_away():
    contexts = [p["spec"]["securityContext"] for p in _pods().values()]
    assert all(c["fsGroupChangePolicy"] == "OnRootMismatch" for c in contexts if "fsGroup" in c)


def test_every_pod_is_confined_bounded_and_watched():
    for name, pod in _pods().items():
        for c in pod["spec"]["containers"]:
            inside = c["securityContext"]
            assert inside["readOnlyRootFilesystem"] and inside["capabilities"] == {"drop": ["ALL"]}, name
            assert pod["spec"]["securityContext"]["runAsNonRoot"] and {"cpu", "memory"} <= c["resources"]["limits"].keys(), name
            assert "livenessProbe" in c or pod["spec"].get("restartPolicy") in ("Never", "OnFailure"), name


def test_cleaning_is_a_command_that_exists_and_sees_the_store():
    pod = _pods()["clean"]["spec"]
    program, *words = pod["containers"][0]["command"]
    args = parser().parse_args(words)
    assert program == "twin" and args.older_than and args.keep_gb
    assert {"name": "store", "mountPath": "/store"} in pod["containers"][0]["volumeMounts"]
