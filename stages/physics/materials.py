"""Usual materials. Densities are handbook values; friction is that of dry contact with wood or plastic, whose scatter is +-0.15.

Nothing of it is measured on the object: whoever needs better gives mass or density and edits the friction in the files.
"""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Material:
    """density in kg/m3, friction and restitution without unit; source: where the density comes from."""

    density: float
    static_friction: float
    dynamic_friction: float
    restitution: float
    source: str


_POLYMER = "typical data sheet of the polymer"
_HANDBOOK = "handbook value at 20 degrees C"
MATERIALS: dict[str, Material] = {
    UNKNOWN: Material(
        600.0,
        0.6,
        0.5,
        0.2,
        source="between wood and filled packaging: a guess, within a factor of 2 for most household objects",
    ),
    "abs": Material(1050.0, 0.5, 0.4, 0.4, source=_POLYMER),
    "aluminium": Material(2700.0, 0.6, 0.45, 0.3, source=_HANDBOOK),
    "brass": Material(8500.0, 0.5, 0.4, 0.3, source=_HANDBOOK),
    "cardboard": Material(690.0, 0.5, 0.4, 0.1, source="solid board; corrugated board has 100 to 200 kg/m3"),
    "ceramic": Material(2400.0, 0.5, 0.4, 0.3, source="stoneware; porcelain 2400, earthenware 2000 kg/m3"),
    "concrete": Material(2400.0, 0.65, 0.55, 0.2, source=_HANDBOOK),
    "copper": Material(8960.0, 0.5, 0.4, 0.3, source=_HANDBOOK),
    "cork": Material(200.0, 0.6, 0.5, 0.4, source=_HANDBOOK),
    "foam": Material(35.0, 0.7, 0.6, 0.3, source="polyurethane soft foam 25 to 45 kg/m3"),
    "glass": Material(2500.0, 0.5, 0.4, 0.4, source="soda-lime glass"),
    "leather": Material(900.0, 0.6, 0.5, 0.1, source=_HANDBOOK),
    "paper": Material(800.0, 0.5, 0.4, 0.1, source="stack of printing paper"),
    "pe": Material(950.0, 0.35, 0.25, 0.4, source=_POLYMER + ", high density"),
    "pet": Material(1380.0, 0.4, 0.3, 0.4, source=_POLYMER),
    "pla": Material(1240.0, 0.5, 0.4, 0.4, source=_POLYMER + ", printed at 100 % infill"),
    "pp": Material(905.0, 0.4, 0.3, 0.4, source=_POLYMER),
    "pvc": Material(1400.0, 0.45, 0.35, 0.4, source=_POLYMER + ", rigid"),
    "rubber": Material(1100.0, 0.9, 0.8, 0.7, source="vulcanised natural rubber"),
    "steel": Material(7850.0, 0.5, 0.4, 0.3, source="plain carbon steel"),
    "stone": Material(2700.0, 0.65, 0.55, 0.2, source="granite, limestone"),
    "textile": Material(300.0, 0.6, 0.5, 0.05, source="loosely stuffed fabric"),
    "water": Material(998.0, 0.5, 0.4, 0.1, source=_HANDBOOK + ": a full bottle"),
    "wood": Material(650.0, 0.5, 0.4, 0.3, source="beech to pine, 12 % moisture: 500 to 720 kg/m3"),
}
