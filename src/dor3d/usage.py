"""From the words of a command to a verb with its arguments, or one line that says what is wrong with them."""

import contextlib
import functools
import inspect
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import tyro

from dor3d.errors import InputError

Verb = Callable[..., None]


def split_fields(words: list[str], verbs: Mapping[str, Verb]) -> tuple[list[str], dict[str, str]]:
    """Take a recipe's fields (--key value, --key=value) out of the words of a verb that has `changes`."""
    verb = verbs.get(words[0]) if words else None
    options = {} if verb is None else inspect.signature(verb).parameters
    if "changes" not in options:
        return words, {}
    own = {f"--{name.replace('_', '-')}": isinstance(option.default, bool) for name, option in options.items()}
    flags = {"--help", "-h", *(name for name, is_flag in own.items() if is_flag)}
    kept, changes = words[:1], {}
    rest = iter(words[1:])
    for word in rest:
        key, equals, value = word.partition("=")
        if not word.startswith("--") or key in flags:
            kept.append(word)
            continue
        if not equals:
            value = next(rest, None)
            if value is None:
                raise InputError(f"{word} needs a value")
        if key in own:
            kept += [key, value]
        else:
            changes[key[2:].replace("-", "_")] = value
    return kept, changes


def parse(words: list[str], verbs: Mapping[str, Verb]) -> Verb:
    """The verb with its arguments, ready to be called; wrong usage raises InputError, --help prints and exits."""
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _later(verb) for name, verb in verbs.items()},
                prog="dor3d",
                description="A depth frame in, the 21 joints of a hand out, in millimetres.",
                args=words,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise InputError(_one_line(caught.getvalue())) from None


def _later(verb: Callable[..., None]) -> Callable[..., Callable[..., None]]:
    """A function with the same signature that only binds the arguments, so that parsing ends before work begins."""

    @functools.wraps(verb)
    def bind(*args: Any, **kwargs: Any) -> Callable[..., None]:
        return functools.partial(verb, *args, **kwargs)

    return bind


def _one_line(text: str) -> str:
    """Tyro's boxed message as one line: its first paragraphs, without frames, colours and repeated help."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words: list[str] = []
    for line in plain.splitlines():
        line = line.strip("│╭╮╰╯ \t")
        if not line or line.startswith("─"):
            continue
        if line.startswith(("For full helptext", "Got errors", "Argument helptext")):
            break
        words.append(line)
    return " ".join(words) or "Wrong usage; see dor3d --help"
