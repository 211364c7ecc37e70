"""A labelled depth frame, and what every set of them offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from dor3d.errors import FrameError, InputError
from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.skeleton import to_canonical

_WIDEST_MM: Final = 500.0  # no joint lies so far from the middle of its hand
_AROUND_MM: Final = 100.0  # so near its joints a hand shows some surface
_FAR_PX: Final = 1e6
_MOST_BAD: Final = 0.01
_FEW: Final = 10  # bad samples that are borne whatever their share


def check_bad(bad: int, total: int, last: str, what: str) -> None:
    """Raise InputError when more than one of a hundred samples, and more than a few, cannot be used.

    Args:
        bad: how many cannot.
        total: of how many.
        last: what was wrong with the last of them.
        what: they are, for the message.
    """
    if bad > max(_FEW, _MOST_BAD * total):
        raise InputError(
            f"Too many {what} cannot be used",
            got=f"{bad} of {total}, the last: {last}",
            expected="one of a hundred at most",
            fix="dor3d inspect tells more of a data set.",
        )


@dataclass(frozen=True)
class Sample:
    """One frame with its labels.

    Attributes:
        name: of the frame, unique in its set: the file's path below the set's root.
        depth_mm: [H, W], mm; 0: no reading.
        camera: whose frame it is.
        joints: names of the labelled joints.
        joints_mm: [A, 3] in the camera frame (mm); None where the labels are not public.
        subject: whose hand, as far as the set says.
        left: a left hand, whose crop is mirrored; benchmarks are taken as they come.
    """

    name: str
    depth_mm: Float[ndarray, "h w"]
    camera: Pinhole
    joints: tuple[str, ...]
    joints_mm: Float[ndarray, "a 3"] | None
    subject: str = ""
    left: bool = False

    @property
    def canonical_mm(self) -> Float[ndarray, "21 3"] | None:
        """The labels as the canonical 21 joints (mm); NaN for those that the set does not label."""
        return None if self.joints_mm is None else to_canonical(self.joints_mm, self.joints)

    @property
    def center_mm(self) -> Float[ndarray, "3"] | None:
        """The middle of the labelled joints' bounding box (mm)."""
        return None if self.joints_mm is None else center_of_joints(self.joints_mm)

    def pixels(self, points_mm: Float[ndarray, "n 3"]) -> tuple[Int[ndarray, "n 2"], Bool[ndarray, "n"]]:
        """The pixel (u, v) that each point falls on, and whether it is one of the image."""
        uv = np.round(np.clip(self.camera.project(points_mm), -_FAR_PX, _FAR_PX)).astype(int)
        height, width = self.depth_mm.shape
        return uv, ((uv >= 0) & (uv < (width, height))).all(1) & (points_mm[:, 2] > 0)

    def check(self, place: str) -> None:
        """Raise FrameError for a frame without a hand, InputError for labels that cannot be its own.

        Args:
            place: where the labels stand, for the message.
        """
        if not self.depth_mm.any():
            raise FrameError(f"{self.name} shows nothing", got="no reading in any pixel")
        joints = self.joints_mm
        if joints is None:
            return
        widest = float(np.abs(joints - np.median(joints, axis=0)).max())
        if widest > _WIDEST_MM:
            raise InputError(
                f"{place}: these joints are no hand's", got=f"one that lies {widest:.0f} mm off the others"
            )
        uv, inside = self.pixels(joints)
        if not inside.any():
            height, width = self.depth_mm.shape
            raise InputError(
                f"{place}: all joints lie outside the image",
                got=f"pixel ({uv[0, 0]}, {uv[0, 1]}) for the first",
                expected=f"inside {width}x{height}",
                fix="Do labels, camera and frames belong together?",
            )
        (left, top), (right, bottom) = uv[inside].min(0), uv[inside].max(0) + 1
        there = self.depth_mm[top:bottom, left:right]
        near, far = joints[:, 2].min() - _AROUND_MM, joints[:, 2].max() + _AROUND_MM
        if not ((there > 0) & (there > near) & (there < far)).any():
            raise FrameError(
                f"{self.name} shows no hand",
                got=f"no surface {near:.0f} to {far:.0f} mm away between its joints",
                expected=f"a hand where {place} says",
            )


class DepthSet(ABC):
    """A set of labelled frames, read one at a time: opening it reads no image.

    Labels can be had without images. A frame that cannot be used raises when it is asked for, and no sooner.
    """

    name: str
    split: str
    root: Path
    camera: Pinhole
    joints: tuple[str, ...]
    labels_in_pixels: bool = False  # and depth: they fit the frames whatever the focal length

    @abstractmethod
    def __len__(self) -> int:
        """How many frames there are."""

    @abstractmethod
    def frame_name(self, index: int) -> str:
        """A frame's name: its file's path below the root."""

    @abstractmethod
    def joints_mm(self, index: int) -> Float[ndarray, "a 3"] | None:
        """A frame's joints in the camera frame (mm), or None. Raises InputError for labels that cannot be read."""

    @abstractmethod
    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        """A frame's depth (mm; 0: no reading). Raises FrameError."""

    @abstractmethod
    def label_place(self, index: int) -> str:
        """The file and the place in it where a frame's labels stand."""

    def subject(self, index: int) -> str:
        """Whose hand a frame shows, as far as the set says."""
        del index
        return ""

    def left(self, index: int) -> bool:
        """Whether a frame shows a left hand."""
        del index
        return False

    def notes(self) -> list[str]:
        """What a user should know of this copy of the set: its version, frames that are left out."""
        return []

    def read(self, index: int) -> Sample:
        """A frame and its labels as they stand, whether or not they fit each other. Raises Dor3dError."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        depth = self.depth_mm(index)
        self.camera.check_frame(depth.shape)
        name, joints_mm = self.frame_name(index), self.joints_mm(index)
        return Sample(name, depth, self.camera, self.joints, joints_mm, self.subject(index), self.left(index))

    def __getitem__(self, index: int) -> Sample:
        """A frame with its labels; raises Dor3dError for one that cannot be read or that shows no hand there."""
        sample = self.read(index)
        sample.check(self.label_place(index))
        return sample


def check_root(root: Path, name: str, wanted: Sequence[str]) -> Path:
    """Raise InputError unless a folder holds what a set's download does.

    Args:
        root: the folder.
        name: the set's, for the message.
        wanted: files and folders that must be there.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"There is no folder {root}", expected=f"{name} as it was downloaded and unpacked")
    missing = [item for item in wanted if not (root / item).exists()]
    if missing:
        there = ", ".join(sorted(p.name for p in root.iterdir())[:6]) or "nothing"
        raise InputError(
            f"{root} does not hold {name}",
            got=f"a folder with {there}",
            expected=f"{', '.join(missing)} in it",
            fix="docs/datasets.md says how it is laid out.",
        )
    return root
