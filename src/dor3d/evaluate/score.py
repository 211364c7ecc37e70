"""What a file of predictions scores against a file of truths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import Benchmark
from dor3d.errors import InputError
from dor3d.evaluate.predictions import PoseFile, agree, read_poses
from dor3d.metrics import (
    area_under,
    axis_errors,
    joint_errors,
    means_between,
    pck_curve,
    success_curve,
    view_angles,
)
from dor3d.skeleton import to_canonical

RATES_MM: Final = (10, 20, 30, 40, 50, 60, 80)
CURVE_MM: Final = np.arange(0.0, 81.0)
_AUC_MM: Final = np.arange(20.0, 51.0)
_VIEW_EDGES: Final = np.arange(-90.0, 91.0, 20.0)
_ABSURD_MM: Final = 200.0  # no reading of two files that belong together lies so far apart


@dataclass(frozen=True)
class Score:
    """A method's errors on a benchmark.

    Attributes:
        benchmark: which.
        joints: names of the joints that were scored: the benchmark's, or those of them that the predictions have.
        predicted_mm: [N, A, 3] in the camera frame.
        true_mm: [N, A, 3] in the camera frame.
        rows: the place of each frame in the truth; frames that were left out are missing.
        names: the frames' names, if the truth has any.
        systems: the coordinate systems in which truth and predictions were read.
        notes: what the file of predictions says of itself.
        skipped: what was wrong with frames that were left out.
    """

    benchmark: Benchmark
    joints: tuple[str, ...]
    predicted_mm: Float[ndarray, "n a 3"]
    true_mm: Float[ndarray, "n a 3"]
    rows: Sequence[int]
    systems: tuple[str, str]
    notes: dict[str, Any]
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @cached_property
    def errors_mm(self) -> Float[ndarray, "n a"]:
        """Each joint's distance from where it is."""
        return joint_errors(self.predicted_mm, self.true_mm)

    def only(self, joints: Sequence[str]) -> "Score":
        """The score of some of the joints."""
        columns = [self.joints.index(name) for name in joints]
        predicted, true = self.predicted_mm[:, columns], self.true_mm[:, columns]
        return replace(self, joints=tuple(joints), predicted_mm=predicted, true_mm=true)

    @property
    def mean_mm(self) -> float:
        """Mean error over all joints and frames."""
        return float(self.errors_mm.mean())

    def joints_line(self) -> str:
        """How many of the benchmark's joints were scored, and how the crops were centred if that is known."""
        every, some = len(self.benchmark.joints), len(self.joints)
        joints = f"{some} joints" if some == every else f"{some} of {every} joints"
        return f"{joints}, centres: {self.notes['centers']}" if "centers" in self.notes else joints

    def per_joint_mm(self) -> dict[str, float]:
        """Mean error of each joint."""
        return dict(zip(self.joints, self.errors_mm.mean(axis=0).tolist(), strict=True))

    def parts_mm(self) -> dict[str, float]:
        """Mean error of each part of the test that the benchmark names: frames from one to another, or subjects."""
        frames = self.errors_mm.mean(axis=1)
        return {name: float(frames[mask].mean()) for name, mask in self._parts().items() if mask.any()}

    def _parts(self) -> dict[str, ndarray]:
        rows = np.asarray(self.rows)
        parts = {name: (rows >= low) & (rows < high) for name, (low, high) in self.benchmark.parts.items()}
        if self.benchmark.by_subject and self.names:
            subjects = np.array([name.partition("/")[0] for name in self.names])
            parts |= {str(subject): subjects == subject for subject in np.unique(subjects)}
        return parts

    def by_view_mm(self) -> dict[str, dict[str, float]]:
        """Mean error by the palm's yaw and pitch, in steps of 20 degrees; empty for joints that do not tell them."""
        whole = to_canonical(self.true_mm, self.joints)
        angles = view_angles(whole)
        if not np.isfinite(angles).all():
            return {}
        views = {}
        for name, column in zip(("yaw", "pitch"), angles.T, strict=True):
            means = means_between(self.errors_mm, column, _VIEW_EDGES)
            labels = [f"{low:.0f} to {high:.0f}" for low, high in pairwise(_VIEW_EDGES)]
            views[name] = {label: round(float(mm), 4) for label, mm in zip(labels, means, strict=True) if mm == mm}
        return views

    def to_json(self) -> dict[str, Any]:
        """A JSON object: means in mm, rates in per cent."""
        rates = np.array(RATES_MM, np.float64)
        return {
            "mean_mm": round(self.mean_mm, 4),
            "median_mm": round(float(np.median(self.errors_mm)), 4),
            "per_joint_mm": {name: round(mm, 4) for name, mm in self.per_joint_mm().items()},
            "axes_mm": dict(zip("xyz", axis_errors(self.predicted_mm, self.true_mm).round(4).tolist(), strict=True)),
            "parts_mm": {name: round(mm, 4) for name, mm in self.parts_mm().items()},
            "by_view_mm": self.by_view_mm(),
            "success_max": _percent(success_curve(self.errors_mm, rates)),
            "success_mean": _percent(success_curve(self.errors_mm, rates, by="mean")),
            "pck": _percent(pck_curve(self.errors_mm, rates)),
            "auc_20_50": round(area_under(pck_curve(self.errors_mm, _AUC_MM), _AUC_MM), 4),
            "frames": len(self.errors_mm),
            "skipped": list(self.skipped),
            "read_as": {"truth": self.systems[0], "predictions": self.systems[1]},
            **({"made_with": self.notes} if self.notes else {}),
        }


