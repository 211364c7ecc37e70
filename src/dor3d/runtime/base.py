"""What prediction needs of a runtime, and what every runtime checks."""

from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError
from dor3d.runtime.card import ModelCard

Precision = Literal["fp32", "bf16", "fp16"]


class CropOutput(NamedTuple):
    """What a network says about a batch of crops."""

    points: Float[ndarray, "b a 3"]  # (p px, q px, r mm)
    sigma: Float[ndarray, "b a 3"]  # standard deviations in the same units
    kind: Float[ndarray, "b 2"] | None = None  # log-odds of a hand, and of a right one; of networks that tell


@runtime_checkable
class CropModel(Protocol):
    """What prediction needs of a runtime."""

    card: ModelCard

    def __call__(self, crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        """Run a batch of normalised crops in [-1, 1]."""
        ...


def checked_output(card: ModelCard, count: int, points: ndarray, sigma: ndarray, kind: ndarray | None) -> CropOutput:
    """What a network put out for so many crops; raises ModelError for wrong shapes and numbers that are not finite."""
    expected = (count, len(card.joints), 3)
    if points.shape != expected or sigma.shape != expected:
        raise ModelError("A model's output has a wrong shape", got=(points.shape, sigma.shape), expected=expected)
    if kind is not None and kind.shape != (count, 2):
        raise ModelError("A model's output has a wrong shape", got=kind.shape, expected=(count, 2))
    if not all(np.isfinite(output).all() for output in (points, sigma, kind) if output is not None):
        raise ModelError(f"Model {card.name} put out numbers that are not finite")
    return CropOutput(points, sigma, kind)


def check_threads(threads: int | None) -> None:
    """Raises InputError for a number of threads that cannot be."""
    if threads is not None and threads < 1:
        raise InputError("The number of threads must be at least 1", got=threads)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
