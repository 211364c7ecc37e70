"""The paper's Tables 2 to 6, and ours, from trainings of one's own.

Each variant first chooses its learning rate among the same three, at a fifth of the budget, by held-out samples; then
all train with the same seeds, samples and steps. What is done is kept: the same command goes on where it stopped.
"""

import json
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.kept import bytes_of, is_kept, keep
from dor3d.data.synthetic import SyntheticHands
from dor3d.errors import InputError
from dor3d.evaluate.calibration import Calibration
from dor3d.evaluate.jobs import side_by_side
from dor3d.evaluate.trials import RATES, Plan, Result, Trial, read_result, run_trial
from dor3d.evaluate.variants import TABLES, Row, Table, TableName
from dor3d.files import write_whole
from dor3d.metrics import paired_bootstrap
from dor3d.model.network import HandNet, ModelConfig, parameter_count
from dor3d.runtime.export import export_onnx, made_up_crops
from dor3d.runtime.onnx import OnnxModel
from dor3d.train.record import run_record
from dor3d.train.start import make_sources

Say = Callable[[str], object]
_NOW: Final = partial(print, flush=True)  # lines come hours apart, maybe into a file
_TIMED_S: Final = 2.0
_MOST_KEPT: Final = 8e9  # bytes of rendered crops
_PARTNERS: Final = {"resnet50": "swin-b", "resnet18": "swin-t", "compact": "edgenext_xx_small"}
_SMALL_PARTNER: Final = "compact"
_LARGE_PARTNER: Final = "resnet50"


@dataclass(frozen=True)
class Line:
    """A row of a table with the network that it stands for; two rows may share one."""

    row: Row
    backbone: str

    @property
    def key(self) -> tuple[str, str]:
        """What is trained."""
        return self.backbone, self.row.variant


def make_tables(names: Sequence[TableName], plan: Plan, say: Say = _NOW) -> list[Path]:
    """Train what the tables need and is not there, and write `table_N.json` and `table_N.md` for each.

    Raises InputError, and `jobs.StoppedError` when told to stop.
    """
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {plan.out} cannot be written", got=error, fix="Choose another with --out."
        ) from None
    lines = {name: lines_of(TABLES[name], plan.backbone) for name in names}
    keys = list(dict.fromkeys(line.key for table in lines.values() for line in table))
    _train([t for key in keys for t in tuning_trials(plan, *key)], plan, say)
    rates = {key: best_rate(plan, *key) for key in keys}
    for seed in range(plan.seeds):
        _train([trial(plan, *key, rates[key], seed) for key in keys], plan, say)
    costs = {key: _cost(trial(plan, *key, rates[key], 0)) for key in keys}
    written = []
    for name in names:
        table = _as_json(name, lines[name], plan, rates, costs)
        write_whole(plan.out / f"table_{name}.json", json.dumps(table, indent=1) + "\n")
        written.append(write_whole(plan.out / f"table_{name}.md", as_markdown(table)))
    return written


def lines_of(table: Table, backbone: str) -> list[Line]:
    """A table's rows for a backbone.

    The second backbone of Table 5 is one of the other kind. A backbone that has a single map for x, y and z cannot be
    asked what two of them bring: those rows fall away.
    """
    partner = _PARTNERS.get(backbone, _LARGE_PARTNER if backbone.startswith("swin") else _SMALL_PARTNER)
    lines = [Line(row, partner if row.partner else backbone) for row in table.rows]
    if any(line.row.module == "design" for line in lines) and not HandNet(ModelConfig(backbone, size=96)).two_maps:
        return [line for line in lines if line.row.module != "design"]
    return lines


def trial(plan: Plan, backbone: str, variant: str, rate: float, seed: int) -> Trial:
    """One of the trainings that a table shows."""
    return Trial(plan, variant, backbone, rate, seed, plan.steps)


def tuning_trials(plan: Plan, backbone: str, variant: str) -> list[Trial]:
    """Those that a variant chooses its learning rate by."""
    return [Trial(plan, variant, backbone, rate, 0, plan.tuning_steps, tuning=True) for rate in RATES]


def tuned(plan: Plan, backbone: str, variant: str) -> dict[float, float]:
    """Held-out error (mm) by learning rate, as a share of the recipe's."""
    results = {t.rate: read_result(t) for t in tuning_trials(plan, backbone, variant)}
    return {rate: result.validation_mm for rate, result in results.items() if result is not None}


