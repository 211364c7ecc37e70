"""How far predicted joints are from the true ones."""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def joint_errors(predicted_mm: Float[ndarray, "n a 3"], true_mm: Float[ndarray, "n a 3"]) -> Float[ndarray, "n a"]:
    """Distance of every joint from where it is (mm)."""
    return np.linalg.norm(predicted_mm - true_mm, axis=-1)


def success_curve(errors_mm: Float[ndarray, "n a"], thresholds_mm: Float[ndarray, "t"]) -> Float[ndarray, "t"]:
    """Share of frames whose worst joint is off by no more than each threshold (the paper's section 4.1)."""
    worst = np.sort(errors_mm.max(axis=1))
    return np.searchsorted(worst, thresholds_mm, side="right") / len(worst)


def within_sigma(error: Float[ndarray, "*n"], sigma: Float[ndarray, "*n"], factor: float) -> Bool[ndarray, "*n"]:
    """Whether each coordinate's error is at most `factor` of its own standard deviations."""
    return np.abs(error) <= factor * sigma
