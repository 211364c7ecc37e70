"""What a training without an end is worth: branch off, let the rate fall, measure, and add a row to its curve.

    python benchmarks/long_run.py RUN --curve CURVE.csv [--anneal 64000] [--count 1024] [--versions 1 2]
                                  [--keep DIR] [--before SAMPLES] [--out PICTURE.png]

RUN is a folder of `dor3d train ... --samples 0 --schedule constant`. Weights that are measured: the run's averages and,
with --anneal, those of a branch that begins from its newest state and lets the rate fall to zero over so many other
samples (RUN-annealed-STEP, which can be exported and shipped). Measured on the first frames of the frozen sets, two
crops a hand, as `dor3d predict` looks at it. --before: samples that the weights had learnt before the run began. --keep
writes the averages in half precision, as a run folder that `--init` takes. --out draws the curve.
"""

import argparse
import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from dor3d.data.testsets import clear, hard
from dor3d.errors import InputError
from dor3d.evaluate.crops import found_in_stream
from dor3d.files import whole_file, write_whole
from dor3d.metrics import joint_errors
from dor3d.model.checkpoint import CONFIG, WEIGHTS, read_config, read_tensors, write_json, write_tensors
from dor3d.runtime.pytorch import TorchModel
from dor3d.train.checkpoints import Checkpoints, state_path
from dor3d.train.config import TrainConfig
from dor3d.train.loop import train
from dor3d.train.start import make_sources

HEAD = ("date", "samples", "weights", "set", "version", "frames", "mean_mm")
_SETS = {"clear": clear, "hard": hard}
_BRANCH_EMA = 0.99


def newest(run: Path) -> int:
    """The step of a run's newest state."""
    steps = Checkpoints(run).steps()
    if not steps:
        raise InputError(f"{run} has no state", fix="Name the folder of a run that has saved one.")
    return steps[-1]


def annealed(run: Path, samples: int) -> Path:
    """Train a branch whose rate falls to zero; what is done is kept, and the same call goes on."""
    step = newest(run)
    out = run.with_name(f"{run.name}-annealed-{step}")
    config = TrainConfig.from_json(read_config(run))
    branch = replace(
        config, seed=config.seed + 1 + step, samples=samples, steps=0, schedule="linear", warmup=0, ema=_BRANCH_EMA
    )
    done = train(branch, make_sources(branch), out, resume=True, init=state_path(run, step))
    if not done.finished:
        raise InputError("The branch was stopped", fix="The same command goes on.")
    return out


def measured(folder: Path, count: int, versions: list[int]) -> list[tuple[str, int, float]]:
    """Mean joint errors (mm) by set and version."""
    model, rows = TorchModel(folder, torch.device("cpu")), []
    for version in versions:
        for name, make in _SETS.items():
            found = found_in_stream(model, make(model.card.size, model.card.cube_mm, version), count, 2)
            rows.append((name, version, float(joint_errors(found.predicted_mm, found.true_mm).mean())))
            print(f"{folder.name} on {name} version {version}: {rows[-1][2]:.2f} mm", flush=True)
    return rows


def keep(run: Path, out: Path) -> None:
    """Write a run's averages in half precision."""
    tensors, _ = read_tensors(run / WEIGHTS)
    write_json(out / CONFIG, read_config(run))
    write_tensors(out / WEIGHTS, {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()})
    print(f"{out}: {(out / WEIGHTS).stat().st_size / 1e6:.1f} MB")


def draw(rows: list[list[str]], out: Path) -> None:
    """Error over samples, both axes logarithmic."""
    figure, axes = plt.subplots(figsize=(7, 4))
    lines = sorted({(row[3], row[4], row[2].split()[0]) for row in rows})
    for name, version, weights in lines:
        own = [row for row in rows if (row[3], row[4], row[2].split()[0]) == (name, version, weights)]
        points = np.array([(float(row[1]), float(row[6])) for row in own])
        style = {"averaged": "--o", "annealed": "-o"}.get(weights, "x")
        axes.plot(points[:, 0] / 1e6, points[:, 1], style, markersize=4, label=f"{name} {version}, {weights}")
    axes.set(xlabel="million samples", ylabel="mean joint error (mm)", xscale="log", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.tight_layout()
    with whole_file(out) as file:
        figure.savefig(file, dpi=100, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--curve", type=Path, required=True)
    parser.add_argument("--anneal", type=int, default=0, metavar="SAMPLES")
    parser.add_argument("--count", type=int, default=1024, help="frames of each set")
    parser.add_argument("--versions", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--before", type=int, default=0, metavar="SAMPLES")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    samples = args.before + newest(args.run) * int(read_config(args.run)["batch"])
    weights = {"averaged": args.run}
    if args.anneal:
        weights[f"annealed over {args.anneal}"] = annealed(args.run, args.anneal)
        samples_of = {"averaged": samples, f"annealed over {args.anneal}": samples + args.anneal}
    else:
        samples_of = {"averaged": samples}
    rows = [*csv.reader(args.curve.open(newline=""))][1:] if args.curve.exists() else []
    today = datetime.now(UTC).date().isoformat()
    for name, folder in weights.items():
        for set_name, version, mm in measured(folder, args.count, args.versions):
            rows.append([today, str(samples_of[name]), name, set_name, str(version), str(args.count), f"{mm:.3f}"])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
    write_whole(args.curve, text.getvalue())
    if args.keep:
        keep(args.run, args.keep)
    if args.out:
        draw(rows, args.out)
    print(f"{args.curve}: {len(rows)} rows")


if __name__ == "__main__":
    main()