def best_rate(plan: Plan, backbone: str, variant: str) -> float:
    """The learning rate with the lowest held-out error."""
    errors = tuned(plan, backbone, variant)
    return min(errors, key=errors.__getitem__)


def _train(trials: Sequence[Trial], plan: Plan, say: Say) -> None:
    missing = [t for t in trials if read_result(t) is None]
    done = len(trials) - len(missing)
    if missing:
        say(f"{len(missing)} of {len(trials)} trainings are to be done; each tells how far it is in runs/*/train.log")
        _keep_crops(missing, plan)
    start = time.perf_counter()

    def tell(finished: Trial) -> None:
        nonlocal done
        done += 1
        result, minutes = read_result(finished), (time.perf_counter() - start) / 60
        error = result and (result.validation_mm if result.error_mm is None else float(result.error_mm.mean()))
        say(f"{done} of {len(trials)}: {finished.name} {error:.2f} mm, {minutes:.0f} min")

    side_by_side(missing, run_trial, plan.jobs, tell)
    for crops in {t.crops for t in trials}:
        shutil.rmtree(crops, ignore_errors=True)


def _keep_crops(missing: Sequence[Trial], plan: Plan) -> None:
    """Render what these trials of one seed will all look at, if that is worth the while and fits on the disk."""
    first = missing[0]
    config = first.config()
    sizes = {t.config().model.size for t in missing}
    samples = first.steps * config.batch
    room = bytes_of(config.model.size, samples)
    few = len(missing) <= plan.jobs or len(sizes) > 1 or plan.dataset != "synthetic"
    if few or room > min(_MOST_KEPT, shutil.disk_usage(plan.out).free / 2):
        return
    stream = make_sources(config).train
    if isinstance(stream, SyntheticHands) and not is_kept(stream, first.crops, samples):
        shutil.rmtree(first.crops, ignore_errors=True)
        keep(stream, samples, first.crops, plan.jobs)


def _cost(shown: Trial) -> tuple[int, float]:
    """Parameters, and crops a second of the exported network on this machine's processor, one at a time."""
    model = shown.config().model
    net = HandNet(model).eval()
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(net, Path(folder) / "model.onnx", half=False)
        session = OnnxModel(Path(folder) / "model.onnx")
    crop = made_up_crops(1, model.size)
    session(crop)
    times, end = [], time.perf_counter() + _TIMED_S
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        session(crop)
        times.append(time.perf_counter() - start)
    return parameter_count(net), 1 / float(np.median(times))


def _as_json(
    name: TableName,
    lines: Sequence[Line],
    plan: Plan,
    rates: dict[tuple[str, str], float],
    costs: dict[tuple[str, str], tuple[int, float]],
) -> dict[str, Any]:
    table = TABLES[name]
    results = {
        line.key: [read_result(trial(plan, *line.key, rates[line.key], seed)) for seed in range(plan.seeds)]
        for line in lines
    }
    config = trial(plan, *lines[0].key, 1.0, 0).config()
    record = run_record({})
    return {
        "format": 1,
        "table": name,
        "title": table.title,
        "columns": list(table.columns),
        "paper_measured_on": table.dataset,
        "measured_on": "clear" if plan.dataset == "synthetic" else plan.dataset,
        "backbone": plan.backbone,
        "budget": {
            "steps": plan.steps,
            "batch": config.batch,
            "samples": plan.steps * config.batch,
            "seeds": plan.seeds,
            "tuning_steps": plan.tuning_steps,
            "rates": [round(config.lr * rate, 7) for rate in RATES],
        },
        "rows": [_row_json(line, plan, results, rates, costs) for line in lines],
        "made": {
            "on": datetime.now(UTC).date().isoformat(),
            **{key: record[key] for key in ("dor3d", "git", "libraries", "cpu", "gpus")},
            "python": platform.python_version(),
        },
    }


