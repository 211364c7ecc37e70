"""What to run on a GPU that is lent for a quarter of an hour: one call, one job, all that matters in one small folder.

    PYTHONPATH=src python scripts/gpu_jobs.py JOB --out DIR [--minutes 9] [--tracked POSES] [--init RUN] [--dry-run]

    compact  the network that ships goes on from its weights, on scenes of all kinds, for as many samples as fit
    paper    the paper's networks, ordinal heads at 224 px: Swin-B, then ResNet50
    bench    training's images a second, then `dor3d bench` eager, as CUDA graphs and compiled, in three precisions
    tables   tables of the paper with its own backbones, at a small budget

It begins by telling what is missing and ends with a short table. `--out` gets README.md (the table, and how to join
weights that came in parts), results.json, and a folder a network: averaged weights in half precision, renewed every
minute, with which `dor3d train --init` and `dor3d export` go on. `--dry-run` is the same code on any machine, with tiny
batches and small networks, in a minute or less. docs/training.md says more.
"""

import argparse
import hashlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).resolve().parents[1]
NEEDED: Final = (
    *("dor3d", "torch", "torchvision", "timm", "lightning", "numba", "scipy", "safetensors", "onnx", "onnxruntime"),
    *("numpy", "cv2", "matplotlib", "rich", "jaxtyping"),
)
FILE_BYTES: Final = 16 * 2**20  # the largest file that comes back
ALL_BYTES: Final = 64 * 2**20
FILES: Final = 8
_KEEP_S: Final = 60.0  # between two times that weights are written
_RESERVE_S: Final = 45.0  # after each training: to save it, and for the test sets
_RESERVE: Final = 0.15  # of the job's time at most
_RENDERED: Final = 64  # crops that show all kinds of scenes
_AHEAD: Final = 4  # batches of each worker that lie in shared memory


@dataclass(frozen=True)
class Training:
    """A network that a job trains.

    Attributes:
        name: of its folder.
        recipe: that it begins as.
        share: of the job's time.
        fields: of the recipe that differ.
        dry: fields that differ in a dry run, besides.
        comes_back: whether its weights are brought back.
    """

    name: str
    recipe: str
    share: float
    fields: Mapping[str, Any]
    dry: Mapping[str, Any]
    comes_back: bool = True


# all scenes, right hands alone: the paper's network tells neither sides nor empty crops. Its preset has no average.
_PAPER: Final = {"data.scenes": "wide", "batch": 64, "warmup": 200, "ema": 0.999}
_SMALL_SWIN: Final = "swin_tiny_patch4_window7_224"  # timm's smallest, for dry runs: one core takes long for Swin-B
TRAININGS: Final[dict[str, tuple[Training, ...]]] = {
    "compact": (Training("compact", "synth-wide", 1.0, {"batch": 128}, {"batch": 4}),),
    "paper": (
        # 174 MiB in half precision; the smallest of timm's takes its place where one core trains
        Training(
            "swin-b", "synth-swin-b", 0.6, _PAPER, {"batch": 2, "backbone": "swin_tiny_patch4_window7_224"}, False
        ),
        Training("resnet50", "synth-resnet50", 0.4, _PAPER, {"batch": 2}),
    ),
}
# of all trainings here; time ends them, not the number of samples
_FIELDS: Final = {
    "samples": 10**9,
    "validation": 0,
    "checkpoint_every": 10**9,
    "keep": 1,
    "tensorboard": False,
    "log_every": 50,
}
BACKENDS: Final = (
    *("torch-graph:bf16", "torch-eager:bf16", "torch-graph:fp16", "torch-eager:fp16", "torch-graph", "torch-eager"),
    "torch-compile:bf16",
)
# each row: tables, backbone, steps of a training
TABLES: Final = ((("2",), "resnet50", 1600), (("3", "6"), "swin-b", 800))


@dataclass
class Job:
    """A job on its way: where it writes, when it must end, and what it has found."""

    name: str
    args: argparse.Namespace
    deadline: float
    work: Path
    results: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    joins: dict[str, str] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def text(self) -> str:
        """The short table, and what there is to say beside it."""
        lines = [f"# {self.name}, {self.args.minutes:g} minutes" + (" (dry run)" * self.args.dry_run), ""]
        for name, found in self.results.items():
            lines += [f"{name}: {_line(found)}" if isinstance(found, dict) else f"{name}:\n\n{found}\n"]
        return "\n".join([*lines, *self.notes, *self.joins.values(), ""])

    def write(self) -> None:
        """README.md and results.json, as they are now."""
        from dor3d.files import write_whole

        write_whole(self.args.out / "results.json", json.dumps(self.results, indent=1) + "\n")
        write_whole(self.args.out / "README.md", self.text())


