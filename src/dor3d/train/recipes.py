"""Recipes: named functions that return a whole training configuration, and typed overrides of its fields."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.sources import SetOptions
from dor3d.errors import InputError
from dor3d.fields import convert
from dor3d.model.heads.local_ordinal import LocalOrdinalOptions
from dor3d.model.locator import LocatorConfig
from dor3d.model.network import ModelConfig
from dor3d.train.config import NESTED, TrainConfig, check_known, names, types

RECIPES: dict[str, Callable[[], TrainConfig]] = {}

# What --preset puts in place of a recipe's own choices. `paper` is section 4.1 and our reading of what it leaves open;
# `best` is what measured better on the synthetic set, with a small network (docs/log.md).
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "paper": {
        "head": "ordinal",
        "labels": "hard",
        "z_discretisation": "normal",
        "relief": False,
        "uv_maps": True,
        "loss": "paper",
        "optimizer": "adamw",
        "lr": 3.5e-4,
        "weight_decay": 1e-4,
        "schedule": "paper",
        "warmup": 0,
        "ema": 0.0,
    },
    "best": {
        "head": "local-ordinal",
        "labels": "exact",
        "relief": True,
        "loss": "metric",
        "schedule": "cosine",
        "warmup": 500,
        "ema": 0.999,
    },
}


def recipe(name: str) -> Callable[[Callable[[], TrainConfig]], Callable[[], TrainConfig]]:
    """Register a function that returns a whole config under a name."""

    def register(make: Callable[[], TrainConfig]) -> Callable[[], TrainConfig]:
        RECIPES[name] = lambda: dataclasses.replace(make(), recipe=name)
        return make

    return register


def get_recipe(name: str) -> TrainConfig:
    """A recipe's config; raises InputError with the names that there are."""
    if name not in RECIPES:
        raise InputError("Unknown recipe", got=name, expected=f"one of {', '.join(RECIPES)}")
    return RECIPES[name]()


@recipe("synth-compact")
def synth_compact() -> TrainConfig:
    """The small network on the synthetic stream, fit for a CPU. All of it our choice."""
    return TrainConfig(
        model=ModelConfig(backbone="compact", size=96, cube_mm=(280.0, 300.0), head="local-ordinal", relief=True),
        data={"kind": "synthetic"},
        samples=1_000_000,
        batch=64,
        optimizer="muon",
        lr=2e-3,
        matrix_lr=0.05,
        weight_decay=0.01,
        loss="metric",
        validation=1024,
    )


@recipe("synth-wide")
def synth_wide() -> TrainConfig:
    """The small network on scenes of real use, where it also tells left hands, crops without one, and its errors.

    Most hands point upwards, as later looks show them.
    """
    config = synth_compact()
    data = {"kind": "synthetic", "scenes": "wide", "hand": 2, "left": 0.15, "empty": 0.15, "upright": 0.75}
    model = dataclasses.replace(config.model, kinds=True, errors=True, upright=True)
    return dataclasses.replace(config, model=model, data=data)


@recipe("synth-resnet50")
def synth_resnet50() -> TrainConfig:
    """The paper's convolutional network and recipe on the synthetic stream."""
    return _paper("resnet50")


@recipe("synth-swin-b")
def synth_swin_b() -> TrainConfig:
    """The paper's network and recipe on the synthetic stream."""
    return _paper("swin-b")


@recipe("nyu")
def nyu() -> TrainConfig:
    """The paper's network and recipe on NYU's training frames."""
    return _on_set("nyu")


@recipe("icvl")
def icvl() -> TrainConfig:
    """On ICVL's recorded frames, turned as the paper does, which takes up to 330,000 samples that way."""
    return _on_set("icvl")


@recipe("msra")
def msra() -> TrainConfig:
    """On eight subjects of MSRA; --split without-P3 names the ninth, which is tested.

    Nine trainings are a result: --split each makes them one after the other, in folders named by the tested subject.
    """
    return _on_set("msra", split="without-P0")


@recipe("hands17")
def hands17() -> TrainConfig:
    """On nineteen twentieths of HANDS2017's labelled frames, with the paper's larger batch."""
    return dataclasses.replace(_on_set("hands17", split="train"), batch=64)


@recipe("folder")
def folder() -> TrainConfig:
    """A small network on labelled frames of one's own, from the weights that ship (--init checkpoints/compact).

    All frames show hands: what it knows of crops without one stays as it is.
    """
    config = dataclasses.replace(synth_wide(), kind_weight=0.0)
    model = dataclasses.replace(config.model, head="offset")  # that of the weights that ship
    data = {**_set_data("folder", held_out=0.1), "rotation_deg": 45.0, "upright": 0.5}
    return dataclasses.replace(config, model=model, data=data, epochs=30, lr=4e-4, matrix_lr=0.01, warmup=100)


