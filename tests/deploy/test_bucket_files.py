"""A bucket in the files of deploy/: its settings reach every part that reads or writes there, its keys and the way out no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SETTINGS = {"TWIN_STORE_S3", "TWIN_CAPTURES_S3", "TWIN_TWINS_S3", "TWIN_STAGED_GB"}
KEYS = {"AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
REACHING = {"worker-cpu", "worker-gpu", "worker-batch", "watcher"}


def _compose(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


def _objects() -> list[dict[str, Any]]:
    return [d for p in (DEPLOY / "kubernetes").glob("*.yaml") for d in yaml.safe_load_all(p.read_text()) if d]


def test_compose_passes_the_settings_and_the_keys_come_with_the_second_file():
    services, more = _compose("compose.yaml")["services"], _compose("compose.bucket.yaml")["services"]
    for name in REACHING:
        found = services[name]["environment"]
        assert found.keys() >= SETTINGS and not found.keys() & KEYS, name
        assert all(found[s].startswith(f"${{{s}:-") for s in SETTINGS), name
        assert more[name]["environment"].keys() == KEYS and more[name]["networks"] == ["work", "outside"], name
        assert all(
            re.fullmatch(rf"\$\{{{k}:\?set it in deploy/.env\}}", v) for k, v in more[name]["environment"].items()
        )
    assert {n for n, s in services.items() if "TWIN_STORE_S3" in s.get("environment", {})} >= REACHING
    assert more.keys() == {*REACHING, "check"} and more.keys() <= services.keys()
    built = {n for n, s in services.items() if "build" in s}
    assert built == {n for n, s in more.items() if "s3" in s.get("build", {}).get("args", {}).get("EXTRAS", "")}


def test_variables_of_the_second_file_are_in_the_example():
    example = (DEPLOY / "compose.env.example").read_text()
    names = set(re.findall(r"\$\{([A-Z0-9_]+)", (DEPLOY / "compose.bucket.yaml").read_text()))
    assert names == KEYS and all(re.search(rf"^{n}=", example, re.MULTILINE) for n in {*KEYS, *SETTINGS})


def test_kubernetes_passes_the_settings_and_keys_to_those_that_may_reach_the_bucket():
    objects = _objects()
    (config,) = [
        o["data"] for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "stereotwin-client"
    ]
    (secret,) = [o["stringData"] for o in objects if o["metadata"]["name"] == "stereotwin-bucket"]
    (policy,) = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == "bucket"]
    assert config.keys() >= SETTINGS and not config.keys() & KEYS and secret.keys() == KEYS
    assert set(policy["podSelector"]["matchExpressions"][0]["values"]) == REACHING and policy["policyTypes"] == [
        "Egress"
    ]
    given = {
        o["metadata"]["name"]
        for o in objects
        if o["kind"] in ("Deployment", "StatefulSet", "Job")
        for c in o["spec"]["template"]["spec"]["containers"]
        if {"secretRef": {"name": "stereotwin-bucket", "optional": True}} in c.get("envFrom", [])
    }
    assert given == REACHING
