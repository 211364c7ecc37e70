"""What prediction needs of a runtime, and what every runtime does alike."""

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError, RoomError
from dor3d.runtime.card import ModelCard

Precision = Literal["fp32", "bf16", "fp16"]
# what runtimes say that found no memory: each has its own words, and no error of its own
_NO_ROOM: Final = re.compile(r"bad_alloc|can't alloc|out of memory|allocate.*memory", re.IGNORECASE)
_WHERE: Final = re.compile(r".*(Exception from|Check ').*(:\d+:?)$|.*failed with \w+:$")


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


class RuntimeModel(ABC):
    """A model in a runtime. Where there is no room for a batch it goes on in halves, and says so.

    Attributes:
        room: crops that it runs at once; None: as many as it is asked.
    """

    card: ModelCard
    room: int | None = None

    def __call__(self, crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        """Run a batch of normalised crops in [-1, 1].

        Raises ModelError if the network fails on it, RoomError if there is no memory even for one crop.
        """
        crops, parts, done = np.ascontiguousarray(crops, np.float32), list[Sequence[ndarray]](), 0
        while done < len(crops) or not parts:
            some = crops[done : done + (self.room or len(crops))]
            try:
                parts.append(self._run(some))
            except Exception as error:  # runtimes' errors share no base class
                if not _is_of_room(error):
                    raise error if isinstance(error, ModelError) else self._failed(error) from None
                self._halve(len(some))
                continue
            done += len(some)
        points, sigma, *kind = joined(parts)
        return checked_output(self.card, len(crops), points, sigma, *kind or [None])

    @abstractmethod
    def _run(self, crops: Float[ndarray, "b 1 s s"]) -> Sequence[ndarray]:
        """Points, sigma and of networks that tell the kind of so many crops at once."""

    def _failed(self, error: Exception) -> ModelError:
        return ModelError(f"Model {self.card.name} failed", got=first_line(error))

    def _halve(self, count: int) -> None:
        if count < 2:
            raise RoomError(f"There is no memory for model {self.card.name}, even for one crop")
        self.room = count // 2
        warnings.warn(
            f"no memory for {count} crops at once in model {self.card.name}: it goes on with {self.room}",
            RuntimeWarning,
            stacklevel=3,
        )


def _is_of_room(error: Exception) -> bool:
    return isinstance(error, MemoryError) or bool(_NO_ROOM.search(str(error)))


def joined(batches: Iterable[Sequence[Any]]) -> list[ndarray]:
    """A network's outputs for some batches, one after another."""
    return [np.concatenate(list(some)) for some in zip(*batches, strict=True)]


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
    """What an error says, in one line; OpenVINO says first where in its sources it was raised."""
    lines = [line.strip() for line in str(error).splitlines() if not _WHERE.match(line.strip())]
    return next((line for line in lines if line), type(error).__name__)[:200]
