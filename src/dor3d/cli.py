"""The command line: words in, a verb called, one clear line where that cannot be done."""

import os
import sys
from collections.abc import Callable, Sequence

from dor3d import __version__
from dor3d.errors import Dor3dError, MissingExtraError, StoppedError
from dor3d.usage import parse, split_fields
from dor3d.verbs import everyday, research

_TRAINING = ("torch", "torchvision", "timm", "lightning", "numba", "scipy", "onnx", "onnxscript", "safetensors")
_STOPPED = 130  # as shells have it for Ctrl-C

_VERBS: dict[str, Callable[..., None]] = {
    verb.__name__: verb
    for verb in (
        *(everyday.demo, everyday.predict, everyday.check, everyday.render),
        *(everyday.train, everyday.export, everyday.bench),
        *(research.score, research.compare, research.evaluate, research.inspect, research.tables, research.figures),
    )
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `dor3d`: returns when done.

    It exits with 2 and one clear line on wrong usage or bad input, and with 130 when it was told to stop.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"dor3d {__version__}")
        return
    try:
        words, changes = split_fields(words, _VERBS)
        job = parse(words, _VERBS)
        job(**({"changes": changes} if changes else {}))
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        sys.exit(_STOPPED)
    except Dor3dError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAINING:
            raise
        _fail(str(MissingExtraError(f"dor3d {words[0]} needs {error.name}, which is not installed", "train")))
    except KeyboardInterrupt:
        sys.exit(_STOPPED)
    except BrokenPipeError:
        if _is_read():
            raise  # it was another pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's end would say so too
        sys.exit(1)


def _is_read() -> bool:
    """Whether someone still reads what is printed; of `dor3d --help | head` nobody does in the end."""
    try:
        print(flush=True)  # a failed write may have emptied the buffer: to flush it alone would not tell
    except BrokenPipeError:
        return False
    return True


def _fail(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)
