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
from collections.abc import Callable, Mapping, Sequence
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
from dor3d.evaluate.intervals import paired_interval
from dor3d.evaluate.jobs import side_by_side, stopping
from dor3d.evaluate.results import Result, read_result
from dor3d.evaluate.table_text import as_markdown
from dor3d.evaluate.training import run_trial
from dor3d.evaluate.trials import RATES, Plan, Trial, cores
from dor3d.evaluate.variants import TABLES, Row, Table, TableName
from dor3d.files import write_whole
from dor3d.model.network import HandNet, ModelConfig, parameter_count
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel
from dor3d.runtime.parity import made_up_crops
from dor3d.train.record import run_record
from dor3d.train.start import make_sources

Say = Callable[[str], object]
_NOW: Final = partial(print, flush=True)  # lines come hours apart, maybe into a file
_TIMED_S: Final = 2.0
_MOST_KEPT: Final = 8e9  # bytes of rendered crops
_BLOCK: Final = 64  # neighbouring frames of a recording, which are alike: two seconds
# Table 5's second backbone: of the other kind, trained by the same recipe
_PARTNERS: Final = {"swin": "resnet50", "resnet50": "swin-b", "resnet": "swin-t"}
_SMALL_PARTNERS: Final = {"compact": "edgenext_xx_small"}


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

    Raises InputError, and StoppedError when told to stop.
    """
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {plan.out} cannot be written", got=error, fix="Choose another with --out."
        ) from None
    lines = {name: lines_of(TABLES[name], plan.backbone) for name in names}
    keys = list(dict.fromkeys(line.key for table in lines.values() for line in table))
    plan.check(variant for _, variant in keys)
    for backbone in {backbone for backbone, _ in keys}:
        HandNet(ModelConfig(backbone, size=96))  # unknown ones end it here
    with stopping():
        _train([t for key in keys for t in tuning_trials(plan, *key)], plan, say)
        rates = {key: best_rate(plan, *key) for key in keys}
        for seed in range(plan.seeds):
            _train([trial(plan, *key, rates[key], seed) for key in keys], plan, say)
    written = []
    for name in names:
        table = _as_json(name, lines[name], plan, rates)
        write_whole(plan.out / f"table_{name}.json", json.dumps(table, indent=1) + "\n")
        written.append(write_whole(plan.out / f"table_{name}.md", as_markdown(table)))
    return written


def lines_of(table: Table, backbone: str) -> list[Line]:
    """A table's rows for a backbone.

    The second backbone of Table 5 is one of the other kind. A backbone that has a single map for x, y and z cannot be
    asked what two of them bring: those rows fall away.
    """
    large = [partner for kind, partner in _PARTNERS.items() if backbone.startswith(kind)]
    partner = large[0] if large else _SMALL_PARTNERS.get(backbone, "compact")
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
    """The learning rate with the lowest held-out error; raises InputError if no training came to a number."""
    errors = tuned(plan, backbone, variant)
    rate = min(errors, key=errors.__getitem__)
    if math.isinf(errors[rate]):
        raise InputError(
            f"No learning rate trains {variant} on {backbone}", got=RATES, fix="Lower --lr, or set --clip."
        )
    return rate


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
    if not isinstance(stream, SyntheticHands) or stream.config.mixed:
        return
    if not is_kept(stream, first.crops, samples):
        shutil.rmtree(first.crops, ignore_errors=True)
        keep(stream, samples, first.crops, cores())


def _parameters(shown: Trial) -> int:
    return parameter_count(HandNet(shown.config().model))


def _speed(shown: Trial) -> float:
    """Crops a second of the exported network on this machine's processor, one at a time."""
    model = shown.config().model
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(HandNet(model).eval(), Path(folder) / "model.onnx", precision="fp32")
        session = OnnxModel(Path(folder) / "model.onnx")
    crop = made_up_crops(1, model.size)
    session(crop)
    times, end = [], time.perf_counter() + _TIMED_S
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        session(crop)
        times.append(time.perf_counter() - start)
    return 1 / float(np.median(times))


class _Speeds:
    """Of networks on this machine, measured once: a table that was made here before knows them."""

    def __init__(self, path: Path, cpu: str | None) -> None:
        self.known: dict[tuple[str, str], float] = {}
        if path.exists():
            table = json.loads(path.read_text())
            rows = table["rows"] if table["made"]["cpu"] == cpu else []
            self.known = {(row["backbone"], row["variant"]): row["speed"] for row in rows if row.get("speed")}

    def of(self, shown: Trial) -> float:
        key = shown.backbone, shown.variant
        if key not in self.known:
            self.known[key] = round(_speed(shown), 1)
        return self.known[key]


