"""Poses of a stream made steady: noise off joints that rest, bones of one length. NumPy alone, no frame looked at.

The filter has the idea of the 1 euro filter (Casiez, Roussel and Vogel, "1 euro filter: a simple speed-based low-pass
filter for noisy input in interactive systems", CHI 2012), a low pass that opens as a joint moves. But noise feigns
speed, so that that filter either trembles or is late for slow hands; this one opens by how far it has fallen behind,
which noise feigns little (benchmarks/filters.py compares them). The lengths are kept as constraints are in Müller et
al., "Position based dynamics", 2007.
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


class CalmFilter:
    """A low pass on joints that opens by how far it is behind, so that it never is by much; a joint is one signal.

    Args:
        still_hz: cutoff of a joint that rests: lower, steadier.
        per_mm: what each mm adds to it (Hz) that the joint is behind: higher, quicker.
        rest_mm: how far noise leads on average.
        jump_mm: how far no noise leads even once.
        mean_hz: cutoff of that average.

    Raises InputError for a cutoff that is not positive.
    """

    def __init__(
        self,
        still_hz: float = 0.6,
        per_mm: float = 6.0,
        rest_mm: float = 4.0,
        jump_mm: float = 14.0,
        mean_hz: float = 1.5,
    ) -> None:
        if min(still_hz, mean_hz) <= 0 or min(per_mm, rest_mm, jump_mm) < 0:
            got = (still_hz, per_mm, rest_mm, jump_mm, mean_hz)
            raise InputError("A filter's cutoffs must be positive, and its distances not negative", got=got)
        self.still_hz, self.per_mm, self.rest_mm = still_hz, per_mm, rest_mm
        self.jump_mm, self.mean_hz = jump_mm, mean_hz
        self._last: ndarray | None = None
        self._behind = np.zeros(())

    def reset(self) -> None:
        """Forget everything: the next pose comes out as it is."""
        self._last = None

    def __call__(self, joints: Float[ndarray, "a 3"], seconds: float) -> Float[ndarray, "a 3"]:
        """The next pose (mm), so many seconds after the last one; a time that does not pass begins anew."""
        if self._last is None or self._last.shape != joints.shape or not seconds > 0:
            self._last, self._behind = joints, np.zeros_like(joints)
            return joints
        now = joints - self._last
        self._behind = self._behind + _share(self.mean_hz, seconds) * (now - self._behind)
        mean, once = (np.linalg.norm(way, axis=1, keepdims=True) for way in (self._behind, now))
        behind = np.maximum(np.maximum(mean - self.rest_mm, once - self.jump_mm), 0.0)
        self._last = self._last + _share(self.still_hz + self.per_mm * behind, seconds) * now
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
        way = _WAYS @ out
        now = np.sqrt(np.square(way).sum(1))
        out += _GIVE @ (way * (lengths / np.maximum(now, 1e-6) - 1.0)[:, None])
    return out


_PARENTS, _CHILDREN = np.array(BONES).T
_WAYS: Final = np.eye(21)[_CHILDREN] - np.eye(21)[_PARENTS]  # [B, 21]: bones, as differences of joints
_GIVE: Final = 0.5 * _WAYS.T / (0.5 * np.abs(_WAYS).sum(0) + 0.5)[:, None]  # joints of many bones give way less to each