def score_file(benchmark: Benchmark, truth: PoseFile, path: Path, *, skip_bad: bool = False) -> Score:
    """Read a file of predictions and score it.

    Args:
        benchmark: whose joints and camera the files have.
        truth: `read_truth` of the same benchmark.
        path: the predictions; with names for frames in any order, without in the truth's.
        skip_bad: leave out frames that cannot be read or are missing.

    Raises:
        InputError: for a file that cannot be read, frames too few or too many, or numbers that fit in no system.
    """
    predicted = read_poses(path, benchmark.joints, skip_bad=skip_bad)
    pairs = _matched(truth, predicted, skip_bad=skip_bad)
    mine, its = (np.array(side) for side in zip(*pairs, strict=True))
    truth, predicted = _only(truth, mine, _common(truth, predicted)), _only(predicted, its, predicted.joints)
    systems = agree(truth, predicted, benchmark.camera)
    true_mm = truth.in_camera(systems[0], benchmark.camera)
    predicted_mm = predicted.in_camera(systems[1], benchmark.camera)
    notes = {key: value for key, value in predicted.notes.items() if key not in ("system", "unit", "joints")}
    score = Score(
        benchmark=benchmark,
        joints=predicted.joints,
        predicted_mm=predicted_mm,
        true_mm=true_mm,
        rows=truth.rows,
        systems=systems,
        notes=notes,
        names=truth.names,
        skipped=predicted.skipped,
    )
    if score.mean_mm > _ABSURD_MM:
        raise InputError(
            f"{path} does not fit the truth in any coordinate system",
            got=f"a mean error of {score.mean_mm:.0f} mm at best",
            expected=f"poses of {benchmark.title} in mm or in pixels of its camera",
            fix="Is the order of frames and joints that of the benchmark?",
        )
    return score


def read_truth(benchmark: Benchmark, path: Path) -> PoseFile:
    """The true poses of a benchmark; every line must be whole. Raises InputError."""
    return read_poses(path, benchmark.joints)


def _percent(shares: ndarray) -> dict[str, float]:
    return {str(mm): round(100 * float(share), 3) for mm, share in zip(RATES_MM, shares, strict=True)}


def _common(truth: PoseFile, predicted: PoseFile) -> tuple[str, ...]:
    """The predicted joints, all of which the truth must have."""
    foreign = [name for name in predicted.joints if name not in truth.joints]
    if foreign:
        raise InputError(
            f"{predicted.path} has joints that are not scored", got=foreign[0], expected=", ".join(truth.joints)
        )
    return predicted.joints


def _only(poses: PoseFile, frames: ndarray, joints: Sequence[str]) -> PoseFile:
    """Some frames and joints of a file, in the given order."""
    columns = [poses.joints.index(name) for name in joints]
    rows = tuple(poses.rows[i] for i in frames)
    names = tuple(poses.names[i] for i in frames) if poses.names else ()
    return replace(poses, joints=tuple(joints), values=poses.values[frames][:, columns], names=names, rows=rows)


def _matched(truth: PoseFile, predicted: PoseFile, *, skip_bad: bool) -> list[tuple[int, int]]:
    """Which pose of the truth each predicted one belongs to: by name where both have names, else by order."""
    if truth.names and predicted.names:
        return _matched_by_name(truth, predicted, skip_bad=skip_bad)
    found = len(predicted.rows) + len(predicted.skipped)
    if found != len(truth.values):
        raise InputError(
            f"{predicted.path} has another number of frames than the truth",
            got=found,
            expected=f"{len(truth.values)}, as {truth.path} has",
        )
    return [(row, i) for i, row in enumerate(predicted.rows)]


def _matched_by_name(truth: PoseFile, predicted: PoseFile, *, skip_bad: bool) -> list[tuple[int, int]]:
    places = {name: i for i, name in enumerate(predicted.names)}
    if len(places) < len(predicted.names):
        twice = next(name for i, name in enumerate(predicted.names) if places[name] != i)
        raise InputError(f"{predicted.path} has frame {twice} twice")
    missing = [name for name in truth.names if name not in places]
    if missing and not skip_bad:
        raise InputError(
            f"{predicted.path} lacks frame {missing[0]}",
            got=f"{len(predicted.names)} frames, {len(missing)} of the truth's missing",
            expected=f"all {len(truth.names)}",
        )
    pairs = [(i, places[name]) for i, name in enumerate(truth.names) if name in places]
    if not pairs:
        raise InputError(f"{predicted.path} and {truth.path} have no frame in common", got=predicted.names[0])
    return pairs
