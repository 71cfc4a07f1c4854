"""The neural field beside its kernels in stages/core/field: files, normals by differences, rendering, the oracle."""
