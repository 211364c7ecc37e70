"""What users write and read: numbers, counts, JSON."""

import json
import math
from typing import Any

from dor3d.errors import InputError


def count_of(number: int, what: str) -> str:
    """ "1 frame", "2,000 frames"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def numbers(text: str, counts: tuple[int, ...], option: str, expected: str) -> list[float]:
    """Numbers separated by commas.

    Args:
        text: what was given.
        counts: how many there may be.
        option: which option it was given to, for the message.
        expected: how it should look, for the message.

    Raises InputError.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts or not all(math.isfinite(value) for value in values):
        raise InputError(f"{option} cannot be read", got=text, expected=expected)
    return values


def cube_of(text: str) -> tuple[float, float]:
    """A cube's in-plane side and depth (mm) from "MM" or "MM,MM". Raises InputError."""
    sides = numbers(text, (1, 2), "--cube", "MM or MM,MM")
    return sides[0], sides[-1]


def parse_json(text: str) -> Any:
    """A JSON text's content; raises ValueError for all that cannot be read, nesting without end included."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
