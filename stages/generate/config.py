"""Settings of the generate stage."""

from __future__ import annotations

from dataclasses import dataclass

NONE = "none"


@dataclass(frozen=True)
class GenerateConfig:
    """What a generative model may invent beside the twin. Nothing, unless a model is named here (docs/generated.md)."""

    views: str = NONE
    """name, as `twin weights list` has it, of a model that gives pictures for cameras; none: no picture is invented"""
    completion: str = NONE
    """name of a model that gives the whole solid, unseen sides too; none: no surface is invented. The completed surface lies beside the
    twin, whose own mesh it never replaces"""
    grid: int = 112
    """nodes a side of the grid on which the completed surface is joined; twice as many: half as coarse, eight times the memory"""
    texture_px: int = 1024
    """side of the completed surface's texture"""
    count: int = 8
    """of those pictures: their cameras look from where no picture was taken, the farthest from all pictures first"""
    from_deg: float = 30.0
    """such a camera looks from at least so far beside every picture, as an angle at the object; where none can, none is made"""
    score: int = 4
    """pictures that were taken, and that the model is asked for as well: how far it is off where that can be known; 0 = no score"""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= 200 or not 0 <= self.score <= 50:
            raise ValueError("count must be 1 to 200, score 0 to 50")
        if not 24 <= self.grid <= 400 or not 64 <= self.texture_px <= 8192:
            raise ValueError("grid must be 24 to 400, texture_px 64 to 8192")
        if not 1 <= self.from_deg <= 175:
            raise ValueError(f"from_deg is {self.from_deg}, expected 1 to 175")

    @property
    def models(self) -> dict[str, str]:
        """{what it answers: name of the model} of those that are asked for."""
        return {kind: name for kind, name in (("views", self.views), ("completion", self.completion)) if name != NONE}
