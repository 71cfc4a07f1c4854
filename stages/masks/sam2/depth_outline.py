"""A network's mask made exact: its outline placed again by depth, colours and edges at the working size.

Networks give masks at a quarter of their own picture or less, smooth over what is thin and do not look at depth. Here the mask is a
prediction that is good to a few pixels; what the object must stand out from is the planes round it, as in the method without weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stages.masks.cut.colour_model import ColourModel
from stages.masks.cut.evidence import prior_llr
from stages.masks.cut.expectation import Expectation
from stages.masks.cut.frame_cut import cut_frame
from stages.masks.cut.hints import hinted
from stages.masks.cut.outline import CutSettings, Window, signed_distance
from stages.masks.cut.planes import as_surfaces
from stages.masks.cut.seed import disparity_range, surrounding_planes
from stages.masks.frame.prompt import Prompt
from stages.masks.frame.working_frame import WorkingFrame

SIGMA_SHARE, SIGMA_PX = 0.006, 2.0
"""how far the mask's outline may be off: a share of the root of its area, and px"""
INSIDE, OUTSIDE = 3.0, 5.0
"""log-likelihood ratio that the mask itself is worth deep inside and far outside"""
SAME_MASK = 0.85
"""overlap below which the outlines are not the same thing, and the network's is kept"""
RING_SHARE = 0.3
"""width of the ring that shows what the object stands on, as a share of its size"""


def placed_again(
    view: WorkingFrame, mask: np.ndarray, colours: ColourModel, cut: CutSettings, hint: Prompt | None = None
) -> np.ndarray:
    """(H, W) bool `mask` with its outline where depth and colours say; itself where there is no depth, or nothing like it is found."""
    near_range = disparity_range(view, mask) if mask.any() else None
    if near_range is None:
        return mask
    ring = Window.around(mask, round(RING_SHARE * float(np.sqrt(mask.sum()))))
    planes = surrounding_planes(view, ring, mask, np.random.default_rng(view.frame))
    surfaces = as_surfaces(planes, view.shape)
    sigma = SIGMA_PX + SIGMA_SHARE * float(np.sqrt(mask.sum()))
    prior = prior_llr(signed_distance(mask), sigma, INSIDE, OUTSIDE)
    expected = hinted(
        Expectation(prior, anchor=mask, predicted=mask, near_range=near_range, surfaces=surfaces), hint, view.shape
    )
    # the mask is the expectation itself; what the project's own network makes of the picture is another opinion
    found = cut_frame(view, expected, colours, replace(cut, network=False), fine=True)
    return found.mask if found.overlap >= SAME_MASK else mask
