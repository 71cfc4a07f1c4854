#!/usr/bin/env bash
# Builds tiny-cuda-nn and nvdiffrast into the active Python from pinned commits, if WITH_TINY_CUDA_NN=1 and WITH_NVDIFFRAST=1 ask for them.
# Also without a container:  WITH_TINY_CUDA_NN=1 bash deploy/build_cuda_kits.sh [TINY_CUDA_NN_COMMIT [NVDIFFRAST_COMMIT]]
# MAX_JOBS=2 (each job takes up to 4 GB); TCNN_CUDA_ARCHITECTURES=89 and TORCH_CUDA_ARCH_LIST=8.9 where no GPU is there to ask.
set -euo pipefail
tiny_cuda_nn_commit=${1:-dc44d0d50a68118160debb3c698fef28a2ee2d78}
nvdiffrast_commit=${2:-253ac4fcea7de5f396371124af597e6cc957bfae}
export MAX_JOBS=${MAX_JOBS:-2}

fail() { printf 'build_cuda_kits: %s\n' "$1" >&2; exit 1; }

check_compiler() {
    command -v nvcc >/dev/null || fail "nvcc is missing: use a -devel image, or install the CUDA toolkit"
    local have want
    have=$(nvcc --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p')
    want=$(python -c 'import torch; print((torch.version.cuda or "none").split(".")[0])')
    [ "$want" != none ] || fail "torch is a CPU build: give TORCH_INDEX, the address of an index that has its CUDA build"
    [ "$have" = "$want" ] || fail "nvcc is of CUDA $have, torch of CUDA $want: choose CUDA_IMAGE (or TORCH_INDEX) so that they agree"
}

fetch() {       # address, commit, folder
    git init --quiet "$3"
    git -C "$3" remote add origin "$1"          # submodules may name their addresses relative to it
    git -C "$3" fetch --quiet --depth 1 origin "$2" || fail "cannot fetch commit $2 of $1"
    git -C "$3" checkout --quiet --detach FETCH_HEAD
    git -C "$3" submodule update --quiet --init --recursive
}

# the C++ standard that torch's headers need: C++17 up to 2.11, C++20 for 2.13, whose headers do not compile as C++17
standard() {
    python -c 'import inspect, re, torch.utils.cpp_extension as e; print(re.search(r"-std=(c\+\+\d+)", inspect.getsource(e)).group(1))'
}

install() {     # folder with setup.py
    local std
    std=$(standard)
    sed -i "s/^\( *cpp_standard = \)[0-9]*/\1${std#c++}/" "$1/setup.py"          # tiny-cuda-nn names its own
    CXXFLAGS="-std=$std" NVCC_APPEND_FLAGS="-std=$std" pip install --no-cache-dir --no-build-isolation --no-deps "$1"
}

[ "${WITH_TINY_CUDA_NN:-0}" = 1 ] || [ "${WITH_NVDIFFRAST:-0}" = 1 ] || { echo "no CUDA kit was asked for"; exit 0; }
check_compiler
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# libcuda comes with the driver; where only the toolkit is, the linker takes its stub
cuda_home=$(dirname "$(dirname "$(command -v nvcc)")")
export LIBRARY_PATH="$cuda_home/lib64/stubs${LIBRARY_PATH:+:$LIBRARY_PATH}"
# tiny-cuda-nn's setup.py asks pkg_resources for one function; setuptools has it no longer
mkdir "$work/bridge"
echo 'from packaging.version import parse as parse_version' > "$work/bridge/pkg_resources.py"
export PYTHONPATH="$work/bridge${PYTHONPATH:+:$PYTHONPATH}"
if [ "${WITH_TINY_CUDA_NN:-0}" = 1 ]; then
    fetch https://github.com/NVlabs/tiny-cuda-nn "$tiny_cuda_nn_commit" "$work/tiny-cuda-nn"
    install "$work/tiny-cuda-nn/bindings/torch"
fi
if [ "${WITH_NVDIFFRAST:-0}" = 1 ]; then
    fetch https://github.com/NVlabs/nvdiffrast "$nvdiffrast_commit" "$work/nvdiffrast"
    install "$work/nvdiffrast"
fi
