"""Poses a hand can take: joint limits, gestures and everything between, fingers that touch but do not pass through.

Ranges of motion follow the American Academy of Orthopaedic Surgeons' "Joint Motion" tables; the coupling of a finger's
last two joints and of neighbouring fingers follows Lin, Wu and Huang, "Modeling the constraints of human hand motion",
2000. Angles as in `dor3d.hand.model`.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.hand.contact import loosen, loosen_nearly, touch_thumb
from dor3d.hand.model import ANGLE_COUNT, THUMB0, WRIST0, HandShape, sample_shape

HAND_VERSIONS: Final = (1, 2)  # of sizes and poses together; what was drawn from one stays as it is

_FINGER_LIMITS = [(-25.0, 98.0), (-20.0, 20.0), (-8.0, 108.0), (-8.0, 82.0)]
_THUMB_LIMITS = [(-28.0, 46.0), (-38.0, 30.0), (-30.0, 40.0), (-12.0, 62.0), (-18.0, 82.0)]
_WRIST_LIMITS = [(-65.0, 70.0), (-22.0, 32.0)]
LIMITS: Final = np.radians(np.array([*_FINGER_LIMITS * 4, *_THUMB_LIMITS, *_WRIST_LIMITS]))  # [ANGLE_COUNT, 2]
# version 2: what recordings of a tracker show beyond those, and the whole of the published ranges (wrist flexion 80,
# extension 70, radial deviation 20, ulnar 30; means, so that people go some degrees further)
_SPREAD_2 = [(-32.0, 22.0), (-22.0, 22.0), (-22.0, 22.0), (-22.0, 36.0)]
_FINGERS_2 = [limits for spread in _SPREAD_2 for limits in ((-30.0, 104.0), spread, (-10.0, 112.0), (-10.0, 88.0))]
_THUMB_2 = [(-28.0, 60.0), (-38.0, 42.0), (-32.0, 40.0), (-32.0, 62.0), (-20.0, 85.0)]
_WRIST_2 = [(-75.0, 85.0), (-32.0, 38.0)]
LIMITS_2: Final = np.radians(np.array([*_FINGERS_2, *_THUMB_2, *_WRIST_2]))  # [ANGLE_COUNT, 2]

# gestures in degrees: four fingers as (mcp flexion, abduction, pip, dip), then the thumb's five angles
_STRAIGHT = (0, 0, 3, 2)
_CURLED = (80, 0, 98, 62)
_THUMB_IN = (24, 2, 14, 38, 42)
_THUMB_OUT = (-18, -4, 0, 0, -4)
_THUMB_BESIDE = (-4, 22, 0, 4, 4)
_G: dict[str, tuple[tuple[int, ...], ...]] = {
    "flat": ((0, -1, 2, 1), (0, 0, 2, 1), (0, 1, 2, 1), (0, 2, 2, 1), _THUMB_BESIDE),
    "spread": ((-5, -14, 2, 1), (-5, -3, 2, 1), (-5, 8, 2, 1), (-5, 16, 2, 1), _THUMB_OUT),
    "fist": (_CURLED, _CURLED, _CURLED, _CURLED, _THUMB_IN),
    "relaxed": ((18, 0, 28, 14), (24, 0, 32, 18), (28, 1, 34, 20), (30, 3, 32, 18), (4, -4, 6, 12, 14)),
    "point": (_STRAIGHT, _CURLED, _CURLED, _CURLED, _THUMB_IN),
    "gun": (_STRAIGHT, _CURLED, _CURLED, _CURLED, _THUMB_OUT),
    "victory": ((-3, -12, 3, 2), (-3, 6, 3, 2), _CURLED, _CURLED, (28, 0, 16, 40, 40)),
    "three": ((-3, -10, 3, 2), (-3, 0, 3, 2), (0, 8, 6, 3), (76, 0, 92, 58), (30, 0, 20, 44, 30)),
    "four": ((-3, -8, 3, 2), (-3, -1, 3, 2), (-3, 5, 3, 2), (-3, 12, 3, 2), (34, 0, 24, 44, 36)),
    "thumb_up": (_CURLED, _CURLED, _CURLED, _CURLED, (-22, 14, -4, -6, -12)),
    "claw": ((-8, -6, 72, 48), (-8, 0, 74, 50), (-8, 4, 72, 48), (-6, 9, 66, 42), (0, -14, 8, 26, 42)),
    "hook": ((-4, -1, 96, 60), (-4, 0, 98, 62), (-4, 1, 96, 60), (-4, 2, 90, 54), (-2, 12, 4, 18, 18)),
    "tabletop": ((82, -1, 6, 3), (84, 0, 6, 3), (84, 1, 6, 3), (82, 2, 6, 3), (4, -10, 8, 6, 4)),
    "pinch": ((42, 0, 52, 26), (26, 0, 34, 18), (20, 1, 28, 14), (16, 3, 24, 12), (16, -18, 22, 18, 24)),
    "ok": ((48, 0, 58, 30), (4, 0, 10, 5), (-2, 4, 6, 3), (-4, 10, 4, 2), (18, -18, 22, 22, 28)),
    "tripod": ((52, 2, 46, 22), (54, 0, 48, 24), (60, 0, 62, 32), (62, 2, 62, 34), (18, -16, 24, 20, 26)),
    "cup": ((36, -4, 34, 18), (38, 0, 36, 20), (40, 2, 36, 20), (44, 6, 34, 18), (10, -18, 18, 12, 14)),
    "grasp": ((52, -4, 58, 30), (54, 0, 60, 32), (56, 2, 60, 32), (56, 6, 56, 28), (12, -24, 22, 14, 24)),
    "horns": ((-2, -6, 3, 2), _CURLED, _CURLED, (-2, 12, 3, 2), (28, 0, 16, 42, 40)),
    "shaka": (_CURLED, _CURLED, _CURLED, (-4, 14, 3, 2), _THUMB_OUT),
    "little": (_CURLED, _CURLED, _CURLED, (0, 4, 4, 2), _THUMB_IN),
    "love": ((-3, -6, 3, 2), _CURLED, _CURLED, (-3, 12, 3, 2), _THUMB_OUT),
}
GESTURES: Final[dict[str, ndarray]] = {
    name: np.radians(np.array([*(a for part in parts for a in part), 0.0, 0.0])) for name, parts in _G.items()
}
_TABLE = np.stack(list(GESTURES.values()))
_MAX_TRIES: Final = 8
_DEGREE: Final = np.pi / 180


def check_version(version: int) -> None:
    """Raise InputError where there is no such version of the hand."""
    if version not in HAND_VERSIONS:
        raise InputError("Unknown version of the hand", got=version, expected=" or ".join(map(str, HAND_VERSIONS)))


def joint_limits(version: int = 1) -> ndarray:
    """Return the least and the largest joint angles [ANGLE_COUNT, 2] (rad) of a version of the hand.

    Raises:
        InputError: an unknown version.
    """
    check_version(version)
    return LIMITS if version == 1 else LIMITS_2


def sample_pose(rng: np.random.Generator, shape: HandShape, version: int = 1) -> ndarray:
    """Draw one natural pose [ANGLE_COUNT] (rad): within the limits, its fingers at most 2 mm inside each other.

    Version 1: a quarter lies between two gestures, half bend or stretch each finger wholly, the rest curls each by
    itself, is anything within the limits, or touches a fingertip with the thumb. Version 2: a quarter opens and closes
    all fingers together, apart or side by side, at the others' cost; thumbs and wrists go further, and a thumb in the
    way lies at what it touches.

    Args:
        rng: the source of randomness.
        shape: whose hand it is.
        version: of the prior, 1 or 2.

    Raises:
        InputError: an unknown version.
    """
    check_version(version)
    return _sample_version(rng, shape, version)


@njit(cache=True)
def sample_hand(rng: np.random.Generator, version: int = 1) -> tuple[HandShape, ndarray]:
    """A person's hand and a natural pose of it, both of one version (1 or 2, which `check_version` checks)."""
    shape = sample_shape(rng, version)
    return shape, _sample_version(rng, shape, version)


