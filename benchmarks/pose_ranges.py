"""The pose prior's joint angles beside those that a tracker recorded.

    python benchmarks/pose_ranges.py ../shared/poses/animbank.pose [--out docs/images/pose_ranges.png]

Prints standard deviation and the 2.5 and 97.5 percentiles of every angle for both; the picture shows the ranges.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dor3d.hand.model import ANGLES, sample_shape
from dor3d.hand.pose import LIMITS, sample_pose
from dor3d.hand.tracked import load_tracked_poses


def sample(count: int, seed: int = 0) -> np.ndarray:
    """Angles [count, ANGLE_COUNT] (degrees) of the prior."""
    rng = np.random.default_rng(seed)
    return np.degrees([sample_pose(rng, sample_shape(rng)) for _ in range(count)])


def draw(tracked: np.ndarray, ours: np.ndarray, out: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 6))
    rows = np.arange(len(ANGLES))
    limits = np.degrees(LIMITS)
    axes.barh(rows, limits[:, 1] - limits[:, 0], left=limits[:, 0], height=0.8, color="#eeeeee", label="limits")
    for poses, shift, colour, label in ((ours, 0.2, "#1f77b4", "prior"), (tracked, -0.2, "#d62728", "recorded")):
        low, middle, high = np.percentile(poses, [2.5, 50, 97.5], axis=0)
        axes.barh(rows + shift, high - low, left=low, height=0.3, color=colour, label=f"{label}, 95 % of poses")
        axes.plot(middle, rows + shift, "|", color="black", markersize=7)
    axes.set_yticks(rows, [name.replace("_", " ") for name in ANGLES], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("degrees")
    axes.legend(loc="lower right", fontsize=8)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poses", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    tracked, ours = np.degrees(load_tracked_poses(args.poses)), sample(args.count)
    print(f"{'degrees':26s} recorded: sd [2.5 %, 97.5 %]      prior: sd [2.5 %, 97.5 %]")
    for i, name in enumerate(ANGLES):
        cells = []
        for poses in (tracked, ours):
            low, high = np.percentile(poses[:, i], [2.5, 97.5])
            cells.append(f"{poses[:, i].std():5.1f} [{low:6.1f}, {high:6.1f}]")
        print(f"{name:26s} {cells[0]:28s} {cells[1]}")
    if args.out:
        draw(tracked, ours, args.out)


if __name__ == "__main__":
    main()
