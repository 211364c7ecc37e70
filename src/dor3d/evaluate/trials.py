"""One trial of a comparison: a variant, a seed, a learning rate, trained for a budget and measured on the test set.

Trials of one seed see the same samples in the same order and begin from the same backbone, so their errors pair up.
"""

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console

from dor3d.data.kept import KeptHands, is_kept
from dor3d.data.sets import SETS, open_set
from dor3d.data.synthetic import SyntheticHands
from dor3d.data.testsets import CLEAR_COUNT, clear
from dor3d.errors import InputError
from dor3d.evaluate.calibration import Calibration, calibrate
from dor3d.evaluate.crops import Found, found_in_stream
from dor3d.evaluate.run import evaluate, open_centers, open_model
from dor3d.evaluate.variants import BASE, VARIANTS
from dor3d.files import write_whole
from dor3d.metrics import joint_errors
from dor3d.model.checkpoint import load_model
from dor3d.runtime.onnx import CropOutput
from dor3d.train.fabric import pick_device
from dor3d.train.loop import train
from dor3d.train.recipes import TrainConfig, get_recipe, override
from dor3d.train.start import make_sources
from dor3d.train.stream import Sources

# of the recipe's learning rate: each variant chooses among them. Twice as high, short trainings end lower still, but
# whole ones leave offset networks that blow up on crops unlike those they learnt from (docs/log.md)
RATES: Final = (0.25, 0.5, 1.0)
TUNING_SHARE: Final = 0.2  # of the budget
_AVERAGED: Final = 0.999
_WARM_SHARE: Final = 0.1
_LARGEST_MM: Final = 60_000.0  # that half precision holds
_LARGE: Final = ("swin", "resnet")  # the paper's kind: its crops, its optimizer
_FREE: Final = {"workers", "threads", "device", "log_every", "checkpoint_every", "tensorboard", "recipe", "keep"}


@dataclass(frozen=True)
class Plan:
    """What all trials of a comparison share.

    Attributes:
        dataset: `synthetic`, or a set of `SETS`.
        root: the set's folder.
        backbone: of the network.
        steps: optimizer steps of a trial.
        seeds: trials of each variant.
        out: folder for results and, in `runs`, the trials' own.
        jobs: trials side by side.
        frames: of the test set at most; 0: all.
        centers: where the test's crops are centred, for a set.
        changes: fields of the recipe that differ, for all variants.
    """

    dataset: str = "synthetic"
    root: Path | None = None
    backbone: str = "compact"
    steps: int = 1600
    seeds: int = 3
    out: Path = Path("dor3d-tables")
    jobs: int = 1
    frames: int = 0
    centers: str = "mass"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "seeds", "jobs"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1", got=getattr(self, name))
        if self.frames < 0:
            raise InputError("--frames must not be negative", got=self.frames, expected="0 for all")
        if self.dataset != "synthetic" and self.dataset not in SETS:
            raise InputError("Unknown data set", got=self.dataset, expected=f"synthetic, {', '.join(SETS)}")
        if self.dataset != "synthetic" and self.root is None:
            raise InputError(f"It is not said where {self.dataset} lies", fix="Name its folder with --root.")

    @property
    def tuning_steps(self) -> int:
        """Steps of a trial that only compares learning rates."""
        return max(1, round(self.steps * TUNING_SHARE))


@dataclass(frozen=True)
class Trial:
    """One training, and its measurement."""

    plan: Plan
    variant: str
    backbone: str
    rate: float
    seed: int
    steps: int
    tuning: bool = False

    @property
    def name(self) -> str:
        """Of its folder and its files."""
        return f"{self.plan.dataset}-{self.backbone}-{self.variant}-x{self.rate:g}-{self.steps}-s{self.seed}"

    @property
    def folder(self) -> Path:
        """Of the run itself."""
        return self.plan.out / "runs" / self.name

    @property
    def crops(self) -> Path:
        """Where the rendered crops of its seed lie while they are kept."""
        return self.plan.out / "runs" / f"crops-s{self.seed}"

    def config(self) -> TrainConfig:
        """Everything that decides it."""
        base = _recipe(self.plan, self.backbone)
        own = {**BASE, "backbone": self.backbone, **VARIANTS[self.variant], **self.plan.changes}
        config = override(base, own)
        return dataclasses.replace(
            config,
            seed=self.seed,
            steps=self.steps,
            epochs=0,
            lr=config.lr * self.rate,
            matrix_lr=config.matrix_lr * self.rate,
            schedule="cosine",
            warmup=max(1, round(self.steps * _WARM_SHARE)),
            ema=_AVERAGED,
            validate_every=0 if self.plan.dataset == "synthetic" else self.steps,
            **_share_of_machine(self.plan.jobs, config),
        )


def _recipe(plan: Plan, backbone: str) -> TrainConfig:
    large = backbone.startswith(_LARGE)
    if plan.dataset == "synthetic":
        return get_recipe("synth-swin-b" if large else "synth-compact")
    config = override(get_recipe(plan.dataset), {"root": str(plan.root)})
    if large:
        return config
    small = get_recipe("synth-compact")
    model = dataclasses.replace(config.model, size=small.model.size)
    rates = {name: getattr(small, name) for name in ("optimizer", "lr", "matrix_lr", "weight_decay", "batch")}
    return dataclasses.replace(config, model=model, pretrained=False, **rates)


