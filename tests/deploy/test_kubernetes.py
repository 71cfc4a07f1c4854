"""deploy/kubernetes: manifests fit each other, pods are confined. `kubectl kustomize` runs where it is installed; no cluster is asked."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.deploy.deploy_files import DEPLOY, MANIFESTS, SHARED_BY_SERVERS, documents


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_manifests_are_complete(path):
    for o in documents(path):
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
    """The policies, read as a network plugin does: who may open a connection to whom, at which port. Without a bucket."""
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] != "bucket"]
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


def test_kustomization_names_every_manifest():
    text = (DEPLOY / "kubernetes" / "kustomization.yaml").read_text()
    assert all(p.name in text for p in MANIFESTS if p.name not in ("kustomization.yaml", "secrets.example.yaml"))


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
