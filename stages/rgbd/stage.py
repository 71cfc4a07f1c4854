"""rgbd: the colour and depth of a depth camera in, the same kinds out that `rectify` and `depth` make of a stereo capture.

1. pair colour with depth, read the lens and the unit of depth                                pairing.py, camera_file.py, reading.py
2. bring depth to the undistorted colour picture; leave out edges, which mix near and far      registering.py, noise.py
3. ask whether depth and colour lie on each other, and whether the noise is as expected        judge_registration.py, noise.py
4. write pairs (left only), disparity with the sensor's noise as sigma, prompt and masks       run.py

The disparity is that of a pair whose baseline is chosen so that the depth's noise is 0.15 px at the object; it measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.base import ArtifactRef, Resources, Stage, StageContext, StageReport
from stages.rgbd.config import RgbdConfig


class RgbdStage(Stage):
    """See the module."""

    name = "rgbd"
    version = 1
    needs = Resources(memory_gb=1.0, lower=("max_width",))
    Config = RgbdConfig
    inputs = ("capture",)
    outputs = ("pairs", "frames.parquet", "rig.json", "prompt.json", "given", "disparity")

    def needs_weights(self, config: RgbdConfig) -> tuple[str, ...]:
        """Names in weights/registry.yaml."""
        from stages.core.text_prompt import needed

        return needed(config.text)

    def weights_used(self, config: RgbdConfig) -> dict[str, str]:
        """Digests of the weights. Raises WeightsError when they are not there."""
        from stages.core.weights import identity

        return {k: v for name in self.needs_weights(config) for k, v in identity(name).items()}

    def check(self, inputs: Mapping[str, ArtifactRef], config: RgbdConfig) -> None:
        """Files there, lens and prompt readable. Raises CaptureError."""
        from stages.core import text_prompt
        from stages.core.object_prompt import read_prompt
        from stages.core.rgbd_files import find_rgbd
        from stages.rgbd.reading import open_capture

        files = find_rgbd(inputs["capture"].path)
        open_capture(files, config)
        text_prompt.check(read_prompt(files.prompt, config.box, config.box_frame, files.prompt_masks, text=config.text))

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: RgbdConfig, out: Path, context: StageContext
    ) -> StageReport:
        """Writes every output."""
        from stages.core.private_copy import private_copy
        from stages.core.rgbd_files import find_rgbd
        from stages.rgbd.run import Run

        with private_copy(
            inputs["capture"], out / "capture", context.workers, lambda root: find_rgbd(root).all()
        ) as folder:
            return Run(find_rgbd(folder), config, out, context).report()


STAGE = RgbdStage()
