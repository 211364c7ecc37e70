"""How often do intervals of a paired difference hold the truth?

    python benchmarks/interval_coverage.py [--rounds 300]

Makes up comparisons of known difference: seeds that differ, frames that are hard for one method, noise of each training
on each frame, and neighbours that are alike. Prints, for three ways to an interval that is said to be of 95 %, in how
many of 100 it holds the truth, and its mean width.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from dor3d.evaluate.intervals import paired_interval

Bounds = tuple[float, float]


class Case(NamedTuple):
    """Standard deviations of what seeds, frames and single trainings on single frames add (mm)."""

    name: str
    seeds: int
    between: float
    frame: float
    own: float
    block: int = 1


CASES = (
    Case("3 seeds that are alike", 3, 0.0, 3.0, 1.0),
    Case("3 seeds, about as far apart as ours", 3, 0.1, 3.0, 1.0),
    Case("3 seeds, far apart", 3, 0.3, 3.0, 1.0),
    Case("3 seeds, far apart, frames equally hard", 3, 0.3, 0.0, 3.0),
    Case("2 seeds, far apart", 2, 0.3, 3.0, 1.0),
    Case("1 seed, trainings far apart", 1, 0.3, 3.0, 1.0),
    Case("1 seed, its frames alone", 1, 0.0, 3.0, 1.0),
    Case("1 seed, 20 neighbours alike", 1, 0.0, 3.0, 0.5, 20),
)


def made_up(case: Case, rng: np.random.Generator, frames: int = 1000) -> np.ndarray:
    """Differences [seeds, frames] whose true mean is 0."""
    hard = np.repeat(rng.normal(0, case.frame, frames // case.block), case.block)
    return rng.normal(0, case.between, (case.seeds, 1)) + hard + rng.normal(0, case.own, (case.seeds, frames))


def redrawn(difference: np.ndarray, block: int, rng: np.random.Generator) -> Bounds:
    """Seeds drawn anew as frames are, neighbours or not."""
    seeds, frames = difference.shape
    drawn = rng.multinomial(frames, np.full(frames, 1 / frames), 500) / frames
    which = rng.integers(seeds, size=(500, seeds))
    low, high = np.quantile((drawn @ difference.T)[np.arange(500)[:, None], which].mean(1), (0.025, 0.975))
    return float(low), float(high)


def mixed(difference: np.ndarray, block: int, rng: np.random.Generator) -> Bounds:
    """The variances of seeds (without what frames explain) and frames, with Satterthwaite's degrees of freedom."""
    seeds, frames = difference.shape
    mean, blocks = difference.mean(), frames // block
    of_frames = difference.mean(0).reshape(blocks, block).mean(1).var(ddof=1) / blocks
    excess = 0.0
    if seeds > 1:
        rest = difference - difference.mean(1, keepdims=True) - difference.mean(0) + mean
        chance = (rest.reshape(seeds, blocks, block).sum(2) ** 2).sum() / (seeds - 1) / frames**2 / seeds
        excess = max(0.0, difference.mean(1).var(ddof=1) / seeds - chance)
    total = excess + of_frames
    freedom = total**2 / (excess**2 / max(1, seeds - 1) + of_frames**2 / (blocks - 1))
    half = student.ppf(0.975, freedom) * np.sqrt(total)
    return float(mean - half), float(mean + half)


def ours(difference: np.ndarray, block: int, rng: np.random.Generator) -> Bounds:
    """What the tables show."""
    interval = paired_interval(difference, block=block, seed=int(rng.integers(2**31)))
    return interval.low, interval.high


WAYS: dict[str, Callable[[np.ndarray, int, np.random.Generator], Bounds]] = {
    "seeds drawn anew": redrawn,
    "variances mixed": mixed,
    "ours": ours,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    print(f"| case | {' | '.join(WAYS)} |")
    print("|---|" + "---|" * len(WAYS))
    for case in CASES:
        rng, cells = np.random.default_rng(0), []
        comparisons = [made_up(case, rng) for _ in range(rounds)]
        for way in WAYS.values():
            bounds = np.array([way(difference, case.block, rng) for difference in comparisons])
            held = ((bounds[:, 0] <= 0) & (bounds[:, 1] >= 0)).mean()
            cells.append(f"{100 * held:.0f} ({np.diff(bounds).mean():.2f} mm)")
        print(f"| {case.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
