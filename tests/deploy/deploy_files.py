"""The files of deploy/ that the tests read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

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


def documents(path: Path) -> list[dict[str, Any]]:
    """Of a YAML file, without the empty ones."""
    return [d for d in yaml.safe_load_all(path.read_text()) if d]
