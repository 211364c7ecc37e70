"""The record of a run: what a reader needs to do it again, and to know what it was done with."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch

import dor3d

# as pip names them; pylance reads the data sets that are kept in Lance
_LIBRARIES: Final = ("torch", "timm", "numpy", "lightning", "numba", "pylance")
_SECONDS: Final = 3.0  # for each question to git, which may hang on a network drive
# set where a run is started from a git hook, and then of another repository
_GIT_PLACES: Final = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"}


def run_record(config_json: Mapping[str, Any], world_size: int = 1) -> dict[str, Any]:
    """A run's config and surroundings at this moment, as JSON can hold them.

    Args:
        config_json: the config, as `TrainConfig.to_json` gives it.
        world_size: how many processes train together.

    What cannot be found out is None, or left out of a list; only a config that JSON cannot hold raises (TypeError).
    """
    return {
        "config": json.loads(json.dumps(dict(config_json))),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(sys.argv),
        "dor3d": dor3d.__version__,
        "git": _git(Path(dor3d.__file__).resolve().parent),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "libraries": _versions(),
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "gpus": _gpus(),
        "world_size": world_size,
    }


def _git(package: Path) -> dict[str, Any] | None:
    """The revision of the checkout that the package belongs to, and whether files that git tracks differ from it.

    None where there is none. A package that is installed into an environment inside somebody's checkout does not belong
    to it, so git must know the package's own file. Files that git does not track are not asked for: they are mostly
    what runs leave behind.
    """
    if _ask_git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = _ask_git(package, "rev-parse", "HEAD")
    if revision is None:
        return None
    changes = _ask_git(package, "status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": None if changes is None else bool(changes)}


def _ask_git(folder: Path, *question: str) -> str | None:
    """What git answers in a folder; None where it is missing, refuses or takes too long. It never prompts."""
    env = {name: value for name, value in os.environ.items() if name not in _GIT_PLACES}
    try:
        answer = subprocess.run(
            # no lock: a commit that is made at the same time must not fail
            ["git", "--no-optional-locks", "-C", str(folder), *question],
            env=env | {"GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode(errors="replace").strip()


def _versions() -> dict[str, str]:
    """The versions of those libraries that are installed, without importing them."""
    found: dict[str, str] = {}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _cpu() -> str | None:
    """The processor's name: as Linux tells it, which Python does not ask for, or else as Python does."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _gpus() -> list[str]:
    """The names of the GPUs that torch sees; none where a driver is broken."""
    with suppress(RuntimeError):
        if torch.cuda.is_available():
            return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return []
