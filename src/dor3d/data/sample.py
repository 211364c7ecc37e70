"""A labelled depth frame, and what every set of them offers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.geometry import Pinhole
from dor3d.skeleton import to_canonical


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


class DepthSet(ABC):
    """A set of labelled frames, read one at a time: opening it reads no image.

    Labels can be had without images. A frame that cannot be read raises FrameError when it is asked for, and no sooner.
    """

    name: str
    split: str
    camera: Pinhole
    joints: tuple[str, ...]

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

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        depth = self.depth_mm(index)
        self.camera.check_frame(depth.shape)
        name, joints_mm = self.frame_name(index), self.joints_mm(index)
        return Sample(name, depth, self.camera, self.joints, joints_mm, self.subject(index), self.left(index))


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