def gesture_pose(name: str, shape: HandShape) -> ndarray:
    """A named gesture [ANGLE_COUNT] (rad), loosened where this hand's fingers would pass through each other."""
    pose = GESTURES[name].copy()
    loosen(shape, pose)
    return pose


@njit(cache=True)
def _sample_version(rng: np.random.Generator, shape: HandShape, version: int) -> ndarray:
    if version == 1:
        return _sample_pose(rng, shape, _TABLE, LIMITS)
    return _sample_pose_2(rng, shape, _TABLE, LIMITS_2)


@njit(cache=True)
def _sample_pose(rng: np.random.Generator, shape: HandShape, table: ndarray, limits: ndarray) -> ndarray:
    pose = np.zeros(ANGLE_COUNT)
    for _ in range(_MAX_TRIES):
        kind = rng.random()
        if kind < 0.24:
            _between_gestures(rng, table, pose)
        elif kind < 0.72:
            _free_curls(rng, pose, 0.03)
        elif kind < 0.76:
            _free_curls(rng, pose, 0.7)
        elif kind < 0.80:
            _anything(rng, limits, pose)
        else:
            _free_curls(rng, pose, 0.03)
            _clip(pose, limits)
            touch_thumb(rng, shape, pose, limits)
        _wrist(rng, pose)
        _clip(pose, limits)
        if loosen(shape, pose):
            return pose
    pose[:WRIST0] = table[1, :WRIST0]  # spread fingers: free in every hand
    loosen(shape, pose)
    return pose


