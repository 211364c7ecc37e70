"""NYU Hand Pose: three Kinect-like cameras, 36 labelled joints of which 14 are scored.

Tompson et al., "Real-Time Continuous Pose Recovery of Human Hands Using Convolutional Networks", 2014. Depth is packed
into the green and blue bytes of PNG files; `joint_data.mat` has the joints of every camera with y up.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.sample import DepthSet, check_root
from dor3d.errors import InputError, MissingExtraError
from dor3d.images import read_packed_png

SCORED: Final = (0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32)  # of the 36, in the benchmark's order
LABELLED: Final = 36


class Nyu(DepthSet):
    """A split of NYU.

    Args:
        root: the folder that has `train` and `test` in it, each with `joint_data.mat` and its images.
        split: "train" or "test".
        view: which camera, 1 to 3; 1 is the one that is scored.

    Raises:
        InputError: for another folder, an unknown split or a broken joint_data.mat.
        MissingExtraError: without SciPy, which reads .mat files.
    """

    def __init__(self, root: Path, split: str = "test", view: int = 1) -> None:
        benchmark = BENCHMARKS["nyu"]
        if split not in ("train", "test"):
            raise InputError("Unknown split of NYU", got=split, expected="train or test")
        self.name, self.camera, self.joints = benchmark.name, benchmark.camera, benchmark.joints
        self.root = check_root(root, "NYU", [f"{split}/joint_data.mat"])
        self.split, self.view = split, view
        self._file = self.root / split / "joint_data.mat"
        self._xyz = _labels(self._file, view)

    def __len__(self) -> int:
        return len(self._xyz)

    def frame_name(self, index: int) -> str:
        return f"{self.split}/depth_{self.view}_{index + 1:07d}.png"

    def joints_mm(self, index: int) -> Float[ndarray, "14 3"]:
        joints = self._xyz[index, SCORED, :]
        if not np.isfinite(joints).all():
            raise InputError(f"{self.label_place(index)}: joints that are not finite", expected="mm")
        return joints

    def all_joints_mm(self, index: int) -> Float[ndarray, "36 3"]:
        """All 36 labelled points (mm, camera frame), as they stand in the file."""
        return self._xyz[index]

    def label_place(self, index: int) -> str:
        return f"{self._file}, frame {index + 1}"

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        return read_packed_png(self.root / self.frame_name(index)).astype(np.float32)

    def subject(self, index: int) -> str:
        return "subject 1" if self.split == "train" else BENCHMARKS["nyu"].part_of(self.frame_name(index)) or ""


def _labels(path: Path, view: int) -> Float[ndarray, "n 36 3"]:
    """The joints of one camera, y turned down."""
    xyz = _load_mat(path)
    if xyz.ndim != 4 or xyz.shape[2:] != (LABELLED, 3) or not 1 <= view <= xyz.shape[0]:
        raise InputError(
            f"{path} has joints of another shape", got=xyz.shape, expected=f"[cameras >= {view}, frames, 36, 3]"
        )
    return np.array(xyz[view - 1], np.float64) * (1.0, -1.0, 1.0)


def _load_mat(path: Path) -> ndarray:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise MissingExtraError("NYU's joint_data.mat needs SciPy", "train") from None
    try:
        content: dict[str, Any] = loadmat(path, variable_names=["joint_xyz"])
        return np.asarray(content["joint_xyz"], np.float64)
    except KeyError:
        raise InputError(f"{path} has no joint_xyz", expected="NYU's joint_data.mat") from None
    except Exception as error:  # SciPy raises nearly anything for a damaged file
        raise InputError(
            f"{path} is broken", got=f"{type(error).__name__}: {error}", expected="a MATLAB 5 file"
        ) from None
