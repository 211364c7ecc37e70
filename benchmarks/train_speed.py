"""How much of the machine a training run leaves to the network.

    python benchmarks/train_speed.py [--steps 60] [--rounds 3]

Renders labelled frames into a folder, caches their windows, and prints

- samples/s of `dor3d train` from the cache and from the synthetic stream, each against the bare forward, backward and
  step on batches that lie in memory (aims: 95 and 88 %), with the share of the processor that makes samples;
- samples a second that one core reads from shards to batches (aim: 1,000), their compressed size, and memory over
  100,000 samples.

The runs take turns, so that a busy machine is equally busy for all.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as `dor3d train` does, before torch is loaded

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from dor3d.data.augment import STRONG
from dor3d.data.batch import Batch
from dor3d.data.cache import Cache
from dor3d.data.cached import CachedHands
from dor3d.data.caching import write_cache
from dor3d.data.centers import open_centers
from dor3d.data.folder import Folder
from dor3d.data.synthetic import render_set
from dor3d.model.network import HandNet
from dor3d.train.loop import train
from dor3d.train.losses import hand_loss
from dor3d.train.optimizer import make_optimizer
from dor3d.train.recipes import TrainConfig, get_recipe, override
from dor3d.train.run import memory_layout
from dor3d.train.start import make_sources
from dor3d.train.stream import Order, shares

_FRAMES = 512
_CUBE = (280.0, 300.0)
_BATCHES = 8  # in memory
_FLAT = 100_000


def bare(config: TrainConfig, batches: list[Batch], steps: int) -> float:
    """Samples a second of forward, backward and step alone."""
    torch.manual_seed(0)
    net = HandNet(config.model)
    layout = memory_layout(net, torch.device("cpu"))
    net = net.to(memory_format=layout).train()
    optimizer, discretisations = make_optimizer(net, config), config.model.discretisations()
    scale, start = config.model.cube_mm[0] / config.model.size, 0.0
    for number in range(steps + 5):
        if number == 5:
            start = time.perf_counter()
        batch = batches[number % len(batches)]
        prediction = net(batch.crop.to(memory_format=layout))
        loss = hand_loss(prediction, batch.points, discretisations, kind=config.loss, mm_per_pixel=scale)
        optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        optimizer.step()
    return steps * config.batch / (time.perf_counter() - start)


def trained(config: TrainConfig, folder: Path) -> tuple[float, float, float]:
    """Samples a second of a run, its share of waiting, and the processor's share that its workers took."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    train(config, make_sources(config), folder, console=Console(quiet=True))
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()][1:]
    speeds = [line["samples_per_s"] for line in lines if "samples_per_s" in line]
    waits = [line["waiting"] for line in lines if "waiting" in line]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return statistics.median(speeds), statistics.median(waits), used / seconds / (os.cpu_count() or 1)


def compare(name: str, config: TrainConfig, folder: Path, rounds: int, aim: int) -> None:
    source = make_sources(config).train
    stream = shares(source, Order(source.length, config.batch, 0), range(_BATCHES))
    batches = [share.data.on(torch.device("cpu")) for share in stream if share.data]
    alone, whole, waits, used = [], [], [], []
    for n in range(rounds):
        alone.append(bare(config, batches, config.steps))
        speed, wait, share = trained(config, folder / f"{name}-{n}")
        whole, waits, used = [*whole, speed], [*waits, wait], [*used, share]
    ratio = statistics.median(w / a for w, a in zip(whole, alone, strict=True))
    print(
        f"{name}: {statistics.median(whole):.0f} samples/s, bare {statistics.median(alone):.0f}: {100 * ratio:.1f} % "
        f"(aim {aim}); waiting {100 * statistics.median(waits):.1f} %, workers take "
        f"{100 * statistics.median(used):.0f} % of the processor",
        flush=True,
    )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render_set(_FRAMES, "sr305", 0, folder / "frames")
        frames = Folder(folder / "frames")
        cache = write_cache(
            frames, open_centers("truth", frames), folder / "cache", cube_mm=_CUBE, room=STRONG.room, workers=2
        )
        reading(cache)
        short = {"steps": args.steps, "log_every": 10, "validation": 0, "validate_every": 10**6, "held_out": 0}
        own = {"cache": str(folder / "cache"), "rotation_deg": 180.0}
        compare("cached", override(get_recipe("folder"), {**short, **own}), folder, args.rounds, 95)
        short.pop("held_out")
        compare("synthetic", override(get_recipe("synth-compact"), short), folder, args.rounds, 88)


if __name__ == "__main__":
    main()
