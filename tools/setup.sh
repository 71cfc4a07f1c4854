#!/usr/bin/env bash
# Prepares .venv with the exact versions of constraints.txt and the command .venv/bin/twin. Called by `make setup`.
# TORCH_INDEX (optional): address of an extra package index that has the CPU build of torch; without it pip may fetch the CUDA build.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf '\nsetup: %s\n' "$1" >&2; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"; return
        fi
    done
}

python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 or newer is needed. Install it with:  sudo apt-get install -y python3.11 python3.11-venv"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv module is missing. Install it with:  sudo apt-get install -y python$version-venv"

missing=$("$python" - <<'PY'
import ctypes
packages = {"libstdc++.so.6": "libstdc++6", "libz.so.1": "zlib1g", "libgomp.so.1": "libgomp1"}
for library, package in packages.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        print(package, end=" ")
PY
)
[ -z "$missing" ] || [ "$(uname)" != Linux ] || fail "system libraries are missing. Install them with:  sudo apt-get install -y $missing"

[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "installing the packages of constraints.txt into .venv (a few minutes the first time) ..."
# Triton (extra `cuda`) is 690 MB on disk and of no use without a GPU
.venv/bin/python -m pip install --quiet --disable-pip-version-check ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -r <(grep -v '^triton==' constraints.txt)
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
.venv/bin/twin --help >/dev/null
touch .venv/.set-up
echo "ready: .venv/bin/twin"
