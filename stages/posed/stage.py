"""posed: pictures with known cameras in, the same kinds out that a stereo capture gives after bundle adjustment.

1. copy the folder, and read its cameras, whatever their format                                    formats.py, read_*.py
2. bring all pictures to one pinhole: distortion undone, intrinsics made equal, resampled once      lens.py
3. find the object's mask in each picture                                                          masks.py
4. test the silhouettes against each other; name a turned picture and a better field of view        agreement.py, findings.py
5. write pairs (left only), masks, poses, points, and disparity where depth is given                write.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.base import ArtifactRef, Resources, Stage, StageContext, StageReport
from stages.posed.config import PosedConfig


class PosedStage(Stage):
    """See the module."""

    name = "posed"
    version = 2
    needs = Resources(memory_gb=1.0, lower=("max_width",))
    Config = PosedConfig
    inputs = ("capture",)
    outputs = ("pairs", "frames.parquet", "rig.json", "disparity", "masks", "masks.parquet", "poses.json", "points.npz")

    def check(self, inputs: Mapping[str, ArtifactRef], config: PosedConfig) -> None:
        """Cameras readable and consistent, pictures there. Raises CaptureError."""
        from stages.posed.formats import read

        read(
            inputs["capture"].path, config.format, config.axes, config.views_distance, fov_deg=config.field_of_view_deg
        )

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: PosedConfig, out: Path, context: StageContext
    ) -> StageReport:
        """Writes every output."""
        from stages.core.private_copy import private_copy
        from stages.core.routes import posed_files
        from stages.posed.run import Run

        with private_copy(inputs["capture"], out / "capture", context.workers, posed_files) as folder:
            return Run(folder, config, out, context).report()


STAGE = PosedStage()
