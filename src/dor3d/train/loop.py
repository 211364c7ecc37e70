"""The training loop, on one device or many.

A run is a pure function of its config: which samples a step takes, how they are changed and what stochastic depth drops
follow from seed and step, so that a resumed run goes on as if it had never stopped. The loop knows nothing of the data,
the network nothing of the loss.
"""

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
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
from dor3d.train.cpu import keep_freed_memory, own_threads
from dor3d.train.display import Display
from dor3d.train.fabric import make_fabric
from dor3d.train.measure import measure
from dor3d.train.run import Run
from dor3d.train.state import drop_metrics_after, is_over, learning_rate, open_run, restore, save, seconds_of
from dor3d.train.stream import Order, Share, Sources, shares
from dor3d.train.watch import Watch
from dor3d.viz.report import REPORT, write_report

OnLog = Callable[[int, Mapping[str, Tensor]], object]


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
    init_matching: bool = False,
    console: Console | None = None,
    on_log: OnLog | None = None,
) -> TrainResult:
    """Train a network and leave `model.safetensors`, `config.json`, `metrics.jsonl`, states and a report in `out`.

    SIGTERM and SIGINT finish the step, save, and return, which is how a run without an end ends. Resuming an empty
    folder starts the run; resuming a finished run changes nothing. Started by torchrun or SLURM, all its processes
    share the work.

    `init_matching` takes those of `init`'s weights that match by name and shape, and begins the others anew.

    Args:
        config: everything that decides the run.
        sources: samples to learn from and held-out ones.
        out: the run's folder.
        resume: go on with the run in `out`.
        init: weights to begin from.
        console: for progress; stderr by default.
        on_log: called by the first process whenever numbers have been logged, with the steps done and the tensors of
            the network that the run would leave now, which go on changing.

    Raises InputError for a folder that holds another run or cannot be written, NonFiniteLossError when the loss is no
    longer a number, WorkerError when a process that makes samples is gone.
    """
    out, config = Path(out), settled(config, sources)
    fabric = make_fabric(config)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    torch.set_num_threads(config.threads or own_threads(fabric.device, config.workers))
    if fabric.is_global_zero:
        open_run(out, config, resume=resume, processes=fabric.world_size)
    console = console or Console(stderr=True, quiet=not fabric.is_global_zero)
    with Display(config.recipe or config.model.backbone, config.total_steps, 0, console) as display, _stop() as stop:
        state = _load(fabric, out, config.keep, display)
        if state and is_over(config, state.step, seconds_of(state)):
            if fabric.is_global_zero and not (out / REPORT).exists():  # a kill came before it
                write_report(out)
            return TrainResult(state.step, finished=True, first=fabric.is_global_zero)
        run = Run(config, fabric, out, None if state else init, resumed=state is not None, matching=init_matching)
        done = restore(run, state) if state else 0
        if fabric.is_global_zero:
            drop_metrics_after(out, done)
        size = f"{parameter_count(run.net) / 1e6:.2f} M parameters"
        display.say(f"{run.net.name}: {size} on {fabric.world_size} x {fabric.device.type}, to {out}")
        if run.new:
            display.say(f"begun anew, since {init} has nothing like it: {', '.join(run.new)}")
        loop = _Loop(run, sources, out, display, stop, _Clock(config, seconds_of(state)), on_log)
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


class _Clock:
    """The time that a run has taken, over all its resumptions, and may take."""

    def __init__(self, config: TrainConfig, before: float) -> None:
        self.limit, self._begin = 60 * config.minutes, time.monotonic() - before

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._begin

    @property
    def spent(self) -> float:
        """The share of the run's time that is used up, in [0, 1]; 0 where it has none."""
        return min(1.0, self.seconds / self.limit) if self.limit else 0.0

    def left(self, seconds: float) -> float:
        """Seconds to the end, where the remaining steps would take so many."""
        return min(seconds, max(0.0, self.limit - self.seconds)) if self.limit else seconds


