"""From a recipe's name to a finished run: the config, its data, the loop."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dor3d.data.sources import CropShape, open_sources
from dor3d.train.loop import TrainResult, train
from dor3d.train.recipes import TrainConfig, get_recipe, override
from dor3d.train.stream import Sources


def start(
    recipe: str, changes: Mapping[str, Any], out: Path, *, resume: bool = False, init: Path | None = None
) -> TrainResult:
    """Train a recipe with some of its fields replaced; see `recipes.override` and `loop.train`."""
    config = override(get_recipe(recipe), changes)
    return train(config, make_sources(config), out, resume=resume, init=init)


def make_sources(config: TrainConfig) -> Sources:
    """What a config trains and validates on; raises InputError for data that does not exist."""
    model = config.model
    learnt, held_out = open_sources(config.data, CropShape(model.size, model.cube_mm, model.joints), config.seed)
    return Sources(learnt, held_out if config.validation or learnt.length is not None else None)
