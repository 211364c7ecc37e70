"""What a run trains: network, optimizer and averaged weights on their devices, and one step of them."""

import math
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import NoReturn

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dor3d.data.batch import Samples
from dor3d.errors import Dor3dError
from dor3d.model.base import Network
from dor3d.model.checkpoint import write_tensors
from dor3d.train.config import TrainConfig
from dor3d.train.cpu import grouped_in_float32
from dor3d.train.fabric import precision_of
from dor3d.train.locating import LocateTask
from dor3d.train.optimizer import make_optimizer
from dor3d.train.pose import PoseTask
from dor3d.train.state import Average, learning_rate, start_weights
from dor3d.train.stream import Share
from dor3d.train.task import Task


class NonFiniteLossError(Dor3dError, ArithmeticError):
    """The loss is no longer a number; the weights are those before the bad step."""


class Run:
    """The network, its optimizer and its average, on their devices.

    Args:
        config: of the run.
        fabric: launched.
        out: folder for a batch that breaks the loss.
        init: weights to begin from.
        resumed: whether a state will take their place.
        matching: take what matches of `init` alone.

    Attributes:
        new: names of tensors that are not in `init`.
    """

    def __init__(
        self,
        config: TrainConfig,
        fabric: Fabric,
        out: Path,
        init: Path | None,
        *,
        resumed: bool,
        matching: bool = False,
    ) -> None:
        self.config, self.fabric, self.out = config, fabric, out
        # a GPU that is asked at every step stands still meanwhile: whether a loss was a number is read now and then
        self.asks_later = fabric.device.type == "cuda"
        self._first_bad = torch.full((), -1, device=fabric.device)
        self.task = task_of(config)
        torch.manual_seed(config.seed)
        net = self.task.network(init is None and _begin(config, resumed=resumed))
        self.new = start_weights(net, init, matching=matching)
        self.layout = memory_layout(net, fabric.device)
        self.net = _with_norms(net.to(memory_format=self.layout), fabric)
        half = precision_of(config, fabric.device) == "bf16-mixed"
        if half and fabric.device.type == "cpu":
            grouped_in_float32(self.net)
        self.average = Average(self.net, config.ema) if config.ema else None
        self.optimizer = make_optimizer(self.net, config, torch.bfloat16 if half else torch.float32)
        ready = torch.compile(self.net) if config.compile else self.net
        self.module, self.stepper = fabric.setup(ready, self.optimizer)  # pyright: ignore[reportArgumentType]
        if self.average:
            self.average.to(fabric.device)
        self.train()

    def train(self) -> None:
        """Put the network into training mode; norms that are frozen stay as they are."""
        self.module.train()
        if self.config.freeze_norms:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def step(self, number: int, share: Share, valid: int, spent: float = 0.0) -> dict[str, Tensor]:
        """One optimizer step from this process' share. On a GPU it is begun and not waited for.

        Args:
            number: of the step, from 0.
            share: its samples.
            valid: samples of all processes' shares.
            spent: share of the run's time that is used up; 0 where it has none.

        Returns sums over this share's samples, on the device: of the loss, its parts, and the error in mm. Raises
        NonFiniteLossError before anything has changed, and keeps the batch in the run's folder; on a GPU that is left
        to `first_bad` and `fail`.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + number + _RANKS * self.fabric.global_rank)  # stochastic depth
        batch, mine = self.batch_of(share)
        sums: dict[str, Tensor] = {}
        parts = batch.chunk(self.config.accumulate)
        self.optimizer.zero_grad(set_to_none=True)
        for i, part in enumerate(parts):
            weight = part.samples if mine else 0
            with self.fabric.no_backward_sync(self.module, enabled=i < len(parts) - 1):
                numbers = self._backward(part, weight * self.fabric.world_size / valid)
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + weight * value
        self._check(sums["loss"], number, batch)
        self._update(number, batch, spent)
        return sums

    def batch_of(self, share: Share) -> tuple[Samples, int]:
        """The share on the device; an empty sample of no weight where there is none, since all processes must step."""
        if share.data is None:
            return self.task.nothing(self.fabric.device), 0
        batch = share.data.on(self.fabric.device)
        return batch, batch.samples

    def _backward(self, batch: Samples, weight: float) -> dict[str, Tensor]:
        numbers = self.task.numbers(self.module, batch, self.layout)
        self.fabric.backward(numbers["loss"] * weight)
        return {name: value.detach() for name, value in numbers.items()}

    def _update(self, number: int, batch: Samples, spent: float) -> None:
        rate = learning_rate(self.config, number, spent)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        if self.config.clip:
            norm = self.fabric.clip_gradients(
                self.module, self.stepper, max_norm=self.config.clip, error_if_nonfinite=False
            )
            if self.config.precision != "fp16":  # whose scaler passes such steps over by itself
                self._check(norm, number, batch)
        elif self.fabric.world_size > 1:
            # gradients are shared, so a number that was lost in another process shows here too
            self._check(_norm(self.net), number, batch)
        self.stepper.step()
        if self.average:
            self.average.update(self.net)

    def _check(self, value: Tensor | None, number: int, batch: Samples) -> None:
        if value is None:
            return
        if self.asks_later:
            self._first_bad.masked_fill_(~torch.isfinite(value) & (self._first_bad < 0), number)
        elif not torch.isfinite(value):
            self.fail(number, batch, value.item())

    def first_bad(self) -> int | None:
        """Return the first step whose loss was no number, where steps do not look for themselves; this waits."""
        number = int(self._first_bad) if self.asks_later else -1
        return None if number < 0 else number

    def fail(self, number: int, batch: Samples, value: float = math.nan) -> NoReturn:
        """Keep the batch of a step whose loss is no number, and raise NonFiniteLossError."""
        path = self.out / f"bad-step-{number}-of-{self.fabric.global_rank}.safetensors"
        write_tensors(path, batch.tensors())
        raise NonFiniteLossError(
            f"The loss is no longer a number at step {number}",
            got=value,
            fix=f"The last checkpoint is unharmed, the batch lies in {path}. Try a lower lr, a longer warmup, or clip.",
        )

    def final(self) -> Network:
        """The network that a run leaves: with averaged weights if it keeps them."""
        if not self.average:
            return self.net
        net = deepcopy(self.net)
        net.load_state_dict(self.weights())
        return net

    def weights(self) -> Mapping[str, Tensor]:
        """That network's tensors."""
        return self.average.tensors if self.average else self.net.state_dict()