def _line(found: Mapping[str, Any]) -> str:
    """What a network's results come to."""
    parts: list[str] = []
    if "samples" in found:
        parts += [f"{found['backbone']}, {found['samples']:,} samples, {found['samples_per_s']:,.0f} a second"]
    for name, of in found.get("sets", {}).items():
        inside = " / ".join(f"{of[key]:.1f} %" for key in ("within_20_mm", "within_40_mm"))
        parts += [f"{name} {of['mean_mm']:.2f} mm, {inside} within 20 / 40 mm ({of['frames']} frames)"]
    return "; ".join([*parts, *([found["failed"]] if "failed" in found else [])])


# ---- weights that come back ----------------------------------------------------------------------------------------
def keep_weights(job: Job, name: str, config: Any, tensors: Mapping[str, Any]) -> None:
    """Write a network's tensors, matrices in half precision, as a run folder in `--out`, in parts if need be."""
    from dor3d.files import write_whole
    from dor3d.model.checkpoint import CONFIG, WEIGHTS, write_json, write_tensors

    folder, out = job.args.out / name, job.args.out
    size = sum(t.numel() * (2 if t.ndim > 1 else t.element_size()) for t in tensors.values())
    others = [p for p in out.rglob("*") if p.is_file() and folder not in p.parents]
    parts = math.ceil(size / FILE_BYTES + 0.01)
    if size + sum(p.stat().st_size for p in others) > ALL_BYTES - 2**19 or parts + 1 + len(others) > FILES:
        job.joins[name] = f"{name}: {size / 2**20:.0f} MiB of weights are too many to bring back."
        return
    halves = {key: t.half() if t.ndim > 1 and t.is_floating_point() else t for key, t in tensors.items()}
    write_tensors(job.work / WEIGHTS, halves)
    write_json(folder / CONFIG, config.to_json())
    data = (job.work / WEIGHTS).read_bytes()
    if len(data) <= FILE_BYTES:
        write_whole(folder / WEIGHTS, data)
        return
    for i, start in enumerate(range(0, len(data), FILE_BYTES)):
        write_whole(folder / f"{WEIGHTS}.part{i}", data[start : start + FILE_BYTES])
    whole, digest = f"{name}/{WEIGHTS}", hashlib.sha256(data).hexdigest()
    job.joins[name] = f"    cat {whole}.part* > {whole} && echo '{digest}  {whole}' | sha256sum -c"
    job.write()  # the sum belongs to these parts


# ---- trainings -----------------------------------------------------------------------------------------------------
def train_all(job: Job) -> None:
    """Train a job's networks, each in its share of what is left, and measure each."""
    from dor3d.errors import Dor3dError

    trainings = TRAININGS[job.name]
    _compile(_config(job, trainings[0]))
    for i, training in enumerate(trainings):
        reserve = min(_RESERVE_S, _RESERVE * 60 * job.args.minutes) * len(trainings[i:])
        seconds = (job.left - reserve) * training.share / sum(t.share for t in trainings[i:])
        try:
            finished = _train(job, training, seconds)
        except Dor3dError as error:
            job.results[training.name] = {**job.results.get(training.name, {}), "failed": str(error)}
            finished = True  # the next one may do better
        job.write()
        if not finished:
            job.notes.append("It was told to stop.")
            return


def _config(job: Job, training: Training) -> Any:
    from dor3d.train.recipes import get_recipe, override

    dry = training.dry if job.args.dry_run else {}
    return override(get_recipe(training.recipe), {**_FIELDS, **training.fields, **dry, **job.args.fields})


def _compile(config: Any) -> None:
    """Render once: what numba compiles here, a minute's work, it need not compile in each worker."""
    from dor3d.train.start import make_sources

    make_sources(config).train.batch(0, range(_RENDERED))


