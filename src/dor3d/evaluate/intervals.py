"""How sure a difference between two methods is, over the frames of a test and the seeds of trainings."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import t as student

_TAIL: Final = 0.025
_ROUNDS: Final = 2000


class Interval(NamedTuple):
    """A mean difference and its 95 % interval."""

    mean: float
    low: float
    high: float


def paired_interval(difference: Float[ndarray, "s n"], *, block: int = 1, seed: int = 0) -> Interval:
    """The mean of paired differences, with an interval for other frames and other trainings.

    Frames: a percentile bootstrap of the seeds' mean, in blocks of neighbours where these are alike. Seeds: Student's t
    of their means, since resampling three numbers covers no more than their range. The two half-widths add as squares,
    which errs on the wide side. A single seed says nothing of other trainings: its interval is of the frames alone.

    Args:
        difference: of two methods' errors, for each seed (the same for both) and frame.
        block: neighbouring frames that are drawn together; 1 where frames do not depend on each other.
        seed: of the resamplings.
    """
    seeds = len(difference)
    mean, means = float(difference.mean()), difference.mean(1)
    low, high = np.quantile(_resampled(difference.mean(0), block, seed), (_TAIL, 1 - _TAIL))
    spread = student.ppf(1 - _TAIL, seeds - 1) * means.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else 0.0
    return Interval(mean, mean - float(np.hypot(mean - low, spread)), mean + float(np.hypot(high - mean, spread)))


def _resampled(values: Float[ndarray, "n"], block: int, seed: int) -> Float[ndarray, "rounds"]:
    """Means of the values with blocks of them drawn anew."""
    rng = np.random.default_rng(seed)
    starts = np.arange(0, len(values), block)
    sums, counts = np.add.reduceat(values, starts), np.diff(np.append(starts, len(values)))
    drawn = [rng.multinomial(len(starts), np.full(len(starts), 1 / len(starts))) for _ in range(_ROUNDS)]
    return np.array([(some @ sums) / (some @ counts) for some in drawn])