def _begin(config: TrainConfig, *, resumed: bool) -> bool | Path:
    """Where the backbone's first weights come from."""
    if resumed:
        return False
    return Path(config.backbone_weights) if config.backbone_weights else config.pretrained


_RANKS = 1_000_000_007  # sets the random numbers of processes apart


def _norm(net: nn.Module) -> Tensor:
    return nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])


def task_of(config: TrainConfig) -> Task:
    """What a config's run learns."""
    return LocateTask(config) if config.task == "locate" else PoseTask(config)


def _with_norms(net: Network, fabric: Fabric) -> Network:
    """Batch statistics over all processes on GPUs; torch's layer for that refuses CPU tensors."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)  # pyright: ignore[reportReturnType]
    return net


def memory_layout(net: nn.Module, device: torch.device) -> torch.memory_format:
    """Channels last, the faster layout, unless the processor's kernels are wrong for one of the convolutions.

    oneDNN's backward of a strided 1x1 convolution of few channels writes past its workspace in this layout: a crash, or
    gradients that are silently off by half (uxlfoundation/oneDNN#6035; seen with torch 2.15 for fewer than 8 channels,
    the block of AVX2; AVX-512's is 16). RepVGG and MobileOne begin with one.
    """
    for conv in net.modules():
        if not isinstance(conv, nn.Conv2d) or device.type != "cpu":
            continue
        if conv.kernel_size == (1, 1) and max(conv.stride) > 1 and conv.in_channels // conv.groups < 16:
            return torch.contiguous_format
    return torch.channels_last