@njit(cache=True)
def _clip(pose: ndarray, limits: ndarray) -> None:
    for i in range(ANGLE_COUNT):
        pose[i] = min(max(pose[i], limits[i, 0]), limits[i, 1])


@njit(cache=True)
def _between_gestures(rng: np.random.Generator, table: ndarray, pose: ndarray) -> None:
    """A point on the way from one gesture to another, fingers a little out of step, plus a person's own way."""
    a, b = rng.integers(0, table.shape[0]), rng.integers(0, table.shape[0])
    way = rng.random()
    way = way * way * (3.0 - 2.0 * way)
    way = way * way * (3.0 - 2.0 * way)  # more often near one of the two
    for part in range(5):
        w = min(max(way + rng.normal(0.0, 0.12), 0.0), 1.0)
        first, count = (4 * part, 4) if part < 4 else (THUMB0, 5)
        for k in range(count):
            i = first + k
            pose[i] = (1.0 - w) * table[a, i] + w * table[b, i] + rng.normal(0.0, 7.0 * _DEGREE)
        if part < 4:
            pose[first + 1] -= rng.normal(0.0, 4.0 * _DEGREE)


@njit(cache=True)
def _free_curls(rng: np.random.Generator, pose: ndarray, evenness: float) -> None:
    """Each finger curled by itself, near its neighbour as tendons make them, the last joint following.

    `evenness` 1: any curl is as likely as any other; near 0: a finger is straight or wholly bent.
    """
    mcp, pip = rng.beta(evenness, evenness), rng.beta(evenness, evenness)
    spread = rng.normal(0.0, 7.0)
    for finger in range(4):
        mcp = _neighbour(rng, mcp, evenness)
        pip = _neighbour(rng, pip, evenness)
        i = 4 * finger
        pose[i] = (-18.0 + 116.0 * mcp + rng.normal(0.0, 4.0)) * _DEGREE
        pose[i + 1] = ((finger - 1.3) * spread * (1.0 - 0.8 * mcp) + rng.normal(0.0, 5.0)) * _DEGREE
        pose[i + 2] = (-7.0 + 117.0 * pip) * _DEGREE
        pose[i + 3] = rng.uniform(0.4, 0.75) * pose[i + 2] + rng.normal(0.0, 7.0) * _DEGREE
    pose[THUMB0] = rng.uniform(-28.0, 46.0) * _DEGREE
    pose[THUMB0 + 1] = rng.uniform(-38.0, 30.0) * _DEGREE
    pose[THUMB0 + 2] = rng.normal(3.0, 14.0) * _DEGREE
    pose[THUMB0 + 3] = (-12.0 + 74.0 * rng.beta(0.6, 0.9)) * _DEGREE
    pose[THUMB0 + 4] = (-16.0 + 98.0 * rng.beta(0.6, 0.8)) * _DEGREE


@njit(cache=True)
def _neighbour(rng: np.random.Generator, curl: float, evenness: float) -> float:
    """The next finger's curl: usually near this one's, at times its own."""
    if rng.random() < 0.35:
        return rng.beta(evenness, evenness)
    return min(max(curl + rng.normal(0.0, 0.10), 0.0), 1.0)


@njit(cache=True)
def _anything(rng: np.random.Generator, limits: ndarray, pose: ndarray) -> None:
    """Uniform within the limits; only the last joint follows the one before it, and bent knuckles do not spread."""
    for i in range(WRIST0):
        pose[i] = rng.uniform(limits[i, 0], limits[i, 1])
    for finger in range(4):
        i = 4 * finger
        pose[i + 1] *= 1.0 - 0.8 * max(pose[i], 0.0) / (98.0 * _DEGREE)
        pose[i + 3] = rng.uniform(0.35, 0.85) * pose[i + 2] + rng.normal(0.0, 8.0) * _DEGREE


@njit(cache=True)
def _wrist(rng: np.random.Generator, pose: ndarray) -> None:
    pose[WRIST0] = rng.normal(0.0, 30.0) * _DEGREE
    pose[WRIST0 + 1] = rng.normal(4.0, 12.0) * _DEGREE


