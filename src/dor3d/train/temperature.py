"""Standard deviations scaled so that errors have the shares within them that they promise (temperature scaling).

Source: Guo et al., "On calibration of modern neural networks", ICML 2017. Its one factor of log-odds is here one factor
of standard deviations along x and y, and one along z, fitted on held-out samples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.batch import Batch
from dor3d.errors import InputError
from dor3d.model.checkpoint import load_model, read_config
from dor3d.model.turns import with_turns
from dor3d.runtime.parity import made_up_crops
from dor3d.train.config import TrainConfig
from dor3d.train.start import make_sources

HONEST: Final = (0.683, 0.954)  # shares within one and two standard deviations of a Gaussian
_FACTORS: Final = np.geomspace(0.1, 10.0, 400)
_BATCH: Final = 64


class Temperatures(NamedTuple):
    """Factors of sigma and what they lead to.

    Attributes:
        factors: of x, y (the same) and z.
        within: shares of coordinates within one and two of the scaled standard deviations.
        samples: that they were fitted on.
    """

    factors: tuple[float, float, float]
    within: tuple[float, float]
    samples: int


def fit_temperatures(run: Path, count: int, turns: int = 1) -> Temperatures:
    """Fit them on a run's own held-out samples; raises InputError where it has none, or they cannot be read.

    Args:
        run: its folder.
        count: samples at most.
        turns: how often the network looks at each crop, each time turned.
    """
    net, errors, sigmas = with_turns(load_model(run), turns), [], []
    for batch in held_out(run, count):
        with torch.no_grad():
            said = net(batch.crop)
        errors.append((said.points - batch.points).numpy())
        sigmas.append(said.sigma.numpy())
    return temperatures(np.concatenate(errors), np.concatenate(sigmas))


def crops_of(run: Path, count: int) -> Float[ndarray, "n 1 s s"]:
    """Crops of a run's own held-out samples; made-up ones where it has none, or they cannot be read."""
    try:
        return np.concatenate([batch.crop.numpy() for batch in held_out(run, count)])
    except InputError:
        return made_up_crops(count, load_model(run).config.size)


def held_out(run: Path, count: int) -> Iterator[Batch]:
    """A run's own held-out samples; raises InputError where it has none, or they cannot be read.

    Args:
        run: its folder.
        count: samples at most.
    """
    source = make_sources(TrainConfig.from_json(read_config(run))).validation
    if source is None:
        raise InputError("The run held out no samples", fix="Leave held_out above 0.")
    count = min(count, source.length or count)
    for first in range(0, count, _BATCH):
        batch = source.batch(0, range(first, min(first + _BATCH, count))).on(torch.device("cpu"))
        if not isinstance(batch, Batch):
            raise InputError("Only networks that read joints have standard deviations", got=type(batch).__name__)
        yield batch


def temperatures(error: Float[ndarray, "n a 3"], sigma: Float[ndarray, "n a 3"]) -> Temperatures:
    """The factors whose shares within one and two standard deviations are nearest to a Gaussian's.

    Args:
        error: of each coordinate.
        sigma: what was said of it.
    """
    ratio = np.abs(error) / np.maximum(sigma, 1e-6)
    plane, depth = (best_factor(part.ravel()) for part in (ratio[..., :2], ratio[..., 2]))
    scaled = ratio / np.array([plane, plane, depth])
    return Temperatures((plane, plane, depth), (float((scaled < 1).mean()), float((scaled < 2).mean())), len(error))


def best_factor(ratio: Float[ndarray, "n"]) -> float:
    """What standard deviations are to be multiplied by, if errors are so many times as large as they."""
    ordered = np.sort(ratio)
    shares = np.stack([np.searchsorted(ordered, k * _FACTORS) / len(ordered) for k in (1, 2)], 1)
    return float(_FACTORS[np.abs(shares - HONEST).max(1).argmin()])
