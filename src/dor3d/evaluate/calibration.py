"""Whether a network knows how far off it is: do its standard deviations rank the errors, and are they of their size?"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import spearmanr

from dor3d.metrics import within_sigma

_BINS: Final = 15


class Calibration(NamedTuple):
    """How standard deviations fit the errors.

    Attributes:
        joint_rank, hand_rank: Spearman's rank correlation of std_mm and error, of joints and of whole hands' means.
        within: shares of coordinates that lie within 1 and 2 of their standard deviations; honest: 0.683 and 0.954.
        sigma_mm, rms_mm: means over bins of coordinates of equal number, by sigma: what it says, and what it is.
    """

    joint_rank: float
    hand_rank: float
    within: list[float]
    sigma_mm: list[float]
    rms_mm: list[float]


def calibrate(error_mm: Float[ndarray, "n a 3"], sigma_mm: Float[ndarray, "n a 3"]) -> Calibration:
    """Compare coordinates' errors with what was said of them."""
    distance, std = np.linalg.norm(error_mm, axis=-1), np.sqrt((sigma_mm**2).mean(-1))
    order = np.argsort(sigma_mm, axis=None)
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    flat_sigma, flat_error = sigma_mm.ravel(), error_mm.ravel()
    return Calibration(
        _rank(std.ravel(), distance.ravel()),
        _rank(std.mean(1), distance.mean(1)),
        [round(float(within_sigma(error_mm, sigma_mm, factor).mean()), 4) for factor in (1.0, 2.0)],
        [round(float(np.sqrt((flat_sigma[part] ** 2).mean())), 3) for part in bins],
        [round(float(np.sqrt((flat_error[part] ** 2).mean())), 3) for part in bins],
    )


def _rank(a: Float[ndarray, "n"], b: Float[ndarray, "n"]) -> float:
    correlation, _ = spearmanr(a, b)
    return round(float(correlation), 4)  # pyright: ignore[reportArgumentType]
