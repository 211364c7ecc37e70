"""A look at a data set before trusting it: counts, broken files, and whether labels and camera fit the depth."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.sample import DepthSet, Sample
from dor3d.errors import Dor3dError
from dor3d.files import write_whole
from dor3d.geometry.crop import center_of_joints
from dor3d.viz.overlay import close_up, png

_LOOKED_AT: Final = 200  # frames whose depth is read, evenly spread
_SHOWN: Final = 24
_COLUMNS: Final = 6
_TILE: Final = 240  # pixels
_ON_SURFACE_MM: Final = 40.0  # from a joint to the surface before it: half a palm and the labels' own error
_AROUND_PX: Final = 2
_LEAST_ON_SURFACE: Final = 0.5


@dataclass
class Inspection:
    """What was found.

    Attributes:
        frames: how many there are.
        expected: how many the benchmark's split has, if that is known.
        looked_at: how many were read.
        problems: what was wrong with those that could not be.
        on_surface: share of joints inside the image that lie at or shortly behind a surface.
        in_image: share of joints inside the image.
        in_cube: share of frames whose joints all lie inside the benchmark's cube around the joints' middle.
        notes: what the reader says of this copy.
        warnings: what a user should look into.
    """

    frames: int
    expected: int | None
    looked_at: int = 0
    problems: list[str] = field(default_factory=list)
    on_surface: float | None = None
    in_image: float | None = None
    in_cube: float | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The findings for people."""
        expected = "" if self.expected is None else f" (expected {self.expected:,})"
        lines = [f"frames: {self.frames:,}{expected}", *self.notes]
        lines.append(f"looked at {self.looked_at:,} of them, {len(self.problems)} could not be used")
        lines += [f"  {problem}" for problem in self.problems[:10]]
        for share, what in (
            (self.in_image, "joints inside the image"),
            (self.on_surface, "of these at or shortly behind a surface"),
            (self.in_cube, "frames whose joints all lie inside the cube"),
        ):
            if share is not None:
                lines.append(f"{100 * share:.1f} % {what}")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]


def inspect(frames: DepthSet, out: Path, *, cube_mm: tuple[float, float] | None = None) -> Inspection:
    """Look at frames of a set and draw some with their labels; writes contact_sheet.png.

    Args:
        frames: the set.
        out: folder for the sheet.
        cube_mm: in-plane side and depth to test; the benchmark's own by default.
    """
    protocol = BENCHMARKS.get(frames.name)
    expected = protocol.frames.get(frames.split) if protocol else None
    found = Inspection(len(frames), expected, notes=frames.notes())
    samples = _samples(frames, found)
    labelled = [sample for sample in samples if sample.joints_mm is not None]
    if labelled:
        _check_labels(labelled, cube_mm or (protocol.cube_mm if protocol else (300.0, 300.0)), found)
    if samples:
        write_whole(out / "contact_sheet.png", png(_sheet(_spread(samples, _SHOWN))))
    _warn(found)
    return found


def _samples(frames: DepthSet, found: Inspection) -> list[Sample]:
    samples = []
    for index in _spread(range(len(frames)), _LOOKED_AT):
        found.looked_at += 1
        try:
            samples.append(frames[index])
        except Dor3dError as error:
            found.problems.append(str(error))
    return samples


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` items, evenly spread."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in places]


def _check_labels(samples: Sequence[Sample], cube_mm: tuple[float, float], found: Inspection) -> None:
    inside, on_surface, in_cube = [], [], []
    for sample in samples:
        joints = sample.joints_mm
        if joints is None:
            continue
        there, near = surface_under(sample, joints)
        inside.append(there)
        on_surface.append(near[there])
        off = np.abs(joints - center_of_joints(joints)).max(axis=0)
        in_cube.append(bool((off[:2] <= cube_mm[0] / 2).all() and off[2] <= cube_mm[1] / 2))
    found.in_image = float(np.concatenate(inside).mean())
    hits = np.concatenate(on_surface)
    found.on_surface = float(hits.mean()) if len(hits) else 0.0
    found.in_cube = float(np.mean(in_cube))


def surface_under(sample: Sample, joints_mm: Float[ndarray, "a 3"]) -> tuple[ndarray, ndarray]:
    """Which joints lie inside the image, and which at or shortly behind the surface that is seen around them."""
    depth, camera = sample.depth_mm, sample.camera
    u, v = np.round(np.clip(camera.project(joints_mm), -1e6, 1e6)).astype(int).T
    height, width = depth.shape
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (joints_mm[:, 2] > 0)
    near = np.zeros(len(joints_mm), bool)
    for joint in np.flatnonzero(inside):
        rows = slice(max(0, v[joint] - _AROUND_PX), v[joint] + _AROUND_PX + 1)
        around = depth[rows, max(0, u[joint] - _AROUND_PX) : u[joint] + _AROUND_PX + 1]
        near[joint] = bool((np.abs(around[around > 0] - joints_mm[joint, 2]) < _ON_SURFACE_MM).any())
    return inside, near


def _warn(found: Inspection) -> None:
    if found.expected is not None and found.frames != found.expected:
        found.warnings.append(
            f"{found.frames:,} frames and not {found.expected:,}: part of the set, or another version"
        )
    if found.in_image is not None and found.in_image < 0.95:
        found.warnings.append("many joints lie outside the image: do the camera's intrinsics belong to these frames?")
    if found.on_surface is not None and found.on_surface < _LEAST_ON_SURFACE:
        found.warnings.append(
            "most joints lie on no surface: the labels belong to other frames, are mirrored, or in another unit"
        )
    if found.in_cube is not None and found.in_cube < 0.99:
        found.warnings.append("the cube cuts joints off in some frames: an ordinal model cannot reach them")


def _sheet(samples: Sequence[Sample]) -> ndarray:
    """Frames with their labels, six in a row."""
    tiles = [_tile(sample) for sample in samples]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    return np.vstack(rows)


def _tile(sample: Sample) -> ndarray:
    joints = sample.joints_mm
    if joints is None:
        around = sample.depth_mm[sample.depth_mm > 0]
        grey = np.interp(sample.depth_mm, [float(around.min()), float(around.max())], [235, 40]).astype(np.uint8)
        picture = np.repeat(grey[..., None], 3, 2)
    else:
        middle = float(joints[:, 2].mean())
        picture = close_up(sample.depth_mm, sample.camera.project(joints), sample.joints, around_mm=middle)
    return cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
