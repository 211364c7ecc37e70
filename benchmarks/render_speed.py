"""Labelled samples a second that one core renders, as training streams draw them: plain scenes, and those of real use.

    python benchmarks/render_speed.py [--count 2000]

The machine's own speed is printed beside it (a fixed numba loop, the same in every run), since shared machines vary.
"""

import argparse
import time

import numpy as np
from numba import njit

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.hand.stage import WIDE, SceneConfig

AIMS = {128: 800, 224: 300}


@njit
def _work(n: int) -> float:
    total = 0.0
    for i in range(n):
        total += np.sqrt(i * 1.0000001) * 0.5
    return total


def machine_speed() -> float:
    """Million turns of a square-root loop a second, best of five."""
    _work(10)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        _work(5_000_000)
        best = max(best, 5.0 / (time.perf_counter() - start))
    return best


def samples_per_s(
    size: int, count: int, seed: int = 0, rounds: int = 5, scene: SceneConfig | None = None
) -> tuple[float, float]:
    """Best and median over rounds of `count / rounds` samples each."""
    source = SyntheticHands(SyntheticConfig(scene=scene or SceneConfig(), size=size), seed)
    for i in range(100):  # compile all that scenes may hold
        _ = source[count + i]
    speeds = []
    for r in range(rounds):
        part = count // rounds
        start = time.perf_counter()
        for i in range(part):
            _ = source[r * part + i]
        speeds.append(part / (time.perf_counter() - start))
    return max(speeds), float(np.median(speeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    count = parser.parse_args().count
    print(f"machine: {machine_speed():.0f} million loop turns/s on one core")
    best, median = samples_per_s(128, count, scene=WIDE)
    print(f"128x128, all that real use has: {best:.0f} samples/s at best, {median:.0f} in the median of 5 rounds")
    for size, aim in AIMS.items():
        best, median = samples_per_s(size, count)
        print(f"{size}x{size}: {best:.0f} samples/s at best, {median:.0f} in the median of 5 rounds (aim: {aim})")


if __name__ == "__main__":
    main()