def _row_json(
    line: Line,
    plan: Plan,
    results: dict[tuple[str, str], list[Result | None]],
    rates: dict[tuple[str, str], float],
    costs: dict[tuple[str, str], tuple[int, float]],
) -> dict[str, Any]:
    own = [r for r in results[line.key] if r is not None]
    errors, axes = np.array([r.error_mm for r in own]), np.array([r.axes_mm for r in own])
    calibrations = [r.calibration for r in own if r.calibration]
    row = {
        "label": line.row.label if line.row.module != "backbone" else line.backbone,
        "module": line.row.module,
        "variant": line.row.variant,
        "backbone": line.backbone,
        "all": round(float(errors.mean()), 3),
        **dict(zip("xyz", axes.mean((0, 1)).round(3).tolist(), strict=True)),
        "median": round(float(np.median(errors)), 3),
        "seeds": errors.mean(1).round(3).tolist(),
        "parameters": costs[line.key][0],
        "speed": round(costs[line.key][1], 1),
        "rate": rates[line.key],
        "tuning_mm": {f"{rate:g}": round(mm, 3) for rate, mm in tuned(plan, *line.key).items()},
        "calibration": [said._asdict() for said in calibrations],
        **_trust(calibrations),
        "paper": dict(line.row.paper),
    }
    if line.row.against:
        row["difference"] = _difference_json(line.row.against, own, results[plan.backbone, line.row.against])
    return row


def _trust(calibrations: Sequence[Calibration]) -> dict[str, float | None]:
    """How standard deviations rank joints, and the per cent of coordinates within one; None where a test has none."""
    if not calibrations:
        return {"rank": None, "within": None}
    ranks, within = ([said.joint_rank for said in calibrations], [said.within[0] for said in calibrations])
    return {"rank": round(float(np.mean(ranks)), 3), "within": round(100 * float(np.mean(within)), 1)}


def _difference_json(against: str, own: Sequence[Result], other: Sequence[Result | None]) -> dict[str, Any]:
    """Paired by seed and frame, with bootstrap intervals: of the error, and of the one along each axis."""
    there = [r for r in other if r is not None]
    errors = np.array([r.error_mm for r in own]) - np.array([r.error_mm for r in there])
    axes = np.array([r.axes_mm for r in own]) - np.array([r.axes_mm for r in there])
    return {
        "against": against,
        **_interval(errors),
        "seeds": errors.mean(1).round(3).tolist(),
        "axes": {name: _interval(axes[..., i]) for i, name in enumerate("xyz")},
    }


def _interval(difference: Float[ndarray, "s n"]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in paired_bootstrap(difference)._asdict().items()}


_HEADS: Final = {
    **{name: name for name in ("x", "y", "z", "all")},
    "parameters": "parameters (M)",
    "speed": "frames/s",
    "rank": "rank of sigma",
    "within": "within sigma (%)",
}


def as_markdown(table: dict[str, Any]) -> str:
    """A table as Markdown: ours, the difference with its interval, and the paper's numbers."""
    columns, budget = table["columns"], table["budget"]
    papers = [c for c in columns if any(c in row["paper"] for row in table["rows"])]
    modules = any(row["module"] for row in table["rows"])
    head = [*(["module"] if modules else []), "method", *(_HEADS[c] for c in columns)]
    head += ["difference [95 %]", "each seed", *(f"paper: {_HEADS[c]}" for c in papers)]
    number = f"Table {table['table']}. " if table["table"].isdigit() else ""
    about = (
        f"{number}{table['title']}. Mean error in mm on {table['measured_on']}, {table['backbone']}, "
        f"{budget['samples']:,} samples, {budget['seeds']} seed{'' if budget['seeds'] == 1 else 's'}"
    )
    where = f"; the paper: {table['paper_measured_on']}" if table["paper_measured_on"] else ""
    lines = [f"{about}{where}.", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in table["rows"]:
        cells = [row["module"]] if modules else []
        cells += [row["label"], *(_cell(c, row) for c in columns), _difference(row)]
        cells += [" ".join(f"{mm:.2f}" for mm in row["seeds"]), *(_paper_cell(c, row["paper"]) for c in papers)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_DIGITS: Final = {"parameters": 1, "speed": 0, "within": 0}


def _cell(column: str, row: dict[str, Any]) -> str:
    value = row.get(column)
    return "" if value is None else _number(column, value / 1e6 if column == "parameters" else value)


def _paper_cell(column: str, paper: dict[str, float]) -> str:
    return _number(column, paper[column]) if column in paper else ""


def _number(column: str, value: float) -> str:
    return f"{value:.{_DIGITS.get(column, 2)}f}"


def _difference(row: dict[str, Any]) -> str:
    found = row.get("difference")
    if found is None or math.isnan(found["mean"]):
        return ""
    return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
