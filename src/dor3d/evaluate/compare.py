"""Methods side by side: the numbers of the paper's table 1 recomputed, and its figure 5."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dor3d.benchmarks import Benchmark
from dor3d.errors import InputError
from dor3d.evaluate.predictions import PoseFile
from dor3d.evaluate.published import TABLE_1, plain, reported
from dor3d.evaluate.score import CURVE_MM, Score, score_file
from dor3d.files import write_whole
from dor3d.metrics import success_curve
from dor3d.text import count_of
from dor3d.viz.figures import error_per_joint, success_curves

_SHOWN_RATES: Final = ("20", "40", "80")


def compare(
    benchmark: Benchmark, truth: PoseFile, results: Mapping[str, Path], out: Path, *, skip_bad: bool = False
) -> dict[str, Score]:
    """Score every file and write table.csv, table.md, error_per_joint.png and success_curve.png into a folder.

    Args:
        benchmark: whose files they are.
        truth: `truth.read_truth` of the same benchmark.
        results: method -> file of its predictions.
        out: the folder.
        skip_bad: leave out frames that cannot be read in one of the files, and list them.

    Raises InputError before anything is written when a file cannot be scored.
    """
    if not results:
        raise InputError("Nothing to compare", expected="NAME=FILE for each method")
    scores = on_common({n: score_file(benchmark, truth, path, skip_bad=skip_bad) for n, path in results.items()})
    write_whole(out / "table.csv", table_csv(scores))
    write_whole(out / "table.md", table_md(benchmark, scores))
    error_per_joint(
        {name: s.per_joint_mm() for name, s in scores.items()}, out / "error_per_joint.png", benchmark.title
    )
    curves = {name: success_curve(s.errors_mm, CURVE_MM) for name, s in scores.items()}
    success_curves(curves, CURVE_MM, out / "success_curve.png", benchmark.title)
    return scores


def on_common(scores: Mapping[str, Score]) -> dict[str, Score]:
    """The scores of the joints and frames that all methods predict: means over others cannot be compared.

    Raises InputError when they have none in common.
    """
    first, *others = scores.values()
    joints = [name for name in first.joints if all(name in score.joints for score in others)]
    rows = set(first.rows).intersection(*(score.rows for score in others))
    if not joints or not rows:
        raise InputError(f"The methods have no {'frame' if joints else 'joint'} in common", got=", ".join(scores))
    return {name: score.only(joints, rows) for name, score in scores.items()}


def parse_results(words: Sequence[str]) -> dict[str, Path]:
    """NAME=FILE words as a mapping. Raises InputError."""
    results: dict[str, Path] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise InputError("A result cannot be read", got=word, expected="NAME=FILE")
        if name in results:
            raise InputError("Two results have the same name", got=name)
        results[name] = Path(path)
    return results


def table_csv(scores: Mapping[str, Score]) -> str:
    """A row a method: mean, rates, parts, every joint (mm and per cent)."""
    rows = [_flat(name, score) for name, score in scores.items()]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _flat(name: str, score: Score) -> dict[str, Any]:
    result = score.to_json()
    return {
        "method": name,
        "mean_mm": result["mean_mm"],
        **{f"{axis}_mm": mm for axis, mm in result["axes_mm"].items()},
        **{f"{part}_mm": mm for part, mm in result["parts_mm"].items()},
        **{f"success_max_{mm}": rate for mm, rate in result["success_max"].items()},
        **{f"{joint}_mm": mm for joint, mm in result["per_joint_mm"].items()},
        "frames": result["frames"],
        "centers": score.notes.get("centers", ""),
        "cube_mm": score.notes.get("cube_mm", ""),
    }


def table_md(benchmark: Benchmark, scores: Mapping[str, Score]) -> str:
    """Recomputed means beside the paper's, best in bold; methods without a file keep the paper's number."""
    parts = list(benchmark.parts)
    head = ["method", "recomputed (mm)", "paper (mm)", "difference", *parts]
    head += [f"within {mm} mm (%)" for mm in _SHOWN_RATES] + ["centres"]
    whole = len(next(iter(scores.values())).joints) == len(benchmark.joints)
    best = min(scores, key=lambda name: scores[name].mean_mm)
    rows = [_row(benchmark, name, score, bold=name == best, whole=whole) for name, score in scores.items()]
    named = {plain(name) for name in scores}
    for name, row in TABLE_1.items():
        if benchmark.name in row and plain(name) not in named:
            rows.append([name, "not recomputed", f"{row[benchmark.name]:.2f}", *[""] * (len(head) - 3)])
    lines = [f"# {benchmark.title}: mean error over all joints and frames", ""]
    lines += ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    lines += ["", *_footnotes(benchmark, scores)]
    return "\n".join(lines) + "\n"


def _row(benchmark: Benchmark, name: str, score: Score, *, bold: bool, whole: bool) -> list[str]:
    paper = reported(name, benchmark.name) if whole else None
    rates, means, mark = score.to_json()["success_max"], score.parts_mm(), "**" if bold else ""
    cells = [name, f"{mark}{score.mean_mm:.3f}{mark}"]
    cells += ["", ""] if paper is None else [f"{paper:.2f}", f"{round(score.mean_mm - paper, 2) + 0.0:+.2f}"]
    cells += [f"{means[part]:.2f}" if part in means else "" for part in benchmark.parts]
    cells += [f"{rates[mm]:.1f}" for mm in _SHOWN_RATES]
    return [*cells, score.centers_line()]


def _footnotes(benchmark: Benchmark, scores: Mapping[str, Score]) -> list[str]:
    notes = [
        "Recomputed: from the method's own file of predictions. Paper: table 1 of Mao et al. (DOR3D-Net); rows without",
        "a file are its numbers and were not recomputed.",
    ]
    score = next(iter(scores.values()))
    joints, frames = score.joints, score.frames_line()
    if frames:
        notes.append(f"Frames: {frames}.")
    if len(joints) < len(benchmark.joints):
        notes.append(f"Of {len(joints)} joints alone, which all methods predict: {', '.join(joints)}.")
    for name, score in scores.items():
        if score.skipped:
            notes.append(f"{name}: {count_of(len(score.skipped), 'frame')} could not be used.")
    return notes
