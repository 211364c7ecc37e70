"""Hand poses that a tracker recorded, as joint angles of this project's hand.

Reads the text format of Intel's hand_tracking_samples (Apache-2.0; `animbank.pose`, 2,336 poses): a line a pose, 17
bones (wrist, palm, then three each of thumb, index, middle, ring and little finger) as x y z in metres and a quaternion
x y z w. In a bone's own frame z points to the fingertip, x to the thumb's side and y out of the back of the hand. The
first bone is the forearm's side of the wrist.

There are 13 more sequences of that tracker, 4,481 poses. Six of them, `PRIOR_SEQUENCES`, showed what version 2 of the
pose prior has to cover; nothing but the frozen test set `tracked` looks at the other seven, `HELD_OUT`.
"""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation

from dor3d.errors import InputError
from dor3d.hand.model import ANGLE_COUNT, THUMB0, WRIST0, average_shape
from dor3d.hand.pose import joint_limits

PRIOR_SEQUENCES: Final = (
    "fist-0", "fist-2", "flat-fingers-apart-0", "open-close-0", "wrist-extension-0", "wrist-radial-deviation-0",
)  # fmt: skip
HELD_OUT: Final = (
    "fist-1", "fist-3", "flat-fingers-together-1", "flat-fingers-together-2", "open-close-1", "wrist-flexion-1",
    "wrist-ulnar-deviation-0",
)  # fmt: skip
_GOLDEN: Final = (5**0.5 - 1) / 2
_BONES: Final = 17
_PALM: Final = 1
# from the tracker's axes to ours: x stays (thumb's side), its z (distal) is our y, its y (back) our -z
_AXES: Final = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def load_tracked_poses(path: Path, version: int = 1) -> Float[ndarray, "n angles"]:
    """Read the joint angles [N, ANGLE_COUNT] (rad) of every pose of a file, kept within the limits.

    Args:
        path: the recording.
        version: of the hand whose limits they are.

    Raises:
        InputError: the file is missing, or not numbers in lines of 17 bones; an unknown version.
    """
    limits = joint_limits(version)
    return np.clip(tracked_angles(path, version), limits[:, 0], limits[:, 1])


def load_held_out_poses(folder: Path) -> Float[ndarray, "n angles"]:
    """Read the poses of `HELD_OUT` as version 2 of the hand takes them; see `load_tracked_poses`.

    Their order is fixed, and such that the first poses, however many, are spread over all sequences.
    """
    poses = np.concatenate([load_tracked_poses(folder / f"{name}.pose", 2) for name in HELD_OUT])
    return poses[np.argsort(np.arange(len(poses)) * _GOLDEN % 1.0)]


def tracked_angles(path: Path, version: int = 1) -> Float[ndarray, "n angles"]:
    """Read the joint angles [N, ANGLE_COUNT] (rad) of every pose of a file as they were recorded.

    Args:
        path: the recording.
        version: how the wrist is turned into angles: version 2 as the forearm is bent, deviation first; version 1 by
            its rotation vector, which is some degrees off where both angles are large.

    Raises:
        InputError: the file is missing, or not numbers in lines of 17 bones.
    """
    try:
        numbers = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Tracked poses {path} cannot be read", got=error, expected="lines of 17 x 7 numbers"
        ) from None
    if numbers.shape[1] != _BONES * 7:
        raise InputError(f"Tracked poses {path}", got=f"{numbers.shape[1]} numbers a line", expected=_BONES * 7)
    quaternions = numbers.reshape(len(numbers), _BONES, 7)[:, :, 3:]
    bones = [Rotation.from_quat(quaternions[:, bone]) for bone in range(_BONES)]
    pose = _angles(bones)
    if version > 1:
        pose[:, WRIST0 + 1], _, pose[:, WRIST0] = _relative(bones, 0, _PALM).as_euler("ZYX").T
    return pose


def _angles(bones: list[Rotation]) -> ndarray:
    shape = average_shape()
    pose = np.zeros((len(bones[0]), ANGLE_COUNT))
    for finger in range(4):
        proximal = 5 + 3 * finger
        abduction, _, flexion = _relative(bones, _PALM, proximal).as_euler("ZYX").T
        first = 4 * finger
        pose[:, first] = flexion
        pose[:, first + 1] = abduction - shape.fan[finger, 0]
        pose[:, first + 2] = _relative(bones, proximal, proximal + 1).as_rotvec()[:, 0]
        pose[:, first + 3] = _relative(bones, proximal + 1, proximal + 2).as_rotvec()[:, 0]
    pose[:, THUMB0:WRIST0] = _thumb(bones, shape.thumb_frame)
    wrist = _relative(bones, 0, _PALM).as_rotvec()
    pose[:, WRIST0], pose[:, WRIST0 + 1] = wrist[:, 0], wrist[:, 2]
    return pose


def _thumb(bones: list[Rotation], frame: ndarray) -> ndarray:
    """The five angles that give the metacarpal its direction, its pad its side, and the other two their flexion."""
    metacarpal = _relative(bones, _PALM, 2)
    direction = metacarpal.apply([0.0, 1.0, 0.0]) @ frame
    pad = metacarpal.apply([-1.0, 0.0, 0.0]) @ frame
    flexion = np.arcsin(np.clip(direction[:, 2], -1, 1))
    adduction = np.arctan2(-direction[:, 0], direction[:, 1])
    straight = Rotation.from_euler("ZX", np.stack([adduction, flexion], 1))
    local = straight.inv().apply(pad)
    twist = np.arctan2(local[:, 0], local[:, 2])
    bends = [_relative(bones, k, k + 1).as_rotvec()[:, 2] for k in (2, 3)]
    return np.stack([flexion, adduction, twist, *bends], 1)


def _relative(bones: list[Rotation], parent: int, child: int) -> Rotation:
    """The child's rotation in its parent's frame, both in our axes."""
    return Rotation.from_matrix(_AXES @ (bones[parent].inv() * bones[child]).as_matrix() @ _AXES.T)
