"""What a comparison trains: a variant, a seed and a learning rate for a budget, and what all of them share.

Trials of one seed see the same samples in the same order and begin from the same backbone, so their errors pair up.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dor3d.data.centers import Centers
from dor3d.data.sample import DepthSet
from dor3d.data.sets import check_source, open_set
from dor3d.errors import InputError
from dor3d.evaluate.run import check_files, open_centers
from dor3d.evaluate.variants import BASE, VARIANTS
from dor3d.train.config import TrainConfig
from dor3d.train.fabric import pick_device
from dor3d.train.recipes import get_recipe, override

# of the recipe's learning rate: each variant chooses among them. Twice as high, short trainings end lower still, but
# whole ones leave offset networks that blow up on crops unlike those they learnt from (docs/log.md)
RATES: Final = (0.25, 0.5, 1.0)
TUNING_SHARE: Final = 0.2  # of the budget
_WARM_SHARE: Final = 0.1
_AVERAGED: Final = 0.999
# what the comparison itself decides; `lr` and `matrix_lr` stay free, the rates are shares of them
_DECIDED: Final = {
    *("backbone", "preset", "seed", "steps", "epochs", "samples", "validate_every", "threads", "workers", "kind"),
}
_LARGE: Final = ("swin", "resnet")  # the paper's kind: its crops, its optimizer


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
        test: folder of the frames that are scored; by default the set's own, which frames of one's own have not.
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
    test: Path | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "seeds", "jobs"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be at least 1", got=getattr(self, name))
        if self.frames < 0:
            raise InputError("--frames must not be negative", got=self.frames, expected="0 for all")
        check_source(self.dataset, self.root)
        if self.dataset == "folder" and self.test is None:
            raise InputError(
                "Frames of one's own have no test of their own",
                fix="Name a second folder, of frames that are scored and not learnt, with --test.",
            )

    def check(self, variants: Iterable[str]) -> None:
        """Whether these variants can be compared and measured, before hours of training; raises InputError."""
        decided = _DECIDED.union(*(VARIANTS[name] for name in variants))
        if wrong := [name for name in self.changes if _bare(name) in decided]:
            raise InputError(
                "The comparison itself decides some fields of the recipe",
                got=", ".join(f"--{name}" for name in wrong),
                fix="Leave them out: they are what its rows differ in, or follow from --steps, --seeds and --jobs.",
            )

        if self.dataset != "synthetic":
            frames, _ = self.open_test()
            check_files(frames, most=len(frames) - 1)  # those that are missing are left out

    def open_test(self) -> tuple[DepthSet, Centers]:
        """The frames of a set that are scored, and where their crops are centred."""
        learnt = str(override(_recipe(self, self.backbone), self.changes).data.get("split", ""))
        # MSRA is scored on the subject that was not learnt
        split = learnt.removeprefix("without-") if learnt.startswith("without-") else None
        frames = open_set(self.dataset, self.test or self.root or Path(), split)
        return frames, open_centers(self.centers, frames)

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
        changes = self.plan.changes
        base = _recipe(self.plan, self.backbone)
        free = {"schedule": "cosine", "warmup": max(1, round(self.steps * _WARM_SHARE)), "ema": _AVERAGED}
        free = {name: value for name, value in free.items() if name not in map(_bare, changes)}
        config = override(base, {"backbone": self.backbone, **BASE, **free, **VARIANTS[self.variant], **changes})
        return dataclasses.replace(
            config,
            seed=self.seed,
            steps=self.steps,
            epochs=0,
            lr=config.lr * self.rate,
            matrix_lr=config.matrix_lr * self.rate,
            validate_every=0 if self.plan.dataset == "synthetic" else self.steps,
            **_share_of_machine(self.plan.jobs, config),
        )


def _bare(name: str) -> str:
    """A field's own name, however it was given."""
    return name.replace("-", "_").removeprefix("model.")


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
    share = max(1, cores() // jobs)
    if pick_device(config.device).type == "cpu":
        return {"threads": share, "workers": 0 if share == 1 else 1}
    return {"workers": max(1, share - 1)}


def cores() -> int:
    """Of the processor, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
