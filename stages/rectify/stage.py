"""rectify: a capture folder in, checked and rectified stereo pairs out.

0. copy the capture, and check that the copy is what the fingerprint stands for              core/private_copy.py
1. read the calibration and survey every pair (sizes, broken files, blur, repeats, exposure)     survey.py, figures.py
2. measure how far the rows of the two views miss each other, and correct the right camera        row_offset.py
3. write the pairs: copied where nothing has to change, else resampled once                       write_pairs.py
4. bring the prompt and given masks and depth to the rectified left picture                       core/object_prompt.py, given.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stages.base import Resources, Stage, StageContext, StageReport
from stages.core.capture import find_files
from stages.core.store import ArtifactRef
from stages.rectify.config import RectifyConfig


class RectifyStage(Stage):
    """See the module."""

    name = "rectify"
    version = 5
    needs = Resources(memory_gb=1.0)
    Config = RectifyConfig
    inputs = ("capture",)
    outputs = ("pairs", "rig.json", "frames.parquet", "prompt.json", "given")

    def needs_weights(self, config: RectifyConfig) -> tuple[str, ...]:
        """Names in weights/registry.yaml."""
        from stages.core.text_prompt import needed

        return needed(config.text)

    def weights_used(self, config: RectifyConfig) -> dict[str, str]:
        """Digests of the weights. Raises WeightsError when they are not there."""
        from stages.core.weights import identity

        return {k: v for name in self.needs_weights(config) for k, v in identity(name).items()}

    def check(self, inputs: Mapping[str, ArtifactRef], config: RectifyConfig) -> None:
        """Files there, calibration readable and plausible as far as it goes without a picture, prompt readable. Raises CaptureError."""
        from stages.core import text_prompt
        from stages.core.object_prompt import read_prompt
        from stages.rectify.capture_input import open_reader, read_rig

        files = find_files(inputs["capture"].path)
        read_rig(files, config.calibration_unit)
        text_prompt.check(read_prompt(files.prompt, config.box, config.box_frame, files.prompt_masks, text=config.text))
        open_reader(files, config.max_megapixels)

    def run(
        self, inputs: Mapping[str, ArtifactRef], config: RectifyConfig, out: Path, context: StageContext
    ) -> StageReport:
        """Writes every output; the report has the figures of each check."""
        from stages.core.capture_names import unread
        from stages.core.private_copy import private_copy
        from stages.rectify.run import Run

        with private_copy(
            inputs["capture"], out / "capture", context.workers, lambda root: find_files(root).all()
        ) as folder:
            report = Run(find_files(folder), config, out, context).report()
        report.warnings += unread(inputs["capture"].path)
        return report


STAGE = RectifyStage()
