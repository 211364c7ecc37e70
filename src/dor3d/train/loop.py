"""The training loop, on one device or many.

A run is a pure function of its config: which samples a step takes, how they are changed and what stochastic depth drops
follow from seed and step, so that a resumed run goes on as if it had never stopped. The loop knows nothing of the data,
the network nothing of the loss.
"""

import json
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import Tensor

from dor3d.data.sample import check_bad
from dor3d.errors import InputError
from dor3d.model.network import parameter_count
from dor3d.train.checkpoints import Checkpoints, State, read_state, state_path
from dor3d.train.config import TrainConfig
from dor3d.train.cpu import keep_freed_memory
from dor3d.train.display import Display
from dor3d.train.fabric import make_fabric
from dor3d.train.measure import measure
from dor3d.train.run import Run
from dor3d.train.state import drop_metrics_after, learning_rate, open_run, restore, save
from dor3d.train.stream import Order, Share, Sources, shares
from dor3d.train.watch import Watch
from dor3d.viz.report import REPORT, write_report


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        step: steps done.
        finished: whether they were all.
        error_mm, validation_mm: the last errors on samples that were learnt and held out (mean over joints).
        first: whether this is the process that speaks for all.
    """

    step: int
    finished: bool
    error_mm: float | None = None
    validation_mm: float | None = None
    first: bool = True


def train(
    config: TrainConfig,
    sources: Sources,
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    console: Console | None = None,
) -> TrainResult:
    """Train a network and leave `model.safetensors`, `config.json`, `metrics.jsonl`, states and a report in `out`.

    SIGTERM and SIGINT finish the step, save, and return, which is how a run without an end ends. Resuming an empty
    folder starts the run; resuming a finished run changes nothing. Started by torchrun or SLURM, all its processes
    share the work.

    Raises InputError for a folder that holds another run or cannot be written, NonFiniteLossError when the loss is no
    longer a number, WorkerError when a process that makes samples is gone.
    """
    out, config = Path(out), settled(config, sources)
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = make_fabric(config)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    if fabric.is_global_zero:
        open_run(out, config, resume=resume, processes=fabric.world_size)
    console = console or Console(stderr=True, quiet=not fabric.is_global_zero)
    with Display(config.recipe or config.model.backbone, config.total_steps, 0, console) as display, _stop() as stop:
        state = _load(fabric, out, config.keep, display)
        if state and config.is_finished(state.step):
            if fabric.is_global_zero and not (out / REPORT).exists():  # a kill came before it
                write_report(out)
            return TrainResult(state.step, finished=True, first=fabric.is_global_zero)
        run = Run(config, fabric, out, None if state else init, resumed=state is not None)
        done = restore(run, state) if state else 0
        if fabric.is_global_zero:
            drop_metrics_after(out, done)
        size = f"{parameter_count(run.net) / 1e6:.2f} M parameters"
        display.say(f"{run.net.name}: {size} on {fabric.world_size} x {fabric.device.type}, to {out}")
        loop = _Loop(run, sources, out, display, stop)
        try:
            return loop.go(done)
        finally:
            loop.close()


def _load(fabric: Fabric, out: Path, keep: int, display: Display) -> State | None:
    """The newest whole state, the same for all processes; the first alone may open the store, which it writes."""
    state = Checkpoints(out, keep).load(display.say) if fabric.is_global_zero else None
    step = fabric.broadcast(state.step if state else None)
    if fabric.is_global_zero or step is None:
        return state
    return read_state(state_path(out, step))


def settled(config: TrainConfig, sources: Sources) -> TrainConfig:
    """The config with what follows from the data: epochs as steps, and a measurement after each of them."""
    order = Order(sources.train.length, config.batch)
    steps = order.steps_an_epoch
    if steps is None:
        if config.epochs:
            raise InputError("Data without an end has no epochs", got=f"epochs {config.epochs}", fix="Give samples.")
        return config
    total = config.steps or config.epochs * steps or config.total_steps or 0
    held_out = 0 if sources.validation is None else config.validation or sources.validation.length or 0
    every = config.validate_every or steps
    return replace(config, steps=total, epoch=order.length or 1, validate_every=every, validation=held_out)


class _Loop:
    """A run on its way."""

    def __init__(self, run: Run, sources: Sources, out: Path, display: Display, stop: threading.Event) -> None:
        self.run, self.config, self.fabric = run, run.config, run.fabric
        self.sources, self.out, self.display, self.stop = sources, out, display, stop
        # the first process alone writes
        self.store = Checkpoints(out, run.config.keep) if run.fabric.is_global_zero else None
        self.watch: Watch | None = None
        self.error_mm: float | None = None

    def close(self) -> None:
        if self.watch:
            self.watch.close()

    def go(self, done: int) -> TrainResult:
        config, meter = self.config, _Meter()
        if self.fabric.is_global_zero:
            boards = {"tensorboard": config.tensorboard, "wandb": config.wandb}
            self.watch = Watch(self.out, config.total_steps, done, **boards)  # pyright: ignore[reportArgumentType]
        self.display.step(done)
        with closing(self._shares(done)) as stream:
            for number, share in enumerate(meter.timed(stream), done):
                valid, stop = self._agree(share)
                meter.add(self.run.step(number, share, valid), share)
                done = number + 1
                self.display.step(done)
                finished = config.is_finished(done)
                if finished or done % config.log_every == 0:
                    self._log(done, meter)
                if stop:
                    break
                if not finished:
                    self._between(done, meter)
        return self._end(done)

    def _shares(self, done: int) -> Generator[Share, None, None]:
        config, fabric = self.config, self.fabric
        return shares(
            self.sources.train,
            Order(self.sources.train.length, config.batch, config.seed),
            range(done, config.total_steps or sys.maxsize),
            rank=fabric.global_rank,
            processes=fabric.world_size,
            workers=config.workers,
            device=fabric.device,
        )

    def _agree(self, share: Share) -> tuple[int, bool]:
        """Valid samples of all processes, and whether any of them was told to stop."""
        valid, stop = share.asked - len(share.problems), self.stop.is_set()
        if self.fabric.world_size > 1:
            both = torch.tensor([valid, int(stop)], device=self.fabric.device)
            valid, stop = (int(x) for x in self._sum(both).tolist())
        return max(1, valid), bool(stop)

    def _sum(self, values: Tensor) -> Tensor:
        summed = self.fabric.all_reduce(values, reduce_op="sum")
        return summed if isinstance(summed, Tensor) else values

    def _log(self, done: int, meter: "_Meter") -> None:
        names, sums = meter.sums()
        numbers = dict(zip(names, self._sum(sums.to(self.fabric.device)).tolist(), strict=True))
        check_bad(int(numbers["bad"]), int(numbers["asked"]), meter.last_problem, "samples")
        numbers = meter.read(numbers)
        self.error_mm = numbers["error_mm"]
        self._note(done, {"lr": learning_rate(self.config, done - 1), **numbers})
        self.display.show(done, numbers)

    def _note(self, done: int, numbers: dict[str, float]) -> None:
        if self.watch:
            self.watch.numbers(done, numbers)

    def _between(self, done: int, meter: "_Meter") -> None:
        """What comes between two steps now and then: a state on the disk, an error on held-out samples."""
        config = self.config
        if config.validate_every and done % config.validate_every == 0:
            self._measure(done)
            meter.restart()
        if done % config.checkpoint_every == 0:
            self._save(done)

    def _save(self, done: int) -> None:
        if self.store:
            save(self.run, self.store, done)
        self.fabric.barrier()

    def _measure(self, done: int) -> float | None:
        if self.sources.validation is None or not self.config.validation:
            return None
        found = measure(self.run, self.sources.validation, self.config.validation)
        mm = found.error_mm
        more = {f"validation_{name}": value for name, value in found.more.items()}
        self._note(done, {"validation_mm": mm, "validation_samples": found.samples, **more})
        self.display.say(f"step {done}: {mm:.2f} mm on {found.samples} held-out samples")
        if self.watch and found.shown:
            self.watch.picture(done, self.run.task.sheet(found.shown, self.watch.title(done)))
        if self.store:
            self.store.best(mm, done, self.run.weights(), {"config": json.dumps(self.config.to_json())})
        return mm

    def _end(self, done: int) -> TrainResult:
        finished = self.config.is_finished(done)
        # measured first: a run that has its last state is never measured again
        validation = self._measure(done) if finished else None
        self._save(done)
        self.close()
        if self.fabric.is_global_zero:
            write_report(self.out)
        self.display.say("finished" if finished else f"stopped after step {done}, saved; go on with --resume")
        return TrainResult(done, finished, self.error_mm, validation, self.fabric.is_global_zero)


@dataclass
class _Meter:
    """Sums over samples, speed and time spent waiting for data, since they were last read."""

    totals: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    waited: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    asked: int = 0
    bad: int = 0
    last_problem: str = ""

    def restart(self) -> None:
        self.totals, self.steps, self.waited, self.since = {}, 0, 0.0, time.perf_counter()

    def timed(self, stream: Iterator[Share]) -> Iterator[Share]:
        """The stream, with the waiting counted."""
        while True:
            start = time.perf_counter()
            share = next(stream, None)
            if share is None:
                return
            self.waited += time.perf_counter() - start
            yield share

    def add(self, sums: dict[str, float], share: Share) -> None:
        self.steps += 1
        self.asked, self.bad = self.asked + share.asked, self.bad + len(share.problems)
        self.last_problem = share.problems[-1] if share.problems else self.last_problem
        for name, value in {**sums, "samples": float(share.asked - len(share.problems))}.items():
            self.totals[name] = self.totals.get(name, 0.0) + value

    def sums(self) -> tuple[list[str], Tensor]:
        """Names and numbers that processes add up."""
        numbers = {**self.totals, "asked": self.asked, "bad": self.bad}
        return list(numbers), torch.tensor(list(numbers.values()), dtype=torch.float64)

    def read(self, summed: dict[str, float]) -> dict[str, float]:
        """Means over the samples of all processes."""
        seconds, samples = time.perf_counter() - self.since, max(1.0, summed["samples"])
        numbers = {name: value / samples for name, value in summed.items() if name not in ("samples", "asked", "bad")}
        numbers |= {"samples_per_s": summed["samples"] / seconds, "seconds_per_step": seconds / self.steps}
        numbers |= {"waiting": self.waited / seconds, "bad_samples": summed["bad"]}
        self.restart()
        return {name: round(value, 6) for name, value in numbers.items()}


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
