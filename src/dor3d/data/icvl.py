"""ICVL: one time-of-flight camera, 16 joints, plain 16-bit depth in mm.

Tang et al., "Latent Regression Forest", 2014. Labels are (u, v, d) in text files, a line a frame; blank lines and
frames without an image occur.
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

_ORIGINAL: Final = "2014"  # folders of recordings; those of their rotated copies are named by the angle
# places among the original training frames with labels of another hand or none (found by TriHorn-Net's authors)
FAULTY: Final = frozenset({6635, 8001, 9990, 10292, 12378, 19770, 19863, 19864, 20531})
_TEST_SEQUENCES: Final = (1, 2)


class Icvl(DepthSet):
    """A split of ICVL.

    Args:
        root: the folder that has `Training` and `Testing` in it.
        split: "train" (the 22,067 recorded frames without the faulty ones), "train-rotated" (with their rotated copies)
            or "test" (702 and 894 frames of two sequences).

    Raises InputError for another folder, or labels that cannot be read.
    """

    labels_in_pixels = True

    def __init__(self, root: Path, split: str = "test") -> None:
        benchmark = BENCHMARKS["icvl"]
        self.name, self.camera, self.joints = benchmark.name, benchmark.camera, benchmark.joints
        if split not in ("train", "train-rotated", "test"):
            raise InputError("Unknown split of ICVL", got=split, expected="train, train-rotated or test")
        self.split = split
        labels = [f"Testing/test_seq_{n}.txt" for n in _TEST_SEQUENCES] if split == "test" else ["Training/labels.txt"]
        self.root = check_root(root, "ICVL", labels)
        self._images = "Testing/Depth" if split == "test" else "Training/Depth"
        self._files = [LineFile(self.root / name) for name in labels]
        self._places = [(f, i) for f, file in enumerate(self._files) for i in range(len(file))]
        if split == "train":
            self._places = self._originals()

    def _originals(self) -> list[tuple[int, int]]:
        recorded = [place for place in self._places if self._image(place).startswith(_ORIGINAL)]
        return [place for n, place in enumerate(recorded) if n not in FAULTY]

    def __len__(self) -> int:
        return len(self._places)

    def frame_name(self, index: int) -> str:
        return f"{self._images}/{self._image(self._places[index])}"

    def joints_mm(self, index: int) -> Float[ndarray, "16 3"]:
        file, line = self._places[index]
        uvd = self._files[file].numbers(line, 3 * len(self.joints), skip=1).reshape(-1, 3)
        return self.camera.unproject(uvd[:, :2], uvd[:, 2])

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        return read_image(self.root / self.frame_name(index)).astype(np.float32)

    def label_place(self, index: int) -> str:
        file, line = self._places[index]
        return self._files[file].place(line)

    def subject(self, index: int) -> str:
        return BENCHMARKS["icvl"].part_of(self.frame_name(index)) or ""

    def notes(self) -> list[str]:
        if self.split != "train":
            return []
        return [f"{len(FAULTY)} frames whose labels are known to be wrong are left out"]

    def _image(self, place: tuple[int, int]) -> str:
        file, line = place
        name = self._files[file].first_word(line)
        if not name.endswith(".png") or ".." in Path(name).parts or Path(name).is_absolute():
            raise self._files[file].error(line, f"{name[:60]!r} first", "the path of a PNG file, then 48 numbers")
        return name
