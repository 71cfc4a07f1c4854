"""Sizes of the field, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

from stages.core.field.colour_kernels import HARMONICS
from stages.core.field.hash_grid import FEATURES, GridLayout
from stages.core.field.mlp import MlpShape, rounded_up_to_four


@dataclass(frozen=True)
class FieldShape:
    """Sizes of the field. Resolutions are cells along an edge of the unit cube."""

    levels: int = 16
    features: int = FEATURES
    log2_entries: int = 19
    base_resolution: int = 16
    finest_resolution: int = 2048
    hidden: int = 64
    sdf_layers: int = 1
    geo_features: int = 15
    colour_hidden: int = 64
    colour_layers: int = 1

    def __post_init__(self) -> None:
        if self.features != FEATURES:
            raise ValueError(f"the kernels are written for {FEATURES} features a level, not {self.features}")
        if self.hidden % 8 or self.colour_hidden % 8:
            raise ValueError("hidden widths must be multiples of 8")

    @property
    def sdf_mlp(self) -> MlpShape:
        """Grid features, position, ones -> signed distance and geometry features."""
        inputs = rounded_up_to_four(self.levels * self.features + 4)
        return MlpShape((inputs, *(self.hidden,) * self.sdf_layers, 1 + self.geo_features))

    @property
    def colour_mlp(self) -> MlpShape:
        """Geometry features, normal, viewing direction, ones -> RGB."""
        inputs = rounded_up_to_four(self.geo_features + 3 + HARMONICS + 1)
        return MlpShape((inputs, *(self.colour_hidden,) * self.colour_layers, 3))

    def grid(self) -> GridLayout:
        """Layout of the grid's levels."""
        return GridLayout.of(self.levels, self.log2_entries, self.base_resolution, self.finest_resolution)
