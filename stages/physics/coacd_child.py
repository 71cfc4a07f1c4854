"""CoACD (Wei, Liu, Ling and Su 2022) in a process of its own: native code that may take minutes, crash, or never end.

    python -m stages.physics.coacd_child ASKED.npz PARTS.npz CPU_SECONDS

ASKED.npz: vertices (V, 3) float64, faces (F, 3) int32, threshold, seed. PARTS.npz: vertices and faces of all parts in a row,
vertex_count and face_count (P,) of each.
"""

from __future__ import annotations

import math
import resource
import sys
from pathlib import Path

import numpy as np

PART_VERTICES = 64
"""PhysX takes no hull with more"""
MCTS_ITERATIONS, MCTS_NODES, RESOLUTION = 15, 10, 1000
"""a tenth of CoACD's default iterations: a fifth of the time for parts that are as close and no more of them"""


def main(asked: Path, parts: Path, seconds: float) -> None:
    """Read, decompose, write."""
    resource.setrlimit(
        resource.RLIMIT_CPU, (math.ceil(seconds),) * 2
    )  # the kernel ends it, even if nobody else is left to
    import coacd

    coacd.set_log_level("error")
    with np.load(asked, allow_pickle=False) as z:
        mesh = coacd.Mesh(z["vertices"], z["faces"])
        found = coacd.run_coacd(
            mesh,
            threshold=float(z["threshold"]),
            preprocess_mode="off",
            resolution=RESOLUTION,
            merge=False,
            mcts_nodes=MCTS_NODES,
            mcts_iterations=MCTS_ITERATIONS,
            max_ch_vertex=PART_VERTICES,
            seed=int(z["seed"]),
        )
    np.savez(
        parts,
        vertices=np.concatenate([v for v, _ in found]),
        faces=np.concatenate([f for _, f in found]),
        vertex_count=[len(v) for v, _ in found],
        face_count=[len(f) for _, f in found],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
