"""A hand that holds something: the solid is laid to the palm or between fingertips, and fingers close until they touch.

The kinds follow Feix et al., "The GRASP taxonomy of human grasp types", THMS 2016, coarsely: power grasps of rods,
balls and boxes (whole fingers close around them), things that lie on the flat hand, and precision grips between the
thumb and one or two fingertips. Angles and frame as in `dor3d.hand.model`.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.hand.contact import loosen
from dor3d.hand.model import (
    HAND_SPHERES,
    SPHERE_COUNT,
    SPHERES,
    THUMB0,
    HandShape,
    finger_joints,
    hand_joints,
    hand_spheres,
    thumb_joints,
)
from dor3d.hand.pose import GESTURES
from dor3d.hand.solids import Solid, ball, box, cylinder, rod, solid_distance
from dor3d.skeleton import JOINT_COUNT

_TOUCH_MM: Final = 1.0  # how deep skin gives way where it touches
_DEEPEST_MM: Final = 4.0  # deeper in, the grasp is drawn anew
_TRIES: Final = 6
_STEPS: Final = 12  # of a finger on its way to contact
_HALVINGS: Final = 4  # of the last of them
_CLOSED: Final = GESTURES["fist"]
_OPPOSED: Final = np.radians([2.0, -30.0, 18.0, 4.0, 2.0])  # the thumb before the palm, straight
_THUMB_CLOSED: Final = np.radians([30.0, -10.0, 18.0, 40.0, 50.0])
_FLESH: Final = np.arange(JOINT_COUNT, SPHERE_COUNT)  # the palm's and the arm's spheres
_PALM: Final = np.array([i for i in range(JOINT_COUNT, HAND_SPHERES) if "web" not in SPHERES[i]])


class Held(NamedTuple):
    """A solid in a hand, in the hand frame (mm)."""

    pose: ndarray  # [ANGLE_COUNT] of the hand around it
    solid: Solid
    rotation: ndarray  # [3, 3] of the solid
    at: ndarray  # [3] its middle


def sample_grasp(rng: np.random.Generator, shape: HandShape, pose: ndarray) -> Held | None:
    """Something in this person's hand; None where the drawn thing fits no grasp.

    Args:
        pose: a natural pose, whose wrist stays, and whose fingers stay where they hold nothing.
    """
    for _ in range(_TRIES):
        kind = rng.random()
        if kind < 0.45:
            held = _power(rng, shape, pose)
        elif kind < 0.65:
            held = _laid(rng, shape, pose)
        else:
            held = _pinched(rng, shape, pose)
        if held is not None and depth_in(shape, held) <= _DEEPEST_MM:
            return held
    return None


def depth_in(shape: HandShape, held: Held) -> float:
    """How deep (mm) the hand is in what it holds."""
    spheres = hand_spheres(shape, held.pose, hand_joints(shape, held.pose))
    return max(_spheres_depth(spheres, _FLESH, *held[1:]), _bones_depth(spheres, *held[1:]))


# ---- kinds of grasp -------------------------------------------------------------------------------------------------
def _power(rng: np.random.Generator, shape: HandShape, pose: ndarray) -> Held | None:
    """A rod, ball, can or box in the closed hand."""
    kind = rng.random()
    if kind < 0.25:
        solid = ball(rng.uniform(14.0, 48.0))
    elif kind < 0.5:
        solid = rod(rng.uniform(6.0, 28.0), rng.uniform(80.0, 260.0))
    elif kind < 0.75:
        solid = cylinder(rng.uniform(12.0, 40.0), rng.uniform(50.0, 200.0))
    else:
        solid = box((*rng.uniform(18.0, 70.0, 2), rng.uniform(50.0, 180.0)))
    # its long axis (z) across the palm, from the little finger's side to the index finger's
    rotation = _turned(np.array([0.9, rng.normal(0.25, 0.25), rng.normal(0.0, 0.15)]), rng.uniform(0.0, 2 * np.pi))
    along = rng.normal(0.0, 0.2) * solid.half[2]
    at = rotation[:, 2] * along + np.array([0.0, shape.mcp[1, 1] * rng.uniform(0.62, 1.0), 0.0])
    pose = pose.copy()
    pose[:THUMB0] = 0.0
    pose[THUMB0 : THUMB0 + 5] = _OPPOSED + rng.normal(0.0, 0.08, 5)
    pose[1:THUMB0:4] = rng.normal(0.0, 0.08, 4)
    at[2] = _rest(hand_spheres(shape, pose, hand_joints(shape, pose)), _PALM, solid, rotation, at)
    return _closed(rng, shape, pose, solid, rotation, at)


def _laid(rng: np.random.Generator, shape: HandShape, pose: ndarray) -> Held | None:
    """A flat thing, a phone or a book, on the palm; or a larger one that the hand carries."""
    large = rng.random() < 0.3
    sides = rng.uniform((60.0, 90.0, 20.0), (140.0, 200.0, 80.0)) if large else rng.uniform((45, 80, 4), (90, 165, 14))
    solid = box(sides.tolist(), rounding=min(2.0, sides[2] / 2))
    turn, (a, b) = rng.normal(0.0, 0.6), rng.normal(0.0, 0.06, 2)
    rotation = _turned(np.array([a, b, 1.0]), turn)
    pose = pose.copy()
    pose[:THUMB0:4] = rng.uniform(-0.1, 0.2, 4)
    pose[1:THUMB0:4] = (np.arange(4) - 1.3) * rng.normal(0.06, 0.08)
    pose[2:THUMB0:4], pose[3:THUMB0:4] = rng.uniform(0.0, 0.3, 4), rng.uniform(0.0, 0.15, 4)
    pose[THUMB0 : THUMB0 + 5] = GESTURES["spread"][THUMB0 : THUMB0 + 5] + rng.normal(0.0, 0.1, 5)
    at = np.array([rng.normal(0.0, 12.0), shape.mcp[1, 1] * rng.uniform(0.7, 1.25), 0.0])
    spheres = hand_spheres(shape, pose, hand_joints(shape, pose))
    at[2] = _rest(spheres, np.arange(HAND_SPHERES), solid, rotation, at)
    return _closed(rng, shape, pose, solid, rotation, at)


def _pinched(rng: np.random.Generator, shape: HandShape, pose: ndarray) -> Held | None:
    """A card, a pen or a small thing between the thumb's and the index finger's tip, often the middle's too."""
    pose = pose.copy()
    name = ("pinch", "ok", "tripod")[int(rng.integers(3))]
    pose[:4] = GESTURES[name][:4] + rng.normal(0.0, 0.1, 4)
    if rng.random() < 0.6:
        pose[4:THUMB0] = GESTURES[name][4:THUMB0] + rng.normal(0.0, 0.1, THUMB0 - 4)
    pose[THUMB0 : THUMB0 + 5] = GESTURES[name][THUMB0 : THUMB0 + 5] + rng.normal(0.0, 0.08, 5)
    if not loosen(shape, pose):
        return None
    joints = hand_joints(shape, pose)
    gap = joints[8] - joints[4]
    apart = float(np.linalg.norm(gap))
    thick = apart - shape.radii[8] - shape.radii[4] + _TOUCH_MM
    if not 1.0 < thick < 60.0:
        return None
    middle = joints[4] + gap / apart * (shape.radii[4] + thick / 2)
    rotation = _turned(gap / apart, rng.uniform(0.0, 2 * np.pi))
    away = middle - shape.mcp.mean(0)
    if thick < 14.0 and rng.random() < 0.4:  # a pen: its axis (z) lies across the gap
        solid = rod(thick / 2, rng.uniform(90.0, 160.0))
        rotation = rotation[:, [1, 2, 0]]
        at = middle + rotation[:, 2] * rng.uniform(-0.5, 0.5) * 2 * solid.half[2]
        return Held(pose, solid, rotation, at)
    solid = box((*rng.uniform(12.0, 95.0, 2), thick), rounding=min(2.0, thick / 2))
    side = np.sign(away @ rotation[:, :2]) * rng.uniform(0.2, 0.9, 2)  # held near a corner or an edge, the rest away
    return Held(pose, solid, rotation, middle + rotation[:, :2] @ (side * solid.half[:2]))


