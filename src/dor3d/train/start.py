"""From a recipe's name to a finished run: the config, its data, the loop."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dor3d.data.msra import SUBJECTS
from dor3d.data.sources import CropShape, open_sources
from dor3d.errors import InputError
from dor3d.train.config import TrainConfig
from dor3d.train.loop import TrainResult, train
from dor3d.train.recipes import get_recipe, override
from dor3d.train.stream import Sources


def start(
    recipe: str,
    changes: Mapping[str, Any],
    out: Path,
    *,
    resume: bool = False,
    init: Path | None = None,
    init_matching: bool = False,
) -> TrainResult:
    """Train a recipe with some of its fields replaced; see `recipes.override` and `loop.train`.

    MSRA's split "each" is nine runs, in folders below `out`; the result is the last one's, or the first that stopped.
    """
    if init_matching and init is None:
        raise InputError("There are no weights to match", fix="Name them with --init.")
    config = override(get_recipe(recipe), changes)
    begin = {"init": init, "init_matching": init_matching}
    if config.data.get("kind") == "msra" and config.data.get("split") == "each":
        return _each_subject(config, out, resume=resume, begin=begin)
    return train(config, make_sources(config), out, resume=resume, **begin)


def _each_subject(config: TrainConfig, out: Path, *, resume: bool, begin: dict[str, Any]) -> TrainResult:
    result = TrainResult(0, finished=False)
    for subject in SUBJECTS:
        cache = config.data.get("cache")
        data = {"split": f"without-{subject}", "cache": f"{cache}-without-{subject}" if cache else ""}
        own = replace(config, data={**config.data, **data})
        result = train(own, make_sources(own), out / subject, resume=resume, **begin)
        if not result.finished:
            break
    return result


def make_sources(config: TrainConfig) -> Sources:
    """What a config trains and validates on; raises InputError for data that does not exist."""
    model = config.model
    learnt, held_out = open_sources(config.data, CropShape(model.size, model.cube_mm, model.joints), config.seed)
    return Sources(learnt, held_out if config.validation or learnt.length is not None else None)
