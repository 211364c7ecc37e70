"""What every network of ours is to those that train and keep it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from torch import nn

from dor3d.errors import ModelError
from dor3d.fields import read_as

Config = TypeVar("Config")


class Network(nn.Module):
    """A network with a name and layers that answer."""

    @property
    def name(self) -> str:
        """What to call it."""
        raise NotImplementedError

    def outputs(self) -> list[nn.Module]:
        """Layers that answer: an optimizer of hidden matrices leaves them alone."""
        raise NotImplementedError


def config_to_json(config: Any) -> dict[str, Any]:
    """A network's config, a dataclass, as a JSON object; `config_from_json` gives the same config back."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def config_from_json(kind: type[Config], raw: Mapping[str, Any]) -> Config:
    """Raises ModelError for fields that are unknown or of the wrong kind."""
    types = get_type_hints(kind)
    if unknown := sorted(set(raw) - set(types)):
        raise ModelError("Unknown fields in a model's config", got=unknown, expected=sorted(types))
    values = dict[str, Any]()
    for name, value in raw.items():
        try:
            values[name] = read_as(value, types[name])
        except (ValueError, TypeError):
            raise ModelError(f"A model's config has a wrong {name}", got=repr(value)) from None
    return kind(**values)
