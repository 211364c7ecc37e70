"""The error on held-out samples, over all processes."""

from contextlib import closing, nullcontext
from typing import Any, NamedTuple

import torch
from lightning.fabric import Fabric

from dor3d.data.batch import Source
from dor3d.model.base import Network
from dor3d.train.run import Run
from dor3d.train.stream import Order, shares
from dor3d.train.task import Task


class Measured(NamedTuple):
    """What was found.

    Attributes:
        error_mm: mean over samples.
        samples: how many there were.
        more: means of what else the task judges by.
        shown: of the first of them, for the task's sheet.
    """

    error_mm: float
    samples: int
    more: dict[str, float]
    shown: Any


def measure(run: Run, source: Source, count: int) -> Measured:
    """The averaged network's error on the first samples of a source; the run goes on as it was."""
    net = run.final()
    workers = run.config.workers if source.length is None else 0  # a cache is read sooner than processes start
    found = validate(run.task, net, source, count, batch=run.config.batch, workers=workers, fabric=run.fabric)
    run.train()
    return found


@torch.no_grad()
def validate(
    task: Task,
    net: Network,
    source: Source,
    count: int,
    *,
    batch: int = 64,
    workers: int = 0,
    fabric: Fabric | None = None,
) -> Measured:
    """The mean error in mm over the first `count` samples of a source; the network is left in eval mode.

    Args:
        task: that judges.
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
    sums, shown = dict.fromkeys(task.sums, 0.0), None
    steps = range(order.steps_an_epoch or 0)
    stream = shares(source, order, steps, rank=rank, processes=processes, workers=workers, device=device)
    with closing(stream):
        for share in stream:
            if share.data is None:
                continue
            with fabric.autocast() if fabric else nullcontext():
                judged = task.judge(net, share.data.on(device))
            sums = {name: value + judged.sums[name] for name, value in sums.items()}
            shown = judged.shown if shown is None else shown
    if processes > 1 and fabric:
        both = torch.tensor(list(sums.values()), dtype=torch.float64, device=device)
        sums = dict(zip(sums, torch.as_tensor(fabric.all_reduce(both, reduce_op="sum")).tolist(), strict=True))
    samples = sums.pop("samples")
    means = {name: value / max(1.0, samples) for name, value in sums.items()}
    return Measured(means.pop("error_mm"), int(samples), means, shown)
