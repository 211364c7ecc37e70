"""From a recipe's name to a finished run: the config, its data, the loop."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.errors import InputError
from dor3d.hand.scene import SceneConfig
from dor3d.train.loop import TrainResult, train
from dor3d.train.recipes import TrainConfig, get_recipe, override
from dor3d.train.stream import Sources

_HELD_OUT: Final = 1_000_003  # added to a run's seed: the validation samples, which no run trains on


def start(
    recipe: str, changes: Mapping[str, Any], out: Path, *, resume: bool = False, init: Path | None = None
) -> TrainResult:
    """Train a recipe with some of its fields replaced; see `recipes.override` and `loop.train`."""
    config = override(get_recipe(recipe), changes)
    return train(config, make_sources(config), out, resume=resume, init=init)


def make_sources(config: TrainConfig) -> Sources:
    """What a config trains and validates on; raises InputError for data that does not exist."""
    data = dict(config.data)
    kind = data.pop("kind", "synthetic")
    if kind != "synthetic":
        raise InputError("Unknown kind of data", got=kind, expected="synthetic")
    synthetic = _synthetic(config, data)
    held_out = SyntheticHands(synthetic, config.seed + _HELD_OUT) if config.validation else None
    return Sources(SyntheticHands(synthetic, config.seed), held_out)


def _synthetic(config: TrainConfig, data: dict[str, Any]) -> SyntheticConfig:
    """The stream's config: crops as the model's, the other fields from the keys of `data`."""
    scene_names = {f.name for f in dataclasses.fields(SceneConfig)}
    own_names = {f.name for f in dataclasses.fields(SyntheticConfig)} - {"scene", "size", "cube_mm"}
    if unknown := sorted(set(data) - scene_names - own_names):
        raise InputError("Unknown fields of synthetic data", got=unknown, expected=sorted(scene_names | own_names))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    scene = SceneConfig(**{key: value for key, value in values.items() if key in scene_names})
    own: dict[str, Any] = {key: value for key, value in values.items() if key in own_names}
    return SyntheticConfig(scene, config.model.size, config.model.cube_mm, **own)
