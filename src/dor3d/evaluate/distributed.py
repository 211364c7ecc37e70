"""The metrics for a loop that runs on several devices: torchmetrics gathers, NumPy computes."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric

from dor3d.errors import InputError
from dor3d.metrics import success_curve


class MeanJointError(Metric):
    """Mean distance over joints and frames (mm), summed in double precision so that order does not matter."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted_mm: Float[Tensor, "b a 3"], true_mm: Float[Tensor, "b a 3"]) -> None:
        """Take in a batch (mm)."""
        distances = (predicted_mm.double() - true_mm.double()).norm(dim=-1)
        self.total += distances.sum()
        self.count += distances.numel()

    def compute(self) -> Tensor:
        """The mean over all that came in; raises InputError when nothing did."""
        if not self.count:
            raise InputError("No joints were measured")
        return (self.total / self.count).float()


class SuccessRate(Metric):
    """Share of frames whose worst joint is within a distance (mm)."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    within: Tensor
    count: Tensor

    def __init__(self, threshold_mm: float = 20.0) -> None:
        super().__init__()
        self.threshold_mm = threshold_mm
        self.add_state("within", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted_mm: Float[Tensor, "b a 3"], true_mm: Float[Tensor, "b a 3"]) -> None:
        """Take in a batch (mm)."""
        errors = (predicted_mm.double() - true_mm.double()).norm(dim=-1).cpu().numpy()
        share = success_curve(errors, np.array([self.threshold_mm]))
        self.within += float(share[0]) * len(errors)
        self.count += len(errors)

    def compute(self) -> Tensor:
        """The share of all that came in; raises InputError when nothing did."""
        if not self.count:
            raise InputError("No frames were measured")
        return (self.within / self.count).float()