# ---- version 2: wider, with whole hands that open and close, and wrists that bend as far as they can ----------------
@njit(cache=True)
def _sample_pose_2(rng: np.random.Generator, shape: HandShape, table: ndarray, limits: ndarray) -> ndarray:
    pose = np.zeros(ANGLE_COUNT)
    for _ in range(_MAX_TRIES):
        kind = rng.random()
        if kind < 0.20:
            _between_gestures(rng, table, pose)
        elif kind < 0.45:
            _together(rng, pose)
            _thumb_anywhere(rng, pose)
        elif kind < 0.79:
            _free_curls(rng, pose, 0.03 if kind < 0.74 else 0.7)
            _fan_out(rng, pose)
            _thumb_anywhere(rng, pose)
        elif kind < 0.83:
            _anything(rng, limits, pose)
        else:
            _free_curls(rng, pose, 0.03)
            _clip(pose, limits)
            touch_thumb(rng, shape, pose, limits)
        _wrist_2(rng, limits, pose)
        _clip(pose, limits)
        if loosen_nearly(shape, pose, limits):
            return pose
    pose[:WRIST0] = table[1, :WRIST0]
    loosen(shape, pose)
    return pose


@njit(cache=True)
def _together(rng: np.random.Generator, pose: ndarray) -> None:
    """All fingers nearly alike: a straight hand, its fingers together or apart, a fist, or between them."""
    mcp = rng.beta(0.3, 0.4)
    pip = min(max(mcp + rng.normal(0.0, 0.12), 0.0), 1.0) if rng.random() < 0.7 else rng.beta(0.3, 0.4)
    ease = rng.uniform(2.0, 9.0)  # degrees by which fingers differ
    slope = rng.normal(0.0, 3.0)  # from the index finger to the little one
    for finger in range(4):
        i = 4 * finger
        pose[i] = (-6.0 + 104.0 * mcp + (finger - 1.5) * slope + rng.normal(0.0, ease)) * _DEGREE
        pose[i + 2] = (-6.0 + 108.0 * pip + rng.normal(0.0, ease)) * _DEGREE
        pose[i + 3] = rng.uniform(0.4, 0.75) * pose[i + 2] + rng.normal(2.0, 4.0) * _DEGREE
        pose[i + 1] = rng.normal(0.0, 3.0) * _DEGREE
    _fan_out(rng, pose)


@njit(cache=True)
def _fan_out(rng: np.random.Generator, pose: ndarray) -> None:
    """Spread the fingers further in half of all poses, as far as bent knuckles let them."""
    if rng.random() < 0.5:
        return
    spread = rng.uniform(-6.0, 34.0)
    for finger in range(4):
        i = 4 * finger
        share = (-0.85, -0.25, 0.2, 0.9)[finger]
        straight = 1.0 - 0.8 * min(max(pose[i] / (98.0 * _DEGREE), 0.0), 1.0)
        pose[i + 1] += share * spread * straight * _DEGREE


@njit(cache=True)
def _thumb_anywhere(rng: np.random.Generator, pose: ndarray) -> None:
    """The thumb anywhere in its range; its last two joints, as in recordings, often quite stretched or bent."""
    pose[THUMB0] = (-28.0 + 88.0 * rng.beta(1.2, 1.4)) * _DEGREE
    pose[THUMB0 + 1] = (-38.0 + 80.0 * rng.beta(1.1, 0.8)) * _DEGREE
    pose[THUMB0 + 2] = rng.normal(-4.0, 14.0) * _DEGREE
    pose[THUMB0 + 3] = (-32.0 + 94.0 * rng.beta(0.7, 1.0)) * _DEGREE
    pose[THUMB0 + 4] = (-18.0 + 100.0 * rng.beta(0.6, 0.8)) * _DEGREE


@njit(cache=True)
def _wrist_2(rng: np.random.Generator, limits: ndarray, pose: ndarray) -> None:
    """Near its rest, or, in half of all poses, anywhere; a wrist that is bent far deviates less."""
    if rng.random() < 0.5:
        _wrist(rng, pose)
        return
    flexion = rng.uniform(limits[WRIST0, 0], limits[WRIST0, 1])
    far = flexion / (limits[WRIST0, 1] if flexion > 0.0 else limits[WRIST0, 0])
    pose[WRIST0] = flexion
    pose[WRIST0 + 1] = rng.uniform(limits[WRIST0 + 1, 0], limits[WRIST0 + 1, 1]) * (1.0 - 0.5 * far * far)
