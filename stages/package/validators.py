"""What independent programs say of the finished files. usd-core's validators always run; others where their environments are.

`make validate` makes those environments: a folder with `omniverse/`, `simready/` (virtual environments), `node/` (npm) and `versions.json`,
named by TWIN_VALIDATORS. They stay apart from ours and from each other because their packages want other versions.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

VARIABLE = "TWIN_VALIDATORS"
PROFILE, PROFILE_VERSION = "Robotics-Prop", "4.0.0"
MOST_ISSUES = 20
LONGEST_S = 300.0
KHRONOS = """const v = require("gltf-validator"), fs = require("fs");
v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1]))).then((r) => console.log(JSON.stringify(r.issues)));"""
ABSENT = f"not run: `make validate` sets it up ({VARIABLE})"


@dataclass(frozen=True)
class Verdict:
    """passed: None where it did not run; says: what it found, or why it did not run."""

    name: str
    version: str
    passed: bool | None
    says: list[str]

    @property
    def line(self) -> str:
        """For the report."""
        if self.passed is None:
            return self.says[0]
        return "passed" if self.passed else f"{len(self.says)} issues"

    @property
    def record(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "version": self.version, "passed": self.passed, "says": self.says[:MOST_ISSUES]}


def versions_here() -> dict[str, str]:
    """{name: version} of the validators that TWIN_VALIDATORS names; what they say belongs to the result."""
    path = _folder() / "versions.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def verdicts(twin: Path) -> list[Verdict]:
    """Of the files in `twin`, the folder as the package stage leaves it. A file that is not there is not judged."""
    usda = twin / "sim/twin.usda"
    found = [_usd_core(twin)]
    found += [_external("khronos gltf-validator", _khronos, [twin / "twin.glb", *sorted((twin / "lod").glob("*.glb"))])]
    if usda.is_file():
        found += [_external("omniverse-asset-validator", _omniverse, [usda, twin / "twin.usdz"])]
        found += [_external("simready-validate", _simready, [usda])]
    return found


def usd_issues(path: Path) -> list[str]:
    """What all of usd-core's validators find, in every combination of the variants."""
    from pxr import Usd, UsdValidation

    stage = Usd.Stage.Open(str(path))
    context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
    sets = [(prim.GetPath(), name) for prim in stage.Traverse() for name in prim.GetVariantSets().GetNames()]
    names = [stage.GetPrimAtPath(p).GetVariantSet(s).GetVariantNames() for p, s in sets]
    out: dict[str, None] = {}
    for chosen in product(*names):
        for (p, s), name in zip(sets, chosen, strict=True):
            stage.GetPrimAtPath(p).GetVariantSet(s).SetVariantSelection(name)
        out |= dict.fromkeys(f"{path.name} {e.GetErrorAsString()}" for e in context.Validate(stage))
    return list(out)


def _usd_core(twin: Path) -> Verdict:
    from stages.package.usd_library import usd_version

    if not usd_version():
        return Verdict("usd-core", "", None, ["not run: usd-core is not installed"])
    files = [p for p in (twin / "twin.usdz", twin / "sim/twin.usda") if p.is_file()]
    issues = [issue for p in files for issue in usd_issues(p)]
    return Verdict("usd-core", usd_version(), not issues, issues)


def _external(name: str, judge: Callable[[Path], list[str]], files: list[Path]) -> Verdict:
    version = versions_here().get(name, "")
    if not version:
        return Verdict(name, "", None, [ABSENT])
    try:
        issues = [issue for path in files if path.is_file() for issue in judge(path)]
    except (OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
        return Verdict(name, version, False, [f"it did not run to its end: {str(e)[:300]}"])
    return Verdict(name, version, not issues, issues)


def _khronos(path: Path) -> list[str]:
    node = {"NODE_PATH": str(_folder() / "node/node_modules")}
    told = json.loads(_run(["node", "-e", KHRONOS, str(path)], node))
    return [f"{path.name} {m['code']}: {m['message']}" for m in told["messages"] if m["severity"] < 2]


def _omniverse(path: Path) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        _run([str(_folder() / "omniverse/bin/omni_asset_validate"), "--json-output", str(out), str(path)])
        rules = json.loads(out.read_text())["rules"]
    return [f"{path.name} {r['rule']['name']}: {i['message'].strip()}" for r in rules for i in r["issues"]]


def _simready(path: Path) -> list[str]:
    """In the profile PROFILE. Its sidecar has the day, which a finished twin gets at the end: here a stand-in."""
    sidecar = path.with_suffix(".json")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        ours = not sidecar.exists()
        if ours:
            sidecar.write_text('{"usd_date_generated": "2000-01-01"}')
        try:
            command = [
                str(_folder() / "simready/bin/simready-validate"),
                "--profile",
                PROFILE,
                "--version",
                PROFILE_VERSION,
            ]
            _run([*command, "--output", str(out), str(path)])
        finally:
            if ours:
                sidecar.unlink()
        (found,) = json.loads(out.read_text()).values()
    features = {k: f for k, f in found["features_summary"].items() if f.get("blocking_failure")}
    return [
        f"{path.name} {k}: {f.get('requirement_messages', f.get('failing requirements'))}" for k, f in features.items()
    ]


def _run(command: list[str], more: dict[str, str] | None = None) -> str:
    """Output of a program that may find faults, which is no failure of its own."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | (more or {})
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LONGEST_S, env=env, stdin=subprocess.DEVNULL
    ).stdout


def _folder() -> Path:
    return Path(os.environ.get(VARIABLE) or os.devnull)
