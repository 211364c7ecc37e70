"""The real frames of ../shared/real with what is known of their hands; read by the benchmarks beside it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from sr305_check import hand_surface

from dor3d.frames import in_mm, read_frames
from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.skeleton import FINGER_JOINTS, JOINTS

# NYU's 36 joints count from the little finger's tip; a tip is the last of them, as ours
NYU_JOINTS = {
    "little_tip": 0, "ring_tip": 6, "middle_tip": 12, "index_tip": 18, "thumb_tip": 24,
    "little_pip": 3, "ring_pip": 9, "middle_pip": 15, "index_pip": 21, "thumb_ip": 25,
}  # fmt: skip
_PARTS = ("mcp", "pip", "dip", "tip")  # as realsense's labels name the four joints of every finger, the thumb's too


class Frame(NamedTuple):
    """A real frame (mm, 0: no reading) of one right hand.

    Attributes:
        middle: of the joints' bounding box, or of what `sr305_check.py` takes for the hand's surface.
        joints: labelled joints by our names (mm, camera frame); none for sr305.
    """

    name: str
    depth: np.ndarray
    camera: Pinhole
    middle: np.ndarray
    joints: dict[str, np.ndarray]


def real_frames(shared: Path) -> Iterator[Frame]:
    """All frames: 19 of sr305, 8 of realsense, one of nyu."""
    yield from _sr305(shared / "real" / "sr305")
    yield from _realsense(shared / "real" / "realsense")
    yield _nyu(shared / "real" / "nyu")


def _sr305(folder: Path) -> Iterator[Frame]:
    camera = Pinhole.load(folder / "camera.json")
    for read in read_frames([folder]):
        depth = in_mm(read.depth, camera)
        v, u = np.nonzero(hand_surface(depth, camera))
        points = camera.unproject(np.stack([u, v], -1).astype(np.float64), depth[v, u].astype(np.float64))
        middle = np.percentile(points, (1, 99), axis=0).mean(0)
        yield Frame(f"sr305/{Path(read.name).stem}", depth, camera, middle, {})


def _realsense(folder: Path) -> Iterator[Frame]:
    camera = Pinhole.load(folder / "camera.json")
    for name, labels in json.loads((folder / "labels.json").read_text())["joints"].items():
        depth = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED).astype(np.float32)
        joints = {_ours(label): np.array(place, np.float64) for label, place in labels.items()}
        middle = center_of_joints(np.stack(list(joints.values())))
        yield Frame(f"realsense/{Path(name).stem}", depth, camera, middle, joints)


def _ours(label: str) -> str:
    finger, part = label.split("_")
    return JOINTS[FINGER_JOINTS[finger][_PARTS.index(part)]]


def _nyu(folder: Path) -> Frame:
    labels, camera = json.loads((folder / "labels.json").read_text()), Pinhole.preset("nyu")
    coded = cv2.imread(str(folder / labels["frame"]), cv2.IMREAD_UNCHANGED).astype(np.float32)  # blue, green, red
    truth = np.array(labels["joints_uvd_36"], np.float64)
    truth = camera.unproject(truth[:, :2], truth[:, 2])
    joints = {name: truth[i] for name, i in NYU_JOINTS.items()}
    return Frame("nyu/0", coded[..., 1] * 256 + coded[..., 0], camera, center_of_joints(truth), joints)
