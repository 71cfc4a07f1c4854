"""Settings of `bundle`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BundleConfig:
    """Errors are given in standard deviations (sigma) of the observation, as `track` estimated them."""

    rounds: int = 3
    """Times to triangulate, drop outliers and solve. Observations left out by a poor start come back in later rounds."""
    max_iterations: int = 40
    """Solver iterations per round; 8 to 15 are usual."""
    robust_sigmas: float = 2.0
    """Cauchy loss: errors beyond this count less and less."""
    outlier_sigmas: float = 5.0
    """Observations beyond this (and beyond outlier_floor_px) are left out of a round; they are asked again in the next."""
    outlier_floor_px: float = 0.7
    """Errors below this never make an outlier, however small the sigma claimed for them."""
    sigma_floor_px: float = 0.05
    """No observation is believed to be better: what is left of lens model, pixel grid and lighting. 0.1 and 0.2 were less accurate on
    all three captures tried (real one: 0.010 and 0.013 degrees against 0.008)."""
    min_observations: int = 15
    """A frame with fewer good observations keeps its pose but is marked uncertain."""
    self_check: bool = True
    """Also solve with a free focal length, only to report whether the calibration looks off."""
    self_check_observations: int = 10_000
    """Observations used for that check at most; it is a hint and must stay cheap."""

    rolling_rows: bool = True
    """Also ask whether the camera reads its rows one after another (rolling shutter), on as many observations; where that clearly fits
    better, poses are those of the middle row's time, and the report says the time."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError("rounds must be at least 1")
