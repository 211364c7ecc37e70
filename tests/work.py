"""Work for processes of its own: here and not in a test, whose imports each of them would wait for."""

import os
import signal
from pathlib import Path

from dor3d.errors import InputError


def work(item: tuple[Path, str]) -> bool:
    path, what = item
    if what == "fail":
        raise InputError("This cannot be done", got=3)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    path.touch()
    return what != "unfinished"
