"""The training loop: one device, one process that computes, workers that make samples.

A run is a pure function of its config: batch n is samples n * batch ... of the source, stochastic depth is seeded by
the step, and a resumed run goes on where the saved state stands. The loop knows nothing of the data.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor, nn

from dor3d.errors import Dor3dError, InputError
from dor3d.model.network import HandNet, ModelConfig, parameter_count
from dor3d.train.display import Display
from dor3d.train.losses import hand_loss
from dor3d.train.optimizer import make_optimizer
from dor3d.train.recipes import TrainConfig
from dor3d.train.state import (
    METRICS,
    Average,
    learning_rate,
    load_run,
    open_run,
    save_run,
    start_weights,
)
from dor3d.train.stream import Batch, Source, Sources, batches


class NonFiniteLossError(Dor3dError, ArithmeticError):
    """The loss is no longer a number; the weights are those before the bad step."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, whether they were all, and the last errors (mean over joints, mm)."""

    step: int
    finished: bool
    error_mm: float | None = None
    validation_mm: float | None = None


def train(
    config: TrainConfig,
    sources: Sources,
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    console: Console | None = None,
) -> TrainResult:
    """Train a network and leave `model.safetensors`, `config.json`, `metrics.jsonl` (and the state) in `out`.

    SIGTERM and SIGINT finish the step, save, and return. Resuming an empty folder starts the run; resuming a finished
    run changes nothing.

    Raises InputError for a folder that holds another run, NonFiniteLossError when the loss is no longer a number.
    """
    out = Path(out)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    found = open_run(out, config, resume=resume)
    run = _Run(config, device, None if found else init)
    done = load_run(out, run.net, run.optimizer, run.average) if found else 0
    if done >= config.total_steps:
        return TrainResult(done, finished=True)
    with Display(config.recipe or config.model.backbone, config.total_steps, done, console) as display, _stop() as stop:
        display.say(f"{config.model.backbone}: {parameter_count(run.net) / 1e6:.2f} M parameters on {device}, to {out}")
        return _loop(run, sources, out, done, display, stop)


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one; raises InputError where a GPU is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device", fix="Use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


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


