"""What a run trains: network, optimizer and averaged weights on their devices, and one step of them."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

import torch
from jaxtyping import Float
from lightning.fabric import Fabric
from torch import Tensor, nn

from dor3d.data.batch import KINDS, Batch
from dor3d.errors import Dor3dError
from dor3d.model.checkpoint import write_tensors
from dor3d.model.network import HandNet, ModelConfig
from dor3d.train.losses import hand_loss
from dor3d.train.optimizer import make_optimizer
from dor3d.train.recipes import TrainConfig
from dor3d.train.state import Average, learning_rate, start_weights
from dor3d.train.stream import Share


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
    """

    def __init__(self, config: TrainConfig, fabric: Fabric, out: Path, init: Path | None, *, resumed: bool) -> None:
        self.config, self.fabric, self.out = config, fabric, out
        torch.manual_seed(config.seed)
        net = HandNet(config.model, pretrained=init is None and _begin(config, resumed=resumed))
        start_weights(net, init)
        self.layout = memory_layout(net, fabric.device)
        self.net = _with_norms(net.to(memory_format=self.layout), fabric)
        self.discretisations = config.model.discretisations()
        self.average = Average(self.net, config.ema) if config.ema else None
        self.optimizer = make_optimizer(self.net, config)
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

    def step(self, number: int, share: Share, valid: int) -> dict[str, float]:
        """One optimizer step from this process' share.

        Args:
            number: of the step, from 0.
            share: its samples.
            valid: samples of all processes' shares.

        Returns sums over this share's samples: of the loss, its parts, and the error in mm. Raises NonFiniteLossError
        before anything has changed; the batch is then kept in the run's folder.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + number + _RANKS * self.fabric.global_rank)  # stochastic depth
        batch, mine = self._batch(share)
        sums: dict[str, Tensor] = {}
        parts = _split(batch, self.config.accumulate)
        self.optimizer.zero_grad(set_to_none=True)
        for i, part in enumerate(parts):
            weight = len(part.points) if mine else 0
            with self.fabric.no_backward_sync(self.module, enabled=i < len(parts) - 1):
                numbers = self._backward(part, weight * self.fabric.world_size / valid)
            for name, value in numbers.items():
                sums[name] = sums.get(name, 0.0) + weight * value
        self._check(sums["loss"], number, batch)
        self._update(number, batch)
        return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))

    def _batch(self, share: Share) -> tuple[Batch, int]:
        """The share on the device; one empty crop of no weight where there is none, since all processes must step."""
        if share.data is None:
            model = self.config.model
            crop = torch.ones(1, 1, model.size, model.size, device=self.fabric.device)
            return Batch(crop, torch.zeros(1, len(model.joints), 3, device=self.fabric.device)), 0
        batch = share.data.on(self.fabric.device)
        return batch._replace(crop=batch.crop.to(memory_format=self.layout)), len(batch.points)

    def _backward(self, batch: Batch, weight: float) -> dict[str, Tensor]:
        model = self.config.model
        prediction = self.module(batch.crop)
        loss = hand_loss(
            prediction,
            batch.points,
            self.discretisations,
            kind=self.config.loss,
            labels=model.labels,
            mm_per_pixel=model.cube_mm[0] / model.size,
            weights=self.config.loss_weights,
            shown=batch.kind,
        )
        self.fabric.backward(loss.total * weight)
        mm = _error_mm(prediction.points.detach(), batch, model)
        parts = {"loss": loss.total, **loss._asdict(), "error_mm": mm}
        return {name: value.detach() for name, value in parts.items() if name != "total"}

    def _update(self, number: int, batch: Batch) -> None:
        rate = learning_rate(self.config, number)
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

    def _check(self, value: Tensor | None, number: int, batch: Batch) -> None:
        if value is None or torch.isfinite(value):
            return
        path = self.out / f"bad-step-{number}-of-{self.fabric.global_rank}.safetensors"
        write_tensors(path, batch.tensors())
        raise NonFiniteLossError(
            f"The loss is no longer a number at step {number}",
            got=value.item(),
            fix=f"The last checkpoint is unharmed, the batch lies in {path}. Try a lower lr, a longer warmup, or clip.",
        )

    def final(self) -> HandNet:
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


def _split(batch: Batch, parts: int) -> list[Batch]:
    each = [t.chunk(parts) for t in batch if t is not None]
    return [Batch(*some) for some in zip(*each, strict=True)]


def _error_mm(points: Float[Tensor, "b a 3"], batch: Batch, config: ModelConfig) -> Float[Tensor, ""]:
    """The mean error on what shows a right hand; 0 where nothing does."""
    if batch.kind is None:
        return error_mm(points, batch.points, config)
    right = batch.kind == KINDS.index("right")
    return error_mm(points[right], batch.points[right], config).nan_to_num()


def _with_norms(net: HandNet, fabric: Fabric) -> HandNet:
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


def error_mm(points: Float[Tensor, "b a 3"], target: Float[Tensor, "b a 3"], config: ModelConfig) -> Float[Tensor, ""]:
    """Mean distance in mm, with pixels taken at the cube's scale: a crop's true mm differ by its perspective alone."""
    scale = config.cube_mm[0] / config.size
    return ((points - target) * points.new_tensor([scale, scale, 1.0])).norm(dim=-1).mean()