def _as_json(name: TableName, lines: Sequence[Line], plan: Plan, rates: dict[tuple[str, str], float]) -> dict[str, Any]:
    table = TABLES[name]
    results = {
        line.key: [_kept(trial(plan, *line.key, rates[line.key], seed)) for seed in range(plan.seeds)] for line in lines
    }
    config = trial(plan, *lines[0].key, 1.0, 0).config()
    record = run_record({})
    speeds = _Speeds(plan.out / f"table_{name}.json", record["cpu"]) if "speed" in table.columns else None
    every = [result for some in results.values() for result in some]
    return {
        "format": 1,
        "table": name,
        "title": table.title,
        "columns": list(table.columns),
        "paper_measured_on": table.dataset,
        "measured_on": "clear" if plan.dataset == "synthetic" else plan.dataset,
        "frames": max((len(r.error_mm) for r in every if r.error_mm is not None), default=0),
        "frames_skipped": max(r.skipped for r in every),
        "backbone": plan.backbone,
        "budget": {
            "steps": plan.steps,
            "batch": config.batch,
            "samples": plan.steps * config.batch,
            "seeds": plan.seeds,
            "tuning_steps": plan.tuning_steps,
            "rates": [round(config.lr * rate, 7) for rate in RATES],
        },
        "rows": [_row_json(line, plan, results, rates, speeds) for line in lines],
        "trained": _distinct([r.made for r in every if r.made]),
        "made": {
            "on": datetime.now(UTC).date().isoformat(),
            **{key: record[key] for key in ("dor3d", "git", "libraries", "cpu", "gpus")},
            "python": platform.python_version(),
        },
    }


def _distinct(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each once, in their order."""
    return [record for i, record in enumerate(records) if record not in records[:i]]


def _kept(one: Trial) -> Result:
    """A trial's result, which must be there by now."""
    result = read_result(one)
    if result is None:
        raise InputError(f"The result of {one.name} has been taken away", fix="The same command makes it anew.")
    return result


def _row_json(
    line: Line,
    plan: Plan,
    results: dict[tuple[str, str], list[Result]],
    rates: dict[tuple[str, str], float],
    speeds: _Speeds | None,
) -> dict[str, Any]:
    own, shown = results[line.key], trial(plan, *line.key, rates[line.key], 0)
    calibrations = [r.calibration for r in own if r.calibration]
    row = {
        "label": line.row.label if line.row.module != "backbone" else line.backbone,
        "module": line.row.module,
        "variant": line.row.variant,
        "backbone": line.backbone,
        **_errors(own),
        "parameters": _parameters(shown),
        **({"speed": speeds.of(shown)} if speeds else {}),
        "rate": rates[line.key],
        "tuning_mm": {f"{rate:g}": _finite(mm) for rate, mm in tuned(plan, *line.key).items()},
        "calibration": [said._asdict() for said in calibrations],
        **_trust(calibrations),
        "paper": dict(line.row.paper_for(line.backbone)),
    }
    if line.row.against:
        other = results[plan.backbone, line.row.against]
        if all(r.error_mm is not None for r in (*own, *other)):
            block = 1 if plan.dataset == "synthetic" else _BLOCK
            row["difference"] = _difference_json(line.row.against, own, other, block)
    return row


def _finite(mm: float) -> float | None:
    return round(mm, 3) if math.isfinite(mm) else None


def _errors(own: Sequence[Result]) -> dict[str, Any]:
    """Means over seeds, frames and joints; None where a training came to no number."""
    seeds = [None if r.error_mm is None else round(float(r.error_mm.mean()), 3) for r in own]
    if None in seeds:
        return dict.fromkeys(("all", "x", "y", "z", "median")) | {"seeds": seeds}
    errors, axes = np.array([r.error_mm for r in own]), np.array([r.axes_mm for r in own])
    return {
        "all": round(float(errors.mean()), 3),
        **dict(zip("xyz", axes.mean((0, 1)).round(3).tolist(), strict=True)),
        "median": round(float(np.median(errors)), 3),
        "seeds": seeds,
    }


def _trust(calibrations: Sequence[Calibration]) -> dict[str, float | None]:
    """How standard deviations rank joints, and the per cent of coordinates within one; None where a test has none."""
    if not calibrations:
        return {"rank": None, "within": None}
    ranks, within = ([said.joint_rank for said in calibrations], [said.within[0] for said in calibrations])
    return {"rank": round(float(np.mean(ranks)), 3), "within": round(100 * float(np.mean(within)), 1)}


def _difference_json(against: str, own: Sequence[Result], other: Sequence[Result], block: int) -> dict[str, Any]:
    """Paired by seed and frame, with intervals: of the error, and of the one along each axis."""
    errors = np.array([r.error_mm for r in own]) - np.array([r.error_mm for r in other])
    axes = np.array([r.axes_mm for r in own]) - np.array([r.axes_mm for r in other])
    return {
        "against": against,
        **_interval(errors, block),
        "seeds": errors.mean(1).round(3).tolist(),
        "axes": {name: _interval(axes[..., i], block) for i, name in enumerate("xyz")},
    }


def _interval(difference: Float[ndarray, "s n"], block: int) -> dict[str, float]:
    return {key: round(value, 3) for key, value in paired_interval(difference, block=block)._asdict().items()}
