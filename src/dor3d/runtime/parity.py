"""How far two ways of running a network are apart, how far they may be, and crops to try them on."""

from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.runtime.base import CropOutput
from dor3d.runtime.card import ModelCard

Limit = Literal["fp32", "bf16", "fp16", "int8"]
LIMITS_MM: Final[dict[Limit, float]] = {"fp32": 0.05, "bf16": 0.3, "fp16": 0.3, "int8": 0.5}
_WORST: Final = 4.0  # times the limit, for 99 of 100 joints
_PER_LOG_ODDS: Final = 10.0  # a tenth of log-odds counts as much as a mm


class Parity(NamedTuple):
    """How far joints are apart, or their standard deviations where these are farther.

    Attributes:
        mean_mm: on average.
        worst_mm: 99 of 100.
    """

    mean_mm: float
    worst_mm: float

    def within(self, limit: Limit) -> bool:
        """Whether that is as near as this precision has to be."""
        return self.mean_mm <= LIMITS_MM[limit] and self.worst_mm <= _WORST * LIMITS_MM[limit]

    def __str__(self) -> str:
        return f"{self.mean_mm:.3f} mm apart on average, 99 % within {self.worst_mm:.3f}"


def asked_for(limit: Limit) -> str:
    """What a precision has to keep, for people."""
    return f"at most {LIMITS_MM[limit]:g} mm on average, 99 % within {_WORST * LIMITS_MM[limit]:g}"


def parity(card: ModelCard, said: CropOutput, expected: CropOutput) -> Parity:
    """How far two answers to the same crops are apart."""
    scale = card.cube_mm[0] / card.size
    in_mm = np.array([scale, scale, 1.0])
    pairs = [(said.points, expected.points), (said.sigma, expected.sigma)]
    apart = np.max([np.linalg.norm((a - b) * in_mm, axis=-1) for a, b in pairs], axis=0)
    if said.kind is not None and expected.kind is not None:
        apart = np.concatenate([apart, _PER_LOG_ODDS * np.abs(said.kind - expected.kind)], 1)
    return Parity(float(apart.mean()), float(np.percentile(apart, 99)))


def made_up_crops(count: int, size: int, seed: int = 0) -> Float[ndarray, "n 1 s s"]:
    """Crops with some fat sticks before a far background: rough stand-ins for fingers, no data needed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    crops = np.ones((count, 1, size, size), np.float32)
    for crop in crops[:, 0]:
        for _ in range(6):
            (x, y, depth), angle = rng.uniform([0.3, 0.3, -0.6], [0.7, 0.7, 0.6]), rng.uniform(0, np.pi)
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
            stick = (np.abs(along) < 0.25) & (np.abs(across) < 0.04)
            crop[stick] = np.minimum(crop[stick], depth + 0.3 * along[stick])
    return crops
