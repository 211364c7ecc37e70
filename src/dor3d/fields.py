"""Fields of configurations: values as their types."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from dor3d.errors import InputError


def convert(key: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`, read from text if it is text; raises InputError, which names the key."""
    try:
        return read_as(value, kind)
    except (ValueError, TypeError):
        name = getattr(kind, "__name__", None) if get_origin(kind) is None else None
        raise InputError(f"Wrong value for {key}", got=repr(value), expected=name or str(kind)) from None


def read_as(value: Any, kind: Any) -> Any:
    """A value of JSON or of a command line as a field's type; text is read, numbers are not cut.

    Raises ValueError or TypeError for what is none.
    """
    origin = get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_optional(value, kind)
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(value)
        return value
    if origin is tuple:
        return _read_tuple(value, get_args(kind))
    if dataclasses.is_dataclass(kind):
        return _read_group(value, kind)
    if kind is bool:
        return _read_bool(value)
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    if kind is str and not isinstance(value, str):
        raise ValueError(value)
    return int(float(value)) if kind is int and _is_whole(value) else kind(value)


def _is_whole(value: Any) -> bool:
    """Text such as 1e6 names an integer too."""
    return float(value).is_integer()


def _read_optional(value: Any, kind: Any) -> Any:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return None
    return read_as(value, next(k for k in get_args(kind) if k is not type(None)))


def _read_group(value: Any, kind: Any) -> Any:
    """A dataclass from a JSON object of its fields; those that are not named keep their defaults."""
    if isinstance(value, kind):
        return value
    fields = typing.get_type_hints(kind)
    if not isinstance(value, Mapping) or not set(value) <= set(fields):
        raise ValueError(value)
    return kind(**{name: read_as(of, fields[name]) for name, of in value.items()})


def _read_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _read_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    items = [t.strip() for t in value.split(",")] if isinstance(value, str) else list(value)
    if kinds[-1] is Ellipsis:
        return tuple(read_as(item, kinds[0]) for item in items)
    if len(items) != len(kinds):
        raise ValueError(value)
    return tuple(read_as(item, kind) for item, kind in zip(items, kinds, strict=True))
