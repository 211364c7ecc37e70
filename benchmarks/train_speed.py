"""How much of the machine a training run leaves to the network.

    python benchmarks/train_speed.py [--steps 600] [--workers 1] [--only steps|synthetic|cached]
        [--recipe synth-wide] [--threads 1] [--rounds 3]

Prints what a step of a recipe takes, forward, backward, optimizer and average, on batches in memory: in float32 in a
process that gives freed memory back, in float32 and in bfloat16 in one that keeps it. Each is a process of its own;
rounds of the three take turns. Processor seconds say more than the clock where other work runs beside it.

Then renders labelled frames into a folder, caches their windows, and prints

- samples/s of `dor3d train` from the cache and from the synthetic stream, each against the bare forward, backward and
  step on batches that lie in the device's memory (aims: 95 and 88 %), with the time that making samples takes;
- samples a second that one core reads from shards to batches (aim: 1,000), their compressed size, and memory over
  100,000 samples.

Blocks of a run's steps and bare steps take turns in one process, so that a busy machine is equally busy for both.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as `dor3d train` does, before torch is loaded

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from rich.console import Console

from dor3d.data.augment import STRONG
from dor3d.data.cache import Cache
from dor3d.data.cached import CachedHands
from dor3d.data.caching import write_cache
from dor3d.data.centers import open_centers
from dor3d.data.folder import Folder
from dor3d.data.synthetic import render_set
from dor3d.model.network import HandNet
from dor3d.train.config import TrainConfig
from dor3d.train.cpu import grouped_in_float32, keep_freed_memory
from dor3d.train.display import Display
from dor3d.train.fabric import make_fabric, pick_device, precision_of
from dor3d.train.loop import train
from dor3d.train.losses import hand_loss
from dor3d.train.optimizer import make_optimizer
from dor3d.train.recipes import get_recipe, override
from dor3d.train.run import Run, memory_layout
from dor3d.train.start import make_sources
from dor3d.train.stream import Order, Share, shares

_FRAMES = 512
_CUBE = (280.0, 300.0)
_BATCHES = 8  # in memory
_BLOCK, _REST_S = 20, 0.4  # steps a turn; until the workers' queue is full
_FLAT = 100_000
_STEPS, _WARM = 20, 5  # of a process that times steps
# name: precision, and whether freed memory is kept
_WAYS = {"float32, memory given back": ("32", False), "float32": ("32", True), "bfloat16": ("bf16", True)}


class Bare:
    """Forward, backward and step alone, on batches in memory."""

    def __init__(self, config: TrainConfig) -> None:
        source = make_sources(config).train
        stream = shares(source, Order(source.length, config.batch, 0), range(_BATCHES))
        self.device = pick_device(config.device)
        self.batches = [share.data.on(self.device) for share in stream if share.data]
        self.config, net = config, HandNet(config.model)
        self.layout = memory_layout(net, self.device)
        self.net = net.to(self.device, memory_format=self.layout).train()
        self.half = precision_of(config, self.device) == "bf16-mixed"
        if self.half and self.device.type == "cpu":
            grouped_in_float32(self.net)
        self.optimizer = make_optimizer(net, config, torch.bfloat16 if self.half else torch.float32)
        self.discretisations = config.model.discretisations()

    def run(self, steps: int) -> None:
        config, scale = self.config, self.config.model.cube_mm[0] / self.config.model.size
        for number in range(steps):
            crop, points, *_ = self.batches[number % len(self.batches)]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):  # as a run does
                prediction = self.net(crop.to(memory_format=self.layout))
            loss = hand_loss(prediction, points, self.discretisations, kind=config.loss, mm_per_pixel=scale)
            self.optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            self.optimizer.step()
        self.wait()

    def wait(self) -> None:
        """For all that the device was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


class Turns(Display):
    """Stops a run after every block of steps for as many bare ones, and takes the time of both.

    The workers, whose queue is full then, rest meanwhile; what they still do to fill it counts as the run's.
    """

    bare: ClassVar[Bare]
    seconds: ClassVar[list[tuple[float, float]]]  # of the run's steps and of the bare ones, by block
    made: ClassVar[float]  # seconds of a processor that the samples of a step took, after the first block

    def step(self, done: int) -> None:
        super().step(done)
        if done == 0:
            Turns.seconds = []
            self.since, self.first = time.perf_counter(), 0.0
        elif done % _BLOCK == 0:
            self.bare.wait()
            own, before = time.perf_counter() - self.since, workers_cpu()
            time.sleep(_REST_S)
            own += workers_cpu() - before  # what they still owed to the block
            start = time.perf_counter()
            self.bare.run(_BLOCK)
            Turns.seconds.append((own, time.perf_counter() - start))
            self.first = workers_cpu() if done == _BLOCK else self.first
            Turns.made = (workers_cpu() - self.first) / max(1, done - _BLOCK)
            self.since = time.perf_counter()


