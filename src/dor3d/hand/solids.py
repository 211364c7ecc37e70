"""Solids made of spheres, as the hand is: balls, rods, boxes and cylinders; how far a point is from one.

A solid is a box or cylinder, grown by a radius on all sides: a ball is one without extent, a rod one without width.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

_SIDES: Final = 10  # of the prism that a cylinder is drawn as


class Mesh(NamedTuple):
    """A sphere mesh; see `dor3d.hand.render`."""

    spheres: ndarray  # [N, 4] centres and radii (mm)
    edges: ndarray  # [E, 2]
    wedges: ndarray  # [T, 3]


class Solid(NamedTuple):
    """A rounded box or cylinder (axis z) around the origin of its own frame; lengths in mm.

    Attributes:
        half: [3] half extents before rounding; a cylinder's radius is the first.
        rounding: by which it grows on all sides; above 0.
        is_round: a cylinder.
    """

    half: ndarray
    rounding: float
    is_round: bool


def reach_of(solid: Solid) -> float:
    """How far (mm) its surface comes from its middle."""
    return float(np.linalg.norm(solid.half)) + solid.rounding


def ball(radius: float) -> Solid:
    """A sphere."""
    return Solid(np.zeros(3), radius, is_round=True)


def rod(radius: float, length: float) -> Solid:
    """A capsule along z, `length` from end to end."""
    return Solid(np.array([0.0, 0.0, max(length / 2 - radius, 0.0)]), radius, is_round=True)


def cylinder(radius: float, length: float, rounding: float = 2.0) -> Solid:
    """A cylinder along z with rounded rims."""
    inner = radius - rounding
    return Solid(np.array([inner, inner, length / 2 - rounding]), rounding, is_round=True)


def box(sides: Sequence[float], rounding: float = 2.0) -> Solid:
    """A box with rounded edges; `sides` from face to face."""
    return Solid(np.maximum(np.asarray(sides, float) / 2 - rounding, 0.0), rounding, is_round=False)


@njit(cache=True)
def solid_distance(solid: Solid, x: float, y: float, z: float) -> float:
    """Signed distance (mm) of a point, in the solid's frame, from its surface; negative inside."""
    half = solid.half
    if solid.is_round:
        a, b, c = np.sqrt(x * x + y * y) - half[0], -np.inf, abs(z) - half[2]
    else:
        a, b, c = abs(x) - half[0], abs(y) - half[1], abs(z) - half[2]
    outside = max(a, 0.0) ** 2 + max(b, 0.0) ** 2 + max(c, 0.0) ** 2
    return np.sqrt(outside) + min(max(a, b, c), 0.0) - solid.rounding


def mesh_of(solid: Solid, rotation: ndarray, at: ndarray) -> Mesh:
    """What it is drawn as, turned by a rotation [3, 3] and moved to `at` [3]; a cylinder as a prism."""
    half = solid.half
    if not half.any():
        points, edges, wedges = np.zeros((1, 3)), np.empty((0, 2), np.int64), np.empty((0, 3), np.int64)
    elif solid.is_round and half[0] == 0.0:
        points, edges, wedges = np.array([[0.0, 0.0, -half[2]], [0.0, 0.0, half[2]]]), np.array([[0, 1]]), _NO_WEDGES
    elif solid.is_round:
        turn = np.arange(_SIDES) * (2 * np.pi / _SIDES)
        ring = np.stack([np.cos(turn), np.sin(turn)], 1) * (half[0] * _OF_EQUAL_AREA)
        points = np.concatenate([np.column_stack([ring, np.full(_SIDES, z)]) for z in (-half[2], half[2])])
        edges, wedges = _PRISM
    else:
        points, (edges, wedges) = _CORNERS * half, _BOX
    spheres = np.column_stack([points @ rotation.T + at, np.full(len(points), solid.rounding)])
    return Mesh(spheres, edges, wedges)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of several, their spheres in this order."""
    first = np.cumsum([0, *(len(mesh.spheres) for mesh in meshes[:-1])])
    return Mesh(
        np.concatenate([mesh.spheres for mesh in meshes]),
        np.concatenate([mesh.edges + k for mesh, k in zip(meshes, first, strict=True)]),
        np.concatenate([mesh.wedges + k for mesh, k in zip(meshes, first, strict=True)]),
    )


def _sides_of(wedges: ndarray) -> tuple[ndarray, ndarray]:
    """All sides of wedges, once, and the wedges."""
    pairs = np.sort(np.concatenate([wedges[:, [0, 1]], wedges[:, [1, 2]], wedges[:, [0, 2]]]), 1)
    return np.unique(pairs, axis=0), wedges


def _prism(sides: int) -> ndarray:
    """Two wedges for each side, a fan for each end."""
    wedges = [(0, k, k + 1) for k in range(1, sides - 1)]
    wedges += [(sides, sides + k, sides + k + 1) for k in range(1, sides - 1)]
    for k in range(sides):
        after = (k + 1) % sides
        wedges += [(k, after, sides + k), (after, sides + k, sides + after)]
    return np.array(wedges, np.int64)


_NO_WEDGES: Final = np.empty((0, 3), np.int64)
_OF_EQUAL_AREA: Final = float(np.sqrt(2 * np.pi / (_SIDES * np.sin(2 * np.pi / _SIDES))))
_PRISM: Final = _sides_of(_prism(_SIDES))
_CORNERS: Final = np.array([[x, y, z] for z in (-1.0, 1.0) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
_BOX: Final = _sides_of(_prism(4))
