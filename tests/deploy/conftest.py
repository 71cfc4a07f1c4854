"""compose.yaml and the cluster's objects, read once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.deploy.deploy_files import DEPLOY, MANIFESTS, documents


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return documents(DEPLOY / "compose.yaml")[0]


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    return [d for p in MANIFESTS for d in documents(p)]