def _turned(axis: ndarray, turn: float) -> ndarray:
    """A rotation [3, 3] whose third column is this axis, turned about it."""
    z = axis / np.linalg.norm(axis)
    x = np.cross(z, np.eye(3)[int(np.abs(z).argmin())])
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([c * x + s * y, c * y - s * x, z], 1)


# ---- contact --------------------------------------------------------------------------------------------------------
def _closed(
    rng: np.random.Generator, shape: HandShape, pose: ndarray, solid: Solid, rotation: ndarray, at: ndarray
) -> Held | None:
    """The fingers of an open pose closed until they touch the solid, some of them left open."""
    target = _CLOSED.copy()
    target[THUMB0 : THUMB0 + 5] = _THUMB_CLOSED
    target[1:THUMB0:4] = pose[1:THUMB0:4]
    closing = rng.random(5) < 0.92
    _close(shape, pose, target, closing, solid, rotation, at)
    return Held(pose, solid, rotation, at) if loosen(shape, pose) else None


@njit(cache=True)
def _in_solid(s: ndarray, solid: Solid, rotation: ndarray, at: ndarray) -> float:
    """Depth of a sphere (x, y, z, r) in the solid."""
    x, y, z = s[0] - at[0], s[1] - at[1], s[2] - at[2]
    a = rotation[0, 0] * x + rotation[1, 0] * y + rotation[2, 0] * z
    b = rotation[0, 1] * x + rotation[1, 1] * y + rotation[2, 1] * z
    c = rotation[0, 2] * x + rotation[1, 2] * y + rotation[2, 2] * z
    return s[3] - solid_distance(solid, a, b, c)


