#!/usr/bin/env bash
# Builds tiny-cuda-nn and nvdiffrast into the active Python from pinned commits, if WITH_TINY_CUDA_NN=1 and WITH_NVDIFFRAST=1 ask for them.
# Also without a container:  WITH_TINY_CUDA_NN=1 MAX_JOBS=2 TCNN_CUDA_ARCHITECTURES=89 bash deploy/build_cuda_kits.sh COMMIT COMMIT
set -euo pipefail
tiny_cuda_nn_commit=$1 nvdiffrast_commit=$2

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
    git clone --quiet "$1" "$3"
    git -C "$3" checkout --quiet --detach "$2^{commit}"
    git -C "$3" submodule update --quiet --init --recursive
}

install() {     # folder with setup.py
    CXXFLAGS="-std=c++17" NVCC_APPEND_FLAGS="-std=c++17" pip install --no-cache-dir --no-build-isolation --no-deps "$1"
}

[ "${WITH_TINY_CUDA_NN:-0}" = 1 ] || [ "${WITH_NVDIFFRAST:-0}" = 1 ] || { echo "no CUDA kit was asked for"; exit 0; }
check_compiler
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "${WITH_TINY_CUDA_NN:-0}" = 1 ]; then
    fetch https://github.com/NVlabs/tiny-cuda-nn "$tiny_cuda_nn_commit" "$work/tiny-cuda-nn"
    install "$work/tiny-cuda-nn/bindings/torch"
fi
if [ "${WITH_NVDIFFRAST:-0}" = 1 ]; then
    fetch https://github.com/NVlabs/nvdiffrast "$nvdiffrast_commit" "$work/nvdiffrast"
    install "$work/nvdiffrast"
fi
