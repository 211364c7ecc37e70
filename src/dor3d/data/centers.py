"""Where a crop is centred before anything is known of the pose: files of centres, the frame itself, or the truth.

What a method may know of the hand's place decides its numbers as much as its network does, so every source has a name
that goes into the results, and those that use the truth say so.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.hands17 import Hands17
from dor3d.data.sample import DepthSet, Sample
from dor3d.errors import FrameError, InputError, NoHandError
from dor3d.geometry import Pinhole

_SOURCES: Final = "mass, box, truth, or a file of centres"
_LOOKED_AT: Final = 24  # frames that tell a file's coordinate system
_NEAR_MM: Final = 100.0  # a hand's surface lies within so much of its centre
_AROUND_PX: Final = 12
_ROUNDS: Final = 5
_ENOUGH: Final = 20_000  # readings, evenly spread, tell a centre within a millimetre or so
_NEAREST: Final = 200  # one reading of so many may be noise before the hand


@runtime_checkable
class Centers(Protocol):
    """A source of crop centres.

    Attributes:
        name: what results call it.
        uses_truth: whether it knows where the joints are, which a user's camera does not.
    """

    name: str
    uses_truth: bool

    def of(self, index: int, sample: Sample, cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
        """The centre of a frame's crop (mm, camera frame). Raises NoHandError where there is none."""
        ...