@torch.no_grad()
def validate(net: HandNet, source: Source, count: int, *, batch: int = 64, workers: int = 0) -> float:
    """The mean error in mm over the first `count` samples of a source; the network's mode stays as it was."""
    device = next(net.parameters()).device
    was_training = net.training
    net.eval()
    total = 0.0
    for data in batches(source, batch, range(-(-count // batch)), workers=workers, end=count):
        with _autocast(device):
            points = net(data.crop.to(device)).points
        total += error_mm(points, data.points.to(device), net.config).item() * len(data.points)
    net.train(was_training)
    return total / count


class _Run:
    """The network, its optimizer and its average, on their device."""

    def __init__(self, config: TrainConfig, device: torch.device, init: Path | None) -> None:
        self.config, self.device = config, device
        torch.manual_seed(config.seed)
        net = HandNet(config.model, pretrained=config.pretrained and init is None)
        start_weights(net, init)
        self.layout = memory_layout(net, device)
        self.net = net.to(memory_format=self.layout).to(device).train()
        self.discretisations = config.model.discretisations()
        self.optimizer = make_optimizer(self.net, config)
        self.average = Average(net, config.ema) if config.ema else None

    def step(self, number: int, batch: Batch) -> dict[str, Tensor]:
        """One optimizer step; returns the loss, its parts and the error, still on the device."""
        torch.manual_seed(self.config.seed * 1_000_003 + number)  # stochastic depth: the same after a resume
        crop = batch.crop.to(self.device, memory_format=self.layout, non_blocking=True)
        target = batch.points.to(self.device, non_blocking=True)
        with _autocast(self.device):
            prediction = self.net(crop)
        model = self.config.model
        loss = hand_loss(
            prediction,
            target,
            self.discretisations,
            kind=self.config.loss,
            labels=model.labels,
            mm_per_pixel=model.cube_mm[0] / model.size,
        )
        self._check(loss.total, number)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        self._update(number)
        mm = error_mm(prediction.points.detach(), target, model)
        parts = {"loss": loss.total, "joint": loss.joint, "ordinal": loss.ordinal, "error_mm": mm}
        return {name: value.detach() for name, value in parts.items()}

    def _update(self, number: int) -> None:
        rate = learning_rate(self.config, number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        if self.config.clip:
            self._check(nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip), number)
        self.optimizer.step()
        if self.average:
            self.average.update(self.net)

    def _check(self, value: Tensor, number: int) -> None:
        if not torch.isfinite(value):
            raise NonFiniteLossError(
                f"The loss is no longer a number at step {number}",
                got=value.item(),
                fix="The last checkpoint is unharmed. Try a lower lr, a longer warmup, or clip.",
            )

    def final(self) -> HandNet:
        """The network that a run leaves: with averaged weights if it keeps them."""
        if not self.average:
            return self.net
        net = deepcopy(self.net)
        net.load_state_dict(self.average.tensors)
        return net


def _loop(run: _Run, sources: Sources, out: Path, done: int, display: Display, stop: threading.Event) -> TrainResult:
    config, meter = run.config, _Meter(run.config.batch)
    mm: float | None = None
    stream = batches(
        sources.train,
        config.batch,
        range(done, config.total_steps),
        workers=config.workers,
        pin=run.device.type == "cuda",
    )
    for number, batch in enumerate(meter.timed(stream), done):
        meter.add(run.step(number, batch))
        done = number + 1
        display.step(done)
        if done % config.log_every == 0 or done == config.total_steps:
            numbers = meter.read()
            mm = numbers["error_mm"]
            _log(out, {"step": done, "lr": learning_rate(config, number), **numbers})
            display.show(done, numbers)
        if stop.is_set():
            break
        if done % config.checkpoint_every == 0 and done < config.total_steps:
            save_run(out, config, done, run.net, run.optimizer, run.average)
        if config.validate_every and done % config.validate_every == 0 and done < config.total_steps:
            _measure(run, sources, out, done, display)
            meter.restart()
    return _end(run, sources, out, done, mm, display)


def _end(run: _Run, sources: Sources, out: Path, done: int, mm: float | None, display: Display) -> TrainResult:
    finished = done >= run.config.total_steps
    # measured first: a run that has its last state is never measured again
    validation = _measure(run, sources, out, done, display) if finished else None
    save_run(out, run.config, done, run.net, run.optimizer, run.average)
    display.say("finished" if finished else f"stopped after step {done}, saved; go on with --resume")
    return TrainResult(done, finished, mm, validation)


def _measure(run: _Run, sources: Sources, out: Path, done: int, display: Display) -> float | None:
    if sources.validation is None or not run.config.validation:
        return None
    count = run.config.validation
    mm = validate(run.final(), sources.validation, count, batch=run.config.batch, workers=run.config.workers)
    _log(out, {"step": done, "validation_mm": mm, "validation_samples": count})
    display.say(f"step {done}: {mm:.2f} mm on {count} held-out samples")
    return mm


def _log(out: Path, numbers: dict[str, Any]) -> None:
    with (out / METRICS).open("a") as file:
        file.write(json.dumps(numbers) + "\n")


class _Meter:
    """Means, speed and time spent waiting for data, since they were last read."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.restart()

    def restart(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps, self.waited, self.since = 0, 0.0, time.perf_counter()

    def timed(self, stream: Iterator[Batch]) -> Iterator[Batch]:
        """The stream, with the waiting counted."""
        while True:
            start = time.perf_counter()
            batch = next(stream, None)
            if batch is None:
                return
            self.waited += time.perf_counter() - start
            yield batch

    def add(self, numbers: dict[str, Tensor]) -> None:
        self.steps += 1
        for name, value in numbers.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def read(self) -> dict[str, float]:
        numbers = {name: value.item() / self.steps for name, value in self.sums.items()}
        seconds = time.perf_counter() - self.since
        numbers |= {"samples_per_s": self.steps * self.batch / seconds, "seconds_per_step": seconds / self.steps}
        numbers |= {"waiting": self.waited / seconds}
        self.restart()
        return {name: round(value, 6) for name, value in numbers.items()}


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@contextmanager
def _stop() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set, so that the step at hand is finished first."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals are the main thread's to handle
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(s, lambda *_: event.set()) for s in signals]
    try:
        yield event
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)
