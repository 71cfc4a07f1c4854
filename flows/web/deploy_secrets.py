"""What a part of a large installation refuses to start with: an empty secret, one that is still the example's, an image without its digest.

The files of deploy/ give each part its secrets by the environment. A value is never repeated in a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from stages.core.errors import ConfigError

SERVER = (
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DOCKET_URL",
    "PREFECT_REDIS_MESSAGING_PASSWORD",
)
CLIENT = ("PREFECT_API_AUTH_STRING",)
COMPOSE = ("TWIN_AUTH", "POSTGRES_PASSWORD", "REDIS_PASSWORD")
"""of deploy/.env, from which compose makes the others"""
IMAGES = ("POSTGRES_IMAGE", "REDIS_IMAGE", "NGINX_IMAGE", "PYTHON_IMAGE", "CUDA_IMAGE")
PLACEHOLDER = re.compile(r"change[-_ ]?me", re.IGNORECASE)
PINNED = re.compile(r"\S+@sha256:[0-9a-f]{64}")
WHERE = "in deploy/.env (compose), the two Secrets (Kubernetes) or /etc/stereotwin/env (systemd)"
MAKE_ONE = f"make one, openssl rand -hex 24 for example, and write it {WHERE}"


def refuse_unsafe(names: Iterable[str], environment: Mapping[str, str]) -> None:
    """Raises ConfigError that names every secret of `names` that is empty or a placeholder."""
    faults = [f"{name} {fault}" for name in names if (fault := why_unsafe(name, environment.get(name, "")))]
    if faults:
        raise ConfigError("; ".join(faults), MAKE_ONE)


def why_unsafe(name: str, value: str) -> str:
    """What is wrong with a secret, an address that holds one, or user:password; empty if nothing is."""
    if not value.strip():
        return "is empty"
    if PLACEHOLDER.search(value):
        return "is still the example's"
    if name.endswith("_URL") and not _password(value):
        return "holds no password: expected scheme://user:password@host:port/name"
    if name.endswith(("_AUTH", "_AUTH_STRING")) and not all(value.partition(":")[::2]):
        return "is not user:password"
    if name in COMPOSE and ":" not in value and not value.isalnum():
        return "has more than letters and digits in it, which an address cannot carry as they are"
    return ""


def refuse_unpinned(environment: Mapping[str, str]) -> None:
    """Raises ConfigError that names every image of `IMAGES` that is not given by its digest."""
    loose = [
        f"{name} ({environment.get(name) or 'empty'})"
        for name in IMAGES
        if not PINNED.fullmatch(environment.get(name, ""))
    ]
    if loose:
        raise ConfigError(
            f"no digest: {', '.join(loose)}. A tag may be another image tomorrow",
            "deploy/pin_images.sh asks the registry for them and writes NAME:TAG@sha256:... into deploy/.env",
        )


def _password(url: str) -> str:
    try:
        return unquote(urlsplit(url).password or "")
    except ValueError:
        return ""