@njit(cache=True)
def _chain_depth(chain: ndarray, solid: Solid, rotation: ndarray, at: ndarray) -> float:
    """Depth of a finger, four spheres [4, 4] and what lies between them, beyond its first third."""
    depth, s = -1e9, np.empty(4)
    for bone in range(3):
        for step in range(5):
            way = step / 4.0
            if bone == 0 and way < 0.4:
                continue
            for k in range(4):
                s[k] = (1.0 - way) * chain[bone, k] + way * chain[bone + 1, k]
            depth = max(depth, _in_solid(s, solid, rotation, at))
    return depth


@njit(cache=True)
def _bones_depth(spheres: ndarray, solid: Solid, rotation: ndarray, at: ndarray) -> float:
    """Depth of all five fingers."""
    depth = -1e9
    for finger in range(5):
        depth = max(depth, _chain_depth(spheres[1 + 4 * finger : 5 + 4 * finger], solid, rotation, at))
    return depth


@njit(cache=True)
def _spheres_depth(spheres: ndarray, which: ndarray, solid: Solid, rotation: ndarray, at: ndarray) -> float:
    """Depth of some of the spheres."""
    depth = -1e9
    for i in which:
        depth = max(depth, _in_solid(spheres[i], solid, rotation, at))
    return depth


@njit(cache=True)
def _rest(spheres: ndarray, which: ndarray, solid: Solid, rotation: ndarray, at: ndarray) -> float:
    """How high over the palm (z, mm) the solid comes to rest on these spheres."""
    low, high, place = -30.0, 150.0, at.copy()
    for _ in range(14):
        place[2] = 0.5 * (low + high)
        if _spheres_depth(spheres, which, solid, rotation, place) > 0.0:
            low = place[2]
        else:
            high = place[2]
    return high


@njit(cache=True)
def _close(
    shape: HandShape, pose: ndarray, target: ndarray, closing: ndarray, solid: Solid, rotation: ndarray, at: ndarray
) -> None:
    """Bend, in place, each finger towards the target until it touches, then its last joints further until they do."""
    chain = np.empty((4, 4))
    for part in range(5):
        if not closing[part]:
            continue
        first, count = (4 * part, 4) if part < 4 else (THUMB0, 5)
        for skip in (0, 2):  # all joints, then those beyond the first bone
            _bend(shape, pose, target, part, first + skip, count - skip, chain, solid, rotation, at)


@njit(cache=True)
def _bend(
    shape: HandShape,
    pose: ndarray,
    target: ndarray,
    part: int,
    first: int,
    count: int,
    chain: ndarray,
    solid: Solid,
    rotation: ndarray,
    at: ndarray,
) -> None:
    """Move, in place, one finger's angles (`count` from `first` on) towards the target until the finger touches."""
    start, goal = pose[first : first + count].copy(), target[first : first + count]
    free, touching = 0.0, 0.0
    for step in range(_STEPS + 1):  # not by bisection alone: a finger may pass a thin thing and be free behind it
        touching = step / _STEPS
        pose[first : first + count] = (1.0 - touching) * start + touching * goal
        if _part_depth(shape, pose, part, chain, solid, rotation, at) > _TOUCH_MM:
            break
        free = touching
    for _ in range(_HALVINGS):
        way = 0.5 * (free + touching)
        pose[first : first + count] = (1.0 - way) * start + way * goal
        if _part_depth(shape, pose, part, chain, solid, rotation, at) > _TOUCH_MM:
            touching = way
        else:
            free = way
    pose[first : first + count] = (1.0 - free) * start + free * goal


@njit(cache=True)
def _part_depth(
    shape: HandShape, pose: ndarray, part: int, chain: ndarray, solid: Solid, rotation: ndarray, at: ndarray
) -> float:
    """Depth of one finger (0 to 3) or the thumb (4) in the solid."""
    if part < 4:
        finger_joints(shape, pose, part, chain[:, :3])
        first = 5 + 4 * part
    else:
        thumb_joints(shape, pose, chain[:, :3])
        first = 1
    chain[:, 3] = shape.radii[first : first + 4]
    return _chain_depth(chain, solid, rotation, at)
