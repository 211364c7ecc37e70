"""A folder of one's own: depth frames, camera.json and, if there are labels, labels.json, as `dor3d render` writes it.

labels.json holds `names` (of the joints), `joints` (file name -> [A, 3] mm in the camera frame, y down) and optionally
`handedness` (file name -> "left" or "right") and `subject` (file name -> text).
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.sample import DepthSet, check_root
from dor3d.errors import FrameError, InputError
from dor3d.frames import in_mm, natural_key, read_frames
from dor3d.geometry import Pinhole

_LABELS: Final = "labels.json"
_SUFFIXES: Final = (".png", ".tif", ".tiff", ".npy")


class Folder(DepthSet):
    """One's own frames, a file each, in the natural order of their names.

    Args:
        root: the folder.
        split: a sub-folder of it to read instead, or "all".

    Raises InputError or CameraError for another folder, a labels.json that cannot be read, or labels without a frame.
    """

    def __init__(self, root: Path, split: str = "all") -> None:
        self.name, self.split = "folder", split
        self.root = check_root(Path(root) if split == "all" else Path(root) / split, "frames", ["camera.json"])
        self.camera = Pinhole.load(self.root / "camera.json")
        files = (f.name for f in self.root.iterdir() if f.suffix.lower() in _SUFFIXES and not f.name.startswith("."))
        self._files = sorted(files, key=natural_key)
        if not self._files:
            raise InputError(f"There is no frame in {self.root}", expected=f"files that end in {', '.join(_SUFFIXES)}")
        labels = _read_labels(self.root / _LABELS) if (self.root / _LABELS).exists() else {}
        self.joints = tuple(labels.get("names", ()))
        self._joints: dict[str, ndarray] = labels.get("joints", {})
        self._handedness: dict[str, str] = labels.get("handedness", {})
        self._subjects: dict[str, str] = labels.get("subject", {})
        lost = sorted(self._joints.keys() - set(self._files))
        if lost:
            raise InputError(f"{self.root / _LABELS} has labels for a frame that is not there", got=lost[0])

    def __len__(self) -> int:
        return len(self._files)

    def frame_name(self, index: int) -> str:
        return self._files[index]

    def joints_mm(self, index: int) -> Float[ndarray, "a 3"] | None:
        return self._joints.get(self._files[index])

    def depth_mm(self, index: int) -> Float[ndarray, "h w"]:
        frames = list(read_frames([self.root / self._files[index]]))
        if len(frames) != 1:
            raise FrameError(f"{frames[0].name} holds {len(frames)} frames", expected="one a file")
        if isinstance(frames[0].depth, Exception):
            raise frames[0].depth
        return in_mm(frames[0].depth, self.camera)

    def subject(self, index: int) -> str:
        return self._subjects.get(self._files[index], "")

    def left(self, index: int) -> bool:
        return self._handedness.get(self._files[index]) == "left"

    def notes(self) -> list[str]:
        bare = len(self._files) - len(self._joints)
        return [f"{bare} of {len(self._files)} frames have no labels"] if bare else []


def _read_labels(path: Path) -> dict[str, Any]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in labels["names"])
        joints = {str(file): np.array(pose, np.float64) for file, pose in labels["joints"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read", got=error, expected="names, and joints by file name, as dor3d render writes them"
        ) from None
    for file, pose in joints.items():
        if pose.shape != (len(names), 3) or not np.isfinite(pose).all():
            raise InputError(
                f"{path}: the joints of {file} cannot be used", got=pose.shape, expected=f"{len(names)} x 3 numbers"
            )
    optional = {key: dict(labels[key]) for key in ("handedness", "subject") if isinstance(labels.get(key), dict)}
    return {"names": names, "joints": joints, **optional}
