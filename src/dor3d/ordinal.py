"""The ordinal codec: a coordinate as a row of answers to "is it beyond threshold k?", and back.

Source: DOR3D-Net, section 3.2 (discretisation, Eq. 1 and 2) and Eq. 3 (labels). Thresholds are t_0 = 0 < ... < t_{K-1}
with t_K = extent; interval k is [t_k, t_{k+1}) and Delta_k its width. A map of probabilities P_k = P(c >= t_k) is a
survival curve, so its mean is the sum of Delta_k * P_k (Eq. 2) and its second moment follows by Abel summation.

Differences from the paper: `exact` labels (the share of interval k below c) decode to c itself, where the paper's
`hard` ones decode to the upper end of c's interval, half an interval too high on average; `variance` is ours.

Every function takes NumPy arrays and torch tensors alike, and a batch of any shape; the thresholds are the last axis.
"""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError

Labels = Literal["hard", "exact"]


@runtime_checkable
class Constants(Protocol):
    """What the codec reads of a discretisation; a head keeps the same numbers as torch buffers on its device."""

    @property
    def extent(self) -> float: ...
    @property
    def starts(self) -> Any: ...
    @property
    def widths(self) -> Any: ...
    @property
    def squares(self) -> Any: ...
    @property
    def breaks(self) -> Any: ...
    @property
    def jumps(self) -> Any: ...


@dataclass(frozen=True)
class Discretisation:
    """K intervals that cover [0, extent].

    Attributes:
        thresholds: t_0 = 0 < t_1 < ... < t_K = extent, in the coordinate's unit; K + 1 numbers.

    Raises InputError when they do not rise from 0.
    """

    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        points = self.thresholds
        rising = all(a < b for a, b in itertools.pairwise(points))
        if len(points) < 2 or points[0] != 0 or not rising or not np.isfinite(points).all():
            raise InputError("Thresholds cannot be used", got=points[:8], expected="finite numbers that rise from 0")

    @property
    def k(self) -> int:
        """The number of intervals, K."""
        return len(self.thresholds) - 1

    @property
    def extent(self) -> float:
        """The end of the range, t_K."""
        return self.thresholds[-1]

    @cached_property
    def starts(self) -> Float[ndarray, "k"]:
        """t_0 ... t_{K-1}."""
        return np.asarray(self.thresholds[:-1], np.float32)

    @cached_property
    def widths(self) -> Float[ndarray, "k"]:
        """Delta_k = t_{k+1} - t_k."""
        # differences of the float32 thresholds, so that their sum telescopes to the extent
        return np.diff(np.asarray(self.thresholds, np.float32))

    @cached_property
    def squares(self) -> Float[ndarray, "k"]:
        """u_{k+1}^2 - u_k^2 with u = t - extent / 2: the weights of the second moment about the middle."""
        return np.diff((np.asarray(self.thresholds) - self.extent / 2) ** 2).astype(np.float32)

    @cached_property
    def breaks(self) -> Float[ndarray, "b"]:
        """The thresholds at which the width changes, after a first entry that every number passes."""
        # not t_0: a sum of many probabilities can come out a hair below 0
        return np.where(np.arange(self.k) == 0, np.float32(-np.inf), self.starts)[self._changes]

    @cached_property
    def jumps(self) -> Float[ndarray, "b"]:
        """By how much the squared width changes at each of `breaks`."""
        squared = np.diff(np.asarray(self.thresholds)) ** 2
        return np.diff(squared[self._changes], prepend=0).astype(np.float32)

    @cached_property
    def _changes(self) -> ndarray:
        widths = np.diff(np.asarray(self.thresholds))
        changed = ~np.isclose(widths[1:], widths[:-1], rtol=1e-6, atol=0)
        return np.concatenate([[True], changed])

    @classmethod
    def uniform(cls, extent: float, k: int) -> "Discretisation":
        """K equal intervals of [0, extent]."""
        _check_range(extent, k)
        return cls(tuple(float(extent) * i / k for i in range(k + 1)))

    @classmethod
    def normal(cls, extent: float, k: int, levels: int = 4) -> "Discretisation":
        """Intervals that shrink towards the middle, where most joints are (the paper's normal discretisation).

        Each half of [0, extent] is cut into `levels` equal parts; the s-th part has a density of thresholds in
        proportion to 2^s, rising towards the middle. Thresholds are equal steps of the cumulative density, so any K
        works and t_0 = 0.
        """
        _check_range(extent, k)
        if levels < 1:
            raise InputError("Levels must be at least 1", got=levels)
        rising = 2.0 ** np.arange(levels)
        mass = np.concatenate([[0.0], np.cumsum(np.concatenate([rising, rising[::-1]]))])
        ends = np.linspace(0.0, extent, 2 * levels + 1)
        points = np.interp(np.arange(k + 1) * (mass[-1] / k), mass, ends)
        points[-1] = extent
        return cls(tuple(float(p) for p in points))


