"""The error on held-out samples, over all processes."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from lightning.fabric import Fabric
from numpy import ndarray
from torch import Tensor

from dor3d.data.batch import Source
from dor3d.model.network import HandNet
from dor3d.train.run import Run, error_mm
from dor3d.train.stream import Order, shares

_SHOWN: Final = 8


class Measured(NamedTuple):
    """What was found.

    Attributes:
        error_mm: mean over joints and samples.
        samples: how many there were.
        shown: crops, true and predicted points of the first of them.
        mm_per_pixel: of the crops.
    """

    error_mm: float
    samples: int
    shown: tuple[Float[ndarray, "n s s"], Float[ndarray, "n a 3"], Float[ndarray, "n a 3"]] | None
    mm_per_pixel: float


def measure(run: Run, source: Source, count: int) -> Measured:
    """The averaged network's error on the first samples of a source; the run goes on as it was."""
    net = run.final()
    workers = run.config.workers if source.length is None else 0  # a cache is read sooner than processes start
    found = validate(net, source, count, batch=run.config.batch, workers=workers, fabric=run.fabric)
    run.train()
    return found


@torch.no_grad()
def validate(
    net: HandNet, source: Source, count: int, *, batch: int = 64, workers: int = 0, fabric: Fabric | None = None
) -> Measured:
    """The mean error in mm over the first `count` samples of a source; the network is left in eval mode.

    Args:
        net: on its device.
        source: of samples.
        count: how many of them.
        batch: samples at a time, over all processes.
        workers: processes that make them.
        fabric: of the processes that share the work; none: this one does it.
    """
    net.eval()
    device = next(net.parameters()).device
    count = min(count, source.length or count)
    rank, processes = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    order = Order(count, batch)
    mm, samples, shown = 0.0, 0, None
    steps = range(order.steps_an_epoch or 0)
    for share in shares(source, order, steps, rank=rank, processes=processes, workers=workers, device=device):
        if share.data is None:
            continue
        data = share.data.on(device)
        points = _points(net, data.crop, fabric)
        mm += error_mm(points, data.points, net.config).item() * len(points)
        samples += len(points)
        if shown is None:
            shown = tuple(t[:_SHOWN].float().cpu().numpy() for t in (data.crop[:, 0], data.points, points))
    if fabric:
        both = torch.tensor([mm, samples], dtype=torch.float64, device=device)
        mm, samples = torch.as_tensor(fabric.all_reduce(both, reduce_op="sum")).tolist()
    return Measured(mm / max(1.0, samples), int(samples), shown, net.config.cube_mm[0] / net.config.size)  # pyright: ignore[reportArgumentType]


def _points(net: HandNet, crop: Float[Tensor, "b 1 s s"], fabric: Fabric | None) -> Float[Tensor, "b a 3"]:
    if fabric is None:
        return net(crop).points
    with fabric.autocast():
        return net(crop).points.float()
