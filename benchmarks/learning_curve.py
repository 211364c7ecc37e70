"""How a model's error fell with the samples that it saw: adds runs to a curve, and draws it.

    python benchmarks/learning_curve.py CURVE.csv [RUN ...] [--out PICTURE.png]

The curve is a table of samples seen, the held-out error and, where none was measured, that of the samples just learnt
from (mm; a mean over about 6,400 of them). A RUN is a folder of `dor3d train`; its samples count on from the curve's
last. The column `what` says how a run that begins there was made.
"""

import argparse
import csv
import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dor3d.files import whole_file, write_whole

_POINT = 6_400  # samples that a point of the learnt error is a mean of
HEAD = ("samples", "learnt_mm", "held_out_mm", "what")
Row = tuple[int, str, str, str]


def main() -> None:
    """Add, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curve", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = read(args.curve) if args.curve.exists() else []
    for run in args.runs:
        rows += points(run, rows[-1][0] if rows else 0)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEAD, *rows])
    write_whole(args.curve, text.getvalue())
    if args.out:
        draw(rows, args.out)


def read(path: Path) -> list[Row]:
    """A curve's rows."""
    with path.open(newline="") as file:
        return [(int(row[0]), row[1], row[2], row[3]) for row in list(csv.reader(file))[1:]]


def points(run: Path, before: int) -> list[Row]:
    """A run's rows, counted on from so many samples."""
    config = json.loads((run / "config.json").read_text())
    rows, errors, batch = [], [], int(config["batch"])
    for line in (run / "metrics.jsonl").read_text().splitlines():
        told = json.loads(line)
        seen = before + told["step"] * batch
        if "validation_mm" in told:
            rows.append((seen, "", f"{told['validation_mm']:.2f}", ""))
        elif "error_mm" in told:
            errors.append(told["error_mm"])
            if len(errors) * config["log_every"] * batch >= _POINT:
                rows.append((seen, f"{np.mean(errors):.2f}", "", ""))
                errors = []
    if rows:
        rows[0] = (*rows[0][:3], f"{config['recipe']}, rate {config['lr']:g}, matrices {config['matrix_lr']:g}")
    return rows


def draw(rows: list[Row], out: Path) -> None:
    """Both errors over samples; a thin line where a run began."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for column, style, label in (
        (1, "-", "samples just learnt from"),
        (2, "o", "held-out samples (average of weights)"),
    ):
        some = [(row[0], float(row[column])) for row in rows if row[column]]
        if some:
            axes.plot(*np.array(some).T * [[1e-3], [1.0]], style, label=label, markersize=4)
    for samples, _, _, what in rows:
        if what:
            axes.axvline(samples / 1e3, color="0.8", linewidth=0.8)
            place = axes.get_xaxis_transform()
            axes.text(samples / 1e3, 0.02, f" {what}", rotation=90, va="bottom", fontsize=7, transform=place)
    axes.set(xlabel="thousand samples", ylabel="mean joint error (mm)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    with whole_file(out) as file:
        figure.savefig(file, dpi=100, format="png")


if __name__ == "__main__":
    main()
