"""The field trained on a shape that is there: the loop, its draws, and a step on numba's kernels."""