class _Loop:
    """A run on its way."""

    def __init__(
        self,
        run: Run,
        sources: Sources,
        out: Path,
        display: Display,
        stop: threading.Event,
        clock: _Clock,
        on_log: OnLog | None,
    ) -> None:
        self.run, self.config, self.fabric = run, run.config, run.fabric
        self.sources, self.out, self.display, self.stop = sources, out, display, stop
        self.clock, self.on_log, self.spent = clock, on_log, 0.0
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
        with closing(self._shares(range(done, config.total_steps or sys.maxsize), config.workers)) as stream:
            for number, share in enumerate(meter.timed(stream), done):
                valid, stop, self.spent = self._agree(share)
                meter.add(self.run.step(number, share, valid, self.spent), share)
                done = number + 1
                over = self._over(done)
                self.display.step(done)
                if done % config.log_every == 0 or over:
                    self._log(done, meter)
                if stop or over:
                    break
                self._between(done, meter)
        return self._end(done)

    def _shares(self, steps: range, workers: int) -> Generator[Share, None, None]:
        config, fabric = self.config, self.fabric
        return shares(
            self.sources.train,
            Order(self.sources.train.length, config.batch, config.seed),
            steps,
            rank=fabric.global_rank,
            processes=fabric.world_size,
            workers=workers,
            device=fabric.device,
        )

    def _agree(self, share: Share) -> tuple[int, bool, float]:
        """Valid samples of all processes, whether any of them was told to stop, and the first one's share of time."""
        valid, stop, spent = share.asked - len(share.problems), self.stop.is_set(), self.clock.spent
        if self.fabric.world_size > 1:
            mine = [valid, stop, spent if self.fabric.is_global_zero else 0.0]
            both = torch.tensor(mine, dtype=torch.float64, device=self.fabric.device)
            valid, stop, spent = self._sum(both).tolist()
        return max(1, int(valid)), bool(stop), spent

    def _sum(self, values: Tensor) -> Tensor:
        summed = self.fabric.all_reduce(values, reduce_op="sum")
        return summed if isinstance(summed, Tensor) else values

    def _check(self) -> None:
        """Raises NonFiniteLossError where a step's loss was no number and nobody has looked since."""
        bad = self.run.first_bad()
        if bad is not None:
            with closing(self._shares(range(bad, bad + 1), 0)) as stream:
                batch, _ = self.run.batch_of(next(stream))
            self.run.fail(bad, batch)

    def _log(self, done: int, meter: "_Meter") -> None:
        self._check()
        names, sums = meter.sums()
        numbers = dict(zip(names, self._sum(sums.to(self.fabric.device)).tolist(), strict=True))
        check_bad(int(numbers["bad"]), int(numbers["asked"]), meter.last_problem, "samples")
        numbers = meter.read(numbers)
        self.error_mm = numbers["error_mm"]
        self._note(done, {"lr": learning_rate(self.config, done - 1, self.spent), **numbers})
        total = self.config.total_steps
        steps_s = math.inf if total is None else (total - done) * numbers["seconds_per_step"]
        self.display.show(done, numbers, self.clock.left(steps_s))
        if self.on_log and self.fabric.is_global_zero:
            self.on_log(done, self.run.weights())

    def _over(self, done: int) -> bool:
        """Whether the run ends after so many steps."""
        return self.config.is_finished(done) or self.spent >= 1

    def _note(self, done: int, numbers: dict[str, float]) -> None:
        if self.watch:
            self.watch.numbers(done, numbers)

    def _between(self, done: int, meter: "_Meter") -> None:
        """What comes between two steps now and then: a state on the disk, an error on held-out samples."""
        config = self.config
        validates, saves = (n and done % n == 0 for n in (config.validate_every, config.checkpoint_every))
        if validates or saves:
            self._check()
        if validates:
            self._measure(done)
            meter.restart()
        if saves:
            self._save(done)

    def _save(self, done: int) -> None:
        if self.store:
            save(self.run, self.store, done, self.clock.seconds)
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
        self._check()
        finished = self._over(done)
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

    names: list[str] = field(default_factory=list)
    totals: Tensor | None = None  # on the device, which is not asked before they are read
    samples: int = 0
    steps: int = 0
    waited: float = 0.0
    since: float = field(default_factory=time.perf_counter)
    asked: int = 0
    bad: int = 0
    last_problem: str = ""

    def restart(self) -> None:
        self.totals, self.samples, self.steps, self.waited, self.since = None, 0, 0, 0.0, time.perf_counter()

    def timed(self, stream: Iterator[Share]) -> Iterator[Share]:
        """The stream, with the waiting counted."""
        while True:
            start = time.perf_counter()
            share = next(stream, None)
            if share is None:
                return
            self.waited += time.perf_counter() - start
            yield share

    def add(self, sums: dict[str, Tensor], share: Share) -> None:
        self.steps += 1
        self.asked, self.bad = self.asked + share.asked, self.bad + len(share.problems)
        self.last_problem = share.problems[-1] if share.problems else self.last_problem
        self.samples += share.asked - len(share.problems)
        values = torch.stack(list(sums.values())).double()
        self.names, self.totals = list(sums), values if self.totals is None else self.totals + values

    def sums(self) -> tuple[list[str], Tensor]:
        """Names and numbers that processes add up."""
        counts = torch.tensor([self.samples, self.asked, self.bad], dtype=torch.float64)
        sums = torch.zeros(0) if self.totals is None else self.totals.cpu()
        return [*self.names, "samples", "asked", "bad"], torch.cat([sums, counts])

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
