"""The models that ship: small enough, what their cards say, and as good as when they were made."""

import re
from pathlib import Path

import numpy as np
import pytest

from dor3d.data.testsets import clear
from dor3d.evaluate.crops import found_in_stream
from dor3d.metrics import joint_errors
from dor3d.model.checkpoint import load_model
from dor3d.runtime.card import WEIGHTS, shipped
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import JOINTS

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "compact"
COUNT = 128


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return OnnxModel("compact", 1)


@pytest.fixture(scope="module")
def samples() -> list:
    source = clear(*_shape())
    return [source.sample(i) for i in range(COUNT)]


def _shape() -> tuple[int, tuple[float, float]]:
    card = OnnxModel("compact").card
    return card.size, card.cube_mm


def _card_mm(name: str) -> float:
    row = re.search(r"^\| `clear` \| 4096 \| ([\d.]+) \|", (WEIGHTS / f"{name}.md").read_text(), re.MULTILINE)
    assert row, "the card states the mean error on `clear`"
    return float(row.group(1))


@pytest.mark.parametrize("name", shipped())
def test_files_are_small_and_name_canonical_joints(name: str) -> None:
    assert (WEIGHTS / f"{name}.onnx").stat().st_size <= (15e6 if name == "compact" else 30e6)
    card = OnnxModel(name, 1).card
    assert card.joints == JOINTS and card.training["samples"] > 0 and card.training["licence"] == "Apache-2.0"


@pytest.mark.parametrize("name", shipped())
def test_the_error_is_what_the_card_says(name: str) -> None:
    """Of two looks, as `predict` has it."""
    model = OnnxModel(name, 1)
    found = found_in_stream(model, clear(model.card.size, model.card.cube_mm), COUNT, looks=2)
    errors = joint_errors(found.predicted_mm, found.true_mm).mean(1)
    spread = errors.std() / np.sqrt(COUNT)
    assert errors.mean() == pytest.approx(_card_mm(name), abs=4 * spread)


def test_the_checkpoint_is_the_same_network(model: OnnxModel, samples: list) -> None:
    """Training goes on from what ships: both hold the same weights, each rounded once."""
    import torch

    crops = np.stack([s.image for s in samples[:16]])[:, None]
    with torch.no_grad():
        points = load_model(CHECKPOINT)(torch.from_numpy(crops)).points.numpy()
    assert np.abs(points - model(crops).points).mean() < 0.1


def test_std_ranks_the_errors(model: OnnxModel, samples: list) -> None:
    """What the network is unsure of is more often wrong: clearly so for whole hands, somewhat for single joints."""
    output = model(np.stack([s.image for s in samples])[:, None])
    scale = np.array([model.card.cube_mm[0] / model.card.size] * 2 + [1.0])
    error = np.linalg.norm((output.points - np.stack([s.points for s in samples])) * scale, axis=-1)
    sigma = np.sqrt(((output.sigma * scale) ** 2).mean(-1))
    assert _rank_correlation(error.mean(1), sigma.mean(1)) > 0.5
    assert _rank_correlation(error.ravel(), sigma.ravel()) > 0.15


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(x)).astype(float) for x in (a, b)]
    return float(np.corrcoef(ranks)[0, 1])