def _train(job: Job, training: Training, seconds: float) -> bool:
    from dor3d.model.checkpoint import read_tensors
    from dor3d.train.loop import train
    from dor3d.train.recipes import override
    from dor3d.train.start import make_sources

    args, config = job.args, _config(job, training)
    workers = _workers(args.workers, config.batch * config.model.size**2 * 4)
    config = override(config, {"minutes": max(seconds, 0.1) / 60, "workers": workers})
    kept = time.monotonic()

    def keep(_: int, tensors: Mapping[str, Any], every: float = _KEEP_S) -> None:
        nonlocal kept
        if training.comes_back and time.monotonic() - kept > every:
            keep_weights(job, training.name, config, tensors)
            kept = time.monotonic()

    run = job.work / training.name
    result = train(config, make_sources(config), run, init=args.init, init_matching=args.init is not None, on_log=keep)
    keep(result.step, read_tensors(run / "model.safetensors")[0], every=0.0)
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speeds = sorted(line["samples_per_s"] for line in metrics)
    found = {"backbone": config.model.backbone, "samples": result.step * config.batch}
    speed = speeds[len(speeds) // 2] if speeds else math.nan
    job.results[training.name] = {**found, "samples_per_s": speed, "sets": {}, "metrics": metrics}
    if not training.comes_back:
        job.notes.append(f"{training.name}: its weights are too many to bring back.")
    job.write()
    if result.finished:
        _measure(job, training.name, run)
    return result.finished


def _workers(most: int, bytes_a_batch: int) -> int:
    """So many that their batches find room in shared memory."""
    shared = Path("/dev/shm")
    room = shutil.disk_usage(shared).free if shared.exists() else math.inf
    return int(min(most, max(1, 0.8 * room / (_AHEAD * bytes_a_batch))))


def _measure(job: Job, name: str, run: Path) -> None:
    """On the frozen test sets, while there is time."""
    import numpy as np

    from dor3d.data.testsets import CLEAR_COUNT, HARD_COUNT, clear, hard, tracked
    from dor3d.evaluate.crops import found_in_stream
    from dor3d.metrics import joint_errors
    from dor3d.runtime.pytorch import TorchModel
    from dor3d.train.fabric import pick_device

    model, args = TorchModel(run, pick_device("auto")), job.args
    shape = model.card.size, model.card.cube_mm
    sets = {"clear": (clear(*shape), CLEAR_COUNT), "hard": (hard(*shape), HARD_COUNT)}
    if args.tracked:
        poses = tracked(args.tracked, *shape)
        sets["tracked"] = poses, len(poses)
    for set_name, (source, count) in sets.items():
        if job.left < 0 and not args.dry_run:
            job.notes.append(f"{name}: no time was left for {set_name}.")
            continue
        found = found_in_stream(model, source, 4 if args.dry_run else count, 2, args.workers)
        errors = joint_errors(found.predicted_mm, found.true_mm)
        within = {f"within_{mm}_mm": 100 * float(np.mean(errors.max(1) <= mm)) for mm in (20, 40)}
        of = {"frames": len(errors), "mean_mm": float(errors.mean()), **within}
        job.results[name]["sets"][set_name] = of
        job.write()


# ---- speed ---------------------------------------------------------------------------------------------------------
def measure_speed(job: Job) -> None:
    """Training's images a second, then each backend's frames a second, with their shares of what a product reaches."""
    import torch

    from dor3d.bench.run import bench
    from dor3d.train.fabric import pick_device

    dry = job.args.dry_run
    script = ROOT / "benchmarks" / "train_peak.py"
    what = ["compact", "--batches", "2", "--steps", "1"] if dry else ["swin-b", "resnet50", "--batches", "64", "256"]
    try:
        limit = max(job.left / 3, 60.0)
        command = [sys.executable, script, *what]
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        job.results["training"] = done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired as over:
        job.results["training"] = f"{(over.stdout or b'').decode()}\nno time was left for the rest"
    job.write()
    sys.path.insert(0, str(script.parent))
    from train_peak import matmul_peak  # pyright: ignore[reportMissingImports]

    types = {"fp32": torch.float32} if dry else {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    peaks = {name: matmul_peak(pick_device("auto"), dtype) / 1e12 for name, dtype in types.items()}
    models, backends = (["compact"], ["torch-eager"]) if dry else (["swin-b", "resnet50", "compact"], list(BACKENDS))
    until = job.deadline - _RESERVE_S
    found = bench(models, backends, 0.02 if dry else 2.0, None, print, math.inf if dry else until)
    lines = ["| model | backend | ms (median / 99 %) | frames/s | best batch: frames/s | of the peak |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in found.rows:
        share = (row.gflop or math.nan) * row.best_frames_per_s / 1e3 / peaks[row.precision]
        speeds = f"{row.frames_per_s:,.0f} | {row.best_batch}: {row.best_frames_per_s:,.0f} | {share:.1%}"
        times = f"{row.latency_ms:.2f} / {row.p99_ms or math.nan:.2f}"
        lines += [f"| {row.model} | {row.backend}:{row.precision} | {times} | {speeds} |"]
    lines += [f"\nmatrix products, TFLOP/s: {', '.join(f'{name} {peak:.1f}' for name, peak in peaks.items())}"]
    job.results["inference"] = "\n".join([*lines, *(f"{name}: {why}" for name, why in found.failed.items())])


# ---- tables --------------------------------------------------------------------------------------------------------
def make_all_tables(job: Job) -> None:
    """Tables, one after the other, until the time is up; what is measured comes back, for a later call."""
    from dor3d.errors import StoppedError
    from dor3d.evaluate.jobs import stopping
    from dor3d.evaluate.tables import make_tables
    from dor3d.evaluate.trials import Plan
    from dor3d.train.recipes import get_recipe

    dry, init = job.args.dry_run, job.args.init
    changes = {"tensorboard": "false", "checkpoint_every": "1000000"}
    changes |= {"batch": "2", "validation": "2"} if dry else {}
    out = job.work / "tables"
    _compile(get_recipe("synth-compact"))
    if init:
        shutil.unpack_archive(init, out / "results", "zip")
    timer = threading.Timer(math.inf if dry else max(job.left - 20, 1), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    try:
        with stopping():
            if not dry:
                timer.start()
            for names, backbone, steps in [(("2",), "compact", 2)] if dry else TABLES:
                frames = 2 if dry else 1024
                plan = Plan(backbone=backbone, steps=steps, seeds=1, out=out, frames=frames, changes=changes)
                for path in make_tables(names, plan):  # pyright: ignore[reportArgumentType]
                    if path.suffix == ".md":
                        job.results[f"{path.stem}, {backbone}"] = path.read_text()
                job.write()
    except StoppedError:
        job.notes.append("The time was up before all tables were made; --init results.zip goes on.")
    finally:
        timer.cancel()
    if (out / "results").exists():
        shutil.make_archive(str(job.args.out / "results"), "zip", out / "results")


JOBS: Final[dict[str, Callable[[Job], None]]] = {
    "compact": train_all,
    "paper": train_all,
    "bench": measure_speed,
    "tables": make_all_tables,
}


# ---- the call ------------------------------------------------------------------------------------------------------
class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(message)


def fail(line: str) -> NoReturn:
    """One line, and 2."""
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


def parse() -> argparse.Namespace:
    """The words of the call, checked; nothing has been written yet."""
    parser = _Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", help=", ".join(JOBS))
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    parser.add_argument("--minutes", type=float, help="for all of it, 9 by default")
    parser.add_argument("--tracked", type=Path, help="the recording's file; without it that set is left out")
    parser.add_argument("--init", type=Path, help="weights to begin from (compact), or results.zip (tables)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a field of the trainings")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)) - 1)
    parser.add_argument("--dry-run", action="store_true", help="the same code, tiny, on any machine")
    args = parser.parse_args()
    if args.job not in JOBS:
        fail(f"Unknown job; got {args.job}; expected {', '.join(JOBS)}")
    if args.minutes is None:
        args.minutes = 0.1 if args.dry_run else 9.0
    if not (math.isfinite(args.minutes) and args.minutes > 0):
        fail(f"--minutes must be positive; got {args.minutes:g}")
    if args.init and args.job not in ("compact", "tables"):
        fail(f"{args.job} begins from nothing; leave out --init")
    if args.job == "compact" and args.init is None:
        args.init = ROOT / "checkpoints" / "compact"
    for path in (args.init, args.tracked):
        if path and not path.exists():
            fail(f"There is no file {path}")
    args.fields = dict(word.partition("=")[::2] for word in args.set)
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        fail(f"{args.out} holds another run; choose an empty folder with --out")
    return args


def main() -> None:
    """Check, run the job, print the table."""
    start = time.monotonic()
    args = parse()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        hint = "; dor3d is in src: set PYTHONPATH=src" if "dor3d" in missing else ""
        fail(f"Missing: {', '.join(missing)}{hint}")
    import cv2
    import torch

    from dor3d.errors import Dor3dError

    if not args.dry_run and not torch.cuda.is_available():
        fail("There is no GPU that PyTorch can use; --dry-run goes through the job without one")
    cv2.setNumThreads(0)  # its threads do not live through a fork, and workers are forked
    torch.backends.cudnn.benchmark = True  # crops are all of one size
    with tempfile.TemporaryDirectory(prefix="dor3d-gpu-") as work:
        job = Job(args.job, args, start + 60 * args.minutes, Path(work))
        try:
            JOBS[args.job](job)
        except Dor3dError as error:
            fail(str(error))
        job.write()
    print(f"\n{job.text()}")


if __name__ == "__main__":
    main()