def _check_range(extent: float, k: int) -> None:
    if not (np.isfinite(extent) and extent > 0):
        raise InputError("The range must be positive", got=extent)
    if k < 1:
        raise InputError("The number of intervals must be at least 1", got=k)


def encode(c: Float[Any, "*n"], disc: Constants, labels: Labels = "exact") -> Float[Any, "*n k"]:
    """Coordinates to label probabilities, never rising along the last axis.

    Args:
        c: coordinates in the discretisation's unit; values outside [0, extent] saturate.
        labels: `hard`, 1[c >= t_k] (Eq. 3), or `exact`, clip((c - t_k) / Delta_k, 0, 1).

    Raises InputError for other labels.
    """
    c = _floating(c).clip(0.0, disc.extent)[..., None]
    starts = _like(disc.starts, c)
    if labels == "hard":
        return _cast(c >= starts, c)
    if labels == "exact":
        return ((c - starts) / _like(disc.widths, c)).clip(0.0, 1.0)
    raise InputError("Unknown labels", got=labels, expected="hard or exact")


def decode(prob: Float[Any, "*n k"], disc: Constants) -> Float[Any, "*n"]:
    """Probabilities to coordinates: the sum of Delta_k * P_k (Eq. 2), at least in float32."""
    prob = _floating(prob)
    # about the middle of the range: half the magnitude, so half the rounding
    return ((prob - 0.5) * _like(disc.widths, prob)).sum(-1) + disc.extent / 2


def variance(prob: Float[Any, "*n k"], disc: Constants) -> Float[Any, "*n"]:
    """The variance of the coordinate that the survival curve describes, in the unit squared, never negative.

    A coordinate is smeared over its interval by discretisation alone, by Delta^2 / 6 on average over the interval.
    That much is taken off (in the way of Sheppard's correction), so a perfect exact map has at most Delta^2 / 12.
    """
    prob = _floating(prob)
    half = disc.extent / 2
    mean = ((prob - 0.5) * _like(disc.widths, prob)).sum(-1)
    # the sum of `squares` is 0, so the shift by 0.5 changes nothing but the rounding
    second = ((prob - 0.5) * _like(disc.squares, prob)).sum(-1) + half * half
    return (second - mean * mean - _width_squared(mean + half, disc) / 6).clip(0.0)


def _width_squared(c: Float[Any, "*n"], disc: Constants) -> Float[Any, "*n"]:
    """Delta^2 of the interval that holds c, as a sum of steps (a lookup would need an index: slower and not ONNX's)."""
    passed = c[..., None] >= _like(disc.breaks, c)
    return (passed * _like(disc.jumps, c)).sum(-1)


def _floating(values: Any) -> Any:
    """float32, or float64 where the caller has it."""
    if isinstance(values, (ndarray, np.generic, float, int)):
        array = np.asarray(values)
        return array if array.dtype == np.float64 else array.astype(np.float32)
    return values if values.dtype.itemsize == 8 else values.float()


def _like(constant: Any, values: Any) -> Any:
    if isinstance(values, (ndarray, np.generic)):
        return constant.astype(values.dtype)
    if isinstance(constant, ndarray):  # a GPU takes it when it comes to it: nobody waits
        return values.new_tensor(constant, device="cpu").to(values.device, non_blocking=True)
    return constant.to(values.dtype)


def _cast(mask: Any, values: Any) -> Any:
    return mask.astype(values.dtype) if isinstance(values, (ndarray, np.generic)) else mask.to(values.dtype)
