"""What the losses of different heads ask for, at the beginning of a training.

    python benchmarks/head_losses.py [--crops 700]

Prints the share of rendered training crops with a joint outside, how far outside it is, and for each head of
`dor3d tables` the gradient that each part of its loss sends into the backbone before the first step, as a share of the
joint loss' (each with its weight).
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from dor3d.data.batch import Batch
from dor3d.data.sources import CropShape, open_sources
from dor3d.evaluate.trials import Plan, Trial
from dor3d.model.network import HandNet
from dor3d.train.losses import hand_loss
from dor3d.train.recipes import get_recipe

_BATCH = 32
_VARIANTS = ("ordinal", "heatmap", "offset", "pixel-offset")


def outside(points: np.ndarray, size: int, depth_mm: float, mm_per_pixel: float) -> None:
    """Print how many crops have a joint outside, and how far these joints are outside."""
    away = np.maximum(0, np.maximum(-points, points - np.array([size, size, depth_mm])))
    mm = away * np.array([mm_per_pixel, mm_per_pixel, 1.0])
    print(f"{100 * (mm > 0).any((1, 2)).mean():.1f} % of {len(points)} crops have a joint outside")
    for axis, values in zip("xyz", np.moveaxis(mm, -1, 0), strict=True):
        if (values > 0).any():
            print(f"  {axis}: {values[values > 0].mean():.1f} mm on average, {(values > 0).any(1).sum()} crops")


def norm(loss: Tensor, net: HandNet) -> float:
    """Of a loss' gradient in the backbone."""
    if not loss.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(loss, list(net.trunk.parameters()), retain_graph=True, allow_unused=True)
    return float(sum(g.square().sum() for g in gradients if g is not None)) ** 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, default=700)
    count = parser.parse_args().crops
    model = get_recipe("synth-compact").model
    stream, _ = open_sources({}, CropShape(model.size, model.cube_mm, model.joints), 0)
    batch = stream.batch(0, range(count)).on(torch.device("cpu"))
    assert isinstance(batch, Batch)
    outside(batch.points.numpy(), model.size, model.cube_mm[1], model.cube_mm[0] / model.size)
    for variant in _VARIANTS:
        config = Trial(Plan(), variant, "compact", 1.0, 0, 1600).config()
        torch.manual_seed(0)
        net, weights = HandNet(config.model), config.loss_weights
        prediction = net(batch.crop[:_BATCH])
        discretisations, labels = config.model.discretisations(), config.model.labels
        loss = hand_loss(prediction, batch.points[:_BATCH], discretisations, labels=labels, weights=weights)
        found = {name: weight * norm(getattr(loss, name), net) for name, weight in weights._asdict().items()}
        shares = [f"{name} {found[name] / found['joint']:.2f}" for name in found if name != "joint" and found[name]]
        print(f"{variant}: {', '.join(shares)}")


if __name__ == "__main__":
    main()
