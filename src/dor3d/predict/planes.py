"""Walls, tables and floors in a frame, as a test of what its numbers mean.

A plane's depths obey 1 / z = a x + b y + c over rays (x, y, 1), whatever the camera. Distances along the rays, which
some cameras give, are depths times the rays' lengths: in them a wall is a bowl.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_TRIES: Final = 60
_NEAR_IT: Final = 0.015  # of a depth: what still belongs to a plane
_LEAST: Final = 0.1  # share of a frame that a plane must fill
_LEAST_BEND: Final = 0.02  # by which the rays over it must differ in length
_ROUNDS: Final = 4


class Plane(NamedTuple):
    """The largest plane of a frame.

    Attributes:
        share: of the readings that lie on it.
        off: their root mean square distance from it, as a share of the depth.
    """

    share: float
    off: float


class PlaneTest(NamedTuple):
    """The largest plane if readings are depths, and if they are distances along rays; None without one."""

    depths: Plane | None
    distances: Plane | None

    @property
    def are_distances(self) -> bool:
        """Whether readings look like distances along rays: their plane is flatter, or holds clearly more."""
        if self.distances is None:
            return False
        if self.depths is None:
            return True
        flatter = self.distances.off < 0.6 * self.depths.off and self.distances.share > 0.9 * self.depths.share
        return flatter or self.distances.share > 1.3 * self.depths.share


def plane_test(z: Float[ndarray, "h w"], rays: Float[ndarray, "h w 2"], seed: int = 0) -> PlaneTest | None:
    """Look for planes in a frame, both ways; None where none is wide enough to tell.

    Args:
        z: readings in mm, 0 for none.
        rays: (x / z, y / z) of each pixel.
        seed: of where it is looked for.
    """
    seen = z > 0
    least = max(int(_LEAST * seen.size), 50)
    if seen.sum() < least:
        return None
    xy, depth = rays[seen].astype(np.float64), z[seen].astype(np.float64)
    length = np.sqrt(1 + np.square(xy).sum(1))
    found = [_largest(xy, depth, least, seed), _largest(xy, depth / length, least, seed)]
    planes, bends = zip(*((None, 0.0) if f is None else (f[0], np.ptp(length[f[1]])) for f in found), strict=True)
    return PlaneTest(*planes) if max(bends) >= _LEAST_BEND else None


def _largest(xy: Float[ndarray, "n 2"], z: Float[ndarray, "n"], least: int, seed: int) -> tuple[Plane, ndarray] | None:
    """The plane through three readings that most others lie on, fitted to them, and which those are."""
    rng = np.random.default_rng(seed)
    terms, inverse = np.column_stack([xy, np.ones(len(xy))]), 1 / z
    best = np.zeros(len(z), bool)
    for rows in rng.integers(0, len(z), (_TRIES, 3)):
        corner = terms[rows]
        if abs(np.linalg.det(corner)) < 1e-4:
            continue
        on = np.abs(terms @ np.linalg.solve(corner, inverse[rows]) * z - 1) < _NEAR_IT
        best = on if on.sum() > best.sum() else best
    off = np.zeros(len(z))
    for _ in range(_ROUNDS):
        if best.sum() < least:
            return None
        fit, *_ = np.linalg.lstsq(terms[best] * z[best, None], np.ones(int(best.sum())), rcond=None)
        off = terms @ fit * z - 1  # a share of the depth
        best = np.abs(off) < _NEAR_IT
    return Plane(float(best.mean()), float(np.sqrt(np.square(off[best]).mean()))), best