@recipe("locator")
def locator() -> TrainConfig:
    """The network that finds hands in whole frames, on rendered rooms. All of it our choice."""
    return TrainConfig(
        task="locate",
        data={"kind": "rooms"},
        samples=300_000,
        batch=32,
        optimizer="muon",
        lr=2e-3,
        matrix_lr=0.02,
        weight_decay=0.01,
        validation=1024,
    )


def _on_set(name: str, *, split: str = "", rotation_deg: float = 180.0) -> TrainConfig:
    """Preset `paper` on a benchmark; epochs, augmentation, cube and the ends of the schedule are our choice."""
    benchmark = BENCHMARKS[name]
    config = _paper("swin-b")
    model = dataclasses.replace(config.model, joints=benchmark.joints, cube_mm=benchmark.cube_mm)
    data = {**_set_data(name, split=split or "train"), "rotation_deg": rotation_deg}
    return dataclasses.replace(config, model=model, data=data, epochs=28, pretrained=True, validation=0)


def _set_data(name: str, *, split: str = "", held_out: float = 0.02) -> dict[str, Any]:
    options = SetOptions(split=split, held_out=held_out)
    how = {"scale": [0.8, 1.2], "shift_mm": 8.0, "erase": 0.5, "drop_share": 0.15}
    return {"kind": name, **dataclasses.asdict(options), **how}


def _paper(backbone: str) -> TrainConfig:
    """Preset `paper`: section 4.1's numbers; epochs, warm-up (none), cube and no average of weights are our reading."""
    return TrainConfig(
        model=ModelConfig(backbone=backbone, size=224, cube_mm=(300.0, 300.0), labels="hard"),
        data={"kind": "synthetic"},
        samples=2_100_000,
        batch=32,
        lr=3.5e-4,
        schedule="paper",
        warmup=0,
        ema=0.0,
        loss="paper",
        validation=1024,
    )


def override(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """The config with fields replaced.

    Keys are fields of TrainConfig (`lr`), of the model (`backbone` or `model.backbone`), of its local ordinal head
    (`local_ordinal.levels`), of the locator (`locator.width`) or of the data (`data.sensor`, or `root`, where the
    recipe names it); values are of the field's type, or text that reads as it. Data keys are the data's to check.
    `preset` stands for the fields of one of PRESETS; others given beside it win.

    Raises InputError for unknown keys, with those that look alike, for one that two of them have, and for values of the
    wrong type.
    """
    changes = {**_preset(changes), **{key: value for key, value in changes.items() if key != "preset"}}
    own, model, data, locator, local = ({} for _ in range(5))
    own_names, model_names = names(TrainConfig) - {*NESTED, "recipe"}, names(ModelConfig)
    for key, value in changes.items():
        name = key.replace("-", "_")
        if name in config.data and name in model_names:
            raise InputError(f"{name} is a field of the data and of the model", expected=f"data.{name} or model.{name}")
        if name.startswith("data.") or name in config.data:
            data[name.removeprefix("data.")] = _literal(value)
        elif name in own_names:
            own[name] = convert(key, value, types(TrainConfig)[name])
        elif name.startswith("locator."):
            bare = name.removeprefix("locator.")
            check_known(bare, sorted(names(LocatorConfig)), key)
            locator[bare] = convert(key, value, types(LocatorConfig)[bare])
        elif (option := name.removeprefix("model.")).startswith("local_ordinal."):
            bare = option.removeprefix("local_ordinal.")
            check_known(bare, sorted(names(LocalOrdinalOptions)), key)
            local[bare] = convert(key, value, types(LocalOrdinalOptions)[bare])
        else:
            bare = name.removeprefix("model.")
            check_known(bare, [*own_names, *model_names], key)
            model[bare] = convert(key, value, types(ModelConfig)[bare])
    if local:
        model["local_ordinal"] = dataclasses.replace(model.get("local_ordinal", config.model.local_ordinal), **local)
    new_model = dataclasses.replace(config.model, **model)
    new_locator = dataclasses.replace(config.locator, **locator)
    return dataclasses.replace(config, **own, model=new_model, locator=new_locator, data={**config.data, **data})


def _preset(changes: Mapping[str, Any]) -> dict[str, Any]:
    name = changes.get("preset")
    if name is None:
        return {}
    if name not in PRESETS:
        raise InputError("Unknown preset", got=name, expected=" or ".join(PRESETS))
    return PRESETS[name]


def _literal(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
