"""A folder of one's own: depth frames, camera.json and, if there are labels, labels.json, as `dor3d render` writes it.

labels.json holds `names` (of the joints), `joints` (file name -> [A, 3] mm in the camera frame, y down) and optionally
`handedness` (file name -> "left" or "right") and `subject` (file name -> text).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.sample import DepthSet, check_root
from dor3d.errors import FrameError, InputError
from dor3d.frames import in_mm, natural_key, read_frames
from dor3d.geometry import Pinhole
from dor3d.text import count_of, parse_json

_LABELS: Final = "labels.json"
_SUFFIXES: Final = (".png", ".tif", ".tiff", ".npy")


class Folder(DepthSet):
    """One's own frames, a file each, in the natural order of their names.

    Args:
        root: the folder.
        split: a sub-folder of it to read instead, or "all".

    Raises InputError or CameraError for another folder, a labels.json that cannot be read, or labels of other frames.
    """

    def __init__(self, root: Path, split: str = "all") -> None:
        self.name, self.split = "folder", split
        self.root = check_root(Path(root) if split == "all" else Path(root) / split, "frames", ["camera.json"])
        self.camera = Pinhole.load(self.root / "camera.json")
        files = (f.name for f in self.root.iterdir() if f.suffix.lower() in _SUFFIXES and not f.name.startswith("."))
        self._files = sorted(files, key=natural_key)
        if not self._files:
            raise InputError(f"There is no frame in {self.root}", expected=f"files that end in {', '.join(_SUFFIXES)}")
        self._labels = Labels.read(self.root / _LABELS) if (self.root / _LABELS).exists() else Labels()
        self.joints = self._labels.names
        self._lost = sorted(self._labels.joints.keys() - set(self._files), key=natural_key)
        if self._lost and len(self._lost) == len(self._labels.joints):
            raise InputError(
                f"{self.root / _LABELS} labels none of the frames",
                got=self._lost[0],
                expected=f"names such as {self._files[0]}",
            )

    def __len__(self) -> int:
        return len(self._files)

    def frame_name(self, index: int) -> str:
        return self._files[index]

    def joints_mm(self, index: int) -> Float[ndarray, "a 3"] | None:
        file = self._files[index]
        if file not in self._labels.joints:
            return None
        try:
            pose = np.array(self._labels.joints[file], np.float64)
        except (ValueError, TypeError, OverflowError):
            pose = np.empty(0)
        if pose.shape != (len(self.joints), 3) or not np.isfinite(pose).all():
            raise InputError(f"{self.label_place(index)} cannot be used", expected=f"{len(self.joints)} x 3 numbers")
        return pose

    def label_place(self, index: int) -> str:
        return f"{self.root / _LABELS}: the joints of {self._files[index]}"

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        frames = list(read_frames([self.root / self._files[index]]))
        if len(frames) != 1:
            raise FrameError(f"{frames[0].name} holds {len(frames)} frames", expected="one a file")
        if isinstance(frames[0].depth, Exception):
            raise frames[0].depth
        return in_mm(frames[0].depth, self.camera)

    def subject(self, index: int) -> str:
        return self._labels.subject.get(self._files[index], "")

    def left(self, index: int) -> bool:
        return self._labels.handedness.get(self._files[index]) == "left"

    def notes(self) -> list[str]:
        bare = sum(file not in self._labels.joints for file in self._files)
        notes = [f"{bare} of {len(self._files)} frames have no labels"] if bare else []
        lost = f"{count_of(len(self._lost), 'label')} without a frame"
        return [*notes, f"{lost} (first: {self._lost[0]})"] if self._lost else notes


@dataclass(frozen=True)
class Labels:
    """What labels.json holds: see the module."""

    names: tuple[str, ...] = ()
    joints: Mapping[str, Any] = field(default_factory=dict)
    handedness: Mapping[str, str] = field(default_factory=dict)
    subject: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Labels":
        """Read the file; poses are looked at when they are asked for. Raises InputError."""
        try:
            content = parse_json(path.read_text(encoding="utf-8"))
            names = tuple(str(name) for name in content["names"])
            parts = {key: content.get(key, {}) for key in ("joints", "handedness", "subject")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(path, error) from None
        for key, part in parts.items():
            if not isinstance(part, dict):
                raise _unreadable(path, f"{key} that is no object by file name")
        for file, side in parts["handedness"].items():
            if side not in ("left", "right"):
                raise InputError(f"{path}: the handedness of {file}", got=repr(side), expected="left or right")
        return cls(names, parts["joints"], parts["handedness"], {f: str(who) for f, who in parts["subject"].items()})


def _unreadable(path: Path, got: object) -> InputError:
    return InputError(
        f"{path} cannot be read", got=got, expected="names, and joints by file name, as dor3d render writes them"
    )
