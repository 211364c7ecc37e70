"""A benchmark's table, what a frame's time goes into, and error against speed."""

import math
import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Final

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from dor3d.bench.run import Bench, Row, bench
from dor3d.errors import InputError
from dor3d.files import whole_file, write_whole

# frames a second on a V100 and mean error on NYU (mm): Table 5 of DOR3D-Net
PAPER: Final = {"DOR3D-Net, Swin-B": (47.0, 6.99), "DOR3D-Net, ResNet50": (110.0, 7.67)}
_HEADS: Final = (
    "model",
    "backend",
    "ms (median / 99 %)",
    "times eager",
    "frames/s",
    "best batch: frames/s",
    "whole pipeline: frames/s",
    "MB in use",
    "parameters (M)",
    "GFLOP",
    "of the peak",
)


def print_bench(
    models: Sequence[str], backends: Sequence[str], seconds: float, threads: int | None, *, json: bool, out: Path | None
) -> None:
    """Measure, print, and write what is asked for."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError("The time of a measurement must be positive", got=seconds)
    found = bench(models, backends, seconds, threads, lambda line: print(line, file=sys.stderr, flush=True))
    text, raw = as_text(found), dumps(found.to_json(), indent=1) + "\n"
    print(raw if json else text, end="")
    if out is not None:
        write_whole(out / "bench.json", raw)
        write_whole(out / "bench.md", text)
        draw_pareto(found, out / "error_speed.png")


def as_text(found: Bench) -> str:
    """All rows as a Markdown table, what could not be run, and where the time of a frame goes."""
    machine = found.machine
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("onnxruntime", "openvino", "torch") if name in machine)
    about = f"{machine['processor']}, {machine['cores']} cores{gpu}; {versions}"
    eager = {row.model: row.latency_ms for row in found.rows if (row.backend, row.precision) == ("torch-eager", "fp32")}
    lines = [
        f"{about}; a float32 matrix product does {machine['peak_gflops']:.0f} GFLOP/s",
        "",
        f"| {' | '.join(_HEADS)} |",
        "|" + "---|" * len(_HEADS),
        *(_line(row, eager.get(row.model)) for row in found.rows),
    ]
    if any(row.random_weights for row in found.rows):
        lines += ["", "\\* random weights"]
    lines += ["", *(f"not run: {name}: {why}" for name, why in found.failed.items())]
    lines += _profile(found.rows)
    return "\n".join(lines).rstrip() + "\n"


def _line(row: Row, eager_ms: float | None) -> str:
    name = row.backend if row.precision == "fp32" else f"{row.backend}:{row.precision}"
    cells = [
        f"{row.model}{' *' if row.random_weights else ''}",
        name,
        f"{row.latency_ms:.2f} / {row.p99_ms:.2f}",
        f"{eager_ms / row.latency_ms:.1f}" if eager_ms else "",
        _rate(row.frames_per_s),
        f"{row.best_batch}: {_rate(row.best_frames_per_s)}",
        _rate(row.pipeline_frames_per_s) if row.pipeline_frames_per_s else "",
        f"{row.memory_mb:.0f}",
        f"{row.parameters / 1e6:.2f}" if row.parameters else "",
        f"{row.gflop:.2f}" if row.gflop else "",
        f"{row.peak_share:.0%}" if row.peak_share else "",
    ]
    return f"| {' | '.join(cells)} |"


def _rate(a_second: float) -> str:
    return f"{a_second:.0f}" if a_second >= 20 else f"{a_second:.1f}"


def _profile(rows: Sequence[Row]) -> list[str]:
    """Where the time of a frame goes, for each model in its fastest backend."""
    fastest: dict[str, Row] = {}
    for row in rows:
        if row.pipeline_ms and row.latency_ms <= fastest.get(row.model, row).latency_ms:
            fastest[row.model] = row
    if not fastest:
        return []
    lines = ["| a frame of a followed hand (ms) | crop | network | rest |", "|---|---|---|---|"]
    for row in fastest.values():
        parts = row.pipeline_ms or {}
        cells = [f"{parts[name]:.2f} ({parts[name] / sum(parts.values()):.0%})" for name in ("crop", "network", "rest")]
        lines.append(f"| {row.model}, {row.backend} | {' | '.join(cells)} |")
    return lines


def draw_pareto(found: Bench, out: Path) -> bool:
    """Error against speed, each model in its fastest backend, the paper's two beside; False where no error is known."""
    known = sorted(((r.frames_per_s, r.error_mm, r) for r in found.rows if r.error_mm is not None), key=lambda k: k[0])
    best = {row.model: (speed, error, row.backend) for speed, error, row in known}  # the fastest of each comes last
    if not best:
        return False
    figure, axes = plt.subplots(figsize=(6.5, 4))
    for model, (speed, error, backend) in best.items():
        axes.plot(speed, error, "o", color="C0")
        _name(axes, f"{model}, {backend}", speed, error)
    for name, (speed, error) in PAPER.items():
        axes.plot(speed, error, "s", mfc="none", color="C1")
        _name(axes, f"{name}\n(NYU, V100)", speed, error)
    axes.set(
        xscale="log", xlabel="crops a second, one at a time", ylabel="mean error (mm): ours on clear, theirs on NYU"
    )
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.35, y=0.25)
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    with whole_file(out) as file:
        figure.savefig(file, dpi=100, format="png")
    plt.close(figure)
    return True


def _name(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), xytext=(0, 7), textcoords="offset points", fontsize=8, ha="center")
