"""What is around a hand: a body, walls and tables, another hand, things before, beside and behind it.

Everything is placed by the hand's spheres as they stand in the camera frame (mm).
"""

from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.hand.model import EDGES, HAND_SPHERES, SPHERE_COUNT, WEDGES, posed_hand
from dor3d.hand.people import Person, sample_person
from dor3d.hand.pose import sample_hand
from dor3d.hand.solids import Mesh, Solid, ball, box, cylinder, mesh_of, reach_of, rod, solid_distance
from dor3d.hand.views import random_rotation

NEAREST_MM: Final = 110.0  # nothing is nearer to the camera than this
_MOST_HIDDEN: Final = 10  # joints that something before the hand may hide
_TRIES: Final = 6


def body_behind(rng: np.random.Generator, spheres: ndarray, *, face: bool = False) -> tuple[Person, int]:
    """Somebody behind the hand, and which sphere of theirs the forearm belongs to."""
    person = sample_person(rng, face=face)
    body, hand = person.mesh.spheres, spheres[:HAND_SPHERES]
    back = float((hand[:, 2] + hand[:, 3]).max()) + rng.uniform(5.0, 260.0)
    front = float((body[:, 2] - body[:, 3]).min())
    middle = hand[:, :3].mean(0)
    at = np.array([middle[0] + rng.normal(0.0, 160.0), middle[1] + rng.normal(0.0, 200.0), back - front])
    return person.moved(at), int(rng.integers(2))


def wall_behind(rng: np.random.Generator, spheres: ndarray) -> ndarray:
    """A plane behind the hand (and, as a table, behind the arm), touching it at the nearest."""
    tilt, around = np.abs(rng.normal(0.0, 0.5)), rng.uniform(0.0, 2 * np.pi)
    normal = np.array([np.sin(tilt) * np.cos(around), np.sin(tilt) * np.sin(around), np.cos(tilt)])
    count = SPHERE_COUNT if rng.random() < 0.7 else HAND_SPHERES
    farthest = float((spheres[:count, :3] @ normal + spheres[:count, 3]).max())
    return np.array([*normal, farthest + rng.uniform(0.0, 120.0)])


def other_hand(rng: np.random.Generator, spheres: ndarray, version: int = 1) -> Mesh | None:
    """A second hand that touches this one or is near it, usually of the other side; None where there is no room.

    Args:
        rng: the source of randomness.
        spheres: [N, 4] of the first hand, in the camera frame (mm).
        version: of the second hand.
    """
    shape, pose = sample_hand(rng, version)
    _, other = posed_hand(shape, pose, random_rotation(rng))
    if rng.random() < 0.8:
        other[:, 0] *= -1.0
    way = rng.standard_normal(3) * (1.0, 1.0, 0.6)
    way /= np.linalg.norm(way)
    gap, middle = rng.uniform(-3.0, 60.0), _middle(spheres[:HAND_SPHERES])
    low, high = 0.0, 500.0
    for _ in range(10):
        apart = (low + high) / 2
        if clearance(spheres[:HAND_SPHERES], other[:HAND_SPHERES], middle + apart * way) < gap:
            low = apart
        else:
            high = apart
    other[:, :3] += middle + high * way
    return in_front(Mesh(other, EDGES, WEDGES))


def thing_before(rng: np.random.Generator, spheres: ndarray, joints: ndarray) -> Mesh | None:
    """Something between the camera and the hand that hides some of its joints; None where it would hide too many."""
    front = float((spheres[:HAND_SPHERES, 2] - spheres[:HAND_SPHERES, 3]).min())
    for _ in range(_TRIES):
        solid, rotation = sample_solid(rng, 25.0, 220.0), random_rotation(rng)
        reach = reach_of(solid)
        z = front - reach - rng.uniform(5.0, 200.0)
        aim = joints[int(rng.integers(len(joints)))]
        at = aim * (z / aim[2]) + np.array([*rng.normal(0.0, 0.6 * reach, 2), 0.0])
        if not 1 <= _hides(solid, rotation, at, joints) <= _MOST_HIDDEN:
            continue
        if (mesh := in_front(mesh_of(solid, rotation, at))) is not None:
            return mesh
    return None


def thing_beside(rng: np.random.Generator, spheres: ndarray) -> Mesh | None:
    """Something near the hand or behind it that hides nothing of it."""
    solid, rotation = sample_solid(rng, 20.0, 200.0), random_rotation(rng)
    reach = reach_of(solid)
    hand = spheres[:HAND_SPHERES]
    turn, middle = rng.uniform(0.0, 2 * np.pi), _middle(hand)
    wide = float(np.linalg.norm(hand[:, :2] - middle[:2], axis=1).max()) + reach
    aside = wide * rng.uniform(0.9, 1.6)
    deep = rng.uniform(-20.0, 150.0)
    if rng.random() < 0.4:  # behind it
        aside, deep = wide * rng.uniform(0.0, 0.8), float(np.ptp(hand[:, 2])) / 2 + reach + rng.uniform(10.0, 150.0)
    at = middle + np.array([aside * np.cos(turn), aside * np.sin(turn), deep])
    return in_front(mesh_of(solid, rotation, at))


def sample_solid(rng: np.random.Generator, least: float, most: float) -> Solid:
    """A ball, rod, can, box or board whose longest side (mm) lies between these."""
    size = float(np.exp(rng.uniform(np.log(least), np.log(most))))
    kind = rng.random()
    if kind < 0.15:
        return ball(size / 2)
    if kind < 0.35:
        return rod(size * rng.uniform(0.03, 0.3), size)
    if kind < 0.55:
        return cylinder(size * rng.uniform(0.15, 0.5), size)
    thin = 0.03 if kind > 0.85 else 0.2
    return box((size, size * rng.uniform(0.3, 1.0), max(size * rng.uniform(thin, thin + 0.4), 4.0)))


@njit(cache=True)
def clearance(some: ndarray, others: ndarray, at: ndarray) -> float:
    """The smallest gap (mm) between spheres and others that are moved to `at`; negative where they overlap."""
    least = np.inf
    for i in range(some.shape[0]):
        for j in range(others.shape[0]):
            x, y = some[i, 0] - others[j, 0] - at[0], some[i, 1] - others[j, 1] - at[1]
            z = some[i, 2] - others[j, 2] - at[2]
            least = min(least, np.sqrt(x * x + y * y + z * z) - some[i, 3] - others[j, 3])
    return least


def _middle(spheres: ndarray) -> ndarray:
    return (spheres[:, :3].min(0) + spheres[:, :3].max(0)) / 2


def in_front(mesh: Mesh) -> Mesh | None:
    """The mesh, unless some of it is too near to the camera."""
    near = float((mesh.spheres[:, 2] - mesh.spheres[:, 3]).min())
    return mesh if near >= NEAREST_MM else None


def _hides(solid: Solid, rotation: ndarray, at: ndarray, joints: ndarray) -> int:
    """How many joints' rays meet the solid where they pass its middle."""
    points = (joints * (at[2] / joints[:, 2:]) - at) @ rotation
    return sum(solid_distance(solid, *(float(c) for c in point)) < 0.0 for point in points)
