"""Whether labels, camera and depth fit each other: which small change of the camera brings more joints to the hand.

Joints lie a finger's half thickness behind the surface that is seen before them. Labels in mm are projected through
the camera, so that a wrong focal length or principal point, or an axis the wrong way round, throws them off the hand;
the change that brings most of them back says what is wrong. Labels in pixels test no focal length.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.sample import Sample
from dor3d.geometry import Pinhole

_DEPTH_MM: Final = 10.0  # of a joint behind its surface
_WIDTH_MM: Final = 40.0  # so far off, a joint counts for nothing
_STEPS: Final = (0.08, 0.04, 0.02, 0.01)  # of the focal length; of the principal point, this share of _PIXELS
_PIXELS: Final = 200.0
_LEAST_GAIN: Final = 1e-4
_FACTORS: Final = (0.4, 2.5)
_LEAST_JOINTS: Final = 60
_GAIN: Final = 0.08  # less is what luck brings
_FOCAL: Final = 0.02  # what is said to be wrong, at least
_SHIFT: Final = 4.0


@dataclass(frozen=True)
class Fit:
    """How well joints lie behind the surfaces at their pixels, with the camera as it is and with the best change.

    Attributes:
        score: 0 to 1; about 0.65 for labels of a skeleton in the fingers' middle.
        best: the same after the change.
        factor: of the focal length.
        shift: of the principal point (pixels).
        mirrored: factors of x and y, 1 or -1.
    """

    score: float
    best: float
    factor: float
    shift: tuple[float, float]
    mirrored: tuple[int, int]

    def problem(self, camera: Pinhole) -> str | None:
        """What seems to be wrong with the camera or the labels' axes; None where they fit."""
        if self.best - self.score < _GAIN:
            return None
        said = [f"{axis} the other way round" for axis, sign in zip("xy", self.mirrored, strict=True) if sign < 0]
        if abs(self.factor - 1) > _FOCAL:
            fx, fy = camera.fx * self.factor, camera.fy * self.factor
            said.append(f"a focal length of about {fx:.0f}, {fy:.0f} and not {camera.fx:.0f}, {camera.fy:.0f} pixels")
        if max(map(abs, self.shift)) > _SHIFT:
            cx, cy = camera.cx + self.shift[0], camera.cy + self.shift[1]
            said.append(f"a principal point near ({cx:.0f}, {cy:.0f}) and not ({camera.cx:.0f}, {camera.cy:.0f})")
        return f"labels and depth fit better with {' and '.join(said)}" if said else None


def fit_camera(samples: Sequence[Sample]) -> Fit | None:
    """Look for the change of the camera that fits labelled frames best; None where they are too few to tell.

    Args:
        samples: of one camera, with labels.
    """
    hands = [(s.depth_mm, s.camera.project(s.joints_mm), s.joints_mm[:, 2]) for s in samples if s.joints_mm is not None]
    if sum(len(z) for _, _, z in hands) < _LEAST_JOINTS:
        return None
    camera = samples[0].camera

    def score(signs: tuple[int, int], change: _Change) -> float:
        scale, middle = np.multiply(signs, change[0]), np.array([camera.cx, camera.cy])
        return float(np.mean([_behind(d, (uv - middle) * scale + middle + change[1:], z) for d, uv, z in hands]))

    own = score((1, 1), (1.0, 0.0, 0.0))
    found = {signs: _climb(partial(score, signs)) for signs in product((1, -1), (1, -1))}
    signs = max(found, key=lambda s: found[s][1])
    (factor, *shift), best = found[signs]
    return Fit(own, best, factor, (shift[0], shift[1]), signs)


_Change = tuple[float, float, float]  # factor of the focal length, shift of the principal point


def _climb(score: Callable[[_Change], float]) -> tuple[_Change, float]:
    """The change that no smaller step improves, and its score."""
    change, best = (1.0, 0.0, 0.0), score((1.0, 0.0, 0.0))
    for step in _STEPS:
        moves = np.kron(np.diag((step, step * _PIXELS, step * _PIXELS)), [[1], [-1]])
        moved = True
        while moved:
            moved = False
            for move in moves:
                factor, x, y = (change + move).tolist()
                if _FACTORS[0] < factor < _FACTORS[1] and (value := score((factor, x, y))) > best + _LEAST_GAIN:
                    change, best, moved = (factor, x, y), value, True
    return change, best


def _behind(depth: Float[ndarray, "h w"], uv: Float[ndarray, "a 2"], z: Float[ndarray, "a"]) -> float:
    """How well joints at these pixels lie behind the surface, on average; 0 for one where nothing is seen."""
    u, v = np.round(np.clip(uv, -1e6, 1e6)).astype(int).T
    height, width = depth.shape
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    seen = np.zeros(len(z))
    seen[inside] = depth[v[inside], u[inside]]
    near = np.clip(1 - np.abs(seen + _DEPTH_MM - z) / _WIDTH_MM, 0, 1)
    return float(np.where(seen > 0, near, 0).mean())
