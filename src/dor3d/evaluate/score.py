"""What a file of predictions scores against a file of truths."""

from collections.abc import Collection, Sequence
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
from dor3d.evaluate.truth import match
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
from dor3d.text import count_of

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
        total: how many frames the truth has.
        names: the frames' names, if the truth has any.
        systems: the coordinate systems in which truth and predictions were read.
        layout: how the predictions' file is laid out, for people.
        notes: what the file of predictions says of itself.
        skipped: what was wrong with frames that were left out.
        extra: how many predicted frames the truth has not.
    """

    benchmark: Benchmark
    joints: tuple[str, ...]
    predicted_mm: Float[ndarray, "n a 3"]
    true_mm: Float[ndarray, "n a 3"]
    rows: Sequence[int]
    total: int
    systems: tuple[str, str]
    notes: dict[str, Any]
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    extra: int = 0
    layout: str = ""

    @cached_property
    def errors_mm(self) -> Float[ndarray, "n a"]:
        """Each joint's distance from where it is."""
        return joint_errors(self.predicted_mm, self.true_mm)

    def only(self, joints: Sequence[str], rows: Collection[int]) -> "Score":
        """The score of some of the joints, and of the frames at some places in the truth."""
        columns = [self.joints.index(name) for name in joints]
        kept = [i for i, row in enumerate(self.rows) if row in rows]
        return replace(
            self,
            joints=tuple(joints),
            predicted_mm=self.predicted_mm[kept][:, columns],
            true_mm=self.true_mm[kept][:, columns],
            rows=[self.rows[i] for i in kept],
            names=tuple(self.names[i] for i in kept) if self.names else (),
        )

    @property
    def mean_mm(self) -> float:
        """Mean error over all joints and frames."""
        return float(self.errors_mm.mean())

    def frames_line(self) -> str | None:
        """What to know of the frames that were scored, if they are not the benchmark's, all and only."""
        parts = []
        if not self.benchmark.is_whole(self.total):
            parts.append(
                f"the truth has {count_of(self.total, 'frame')}, which is no whole split of {self.benchmark.title}"
            )
        if len(self.rows) < self.total:
            parts.append(f"{count_of(self.total - len(self.rows), 'frame')} of {self.total:,} left out")
        if self.extra:
            parts.append(f"{count_of(self.extra, 'predicted frame')} without a truth")
        return "; ".join(parts) or None

    def joints_line(self) -> str:
        """How many of the benchmark's joints were scored."""
        every, some = len(self.benchmark.joints), len(self.joints)
        return count_of(some, "joint") if some == every else f"{some} of {every} joints"

    def centers_line(self) -> str:
        """Where the crops were centred, their cube, and whether that used the truth; published files do not say."""
        if "centers" not in self.notes:
            return "not stated"
        cube = "/".join(f"{side:g}" for side in self.notes["cube_mm"]) if "cube_mm" in self.notes else "?"
        used = ", uses the truth at test time" if self.notes.get("uses_truth") else ""
        return f"{self.notes['centers']}, cube {cube} mm{used}"

    def per_joint_mm(self) -> dict[str, float]:
        """Mean error of each joint."""
        return dict(zip(self.joints, self.errors_mm.mean(axis=0).tolist(), strict=True))

    def parts_mm(self) -> dict[str, float]:
        """Mean error of each part of the test that the benchmark names: frames from one to another, or subjects."""
        frames = self.errors_mm.mean(axis=1)
        return {name: float(frames[mask].mean()) for name, mask in self._parts().items() if mask.any()}

    def _parts(self) -> dict[str, ndarray]:
        """Which frames each part has: by their names, or by their places in a truth that is the whole test."""
        parts = self.benchmark.parts
        if self.names:
            mine = np.array([self.benchmark.part_of(name) or "" for name in self.names])
            return {name: mine == name for name in parts}
        if self.total != max((high for _, high in parts.values()), default=0):
            return {}
        rows = np.asarray(self.rows)
        return {name: (rows >= low) & (rows < high) for name, (low, high) in parts.items()}

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
            "frames_in_truth": self.total,
            "frames_not_in_truth": self.extra,
            "skipped": list(self.skipped),
            "read_as": {"truth": self.systems[0], "predictions": self.systems[1], "layout": self.layout},
            **({"made_with": self.notes} if self.notes else {}),
        }


def score_file(benchmark: Benchmark, truth: PoseFile, path: Path, *, skip_bad: bool = False) -> Score:
    """Read a file of predictions and score it.

    Args:
        benchmark: whose joints and camera the files have.
        truth: `truth.read_truth` of the same benchmark.
        path: the predictions; with names for frames in any order, without in the truth's.
        skip_bad: leave out frames that cannot be read or are missing, and list them.

    Raises:
        InputError: for a file that cannot be read, frames too few or too many, or numbers that fit in no system.
    """
    pair = match(truth, read_poses(path, benchmark.joints, skip_bad=skip_bad), skip_bad=skip_bad)
    predicted = pair.predicted
    systems = agree(pair.truth, predicted, benchmark.camera)
    score = Score(
        benchmark=benchmark,
        joints=predicted.joints,
        predicted_mm=predicted.in_camera(systems[1], benchmark.camera),
        true_mm=pair.truth.in_camera(systems[0], benchmark.camera),
        rows=pair.truth.rows,
        total=truth.frames,
        systems=systems,
        notes={key: value for key, value in predicted.notes.items() if key not in ("system", "unit", "joints")},
        names=pair.truth.names,
        skipped=(*truth.skipped, *predicted.skipped, *pair.missing),
        extra=pair.extra,
        layout=predicted.layout,
    )
    if score.mean_mm > _ABSURD_MM and not predicted.notes:  # a file that names its system is as bad as it is
        raise InputError(
            f"{path} does not fit the truth in any coordinate system",
            got=f"a mean error of {score.mean_mm:.0f} mm at best",
            expected=f"poses of {benchmark.title} in mm or in pixels of its camera",
            fix="Is the order of frames and joints that of the benchmark?",
        )
    return score


def _percent(shares: ndarray) -> dict[str, float]:
    return {str(mm): round(100 * float(share), 3) for mm, share in zip(RATES_MM, shares, strict=True)}
