"""From a recipe's `data` entry to the samples that a run learns from and is measured on."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.data.testsets import VALIDATION_SEED, clear_config
from dor3d.errors import InputError
from dor3d.hand.scene import SceneConfig


def open_sources(
    data: Mapping[str, Any], size: int, cube_mm: tuple[float, float], seed: int
) -> tuple[SyntheticHands, SyntheticHands]:
    """The training stream and the held-out samples, which are drawn as `clear` is but share none with it.

    Args:
        data: `kind` ("synthetic") and any field of SyntheticConfig or SceneConfig, such as `body`.
        size, cube_mm: the network's input.
        seed: of the stream.

    Raises:
        InputError: for an unknown kind or field.
    """
    options = dict(data)
    kind = options.pop("kind", "synthetic")
    if kind != "synthetic":
        raise InputError("Unknown kind of training data", got=kind, expected="synthetic")
    config = SyntheticConfig(
        scene=dataclasses.replace(SceneConfig(), **_take(options, SceneConfig)),
        size=size,
        cube_mm=cube_mm,
        **_take(options, SyntheticConfig),
    )
    if options:
        name = next(iter(options))
        known = [f.name for kind in (SceneConfig, SyntheticConfig) for f in dataclasses.fields(kind)]
        close = difflib.get_close_matches(name, known, n=3)
        raise InputError("Unknown key of the synthetic data", got=name, expected=f"one of {', '.join(close or known)}")
    return SyntheticHands(config, seed), SyntheticHands(clear_config(size, cube_mm), VALIDATION_SEED)


def _take(options: dict[str, Any], kind: type) -> dict[str, Any]:
    """Remove and return the options that are fields of this dataclass; JSON's lists become tuples."""
    names = {f.name for f in dataclasses.fields(kind)} - {"scene", "size", "cube_mm"}
    found = {name: options.pop(name) for name in list(options) if name in names}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
