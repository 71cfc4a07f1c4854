#!/usr/bin/env bash
# Prepares .venv with the exact versions of constraints.txt and the command .venv/bin/twin. Called by `make setup`.
# TORCH_INDEX (optional): address of the package index that torch is taken from, for its CPU build; without it pip may fetch the CUDA build.
# TORCH_SHA256 (optional): sha256 of torch's wheel; another one is refused.
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
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
target=$(.venv/bin/python -c 'import platform, sys; print(sys.platform, platform.machine(), "%d.%d" % sys.version_info[:2])')
# torch by itself: under one version each index has another build, so its hash is not known before; and an index that is asked for torch
# must not be asked for anything else. Triton (extra `cuda`) is 690 MB on disk and of no use without a GPU.
install_torch() {
    install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -c <(grep -v '^torch==' constraints.txt) \
        ${TORCH_SHA256:+--no-deps --require-hashes} -r <(sed -n "s/^torch==.*/&${TORCH_SHA256:+ --hash=sha256:$TORCH_SHA256}/p" constraints.txt)
}
if grep -qx "# for $target" constraints-hashes.txt; then
    # only files whose sha256 is listed, and nothing that is not
    install --require-hashes --no-deps -r constraints-hashes.txt
    install_torch
else
    echo "constraints-hashes.txt has no files for $target: the packages' versions are checked, their contents are not"
    install_torch       # first, or a package that needs torch would bring another build
    install -r <(grep -vE '^(torch|triton)==' constraints.txt)
fi
install --no-deps --no-build-isolation -e .
.venv/bin/twin --help >/dev/null
touch .venv/.set-up
echo "ready: .venv/bin/twin"
