"""The model that ships: small enough, what its card says, and as good as when it was made."""

import re
from pathlib import Path

import numpy as np
import pytest

from dor3d.data.testsets import clear
from dor3d.model.checkpoint import load_model
from dor3d.runtime.card import WEIGHTS
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import JOINTS

CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "compact"
COUNT = 128


@pytest.fixture(scope="module")
def model() -> OnnxModel:
    return OnnxModel("compact")


@pytest.fixture(scope="module")
def samples() -> list:
    source = clear(*_shape())
    return [source.sample(i) for i in range(COUNT)]


def _shape() -> tuple[int, tuple[float, float]]:
    card = OnnxModel("compact").card
    return card.size, card.cube_mm


def _card_mm() -> float:
    row = re.search(r"^\| `clear` \| 4096 \| ([\d.]+) \|", (WEIGHTS / "compact.md").read_text(), re.MULTILINE)
    assert row, "the card states the mean error on `clear`"
    return float(row.group(1))


def test_the_file_is_small_and_names_canonical_joints(model: OnnxModel) -> None:
    assert (WEIGHTS / "compact.onnx").stat().st_size <= 15e6
    assert model.card.joints == JOINTS
    assert model.card.training["samples"] > 0


def test_the_error_is_what_the_card_says(model: OnnxModel, samples: list) -> None:
    output = model(np.stack([s.image for s in samples])[:, None])
    joints = np.stack([s.box.to_camera(p) for s, p in zip(samples, output.points, strict=True)])
    errors = np.linalg.norm(joints - np.stack([s.scene.joints_mm for s in samples]), axis=-1).mean(1)
    spread = errors.std() / np.sqrt(COUNT)
    assert errors.mean() == pytest.approx(_card_mm(), abs=4 * spread)


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
