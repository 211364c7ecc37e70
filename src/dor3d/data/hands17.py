"""HANDS2017 challenge: 957,032 labelled frames for training, 295,510 without public labels for the test.

Yuan et al., "The 2017 Hands in the Million Challenge on 3D Hand Pose Estimation", 2017. 16-bit depth in mm; labels are
(x, y, z) in mm with y down, in the order of the file. Test frames have a box around the hand.
"""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.lines import LineFile
from dor3d.data.sample import DepthSet, check_root
from dor3d.errors import InputError
from dor3d.images import read_image

_LABELS: Final = "training/Training_Annotation.txt"
_BOXES: Final = "frame/BoundingBox.txt"
_HELD_OUT: Final = 20  # the last of so many parts


class Hands17(DepthSet):
    """A split of HANDS2017.

    Args:
        root: the folder that has `training` and `frame` in it.
        split: "all" (every labelled frame), "train" (its first 19 parts of 20), "held-out" (the last: what can be
            scored without the challenge's server) or "test" (frames without labels, with boxes).

    Raises InputError for another folder or an unknown split.
    """

    def __init__(self, root: Path, split: str = "held-out") -> None:
        benchmark = BENCHMARKS["hands17"]
        self.name, self.camera, self.joints = benchmark.name, benchmark.camera, benchmark.joints
        if split not in ("all", "train", "held-out", "test"):
            raise InputError("Unknown split of HANDS2017", got=split, expected="all, train, held-out or test")
        self.split = split
        text = _BOXES if split == "test" else _LABELS
        self.root = check_root(root, "HANDS2017", [text])
        self._lines = LineFile(self.root / text)
        cut = len(self._lines) - len(self._lines) // _HELD_OUT
        self._span = {"train": range(cut), "held-out": range(cut, len(self._lines))}.get(split, range(len(self._lines)))
        self._images = "frame/images" if split == "test" else "training/images"

    def __len__(self) -> int:
        return len(self._span)

    def frame_name(self, index: int) -> str:
        line = self._span[index]
        # the label's path ends with the file's name, on some copies after folders and in Windows' way
        name = self._lines.first_word(line).replace("\\", "/").rpartition("/")[2]
        if not name.endswith(".png"):
            raise self._lines.error(line, f"{name[:60]!r} first", "the name of a PNG file")
        return f"{self._images}/{name}"

    def joints_mm(self, index: int) -> Float[ndarray, "21 3"] | None:
        if self.split == "test":
            return None
        return self._lines.numbers(self._span[index], 3 * len(self.joints), skip=1).reshape(-1, 3)

    def label_place(self, index: int) -> str:
        return self._lines.place(self._span[index])

    def box(self, index: int) -> tuple[float, float, float, float]:
        """Left, top, width and height (pixels) of the box around a test frame's hand. Raises InputError."""
        if self.split != "test":
            raise InputError("Only the test frames of HANDS2017 come with boxes", got=self.split)
        left, top, width, height = self._lines.numbers(self._span[index], 4, skip=1).tolist()
        return left, top, width, height

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        return read_image(self.root / self.frame_name(index)).astype(np.float32)
