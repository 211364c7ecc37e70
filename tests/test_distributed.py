"""The metrics of a distributed loop give what NumPy gives, in whatever pieces the poses come."""

import numpy as np
import pytest
import torch

from dor3d.errors import InputError
from dor3d.evaluate.distributed import MeanJointError, SuccessRate
from dor3d.metrics import joint_errors, success_curve


def poses() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 50, (37, 21, 3))
    return true + rng.normal(0, 6, true.shape), true


def test_pieces_add_up_to_the_whole() -> None:
    predicted, true = poses()
    mean, rate = MeanJointError(), SuccessRate(22.0)
    for part in np.array_split(np.arange(37), 5):
        for metric in (mean, rate):
            metric.update(torch.tensor(predicted[part]), torch.tensor(true[part]))
    errors = joint_errors(predicted, true)
    assert mean.compute().item() == pytest.approx(errors.mean(), rel=1e-6)
    share = success_curve(errors, np.array([22.0]))[0]
    assert 0 < share < 1 and rate.compute().item() == pytest.approx(share, rel=1e-6)


def test_devices_are_summed() -> None:
    """What torchmetrics does over processes: each state is reduced by its own rule, here a sum."""
    predicted, true = (torch.tensor(p) for p in poses())
    whole, halves = MeanJointError(), [MeanJointError(), MeanJointError()]
    whole.update(predicted, true)
    halves[0].update(predicted[:10], true[:10])
    halves[1].update(predicted[10:], true[10:])
    total = sum(h.total for h in halves) / sum(h.count for h in halves)
    assert whole.compute().item() == pytest.approx(float(total), rel=1e-6)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_measured_is_an_error() -> None:
    for metric in (MeanJointError(), SuccessRate()):
        with pytest.raises(InputError, match=r"No .* were measured"):
            metric.compute()