class TrueCenters:
    """The middle of the true joints' bounding box: an upper bound, and not what a user gets."""

    name, uses_truth = "ground truth", True

    def of(self, index: int, sample: Sample, cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
        del index, cube_mm
        if sample.center_mm is None:
            raise NoHandError(f"{sample.name} has no labels to centre on")
        return sample.center_mm


class MassCenters:
    """The centre of mass of the nearest surface, found again within the cube until it stays (DeepPrior++ does so)."""

    name, uses_truth = "centre of mass", False

    def of(self, index: int, sample: Sample, cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
        del index
        return _center_of_mass(sample, sample.depth_mm, cube_mm)


class BoxCenters:
    """The centre of mass inside the box that a set brings along for each frame (HANDS2017's test).

    Raises InputError for a set that has none.
    """

    name, uses_truth = "bounding box", False

    def __init__(self, frames: DepthSet) -> None:
        if not isinstance(frames, Hands17) or frames.split != "test":
            raise InputError(f"{frames.name} brings no boxes", got=f"its split {frames.split}")
        self.frames = frames

    def of(self, index: int, sample: Sample, cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
        left, top, width, height = self.frames.box(index)
        rows = slice(max(0, round(top)), max(0, round(top + height)) + 1)
        columns = slice(max(0, round(left)), max(0, round(left + width)) + 1)
        depth = np.zeros_like(sample.depth_mm)
        depth[rows, columns] = sample.depth_mm[rows, columns]
        return _center_of_mass(sample, depth, cube_mm)


def open_centers(source: str, frames: DepthSet) -> Centers:
    """Where the crops of a set are centred: "mass", "box", "truth", or a file of centres. Raises InputError."""
    named = {"mass": MassCenters, "truth": TrueCenters}
    if source in named:
        return named[source]()
    if source == "box":
        return BoxCenters(frames)
    if not Path(source).is_file():
        raise InputError("Unknown source of centres", got=source, expected=_SOURCES)
    return FileCenters(Path(source), frames)


def _center_of_mass(sample: Sample, depth: Float[ndarray, "h w"], cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
    v, u = np.nonzero(depth)
    if not len(v):
        raise NoHandError(f"{sample.name} shows nothing")
    step = 1 + len(v) // _ENOUGH
    v, u = v[::step], u[::step]
    z = depth[v, u].astype(np.float64)
    at = len(z) // _NEAREST
    inside = z <= np.partition(z, at)[at] + cube_mm[1] / 2
    points = sample.camera.unproject(np.stack([u, v], -1).astype(np.float64), z)
    center = points[inside].mean(axis=0)
    for _ in range(_ROUNDS):
        off = np.abs(points - center)
        again = (off[:, :2] <= cube_mm[0] / 2).all(1) & (off[:, 2] <= cube_mm[1] / 2)
        if not again.any() or (again == inside).all():
            break
        inside, center = again, points[again].mean(axis=0)
    return center


class FileCenters:
    """Centres from a file in the way of V2V-PoseNet: a line a frame, three numbers, or words where there is no hand.

    The same file name exists with (u, v, d) and with (x, y, z), y up: which it is is told by where the surface lies.

    Args:
        path: the file.
        frames: the set that it belongs to, for the number of its frames and a look at some of them.

    Raises InputError for another number of lines, or numbers that fit the frames in no system.
    """

    uses_truth = False

    def __init__(self, path: Path, frames: DepthSet) -> None:
        self.path = Path(path)
        rows = _read_rows(self.path)
        if len(rows) != len(frames):
            raise InputError(f"{path} has another number of lines than the set", got=len(rows), expected=len(frames))
        self.system, self._centers = _settle(self.path, np.array(rows), frames)
        self.name = f"{self.path.name} ({self.system})"

    def of(self, index: int, sample: Sample, cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
        del cube_mm
        center = self._centers[index]
        if not np.isfinite(center).all():
            raise NoHandError(f"{self.path}, line {index + 1} says that {sample.name} has no hand")
        return center


def _read_rows(path: Path) -> list[tuple[float, float, float]]:
    """Three numbers of each line; NaN for a line of words such as "invalid"."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read", got=getattr(error, "strerror", None) or error) from None
    while lines and not lines[-1].strip():
        lines.pop()
    rows = []
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split(r"[,\s]+", line.strip()) if word]
        if words and all(word.isalpha() for word in words):  # "invalid invalid invalid", "nan nan nan"
            rows.append((np.nan,) * 3)
            continue
        try:
            x, y, z = (float(word) for word in words)
        except ValueError:
            raise InputError(f"{path}, line {number}", got=line.strip()[:60], expected="x y z, or invalid") from None
        rows.append((x, y, z))
    return rows


_SYSTEMS: Final = ("uvd", "xyz, y up", "xyz, y down")


def _in_camera(rows: Float[ndarray, "n 3"], system: str, camera: Pinhole) -> Float[ndarray, "n 3"]:
    if system == "uvd":
        return camera.unproject(rows[:, :2], rows[:, 2])
    return rows * (1.0, -1.0 if system == "xyz, y up" else 1.0, 1.0)


def _settle(path: Path, rows: Float[ndarray, "n 3"], frames: DepthSet) -> tuple[str, Float[ndarray, "n 3"]]:
    """The system in which most centres lie at a surface of their frames, and the centres in the camera frame."""
    valid = np.flatnonzero(np.isfinite(rows).all(1))
    if not len(valid):
        raise InputError(f"{path} has no valid centre")
    looked_at = valid[:: max(1, len(valid) // _LOOKED_AT)][:_LOOKED_AT]
    seen = _readable(frames, looked_at)
    if not seen:
        raise InputError(f"None of the frames that {path} belongs to can be read")
    centers = {system: _in_camera(rows, system, frames.camera) for system in _SYSTEMS}
    hits = {
        system: sum(_at_surface(depth, frames.camera, mm[index]) for index, depth in seen.items())
        for system, mm in centers.items()
    }
    best = max(_SYSTEMS, key=hits.__getitem__)
    if hits[best] < len(seen) / 2:
        raise InputError(
            f"The centres of {path} do not lie on the hands of this set",
            got=f"{hits[best]} of {len(seen)} frames, read as {best}",
            expected="a file of this set and split",
        )
    return best, centers[best]


def _readable(frames: DepthSet, indices: Sequence[int] | ndarray) -> dict[int, ndarray]:
    seen: dict[int, ndarray] = {}
    for index in (int(i) for i in indices):
        try:
            seen[index] = frames.depth_mm(index)
        except FrameError:
            continue
    return seen


def _at_surface(depth: Float[ndarray, "h w"], camera: Pinhole, center: Float[ndarray, "3"]) -> bool:
    """Whether there is a surface near a point (mm), seen around its pixel."""
    if center[2] <= 0:
        return False
    u, v = (int(c) for c in np.round(np.clip(camera.project(center), -1e6, 1e6)))
    rows = slice(max(0, v - _AROUND_PX), max(0, v + _AROUND_PX + 1))
    around = depth[rows, max(0, u - _AROUND_PX) : max(0, u + _AROUND_PX + 1)]
    return bool((np.abs(around[around > 0] - center[2]) < _NEAR_MM).any())
