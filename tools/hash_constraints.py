"""Write constraints-hashes.txt: for every version in constraints.txt the sha256 of the files that pip may install. Nothing is installed.

    python -m tools.hash_constraints            after each change of constraints.txt; a few minutes, over the network

pip is asked, once for each platform of `TARGETS`, which file it would take of each package. torch is left out, because its builds (CPU,
each version of CUDA) differ from index to index under one version; triton too, which only comes with a build of torch for CUDA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SOURCE, RESULT = ROOT / "constraints.txt", ROOT / "constraints-hashes.txt"
WITHOUT = ("torch", "triton")
GLIBC_TAGS = ("manylinux1", "manylinux2010", "manylinux2014", *(f"manylinux_2_{k}" for k in range(5, 37)))
HEAD = """# Made by `python -m tools.hash_constraints` from constraints.txt, not by hand. tools/setup.sh installs it with --require-hashes.
# Without torch and triton: tools/setup.sh says why.
"""


@dataclass(frozen=True)
class Target:
    """A platform as tools/setup.sh names it: sys.platform, the machine, the version of Python."""

    system: str
    machine: str
    python: str

    def __str__(self) -> str:
        return f"{self.system} {self.machine} {self.python}"

    def options(self) -> list[str]:
        """pip's options to choose for it and not for this machine."""
        tags = [f"{tag}_{self.machine}" for tag in (*GLIBC_TAGS, self.system)]
        return [
            "--python-version",
            self.python,
            "--implementation",
            "cp",
            *(x for tag in tags for x in ("--platform", tag)),
        ]

    def environment(self, patch: int) -> dict[str, str]:
        """What the markers of requirements are judged by. Debian 12 has Python 3.11.2, which some packages need more for than 3.11.9."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.{patch}",
            "sys_platform": self.system,
            "platform_system": self.system.capitalize(),
            "platform_machine": self.machine,
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "extra": "",
        }


PATCHES = (0, 99)
"""first and last version of each Python"""
TARGETS = tuple(Target("linux", "x86_64", python) for python in ("3.11", "3.12", "3.13"))


def main() -> None:
    """Ask, check, write."""
    wanted = pinned(SOURCE.read_text())
    with ThreadPoolExecutor() as pool:
        chosen = dict(zip(TARGETS, pool.map(lambda target: chosen_files(wanted, target), TARGETS), strict=True))
    for target, files in chosen.items():
        if missing := missing_requirements(files, target):
            sys.exit(f"constraints.txt lacks what its packages need on {target}: {', '.join(missing)}")
    RESULT.write_text(rendered(wanted, chosen))
    print(f"{RESULT.name}: {len(wanted)} packages, {', '.join(map(str, TARGETS))}")


def pinned(text: str) -> list[str]:
    """The lines of constraints.txt that get hashes: name==version, some with a marker."""
    return [line for line in text.splitlines() if line and line.partition("==")[0] not in WITHOUT]


def chosen_files(wanted: Iterable[str], target: Target) -> list[dict[str, Any]]:
    """What pip would install: its own report, one entry for each package. Asked of the default index alone, not of this machine's."""
    with tempfile.TemporaryDirectory() as folder:
        asked, report = Path(folder) / "asked.txt", Path(folder) / "report.json"
        asked.write_text(
            "\n".join(line.partition(";")[0] for line in wanted)
        )  # pip would judge markers by its own Python
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--dry-run",
            "--ignore-installed",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
            folder,
            *target.options(),
            "--report",
            str(report),
            "-r",
            str(asked),
        ]
        env = {
            k: v for k, v in os.environ.items() if k not in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT")
        }
        subprocess.run(command, check=True, env={**env, "PIP_CONFIG_FILE": os.devnull})
        return json.loads(report.read_text())["install"]


def missing_requirements(files: Iterable[dict[str, Any]], target: Target) -> list[str]:
    """What the packages require on this target and the list does not have."""
    there = {canonicalize_name(f["metadata"]["name"]) for f in files} | set(WITHOUT)
    required = (Requirement(r) for f in files for r in f["metadata"].get("requires_dist", []))
    return sorted(
        {
            r.name
            for r in required
            if canonicalize_name(r.name) not in there
            and (r.marker is None or any(r.marker.evaluate(target.environment(patch)) for patch in PATCHES))
        }
    )


def rendered(wanted: Iterable[str], chosen: dict[Target, list[dict[str, Any]]]) -> str:
    """The file's text."""
    digests: dict[str, set[str]] = defaultdict(set)
    for files in chosen.values():
        for f in files:
            digests[canonicalize_name(f["metadata"]["name"])].add(
                f["download_info"]["archive_info"]["hashes"]["sha256"]
            )
    lines = [HEAD, *(f"# for {target}\n" for target in chosen)]
    for line in wanted:
        name = canonicalize_name(line.partition("==")[0])
        lines.append(" \\\n".join([line, *(f"    --hash=sha256:{d}" for d in sorted(digests[name]))]) + "\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