def workers_cpu() -> float:
    """Seconds of a processor that the processes that make samples have used."""
    fields = [Path(f"/proc/{p.pid}/stat").read_text().rpartition(")")[2].split() for p in active_children()]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def compare(name: str, config: TrainConfig, folder: Path, aim: int) -> None:
    """A run, whole, with its blocks against bare ones."""
    Turns.bare = Bare(config)
    with mock.patch("dor3d.train.loop.Display", Turns):
        train(config, make_sources(config), folder / name, console=Console(quiet=True))
    blocks = Turns.seconds[1:]  # the first one warms up
    ratios = [bare / own for own, bare in blocks]
    own, bare = (_BLOCK * config.batch / statistics.median(times) for times in zip(*blocks, strict=True))
    waits = [line["waiting"] for line in read_lines(folder / name / "metrics.jsonl") if "waiting" in line][1:]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{name}: {own:.0f} samples/s, bare {bare:.0f}: {100 * middle:.1f} % (aim {aim}; half of {len(ratios)} blocks "
        f"within {100 * low:.0f}..{100 * high:.0f}); waiting {100 * statistics.median(waits):.1f} %, "
        f"workers {Turns.made / config.batch * 1e3:.2f} ms of a processor for a sample",
        flush=True,
    )


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def reading(cache: Cache) -> None:
    """From shards to batches, in this process."""
    source = CachedHands(cache, 96, _CUBE, STRONG, 0)
    order = Order(source.length, 64, 0)
    steps = order.steps_an_epoch or 1
    source.batch(*order.samples(0))
    start, count = time.process_time(), 0
    memory = []
    while count < _FLAT:
        for step in range(steps):
            epoch, indices = order.samples(step)
            source.batch(epoch, indices.tolist()).on(torch.device("cpu"))
            count += len(indices)
        memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6)
    seconds = time.process_time() - start
    size = sum(f.stat().st_size for f in Path(cache.url).rglob("*") if f.is_file()) / len(cache)
    print(f"shards to crops: {count / seconds:.0f} samples a CPU second (aim 1,000), {size / 1e3:.1f} KB a sample")
    tenth = len(memory) // 10
    print(f"memory over {count:,} samples: {memory[tenth]:.0f} MB after a tenth, {memory[-1]:.0f} MB at the end")


def time_steps(config: TrainConfig, *, keep: bool) -> tuple[float, float]:
    """Medians over steps on batches in memory: seconds of the processor, and of the clock."""
    if keep:
        keep_freed_memory()
    source = make_sources(config).train
    stream = shares(source, Order(source.length, config.batch, 0), range(_BATCHES))
    made = [Share(share.data, share.asked) for share in stream]
    took = []
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, make_fabric(config), Path(folder), None, resumed=False)
        for number in range(_STEPS + _WARM):
            start = time.process_time(), time.perf_counter()
            run.step(number, made[number % len(made)], config.batch)
            took.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    cpu, clock = (statistics.median(times) for times in zip(*took[_WARM:], strict=True))
    return cpu, clock


def compare_steps(recipe: str, threads: int, rounds: int) -> None:
    """Ways to compute a step, in turn, each in a process of its own."""
    took: dict[str, list[list[float]]] = {name: [] for name in _WAYS}
    for _ in range(rounds):
        for name in _WAYS:
            command = [sys.executable, __file__, "--recipe", recipe, "--threads", str(threads), "--way", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took[name].append(json.loads(done.stdout.splitlines()[-1]))
    first = next(iter(took.values()))
    batch = get_recipe(recipe).batch
    for name, values in took.items():
        cpu, clock = (statistics.median(each) for each in zip(*values, strict=True))
        ratios = [old[0] / new[0] for old, new in zip(first, values, strict=True)]
        print(
            f"{recipe}, a step in {name}, {threads} threads: {cpu * 1e3:.0f} ms of a processor, {batch / clock:.0f} "
            f"samples/s; {statistics.median(ratios):.2f} times the first ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--workers", type=int, default=1, help="a GPU needs more")
    parser.add_argument("--only", choices=["steps", "synthetic", "cached"])
    parser.add_argument("--recipe", default="synth-wide", help="whose steps are timed")
    parser.add_argument("--threads", type=int, default=1, help="of those steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=_WAYS, help=argparse.SUPPRESS)  # what a process of its own times
    args = parser.parse_args()
    if args.way:
        torch.set_num_threads(args.threads)
        precision, keep = _WAYS[args.way]
        config = override(get_recipe(args.recipe), {"precision": precision, "threads": args.threads})
        print(json.dumps(time_steps(config, keep=keep)))
        return
    if args.only in (None, "steps"):
        compare_steps(args.recipe, args.threads, args.rounds)
    short = {
        "steps": args.steps,
        "workers": args.workers,
        "log_every": _BLOCK,
        "validation": 0,
        "validate_every": 10**6,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # first: its workers are forked, which Lance forbids once it is loaded
        if args.only in (None, "synthetic"):
            compare("synthetic", override(get_recipe("synth-compact"), short), folder, 88)
        if args.only in (None, "cached"):
            from_cache(short, folder)


def from_cache(short: dict[str, Any], folder: Path) -> None:
    """Frames, their cache, how fast it is read, and a run that learns from it."""
    render_set(_FRAMES, "sr305", 0, folder / "frames")
    frames = Folder(folder / "frames")
    cache = write_cache(
        frames, open_centers("truth", frames), folder / "cache", cube_mm=_CUBE, room=STRONG.room, workers=2
    )
    reading(cache)
    own = {**short, "held_out": 0, "cache": str(folder / "cache"), "rotation_deg": 180.0}
    compare("cached", override(get_recipe("folder"), own), folder, 95)


if __name__ == "__main__":
    main()
