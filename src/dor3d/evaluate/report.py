"""Scores on the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track
from rich.table import Table

from dor3d.benchmarks import Benchmark
from dor3d.evaluate.predictions import SYSTEMS
from dor3d.evaluate.run import Evaluation, Watch, report
from dor3d.evaluate.score import Score
from dor3d.text import count_of

_RATES: Final = ("20", "40", "80")
_SHOWN_PARTS: Final = 2  # more make a table that no terminal holds; --json has them all
_LISTED: Final = 10


def as_object(benchmark: Benchmark, scores: Mapping[str, Score]) -> dict[str, Any]:
    """Scores as the JSON object that `--json` prints."""
    return {"benchmark": benchmark.name, "methods": {name: score.to_json() for name, score in scores.items()}}


def print_scores(benchmark: Benchmark, scores: Mapping[str, Score], *, as_json: bool, out: Path | None = None) -> None:
    """Print scores: one JSON object and nothing else, or a table, best first, and how the files were read."""
    if as_json:
        print(json.dumps(as_object(benchmark, scores)))
        return
    console = Console()
    parts = list(benchmark.parts) if len(benchmark.parts) <= _SHOWN_PARTS else []
    table = Table(title=f"{benchmark.title}: mean error in mm, and frames (%) whose worst joint lies within")
    for column in ("method", "all", *parts, *(f"{mm} mm" for mm in _RATES)):
        table.add_column(column, justify="left" if column == "method" else "right", no_wrap=column != "method")
    for name, score in sorted(scores.items(), key=lambda item: item[1].mean_mm):
        table.add_row(*_cells(parts, name, score))
    console.print(table)
    for name, score in scores.items():
        for line in _lines(name, score):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if out is not None:
        console.print(f"table.md, table.csv and two figures in {out}", highlight=False)


def _cells(parts: Sequence[str], name: str, score: Score) -> list[str]:
    means, rates = score.parts_mm(), score.to_json()["success_max"]
    shown = [f"{means[part]:.2f}" if part in means else "" for part in parts]
    return [name, f"{score.mean_mm:.3f}", *shown, *(f"{rates[mm]:.1f}" for mm in _RATES)]


def _lines(name: str, score: Score) -> list[str]:
    """How a method's file was read and what it was scored on."""
    about = f"{count_of(len(score.rows), 'frame')}, {score.joints_line()}, centres {score.centers_line()}"
    lines = [f"{name}: {about}; read as {_read_as(score)}"]
    frames = score.frames_line()
    lines += [f"  note: {frames}"] if frames else []
    return [*lines, *listed(score.skipped, "  left out: ")]


def listed(problems: Sequence[str], mark: str) -> list[str]:
    """Problems, a line each, as far as anyone reads them."""
    lines = [mark + problem for problem in problems[:_LISTED]]
    rest = len(problems) - _LISTED
    return [*lines, f"{mark}and {rest:,} more, which --json lists"] if rest > 0 else lines


def _read_as(score: Score) -> str:
    truth, predictions = (f"{system} ({SYSTEMS[system]})" for system in score.systems)
    read = f"{predictions}, {score.layout}"
    return read if truth == predictions else f"{read}, the truth as {truth}"


def print_evaluation(result: Evaluation, *, as_json: bool) -> None:
    """Print what a model scored on a set, and what a reader must know of it."""
    if as_json:
        print(json.dumps(report(result)))
        return
    if result.score is not None:
        print_scores(result.score.benchmark, {result.score.notes["model"]: result.score}, as_json=False)
    lines = [*listed(result.skipped, "left out: "), *result.lines(), f"results in {result.predictions.parent}"]
    print("\n".join(lines))


def progress(total: int) -> Watch:
    """A bar on standard error while frames go by, if that is a terminal."""
    console = Console(stderr=True)
    return lambda indices: track(
        indices, "frames", total, console=console, disable=not console.is_terminal, transient=True
    )
