"""The configuration of a run: everything that decides it, as JSON and back."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from dor3d.errors import InputError
from dor3d.fields import convert
from dor3d.model.locator import LocatorConfig
from dor3d.model.network import ModelConfig
from dor3d.skeleton import JOINTS
from dor3d.train.losses import LossName, Weights

Schedule = Literal["cosine", "linear", "constant", "paper"]
TaskName = Literal["pose", "locate"]
NESTED: Final = ("model", "locator", "data")
_TO_ZERO: Final = ("cosine", "linear")
# weights of losses that some heads alone can be taught by
_TAUGHT: Final = {
    "dense_weight": ("offset", "pixel-offset", "heatmap"),
    "anchor_weight": ("offset", "pixel-offset"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run. Two runs of one config on one machine give the same weights.

    Attributes:
        model: the network that reads joints off crops.
        data: what the caller's factory turns into sources of samples; the loop never looks inside.
        recipe: the name of the recipe that this began as.
        task: `pose`, joints from crops; or `locate`, where hands are in whole frames: what `locator` says is trained
            then, and neither `model` nor what is said of losses counts.
        locator: the network that finds hands.
        seed: of the initial weights, the data and stochastic depth.
        samples: samples to train on; `steps` = samples / batch unless given. 0, with neither steps nor epochs: without
            an end, until it is stopped.
        epochs: how often to go through data that has an end, instead of `samples`.
        steps: optimizer steps; 0: from `samples` or `epochs`.
        minutes: wall-clock time that the run may take, measurements counted; 0: any. It ends after the step that uses
            it up, or after the last of its steps if that comes first, and the schedule follows whichever is nearer to
            its end. Such a run can be resumed but not repeated: how far it comes is the machine's to say.
        batch: samples a step, over all processes.
        accumulate: parts that a process takes its share of a batch in, one after the other, to save memory.
        optimizer: `adamw` (the paper), or `muon` for hidden matrices and AdamW for the rest.
        lr, weight_decay: of AdamW; one-dimensional parameters (norms, biases) are not decayed.
        matrix_lr: of Muon; it follows the same schedule.
        schedule: after the warm-up `cosine` or `linear` to zero, `constant`, or `paper` (x 0.2 every 7 epochs).
        warmup: steps of linear warm-up.
        epoch: samples an epoch, for the paper's schedule; of data that has an end, its own number.
        clip: largest norm of the gradient; 0: no clipping.
        ema: decay of the weights' moving average, which is what is saved; 0: none.
        loss: `paper`, `balanced` or `metric`; see train/losses.py.
        joint_weight, ordinal_weight, dense_weight, anchor_weight, kind_weight, error_weight, bone_weight: of its
            parts; an ordinal weight of 0 trains without the DOR loss.
        pretrained: start the backbone from ImageNet weights, which timm fetches.
        backbone_weights: a .safetensors file to take them from instead.
        workers: processes that make samples; 0: none.
        threads: torch's threads; 0: torch's choice, less a core for each worker on a CPU.
        device: `auto`, `cpu` or `cuda`.
        precision: `32`, `bf16` or `fp16`; `auto`: bf16 on a GPU, 32 on a CPU, where bf16 pays if the processor
            multiplies in it.
        compile: let torch compile the network, which pays in long runs on a GPU.
        freeze_norms: keep batch norms' statistics as they begin.
        keep: how many of the last states stay on the disk.
        tensorboard: write its event files.
        wandb: a project of Weights & Biases to report to; empty: none.
        log_every, checkpoint_every, validate_every: in steps; 0 for the last: at the end only.
        validation: held-out samples to measure on; 0: none, but where data that has an end brings its own.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    data: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    task: TaskName = "pose"
    locator: LocatorConfig = field(default_factory=LocatorConfig)
    seed: int = 0
    samples: int = 100_000
    epochs: int = 0
    steps: int = 0
    minutes: float = 0.0
    batch: int = 64
    accumulate: int = 1
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    matrix_lr: float = 0.02
    weight_decay: float = 1e-4
    schedule: Schedule = "cosine"
    warmup: int = 500
    epoch: int = 100_000
    clip: float = 0.0
    ema: float = 0.999
    loss: LossName = "balanced"
    joint_weight: float = Weights().joint
    ordinal_weight: float = Weights().ordinal
    dense_weight: float = Weights().dense
    anchor_weight: float = Weights().anchor
    kind_weight: float = Weights().kind
    error_weight: float = Weights().error
    bone_weight: float = Weights().bone
    pretrained: bool = False
    backbone_weights: str = ""
    workers: int = 1
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    compile: bool = False
    freeze_norms: bool = False
    keep: int = 3
    tensorboard: bool = True
    wandb: str = ""
    log_every: int = 20
    checkpoint_every: int = 500
    validate_every: int = 0
    validation: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "log_every", "checkpoint_every", "epoch", "accumulate", "keep"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1", got=getattr(self, name))
        for name in (
            "samples",
            "epochs",
            "steps",
            "minutes",
            "warmup",
            "workers",
            "threads",
            "validate_every",
            "validation",
            "clip",
            "weight_decay",
            "joint_weight",
            "ordinal_weight",
            "dense_weight",
            "anchor_weight",
            "kind_weight",
            "error_weight",
            "bone_weight",
        ):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative", got=getattr(self, name))
        for name in ("lr", "matrix_lr"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive", got=getattr(self, name))
        if not 0 <= self.ema < 1:
            raise InputError("ema must lie in [0, 1)", got=self.ema)
        if self.bone_weight and self.model.joints != JOINTS:
            got, fix = f"{len(self.model.joints)} joints", "Leave bone_weight out."
            raise InputError("Bones are known between the 21 joints alone", got=got, fix=fix)
        if self.schedule in _TO_ZERO and not (self.samples or self.steps or self.epochs or self.minutes):
            raise InputError(
                f"Schedule {self.schedule} falls to zero at the run's end, and there is none",
                got="samples 0",
                fix="Use --schedule constant, or give samples.",
            )
        for name, heads in _TAUGHT.items():
            if getattr(self, name) and self.model.head not in heads:
                known = f"head {' or '.join(heads)}"
                raise InputError(f"Head {self.model.head} knows no {name}", got=getattr(self, name), expected=known)

    @property
    def loss_weights(self) -> Weights:
        """Of the loss' parts."""
        parts = self.joint_weight, self.ordinal_weight, self.dense_weight, self.anchor_weight
        return Weights(*parts, self.kind_weight, self.error_weight, self.bone_weight)

    @property
    def total_steps(self) -> int | None:
        """The number of optimizer steps; None: without an end."""
        if self.steps or not self.samples:
            return self.steps or None
        return max(1, self.samples // self.batch)

    def is_finished(self, step: int) -> bool:
        """Whether a run ends after so many steps."""
        return self.total_steps is not None and step >= self.total_steps

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` gives the same config back."""
        flat = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"format": 1, **flat, "model": self.model.to_json(), "locator": self.locator.to_json()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "TrainConfig":
        """Raises InputError for fields that are unknown or of the wrong kind, ModelError for an unusable model."""
        fields = {k: v for k, v in raw.items() if k not in ("format", *NESTED)}
        for name in fields:
            check_known(name, [f.name for f in dataclasses.fields(cls)])
        own = {name: convert(name, value, types(cls)[name]) for name, value in fields.items()}
        model, locator = ModelConfig.from_json(raw.get("model", {})), LocatorConfig.from_json(raw.get("locator", {}))
        return cls(**own, model=model, locator=locator, data=dict(raw.get("data", {})))


def names(kind: type) -> set[str]:
    """Of a dataclass' fields."""
    return {f.name for f in dataclasses.fields(kind)}


def types(kind: type) -> dict[str, Any]:
    """Of a dataclass' fields, by name."""
    return typing.get_type_hints(kind)


def check_known(name: str, known: list[str], shown: str | None = None) -> None:
    """Raises InputError for a name that is not among those known, with what looks alike."""
    if name not in known:
        close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
        raise InputError("Unknown key", got=shown or name, expected=f"one of {', '.join(close or sorted(known))}")
