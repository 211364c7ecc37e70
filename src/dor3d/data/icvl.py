"""ICVL: one time-of-flight camera, 16 joints, plain 16-bit depth in mm.

Tang et al., "Latent Regression Forest", 2014. Labels are (u, v, d) in text files, a line a frame; blank lines and
frames without an image occur.
"""

from pathlib import Path
from typing import Final, Literal

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

    def __init__(self, root: Path, split: Literal["train", "train-rotated", "test"] = "test") -> None:
        benchmark = BENCHMARKS["icvl"]
        self.name, self.camera, self.joints = benchmark.name, benchmark.camera, benchmark.joints
        self.split = split
        if split == "test":
            labels = [f"Testing/test_seq_{n}.txt" for n in _TEST_SEQUENCES]
            self.root = check_root(root, "ICVL", labels) / "Testing"
        elif split in ("train", "train-rotated"):
            labels = ["Training/labels.txt"]
            self.root = check_root(root, "ICVL", labels) / "Training"
        else:
            raise InputError("Unknown split of ICVL", got=split, expected="train, train-rotated or test")
        self._files = [LineFile(Path(root) / name) for name in labels]
        self._places = [(f, i) for f, file in enumerate(self._files) for i in range(len(file))]
        if split == "train":
            self._places = self._originals()

    def _originals(self) -> list[tuple[int, int]]:
        recorded = [place for place in self._places if self._image(place).startswith(_ORIGINAL)]
        return [place for n, place in enumerate(recorded) if n not in FAULTY]

    def __len__(self) -> int:
        return len(self._places)

    def frame_name(self, index: int) -> str:
        return f"{self.root.name}/Depth/{self._image(self._places[index])}"

    def joints_mm(self, index: int) -> Float[ndarray, "16 3"]:
        file, line = self._places[index]
        uvd = self._files[file].numbers(line, 3 * len(self.joints), skip=1).reshape(-1, 3)
        return self.camera.unproject(uvd[:, :2], uvd[:, 2])

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        return read_image(self.root.parent / self.frame_name(index)).astype(np.float32)

    def subject(self, index: int) -> str:
        if self.split != "test":
            return ""
        return f"sequence {_TEST_SEQUENCES[self._places[index][0]]}"

    def notes(self) -> list[str]:
        if self.split != "train":
            return []
        return [f"{len(FAULTY)} frames whose labels are known to be wrong are left out"]

    def _image(self, place: tuple[int, int]) -> str:
        file, line = place
        words = self._files[file].words(line)
        name = words[0] if words else ""
        if not name.endswith(".png") or ".." in Path(name).parts or Path(name).is_absolute():
            raise self._files[file].error(line, f"{name[:60]!r} first", "the path of a PNG file, then 48 numbers")
        return name
