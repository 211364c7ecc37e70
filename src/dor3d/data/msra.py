"""MSRA hand gestures: 9 subjects, 17 gestures, 21 joints; depth comes as the patch around the hand.

Sun et al., "Cascaded Hand Pose Regression", 2015. A .bin file has six little-endian int32 (image width and height;
left, top, right, bottom of the patch, the last two exclusive) and the patch in float32 mm. Labels have y up and z
negative.
"""

from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.lines import LineFile
from dor3d.data.sample import DepthSet, check_root
from dor3d.errors import FrameError, InputError
from dor3d.images import read_bytes

SUBJECTS: Final = tuple(f"P{n}" for n in range(9))
GESTURES: Final = (*"123456789", "I", "IP", "L", "MP", "RP", "T", "TIP", "Y")
# frames without a hand, or of another pose than their label (numbers in the files' names)
FAULTY: Final[dict[tuple[str, str], frozenset[int]]] = {
    ("P2", "TIP"): frozenset({172, 173, 174}),
    ("P2", "MP"): frozenset({173, 174, 175, *range(345, 355), 356, 359, 360}),
    ("P3", "T"): frozenset({120, 489}),
    ("P8", "4"): frozenset({168}),
}
_WIDEST: Final = 4096  # pixels; MSRA's frames have 320
_HEADER: Final = np.dtype("<i4")
_HEADER_BYTES: Final = 6 * _HEADER.itemsize


class Msra(DepthSet):
    """MSRA, or a part of it.

    Args:
        root: the folder that has `P0` to `P8` in it.
        split: "all" (also called "test": every frame is tested once), "P3" (that subject alone: the test of one of
            nine trainings) or "without-P3" (the others, less the faulty frames: what that training learns from).

    Raises InputError for another folder, an unknown split, or a joint.txt that cannot be read.
    """

    def __init__(self, root: Path, split: str = "all") -> None:
        benchmark = BENCHMARKS["msra"]
        self.name, self.camera, self.joints = benchmark.name, benchmark.camera, benchmark.joints
        self.split = split = "all" if split == "test" else split
        self.root = check_root(root, "MSRA", [SUBJECTS[0]])
        self._folders = [(s, g) for s in _subjects(split) for g in GESTURES if (self.root / s / g).is_dir()]
        if not self._folders:
            raise InputError(f"{root} has no frames of MSRA's split {split}", expected="P0/1, P0/2, ...")
        self._labels = [LineFile(self.root / s / g / "joint.txt") for s, g in self._folders]
        self._places = [(f, n) for f in range(len(self._folders)) for n in range(self._count(f))]
        if split.startswith("without-"):
            self._places = [(f, n) for f, n in self._places if n not in FAULTY.get(self._folders[f], ())]

    def __len__(self) -> int:
        return len(self._places)

    def frame_name(self, index: int) -> str:
        folder, number = self._places[index]
        return f"{'/'.join(self._folders[folder])}/{number:06d}_depth.bin"

    def joints_mm(self, index: int) -> Float[ndarray, "21 3"]:
        folder, number = self._places[index]
        values = self._labels[folder].numbers(number + 1, 3 * len(self.joints))
        return values.reshape(-1, 3) * (1.0, -1.0, -1.0)

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        return read_patch(self.root / self.frame_name(index))

    def label_place(self, index: int) -> str:
        folder, number = self._places[index]
        return self._labels[folder].place(number + 1)

    def subject(self, index: int) -> str:
        return self._folders[self._places[index][0]][0]

    def gesture(self, index: int) -> str:
        """Which of the 17 gestures a frame belongs to."""
        return self._folders[self._places[index][0]][1]

    @cached_property
    def frames_in_labels(self) -> int:
        """How many frames the label files of this part announce."""
        return sum(self._count(folder) for folder in range(len(self._folders)))

    def notes(self) -> list[str]:
        left_out = self.frames_in_labels - len(self)
        notes = [f"{left_out} faulty frames are left out"] if left_out else []
        if self.split == "all":
            known = len(self) in BENCHMARKS["msra"].frames["all"]
            notes.append(f"this is {'the' if known else 'no known'} version of {len(self):,} frames")
        return notes

    def _count(self, folder: int) -> int:
        lines = self._labels[folder]
        if not len(lines):
            raise InputError(f"{lines.path} is empty", expected="the number of frames, then a line of 63 numbers each")
        count = lines.numbers(0, 1)[0]
        if count != len(lines) - 1:
            raise InputError(
                f"{lines.path}: the first line does not count the others", got=f"{count:g}", expected=len(lines) - 1
            )
        return int(count)


def read_patch(path: Path) -> Float[ndarray, "h w"]:
    """The full frame (mm; 0 outside the patch) of a .bin file.

    Raises FrameError for one that is missing, cut off, or whose patch does not fit its frame.
    """
    data = read_bytes(path)
    if len(data) < _HEADER_BYTES:
        raise FrameError(f"{path} is truncated", got=f"{len(data)} bytes", expected=f"at least {_HEADER_BYTES}")
    width, height, left, top, right, bottom = np.frombuffer(data, _HEADER, 6).tolist()
    if not (0 <= left < right <= width <= _WIDEST and 0 <= top < bottom <= height <= _WIDEST):
        raise FrameError(
            f"{path} has no patch inside its frame",
            got=f"columns {left} to {right} and rows {top} to {bottom} of {width}x{height}",
        )
    expected = _HEADER_BYTES + 4 * (bottom - top) * (right - left)
    if len(data) != expected:
        raise FrameError(f"{path} is truncated or of another format", got=f"{len(data)} bytes", expected=expected)
    patch = np.frombuffer(data, "<f4", offset=_HEADER_BYTES).reshape(bottom - top, right - left)
    if not np.isfinite(patch).all() or not patch.any():
        raise FrameError(f"{path} shows nothing", got="no depth in its patch, or values that are not finite")
    frame = np.zeros((height, width), np.float32)
    frame[top:bottom, left:right] = patch
    return frame


def _subjects(split: str) -> tuple[str, ...]:
    if split == "all":
        return SUBJECTS
    name = split.removeprefix("without-")
    if name not in SUBJECTS:
        raise InputError("Unknown split of MSRA", got=split, expected="all, P0 to P8, or without-P0 to without-P8")
    return (name,) if split == name else tuple(s for s in SUBJECTS if s != name)
