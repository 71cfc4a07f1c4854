"""Commands by which the files of deploy/ start a worker, with our interpreter in place of the image's or the package's."""

from __future__ import annotations

import configparser
import re
import shlex
import sys
from pathlib import Path

import yaml

from tests.flows.served import ROOT

DEPLOY = ROOT / "deploy"


def compose() -> list[str]:
    """Of compose.yaml."""
    return _here(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["worker-cpu"]["command"])


def kubernetes() -> list[str]:
    """Of kubernetes/workers.yaml."""
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "workers.yaml").read_text())
    found = next(d for d in documents if d["metadata"]["name"] == "worker-cpu")
    return _here(found["spec"]["template"]["spec"]["containers"][0]["command"])


def systemd() -> list[str]:
    """Of systemd/twin-worker@.service."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "systemd" / "twin-worker@.service")
    return _here(shlex.split(unit["Service"]["ExecStart"].replace("%i", "twin").replace("${TWIN_RUNS}", "1")))


KINDS = (compose, kubernetes, systemd)


def with_limit(command: list[str], runs: int) -> list[str]:
    """The same for so many runs at once."""
    at = command.index("--limit") + 1
    return [*command[:at], str(runs), *command[at + 1 :]]


def _here(command: list[str]) -> list[str]:
    """With our interpreter, and the values that compose fills in."""
    words = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", w) for w in command]
    assert Path(words[0]).name == "python" and "flows.serve.deployed" in words, command
    return [sys.executable, *words[1:]]
