"""A look at a data set before trusting it: counts, missing and broken files, do labels and camera fit the depth?"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.listing import Listing, list_files, spread
from dor3d.data.sample import DepthSet, Sample
from dor3d.errors import Dor3dError
from dor3d.evaluate.fit import Fit, fit_camera
from dor3d.files import write_whole
from dor3d.geometry.crop import center_of_joints
from dor3d.text import count_of
from dor3d.viz.overlay import close_up, png

_LOOKED_AT: Final = 200  # frames whose depth is read, evenly spread
_SHOWN: Final = 24
_COLUMNS: Final = 6
_TILE: Final = 240  # pixels
_CAPTION: Final = 32  # letters of the frame's name that a tile has room for
_ON_SURFACE_MM: Final = 40.0  # from a joint to the surface before it: half a palm and the labels' own error
_AROUND_PX: Final = 2
_LEAST_ON_SURFACE: Final = 0.5
_LEAST_IN_IMAGE: Final = 0.95
_LEAST_IN_CUBE: Final = 0.99
_IN_PIXELS: Final = ", but labels in pixels do not test the focal length"
_TOLD: Final = 10


@dataclass
class Inspection:
    """What was found.

    Attributes:
        frames: how many there are.
        expected: how many the benchmark's split has, in each version that goes round; empty if that is not known.
        files: which frames have a file at all.
        looked_at: how many were read.
        problems: what was wrong with those that could not be used.
        in_image: share of joints inside the image.
        on_surface: share of joints inside the image that lie at or shortly behind a surface.
        in_cube: share of frames whose joints all lie inside the benchmark's cube around the joints' middle.
        fit: whether another camera would fit the labels better.
        notes: what the reader says of this copy.
        warnings: what a user should look into.
    """

    frames: int
    expected: tuple[int, ...]
    files: Listing
    looked_at: int = 0
    problems: list[str] = field(default_factory=list)
    in_image: float | None = None
    on_surface: float | None = None
    in_cube: float | None = None
    fit: Fit | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The findings for people."""
        expected = f" (expected {_either(self.expected)})" if self.expected else ""
        lines = [f"frames: {self.frames:,}{expected}", *self.notes]
        lines.append(f"files: {self.frames - self.files.unusable:,} there, {self.files.unusable:,} missing")
        absent = [*(f"no file {name}" for name in self.files.missing), *self.files.unnamed]
        lines += _first(absent)
        lines.append(f"looked at {count_of(self.looked_at, 'frame')}, {len(self.problems):,} could not be used")
        lines += _first(self.problems)
        for share, what in (
            (self.in_image, "joints inside the image"),
            (self.on_surface, "of these at or shortly behind a surface"),
            (self.in_cube, "frames whose joints all lie inside the cube"),
        ):
            if share is not None:
                lines.append(f"{100 * share:.1f} % {what}")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]


def _either(counts: Sequence[int]) -> str:
    return " or ".join(f"{count:,}" for count in counts)


def _first(problems: Sequence[str]) -> list[str]:
    lines = [f"  {problem}" for problem in problems[:_TOLD]]
    return [*lines, f"  and {len(problems) - _TOLD:,} more"] if len(problems) > _TOLD else lines


def inspect(frames: DepthSet, out: Path, *, cube_mm: tuple[float, float] | None = None) -> Inspection:
    """Look at a set: which files are there, and in some of the frames whether labels, camera and depth fit.

    Writes contact_sheet.png, some frames with their labels.

    Args:
        frames: the set.
        out: folder for the sheet.
        cube_mm: in-plane side and depth to test; the benchmark's own by default.
    """
    protocol = BENCHMARKS.get(frames.name)
    expected = protocol.frames.get(frames.split, ()) if protocol else ()
    found = Inspection(len(frames), expected, list_files(frames), notes=frames.notes())
    samples = _samples(frames, found)
    labelled = [sample for sample in samples if sample.joints_mm is not None]
    if labelled:
        _check_labels(labelled, cube_mm or (protocol.cube_mm if protocol else (300.0, 300.0)), found)
        found.fit = fit_camera(labelled)
    if samples:
        write_whole(out / "contact_sheet.png", png(_sheet(spread(samples, _SHOWN))))
    _conclude(found, frames)
    return found


def _samples(frames: DepthSet, found: Inspection) -> list[Sample]:
    """Frames evenly spread, those whose labels do not fit among them."""
    samples = []
    for index in spread(range(len(frames)), _LOOKED_AT):
        found.looked_at += 1
        try:
            samples.append(frames.read(index))
            samples[-1].check(frames.label_place(index))
        except Dor3dError as error:
            found.problems.append(str(error))
    return samples


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
    pixels, inside = sample.pixels(joints_mm)
    near = np.zeros(len(joints_mm), bool)
    for joint in np.flatnonzero(inside):
        u, v = pixels[joint]
        rows = slice(max(0, v - _AROUND_PX), v + _AROUND_PX + 1)
        around = sample.depth_mm[rows, max(0, u - _AROUND_PX) : u + _AROUND_PX + 1]
        near[joint] = bool((np.abs(around[around > 0] - joints_mm[joint, 2]) < _ON_SURFACE_MM).any())
    return inside, near


def _conclude(found: Inspection, frames: DepthSet) -> None:
    say = found.warnings.append
    if found.expected and found.frames not in found.expected:
        say(f"{count_of(found.frames, 'frame')} where {_either(found.expected)} are known: a part, or another version")
    if found.files.missing and found.files.unlabelled:
        say(f"{count_of(found.files.unlabelled, 'file')} without a label besides: parts of two versions?")
    if found.in_image is not None and found.in_image < _LEAST_IN_IMAGE:
        say("many joints lie outside the image: do the camera's intrinsics belong to these frames?")
    if found.on_surface is not None and found.on_surface < _LEAST_ON_SURFACE:
        say("most joints lie on no surface: the labels belong to other frames, are mirrored, or in another unit")
    problem = found.fit.problem(frames.camera) if found.fit else None
    if problem:
        say(problem)
    elif found.fit:
        found.notes.append("labels, camera and depth fit each other" + _IN_PIXELS * frames.labels_in_pixels)
    if found.in_cube is not None and found.in_cube < _LEAST_IN_CUBE:
        say("the cube cuts joints off in some frames: an ordinal model cannot reach them")


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
    tile = cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return cv2.putText(tile, sample.name[-_CAPTION:], (4, _TILE - 6), cv2.FONT_HERSHEY_PLAIN, 0.8, (255, 255, 255), 1)
