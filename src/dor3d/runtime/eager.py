"""A trained network as torch runs it, on any device: what comparisons measure with beside a training."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from dor3d.model.checkpoint import load_model
from dor3d.runtime.card import ModelCard
from dor3d.runtime.onnx import CropOutput


class TorchModel:
    """A run's network in torch.

    Args:
        run: the run's folder.
        device: that it runs on.

    Raises ModelError for a folder without a network.
    """

    def __init__(self, run: Path, device: torch.device) -> None:
        self._net, self._device = load_model(run).folded().to(device), device
        config = self._net.config
        self.card = ModelCard(run.resolve().name, config.size, config.cube_mm, config.joints)

    @torch.no_grad()
    def __call__(self, crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        """Run a batch of normalised crops in [-1, 1]."""
        said = self._net(torch.from_numpy(np.ascontiguousarray(crops, np.float32)).to(self._device))
        kind = None if said.kind is None else said.kind.cpu().numpy()
        return CropOutput(said.points.cpu().numpy(), said.sigma.cpu().numpy(), kind)
