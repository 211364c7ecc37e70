"""Trials as they are done: trained, measured on the test, their results kept."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from dor3d.data.kept import KeptHands, is_kept
from dor3d.data.synthetic import SyntheticHands
from dor3d.data.testsets import CLEAR_COUNT, clear
from dor3d.errors import InputError
from dor3d.evaluate.calibration import calibrate
from dor3d.evaluate.crops import found_in_stream
from dor3d.evaluate.results import Result, write_result
from dor3d.evaluate.run import evaluate
from dor3d.evaluate.trials import Trial
from dor3d.metrics import joint_errors
from dor3d.runtime.pytorch import TorchModel
from dor3d.train.config import TrainConfig
from dor3d.train.fabric import pick_device
from dor3d.train.loop import train
from dor3d.train.record import run_record
from dor3d.train.run import NonFiniteLossError
from dor3d.train.start import make_sources
from dor3d.train.stream import Sources


def run_trial(trial: Trial) -> bool:
    """Train, measure, keep the result and drop what only a resumption needs. Returns whether it came to its end.

    A training whose loss is no longer a number has come to its end: that is its result.
    """
    config = trial.config()
    trial.folder.mkdir(parents=True, exist_ok=True)
    result = Result(math.inf)
    with (trial.folder / "train.log").open("a") as log:
        console = Console(file=log, width=160)
        try:
            outcome = train(config, _sources(trial, config), trial.folder, resume=True, console=console)
            if not outcome.finished:
                return False
            result = Result(_validation_mm(trial.folder))
            if not trial.tuning:
                result = _measured(trial, result)
        except NonFiniteLossError as error:
            console.print(str(error))
    write_result(trial, dataclasses.replace(result, made=_made(config)))
    shutil.rmtree(trial.folder / "checkpoints", ignore_errors=True)
    return True


def _sources(trial: Trial, config: TrainConfig) -> Sources:
    """What it learns from: crops that were rendered for all trials of its seed, where there are."""
    sources = make_sources(config)
    stream = sources.train
    if not isinstance(stream, SyntheticHands) or not is_kept(stream, trial.crops):
        return sources
    return sources._replace(train=KeptHands(stream, trial.crops))


def _validation_mm(folder: Path) -> float:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [line["validation_mm"] for line in lines if "validation_mm" in line]
    if not found:
        raise InputError(f"The run in {folder} has no held-out error", fix="Leave validation and held_out above 0.")
    return float(found[-1])


def _measured(trial: Trial, result: Result) -> Result:
    model = TorchModel(trial.folder, pick_device("auto"))
    if trial.plan.dataset != "synthetic":
        return _measured_on_set(trial, result, model)
    count = trial.plan.frames or CLEAR_COUNT
    predicted, true, sigma = found_in_stream(model, clear(model.card.size, model.card.cube_mm), count)
    return _with_errors(dataclasses.replace(result, calibration=calibrate(predicted - true, sigma)), predicted, true)


def _measured_on_set(trial: Trial, result: Result, model: TorchModel) -> Result:
    """On the frames that are scored; those that cannot be read are left out, for all variants alike."""
    frames, centers = trial.plan.open_test()
    found = evaluate(model, frames, centers, trial.folder / "test", skip_bad=True)
    if found.score is None:
        raise InputError(f"The frames of {frames.name} that are scored have no labels", fix="Choose another set.")
    result = dataclasses.replace(result, skipped=len(found.skipped))
    return _with_errors(result, found.score.predicted_mm, found.score.true_mm)


def _with_errors(result: Result, predicted: np.ndarray, true: np.ndarray) -> Result:
    axes, error = np.abs(predicted - true).mean(1), joint_errors(predicted, true).mean(1)
    return dataclasses.replace(result, axes_mm=axes, error_mm=error)


def _made(config: TrainConfig) -> dict[str, Any]:
    """When, with what and on what this process trains."""
    record = run_record({})
    device = pick_device(config.device).type
    on = record["gpus"][0] if device == "cuda" and record["gpus"] else record["cpu"]
    return {"on": record["started"][:10], "device": on, **{key: record[key] for key in ("dor3d", "git", "libraries")}}