def _share_of_machine(jobs: int, config: TrainConfig) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = max(1, cores // jobs)
    if pick_device(config.device).type == "cpu":
        return {"threads": share, "workers": 0 if share == 1 else 1}
    return {"workers": max(1, share - 1)}


@dataclass(frozen=True)
class Result:
    """What a trial measures.

    Attributes:
        validation_mm: error on held-out samples, which learning rates are chosen by.
        axes_mm: mean absolute error of each frame along x, y and z, over its joints; None for a tuning trial.
        error_mm: mean distance of each frame's joints; None for a tuning trial.
        calibration: of the standard deviations, where the test gives them.
    """

    validation_mm: float
    axes_mm: Float[ndarray, "n 3"] | None = None
    error_mm: Float[ndarray, "n"] | None = None
    calibration: Calibration | None = None


def run_trial(trial: Trial) -> bool:
    """Train, measure, keep the result and drop what only a resumption needs. Returns whether it came to its end."""
    config = trial.config()
    trial.folder.mkdir(parents=True, exist_ok=True)
    with (trial.folder / "train.log").open("a") as log:
        console = Console(file=log, width=160)
        outcome = train(config, _sources(trial, config), trial.folder, resume=True, console=console)
    if not outcome.finished:
        return False
    result = Result(_validation_mm(trial.folder))
    if not trial.tuning:
        result = _measured(trial, result)
    _write(trial, config, result)
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
    if trial.plan.dataset == "synthetic":
        predicted, true, sigma = _find_in_clear(trial.folder, trial.plan.frames or CLEAR_COUNT)
    else:
        predicted, true = _predict_set(trial)
        sigma = None
    return dataclasses.replace(
        result,
        axes_mm=np.abs(predicted - true).mean(1),
        error_mm=joint_errors(predicted, true).mean(1),
        calibration=None if sigma is None else calibrate(predicted - true, sigma),
    )


def _find_in_clear(folder: Path, count: int) -> Found:
    net = load_model(folder).folded()
    device = pick_device("auto")
    net.to(device)

    @torch.no_grad()
    def network(crops: ndarray) -> CropOutput:
        output = net(torch.from_numpy(crops).to(device))
        return CropOutput(output.points.cpu().numpy(), output.sigma.cpu().numpy())

    return found_in_stream(network, clear(net.config.size, net.config.cube_mm), count)


def _predict_set(trial: Trial) -> tuple[Float[ndarray, "n a 3"], Float[ndarray, "n a 3"]]:
    """Predicted and true joints of a run on the frames of a set that are scored."""
    plan = trial.plan
    split = str(trial.config().data.get("split", ""))
    scored = split.removeprefix("without-") if split.startswith("without-") else None  # MSRA's subject
    frames = open_set(plan.dataset, plan.root or Path(), scored)
    found = evaluate(
        open_model(str(trial.folder)), frames, open_centers(plan.centers, frames), trial.folder / "test"
    ).score
    if found is None:
        raise InputError(f"The frames of {plan.dataset} that are scored have no labels", fix="Choose another set.")
    return found.predicted_mm, found.true_mm


# ---- results as files ----------------------------------------------------------------------------------------------
def _path(trial: Trial) -> Path:
    return trial.plan.out / "results" / f"{trial.name}.npz"


def _same(trial: Trial, config: TrainConfig) -> dict[str, Any]:
    """What must agree for a result to be this trial's."""
    own = {key: value for key, value in config.to_json().items() if key not in _FREE}
    data = {k: v for k, v in own["data"].items() if k != "root"}
    return {**own, "data": data, **({} if trial.tuning else {"frames": trial.plan.frames})}


def _write(trial: Trial, config: TrainConfig, result: Result) -> None:
    about = {
        "trial": _same(trial, config),
        "validation_mm": result.validation_mm,
        "calibration": None if result.calibration is None else result.calibration._asdict(),
    }
    arrays = {name: getattr(result, name) for name in ("axes_mm", "error_mm")}
    kept = {name: a.clip(max=_LARGEST_MM).astype(np.float16) for name, a in arrays.items() if a is not None}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about)), **kept)
    write_whole(_path(trial), buffer.getvalue())


def read_result(trial: Trial) -> Result | None:
    """A trial's result, if there is one. Raises InputError for one of another plan."""
    path = _path(trial)
    if not path.exists():
        return None
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name].astype(np.float64) for name in ("axes_mm", "error_mm") if name in file}
    new, old = json.loads(json.dumps(_same(trial, trial.config()))), about["trial"]
    # fields that one of the two does not know came with another version, with their old meaning as the default
    if changed := sorted(key for key in new.keys() & old.keys() if new[key] != old[key]):
        raise InputError(
            f"{path} is of another plan",
            got=", ".join(f"{key}={old[key]}" for key in changed),
            expected=", ".join(f"{key}={new[key]}" for key in changed),
            fix="Choose another folder with --out.",
        )
    calibration = None if about["calibration"] is None else Calibration(**about["calibration"])
    return Result(about["validation_mm"], calibration=calibration, **arrays)
