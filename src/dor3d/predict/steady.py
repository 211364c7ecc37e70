"""Poses of a stream made steady: noise off slow joints, bones of one length. NumPy alone, no frame looked at.

Sources: Casiez, Roussel and Vogel, "1 euro filter: a simple speed-based low-pass filter for noisy input in interactive
systems", CHI 2012; the lengths are kept as constraints are in Müller et al., "Position based dynamics", 2007. Packages
of the filter take one number at a time; here a joint is one signal, so that its speed has no axes.
"""

import math
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.skeleton import BONES

_ROUNDS: Final = 4  # over the constraints
_MEMORY: Final = 150  # poses that a bone's length is a mean of, about


class SpeedFilter:
    """The 1 euro filter on joints: a low pass whose cutoff grows with each joint's speed.

    Args:
        still_hz: cutoff of a joint that rests: lower, steadier.
        per_mm_s: what each mm/s of speed adds to it (Hz): higher, quicker.
        rest_mm_s: speed that noise alone feigns.
        speed_hz: cutoff of the speed itself.

    Raises InputError for a cutoff that is not positive.
    """

    def __init__(
        self, still_hz: float = 1.2, per_mm_s: float = 0.04, rest_mm_s: float = 30.0, speed_hz: float = 2.0
    ) -> None:
        if min(still_hz, speed_hz) <= 0 or min(per_mm_s, rest_mm_s) < 0:
            raise InputError("A filter's cutoffs must be positive", got=(still_hz, per_mm_s, rest_mm_s, speed_hz))
        self.still_hz, self.per_mm_s, self.rest_mm_s, self.speed_hz = still_hz, per_mm_s, rest_mm_s, speed_hz
        self._last: ndarray | None = None
        self._raw = self._speed = np.zeros(())

    def reset(self) -> None:
        """Forget everything: the next pose comes out as it is."""
        self._last = None

    def __call__(self, joints: Float[ndarray, "a 3"], seconds: float) -> Float[ndarray, "a 3"]:
        """The next pose (mm), so many seconds after the last one; a time that does not pass begins anew."""
        if self._last is None or self._last.shape != joints.shape or not seconds > 0:
            self._last, self._raw, self._speed = joints, joints, np.zeros_like(joints)
            return joints
        self._speed = self._speed + _share(self.speed_hz, seconds) * ((joints - self._raw) / seconds - self._speed)
        speed = np.linalg.norm(self._speed, axis=1, keepdims=True)
        cutoff = self.still_hz + self.per_mm_s * np.maximum(speed - self.rest_mm_s, 0.0)
        self._raw, self._last = joints, self._last + _share(cutoff, seconds) * (joints - self._last)
        return self._last


def _share(cutoff_hz: float | Float[ndarray, "a 1"], seconds: float) -> float | Float[ndarray, "a 1"]:
    """How much of a new value a low pass takes."""
    turn = 2 * math.pi * cutoff_hz * seconds
    return turn / (turn + 1)


class BoneLengths:
    """The lengths of one hand's bones, learnt as it is seen, and poses moved as little as possible to have them."""

    def __init__(self) -> None:
        self._mean: ndarray | None = None
        self._seen = 0.0

    def reset(self) -> None:
        """Forget the hand."""
        self._mean, self._seen = None, 0.0

    @property
    def mm(self) -> Float[ndarray, "b"] | None:
        """Mean lengths, in the order of `skeleton.BONES`; None before the first pose."""
        return self._mean

    def __call__(self, joints: Float[ndarray, "21 3"], weight: float = 1.0) -> Float[ndarray, "21 3"]:
        """A pose (mm) with the lengths known so far, which it adds to with a weight of up to 1."""
        lengths = np.linalg.norm(joints[_CHILDREN] - joints[_PARENTS], axis=1)
        self._seen = min(self._seen + weight, float(_MEMORY))
        share = weight / self._seen if self._seen > 0 else 0.0
        mean = lengths if self._mean is None else self._mean + share * (lengths - self._mean)
        self._mean = mean
        return with_lengths(joints, mean)


def with_lengths(joints: Float[ndarray, "21 3"], lengths: Float[ndarray, "b"]) -> Float[ndarray, "21 3"]:
    """A pose near this one whose bones are about so long: each bone's ends give way by half, in a few rounds."""
    out = joints.astype(np.float64)
    for _ in range(_ROUNDS):
        way = out[_CHILDREN] - out[_PARENTS]
        now = np.linalg.norm(way, axis=1)
        push = way * (0.5 * (lengths / np.maximum(now, 1e-6) - 1.0))[:, None]
        moved = np.zeros_like(out)
        np.add.at(moved, _CHILDREN, push)
        np.add.at(moved, _PARENTS, -push)
        out += moved / _TOUCHED[:, None]
    return out


_PARENTS, _CHILDREN = np.array(BONES).T
_TOUCHED: Final = np.maximum(np.bincount(np.array(BONES).ravel(), minlength=21), 1) * 0.5 + 0.5  # bones at a joint
