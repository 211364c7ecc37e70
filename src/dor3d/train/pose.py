"""The task of most runs: joints from crops."""

from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor, nn

from dor3d.data.batch import Batch, right_hands
from dor3d.model.network import HandNet, ModelConfig
from dor3d.train.config import TrainConfig
from dor3d.train.losses import constant, hand_loss
from dor3d.train.task import Judged
from dor3d.viz.sheet import sample_sheet

_SHOWN: Final = 8


class PoseTask:
    """A `HandNet`, taught by `hand_loss`.

    Args:
        config: of the run.
    """

    sums: tuple[str, ...] = ("samples", "error_mm")

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.model = config, config.model
        self.discretisations = config.model.discretisations()

    def network(self, pretrained: bool | Path) -> HandNet:
        """A new one."""
        return HandNet(self.model, pretrained=pretrained)

    def nothing(self, device: torch.device) -> Batch:
        """An empty crop."""
        crop = torch.ones(1, 1, self.model.size, self.model.size, device=device)
        return Batch(crop, torch.zeros(1, len(self.model.joints), 3, device=device))

    def numbers(self, net: nn.Module, batch: Batch, layout: torch.memory_format) -> dict[str, Tensor]:
        """The loss, its parts, and the mean error on what shows a right hand (0 where nothing does)."""
        prediction = net(batch.crop.to(memory_format=layout))
        loss = hand_loss(
            prediction,
            batch.points,
            self.discretisations,
            kind=self.config.loss,
            labels=self.model.labels,
            mm_per_pixel=self.model.cube_mm[0] / self.model.size,
            weights=self.config.loss_weights,
            shown=batch.kind,
            right=batch.right,
        )
        parts = {name: value for name, value in loss._asdict().items() if name != "total"}
        return {"loss": loss.total, **parts, "error_mm": self._error_mm(prediction.points.detach(), batch)}

    def _error_mm(self, points: Float[Tensor, "b a 3"], batch: Batch) -> Float[Tensor, ""]:
        if batch.kind is None:
            return error_mm(points, batch.points, self.model)
        right = right_hands(batch.kind) if batch.right is None else batch.right
        return error_mm(points[right], batch.points[right], self.model).nan_to_num()

    def judge(self, net: nn.Module, batch: Batch) -> Judged:
        """The mean error over joints and crops of right hands."""
        points = net(batch.crop).points.float()
        error = error_mm(points, batch.points, self.model).item()
        shown = tuple(t[:_SHOWN].float().cpu().numpy() for t in (batch.crop[:, 0], batch.points, points))
        return Judged({"samples": batch.samples, "error_mm": error * batch.samples}, shown)

    def sheet(self, shown: tuple[ndarray, ndarray, ndarray], title: str) -> UInt8[ndarray, "h w 3"]:
        """Crops with the true and the predicted hand over each."""
        scale = self.model.cube_mm[0] / self.model.size
        return sample_sheet(*shown, self.model.joints, mm_per_pixel=scale, title=title)


def error_mm(points: Float[Tensor, "b a 3"], target: Float[Tensor, "b a 3"], config: ModelConfig) -> Float[Tensor, ""]:
    """Mean distance in mm, with pixels taken at the cube's scale: a crop's true mm differ by its perspective alone."""
    scale = config.cube_mm[0] / config.size
    return ((points - target) * constant([scale, scale, 1.0], points)).norm(dim=-1).mean()
