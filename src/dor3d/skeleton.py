"""The canonical hand: 21 joints, their bones and fingers; and the joints of each benchmark.

The order is that of MediaPipe's 21 hand landmarks: wrist, then thumb, index, middle, ring and little finger, each from
its root to its tip. A tip is the centre of the last sphere of the hand model, one radius inside the skin.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")

_THUMB_PARTS = ("cmc", "mcp", "ip", "tip")
_FINGER_PARTS = ("mcp", "pip", "dip", "tip")

JOINTS: Final[tuple[str, ...]] = (
    "wrist",
    *(f"thumb_{part}" for part in _THUMB_PARTS),
    *(f"{finger}_{part}" for finger in FINGERS[1:] for part in _FINGER_PARTS),
)
JOINT_COUNT: Final = len(JOINTS)
WRIST: Final = 0

FINGER_JOINTS: Final[dict[str, tuple[int, ...]]] = {
    finger: tuple(range(1 + 4 * i, 5 + 4 * i)) for i, finger in enumerate(FINGERS)
}
PALM_JOINTS: Final = (WRIST, *(joints[0] for joints in FINGER_JOINTS.values()))
TIPS: Final = tuple(joints[-1] for joints in FINGER_JOINTS.values())

PARENT: Final[tuple[int, ...]] = (-1, *(WRIST if i % 4 == 0 else i for i in range(JOINT_COUNT - 1)))
BONES: Final[tuple[tuple[int, int], ...]] = tuple((parent, child) for child, parent in enumerate(PARENT) if parent >= 0)

# ---- benchmarks ----------------------------------------------------------------------------------------------------
# A name that is canonical means the canonical joint. The others (root, mid, palm, sides of the wrist) lie elsewhere.
_PARTS_OF_MSRA = tuple(f"{finger}_{part}" for finger in FINGERS[1:] for part in _FINGER_PARTS)

BENCHMARK_JOINTS: Final[dict[str, tuple[str, ...]]] = {
    "nyu": (
        *(f"{finger}_{part}" for finger in ("little", "ring", "middle", "index") for part in ("tip", "pip")),
        *("thumb_tip", "thumb_ip", "thumb_root", "wrist_back", "wrist_front", "palm"),
    ),
    "icvl": ("palm", *(f"{finger}_{part}" for finger in FINGERS for part in ("root", "mid", "tip"))),
    "msra": ("wrist", *_PARTS_OF_MSRA, *(f"thumb_{part}" for part in _THUMB_PARTS)),
    "hands17": (
        *("wrist", "thumb_cmc", "index_mcp", "middle_mcp", "ring_mcp", "little_mcp"),
        *("thumb_mcp", "thumb_ip", "thumb_tip"),
        *(f"{finger}_{part}" for finger in FINGERS[1:] for part in _FINGER_PARTS[1:]),
    ),
}

_OUTWARDS = ("root", "cmc", "mcp", "mid", "pip", "ip", "dip", "tip")
_BASES = ("wrist", "palm")


def finger_of(joint: str) -> str | None:
    """The finger that a joint's name begins with, if any."""
    finger = joint.partition("_")[0]
    return finger if finger in FINGERS else None


def bones_between(joints: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices to draw as bones: each finger's joints outwards, from the wrist or the palm if there is one."""
    base = next((joints.index(name) for name in _BASES if name in joints), None)
    bones: list[tuple[int, int]] = []
    for finger in FINGERS:
        chain = [joints.index(f"{finger}_{part}") for part in _OUTWARDS if f"{finger}_{part}" in joints]
        chain = chain if base is None else [base, *chain]
        bones += pairwise(chain)
    return bones


def to_canonical(points: Float[ndarray, "*n a d"], joints: Sequence[str]) -> Float[ndarray, "*n 21 d"]:
    """Points in the canonical order; NaN for joints that this set has not.

    Args:
        points: one for each joint of the set, in any unit.
        joints: the set's names; those that are canonical are carried over.
    """
    out = np.full((*points.shape[:-2], JOINT_COUNT, points.shape[-1]), np.nan, points.dtype)
    for own, name in enumerate(joints):
        if name in JOINTS:
            out[..., JOINTS.index(name), :] = points[..., own, :]
    return out
