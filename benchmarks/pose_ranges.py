"""The pose prior's joint angles beside those that a tracker recorded, and how much of the recording it covers.

    python benchmarks/pose_ranges.py ../shared/poses/animbank.pose [--version 2] [--out docs/images/pose_ranges.png]
    python benchmarks/pose_ranges.py ../shared/poses/tracked --coverage

The first prints standard deviation and the 2.5 and 97.5 percentiles of every angle for both; the picture shows the
ranges. Of a folder, the sequences are read that the prior's version 2 was widened for; those of the frozen test set
are never looked at.

--coverage: for both versions of the prior, from each recorded pose (as recorded, not kept within limits) to the nearest
of --count drawn ones, root mean square over all angles (degrees) and over the joints of the average hand (mm, in the
hand's own frame, recorded fingers that pass through each other loosened first); and the share of recorded angles that
lie outside the prior's 0.5 to 99.5 % range, and outside its limits.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import KDTree

from dor3d.hand.contact import loosen_nearly
from dor3d.hand.model import ANGLES, WRIST0, average_shape, hand_joints, sample_shape
from dor3d.hand.pose import HAND_VERSIONS, joint_limits, sample_pose
from dor3d.hand.tracked import PRIOR_SEQUENCES, load_tracked_poses, tracked_angles


def sample(count: int, version: int, seed: int = 0) -> np.ndarray:
    """Angles [count, ANGLE_COUNT] (degrees) of the prior."""
    rng = np.random.default_rng(seed)
    return np.degrees([sample_pose(rng, sample_shape(rng, version), version) for _ in range(count)])


def files(path: Path) -> list[Path]:
    return [path / f"{name}.pose" for name in PRIOR_SEQUENCES] if path.is_dir() else [path]


def joints_of(poses: np.ndarray, *, loosened: bool = False) -> np.ndarray:
    """Joints [N, 63] (mm) of the average hand in poses (degrees)."""
    shape, joints = average_shape(), []
    for pose in np.radians(poses):
        if loosened:
            loosen_nearly(shape, pose, joint_limits(2))
        joints.append(hand_joints(shape, pose).ravel())
    return np.array(joints)


def coverage(path: Path, count: int) -> None:
    """Print how well both versions cover the recordings, all together and each."""
    parts = {file.stem: np.degrees(tracked_angles(file, 2)) for file in files(path)}
    recorded = {"all": np.concatenate(list(parts.values())), **parts}
    joints = {name: joints_of(poses, loosened=True) for name, poses in recorded.items()}
    for version in HAND_VERSIONS:
        drawn, limits = sample(count, version), np.degrees(joint_limits(version))
        by_angle, by_joint = KDTree(drawn), KDTree(joints_of(drawn))
        low, high = np.percentile(drawn, [0.5, 99.5], axis=0)
        print(f"version {version}, {count:,} drawn; nearest: mean, 95 %")
        for name, poses in recorded.items():
            angle = by_angle.query(poses)[0] / np.sqrt(len(ANGLES))
            place = by_joint.query(joints[name])[0] / np.sqrt(joints[name].shape[1] / 3)
            beyond = (poses < low) | (poses > high)
            out = ((poses < limits[:, 0] - 0.5) | (poses > limits[:, 1] + 0.5)).mean()
            print(
                f"    {name:26s} {len(poses):5d} poses: {angle.mean():5.1f} {np.percentile(angle, 95):5.1f} degrees, "
                f"{place.mean():5.1f} {np.percentile(place, 95):5.1f} mm; outside 99 % {beyond.mean():6.2%}, "
                f"of the wrist's {beyond[:, WRIST0:].mean():6.2%}; outside the limits {out:6.2%}"
            )


def draw(tracked: np.ndarray, ours: np.ndarray, limits: np.ndarray, out: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 6))
    rows = np.arange(len(ANGLES))
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
    parser.add_argument("poses", type=Path, help="a recording's file, or the folder of sequences")
    parser.add_argument("--version", type=int, default=1, choices=HAND_VERSIONS, help="of the prior")
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--count", type=int, help="drawn poses: 4,000, or 20,000 for --coverage")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.coverage:
        coverage(args.poses, args.count or 20_000)
        return
    if args.version == 1:
        tracked = np.degrees(np.concatenate([load_tracked_poses(file) for file in files(args.poses)]))
    else:  # as recorded: limits hide what a prior lacks
        tracked = np.degrees(np.concatenate([tracked_angles(file, args.version) for file in files(args.poses)]))
    ours = sample(args.count or 4000, args.version)
    print(f"{'degrees':26s} recorded: sd [2.5 %, 97.5 %]      prior: sd [2.5 %, 97.5 %]")
    for i, name in enumerate(ANGLES):
        cells = []
        for poses in (tracked, ours):
            low, high = np.percentile(poses[:, i], [2.5, 97.5])
            cells.append(f"{poses[:, i].std():5.1f} [{low:6.1f}, {high:6.1f}]")
        print(f"{name:26s} {cells[0]:28s} {cells[1]}")
    if args.out:
        draw(tracked, ours, np.degrees(joint_limits(args.version)), args.out)


if __name__ == "__main__":
    main()
