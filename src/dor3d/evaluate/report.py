"""Scores on the terminal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dor3d.benchmarks import Benchmark
from dor3d.evaluate.predictions import SYSTEMS
from dor3d.evaluate.run import Evaluation, report
from dor3d.evaluate.score import Score

_RATES = ("20", "40", "80")


def as_object(benchmark: Benchmark, scores: Mapping[str, Score]) -> dict[str, Any]:
    """Scores as the JSON object that `--json` prints."""
    return {"benchmark": benchmark.name, "methods": {name: score.to_json() for name, score in scores.items()}}


def print_scores(benchmark: Benchmark, scores: Mapping[str, Score], *, as_json: bool, out: Path | None = None) -> None:
    """Print scores: one JSON object and nothing else, or a table, best first, and how the files were read."""
    if as_json:
        print(json.dumps(as_object(benchmark, scores)))
        return
    console = Console()
    table = Table(title=benchmark.title, caption="mean error in mm; frames whose worst joint lies within 20, 40, 80 mm")
    for column in ("method", "mean", *benchmark.parts, *(f"{mm} mm" for mm in _RATES), "frames"):
        table.add_column(column, justify="left" if column == "method" else "right", overflow="fold")
    for name, score in sorted(scores.items(), key=lambda item: item[1].mean_mm):
        table.add_row(*_cells(benchmark, name, score))
    console.print(table)
    for name, score in scores.items():
        console.print(f"{name}: {score.joints_line()}, read as {_read_as(score)}", highlight=False, soft_wrap=True)
    if out is not None:
        console.print(f"table.md, table.csv and two figures in {out}", highlight=False)


def _cells(benchmark: Benchmark, name: str, score: Score) -> list[str]:
    result = score.to_json()
    parts = [f"{result['parts_mm'][part]:.2f}" if part in result["parts_mm"] else "" for part in benchmark.parts]
    rates = [f"{result['success_max'][mm]:.1f}" for mm in _RATES]
    return [name, f"{score.mean_mm:.3f}", *parts, *rates, str(result["frames"])]


def _read_as(score: Score) -> str:
    truth, predictions = (f"{system} ({SYSTEMS[system]})" for system in score.systems)
    return predictions if truth == predictions else f"{predictions}, the truth as {truth}"


def print_evaluation(result: Evaluation, *, as_json: bool) -> None:
    """Print what a model scored on a set, and what a reader must know of it."""
    if as_json:
        print(json.dumps(report(result)))
        return
    if result.score is not None:
        print_scores(result.score.benchmark, {result.score.notes["model"]: result.score}, as_json=False)
    print("\n".join([*result.lines(), f"results in {result.predictions.parent}"]))
