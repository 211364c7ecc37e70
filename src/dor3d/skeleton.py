"""The canonical hand: 21 joints, their bones and fingers.

The order is that of MediaPipe's 21 hand landmarks: wrist, then thumb, index, middle, ring and little finger, each from
its root to its tip. A tip is the centre of the last sphere of the hand model, one radius inside the skin.
"""

from typing import Final

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
