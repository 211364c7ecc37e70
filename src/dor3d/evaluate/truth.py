"""The true poses of a benchmark, and which of them each predicted pose belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy import ndarray

from dor3d.benchmarks import Benchmark
from dor3d.data.sample import DepthSet
from dor3d.data.sets import open_set
from dor3d.errors import InputError
from dor3d.evaluate.predictions import PoseFile, read_poses


def read_truth(benchmark: Benchmark, path: Path, *, split: str | None = None, skip_bad: bool = False) -> PoseFile:
    """The true poses of a benchmark.

    Args:
        benchmark: whose.
        path: a file of poses, or the folder that the set's download was unpacked into.
        split: of such a folder; by default the one that is scored.
        skip_bad: leave out labels that cannot be read, and list them.

    Raises InputError.
    """
    if not Path(path).is_dir():
        return read_poses(path, benchmark.joints, skip_bad=skip_bad)
    return _labels(open_set(benchmark.name, path, split), skip_bad=skip_bad)


def _labels(frames: DepthSet, *, skip_bad: bool) -> PoseFile:
    """A set's labels as a file of poses would have them."""
    rows, poses, names, skipped = [], [], [], []
    for row in range(len(frames)):
        try:
            pose, name = frames.joints_mm(row), frames.frame_name(row)
        except InputError as error:
            if not skip_bad:
                raise
            skipped.append(str(error))
            continue
        if pose is not None:
            rows.append(row)
            poses.append(pose)
            names.append(name)
    if not poses:
        raise InputError(f"The split {frames.split} of {frames.name} has no labels to score against")
    notes = {"system": "xyz"}
    return PoseFile(frames.root, frames.joints, np.array(poses), tuple(names), tuple(rows), notes, tuple(skipped))


@dataclass(frozen=True)
class Matched:
    """The poses of a truth and of predictions, a pair a frame and joint by joint.

    Attributes:
        truth: those of the frames and joints that are predicted.
        predicted: those of the frames that have a truth.
        missing: what is said of frames of the truth that are not predicted.
        extra: how many predicted frames have no truth.
    """

    truth: PoseFile
    predicted: PoseFile
    missing: tuple[str, ...] = ()
    extra: int = 0


def match(truth: PoseFile, predicted: PoseFile, *, skip_bad: bool) -> Matched:
    """Pair the frames, by name where both have names and else by order, and the joints.

    Args:
        truth: of all frames.
        predicted: of the same frames, or with names in any order.
        skip_bad: leave out frames that are missing by name, and list them.

    Raises InputError for a frame too few, too many or twice, and for joints that are not scored.
    """
    named = bool(truth.names and predicted.names)
    pairs, missing = _by_name(truth, predicted) if named else (_by_order(truth, predicted), [])
    if missing and not skip_bad:
        raise InputError(
            missing[0],
            got=f"{len(predicted.names)} frames, {len(missing)} of the truth's missing",
            expected=f"all {len(truth.names)}",
            fix="--skip-bad leaves them out.",
        )
    mine, its = (np.array(side) for side in zip(*pairs, strict=True))
    return Matched(
        _only(truth, mine, _common(truth, predicted)),
        _only(predicted, its, predicted.joints),
        tuple(missing),
        len(predicted.names) - len(pairs) if named else 0,
    )


_Pairs = list[tuple[int, int]]


def _by_order(truth: PoseFile, predicted: PoseFile) -> _Pairs:
    if predicted.frames != truth.frames:
        raise InputError(
            f"{predicted.path} has another number of frames than the truth",
            got=predicted.frames,
            expected=f"{truth.frames}, as {truth.path} has",
            fix="Of some sets two versions go round; frames with names could be matched by them.",
        )
    places = {row: i for i, row in enumerate(truth.rows)}
    pairs = [(places[row], i) for i, row in enumerate(predicted.rows) if row in places]
    if not pairs:
        raise InputError(f"{predicted.path} and {truth.path} have no frame in common that can be read")
    return pairs


def _by_name(truth: PoseFile, predicted: PoseFile) -> tuple[_Pairs, list[str]]:
    mine, its = _comparable(truth.names, predicted.names)
    places = _places(its, predicted.path)
    _places(mine, truth.path)
    missing = [f"{predicted.path} lacks frame {name}" for name in mine if name not in places]
    pairs = [(i, places[name]) for i, name in enumerate(mine) if name in places]
    if not pairs:
        raise InputError(f"{predicted.path} and {truth.path} have no frame in common", got=predicted.names[0])
    return pairs, missing


def _comparable(*lists: Sequence[str]) -> list[list[str]]:
    """Frames' names with as many folders before the file as all of them have."""
    paths = [[name.replace("\\", "/").strip("/").removeprefix("./") for name in names] for names in lists]
    depth = min(name.count("/") for names in paths for name in names) + 1
    return [["/".join(name.split("/")[-depth:]) for name in names] for names in paths]


def _places(names: Sequence[str], path: Path) -> dict[str, int]:
    places = {name: i for i, name in enumerate(names)}
    if len(places) < len(names):
        twice = next(name for i, name in enumerate(names) if places[name] != i)
        raise InputError(f"{path} has frame {twice} twice")
    return places


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
