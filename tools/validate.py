"""Independent validators on the built-in capture's twin, in environments of their own, and drops in the engines that are installed.

    make validate                                     environments in build/validators, twin in build/validate/twin
    python -m tools.validate --install FOLDER         the environments alone; TWIN_VALIDATORS=FOLDER makes every run use them

Khronos' glTF validator needs npm and node. Status 1 where a validator finds something or a drop fails, 3 where one could not be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON_PACKAGES = {
    "omniverse": ("omniverse-asset-validator==1.18.0", "usd-core==26.11", "numpy"),
    "simready": ("simready-validate==2026.8.0", "simready-foundation-tier-core==2026.8.0", "usd-core==26.11"),
}
NODE_PACKAGE = "gltf-validator@2.0.0-dev.3.10"
GIVEN = ("physics.label=bottle", "physics.qcode=Q80228", "physics.author=stereotwin", "physics.licence=CC0-1.0")
"""of the built-in object: what SimReady wants to know and no picture shows"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make the environments there and stop")
    parser.add_argument(
        "--demo", type=Path, default=ROOT / "demo", help="folder of `twin demo`; made where it is not there"
    )
    args = parser.parse_args()
    folder = (args.install or ROOT / "build/validators").absolute()
    missing = install(folder)
    for name, why in missing.items():
        print(f"{name} could not be installed: {why}", file=sys.stderr)
    if args.install:
        return 3 if missing else 0
    found = judged(args.demo.absolute(), folder)
    for verdict in found:
        word = {True: "passed", False: "FAILED", None: "not run"}[verdict["passed"]]
        print(f"{verdict['name']:28} {verdict['version']:16} {word}")
        for line in [] if verdict["passed"] else verdict["says"]:
            print(f"    {line}")
    return 3 if missing else int(not all(verdict["passed"] for verdict in found))


def install(folder: Path) -> dict[str, str]:
    """Whatever is not there yet; {what failed: why}."""
    folder.mkdir(parents=True, exist_ok=True)
    versions = json.loads((folder / "versions.json").read_text()) if (folder / "versions.json").is_file() else {}
    missing: dict[str, str] = {}
    for name, packages in PYTHON_PACKAGES.items():
        package, version = packages[0].split("==")
        if versions.get(package) != version:
            _note(package, version, _environment(folder / name, packages), versions, missing=missing)
    package, version = NODE_PACKAGE.split("@")
    if versions.get(f"khronos {package}") != version:
        npm = shutil.which("npm")
        command = [
            npm or "npm",
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "--prefix",
            str(folder / "node"),
            NODE_PACKAGE,
        ]
        _note(
            f"khronos {package}", version, _said(command) if npm else "npm is not installed", versions, missing=missing
        )
    (folder / "versions.json").write_text(json.dumps(versions, indent=1))
    return missing


def judged(demo: Path, folder: Path) -> list[dict]:
    """Verdicts on the twin of the built-in capture, whose later stages are run again with `GIVEN`."""
    twin = ROOT / "build/validate/twin"
    here = str(Path(sys.executable).with_name("twin"))
    env = {**os.environ, "TWIN_VALIDATORS": str(folder)}
    if not (demo / "capture").is_dir():
        subprocess.run([here, "demo", "--out", str(demo)], check=True, env=env)
    subprocess.run([here, "reconstruct", str(demo / "capture"), "--out", str(twin), *GIVEN], check=True, env=env)
    drop = subprocess.run([here, "drop", str(twin), "--json"], capture_output=True, text=True, env=env)
    told = json.loads(drop.stdout) if drop.stdout else None
    engines = sorted({d["engine"] for d in told["drops"]}) if told else []
    says = told["failures"] if told else [drop.stderr.strip()[-300:]]
    fall = {
        "name": "twin drop",
        "version": " ".join(engines),
        "passed": None if told is None else not says,
        "says": says,
    }
    return [*json.loads((twin / "validation.json").read_text()), fall]


def _note(name: str, version: str, fault: str, versions: dict[str, str], missing: dict[str, str]) -> None:
    if fault:
        missing[name] = fault
    else:
        versions[name] = version


def _environment(folder: Path, packages: tuple[str, ...]) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    return _said([sys.executable, "-m", "venv", str(folder)]) or _said(
        [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    )


def _said(command: list[str]) -> str:
    """ "" for success, else the last line of what it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1][:300]


if __name__ == "__main__":
    sys.exit(main())
