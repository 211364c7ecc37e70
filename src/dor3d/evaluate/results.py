"""What trials measured, as files that later commands make tables from."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.evaluate.calibration import Calibration
from dor3d.evaluate.trials import Trial
from dor3d.files import write_whole
from dor3d.train.config import TrainConfig
from dor3d.train.fabric import pick_device, precision_of

_LARGEST_MM: Final = 60_000.0  # that half precision holds
_FREE: Final = {"workers", "threads", "device", "log_every", "checkpoint_every", "tensorboard", "recipe", "keep"}


@dataclass(frozen=True)
class Result:
    """What a trial measures.

    Attributes:
        validation_mm: error on held-out samples, which learning rates are chosen by; infinite where the training came
            to no number.
        axes_mm: mean absolute error of each frame along x, y and z, over its joints; None for a tuning trial, and where
            the training came to no number.
        error_mm: mean distance of each frame's joints; None likewise.
        calibration: of the standard deviations, where the test gives them.
        skipped: frames of the test that could not be read.
        made: when, with what and on what it was trained.
    """

    validation_mm: float
    axes_mm: Float[ndarray, "n 3"] | None = None
    error_mm: Float[ndarray, "n"] | None = None
    calibration: Calibration | None = None
    skipped: int = 0
    made: Mapping[str, Any] = field(default_factory=dict)


def result_path(trial: Trial) -> Path:
    """Where a trial's result lies, or would."""
    return trial.plan.out / "results" / f"{trial.name}.npz"


def write_result(trial: Trial, result: Result) -> Path:
    """Keep a result: each frame's errors in half precision, and all that the trial is, so that no other takes it."""
    about = {
        "trial": _identity(trial, trial.config()),
        "validation_mm": result.validation_mm if math.isfinite(result.validation_mm) else None,
        "calibration": None if result.calibration is None else result.calibration._asdict(),
        "skipped": result.skipped,
        "made": dict(result.made),
    }
    arrays = {name: getattr(result, name) for name in ("axes_mm", "error_mm")}
    kept = {name: a.clip(max=_LARGEST_MM).astype(np.float16) for name, a in arrays.items() if a is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **kept)
    return write_whole(result_path(trial), buffer.getvalue())


def read_result(trial: Trial) -> Result | None:
    """A trial's result, if there is one. Raises InputError for one of another plan."""
    path = result_path(trial)
    if not path.exists():
        return None
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name].astype(np.float64) for name in ("axes_mm", "error_mm") if name in file}
    new, old = json.loads(json.dumps(_identity(trial, trial.config()))), _with_defaults(about["trial"])
    if changed := sorted(key for key in new.keys() & old.keys() if new[key] != old[key]):
        raise InputError(
            f"{path} is of another plan",
            got=", ".join(f"{key}={old[key]}" for key in changed),
            expected=", ".join(f"{key}={new[key]}" for key in changed),
            fix="Choose another folder with --out.",
        )
    calibration = None if about["calibration"] is None else Calibration(**about["calibration"])
    mm = about["validation_mm"]
    more = {"skipped": about.get("skipped", 0), "made": about.get("made", {})}
    return Result(math.inf if mm is None else mm, calibration=calibration, **arrays, **more)


def _with_defaults(old: dict[str, Any]) -> dict[str, Any]:
    """What an older version wrote, with the fields that have come since: their defaults are what it did."""
    return _filled(old, json.loads(json.dumps(TrainConfig().to_json())))


def _filled(old: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Fields of `old`, and defaults of those that it lacks, group by group; what the data are belongs to `old`."""
    both = {**default, **old}
    groups = [name for name, value in default.items() if isinstance(value, dict) and name in old and name != "data"]
    return {**both, **{name: _filled(old[name], default[name]) for name in groups}}


def _identity(trial: Trial, config: TrainConfig) -> dict[str, Any]:
    """What must agree for a result to be this trial's."""
    plan = trial.plan
    own = {key: value for key, value in config.to_json().items() if key not in _FREE}
    data = {key: value for key, value in own["data"].items() if key != "root"}
    own |= {"data": data, "computed_in": precision_of(config, pick_device(config.device))}
    if trial.tuning:
        return own
    return {**own, "frames": plan.frames, **({} if plan.dataset == "synthetic" else {"centers": plan.centers})}
