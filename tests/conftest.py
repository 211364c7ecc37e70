"""The shape checks of the whole suite, and the fixtures that several tests share."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import beartype.claw
import jaxtyping
import lightning.fabric
import numba
import pytest
import scipy.stats
import timm

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

_njit = numba.njit


def _njit_of_plain_function(*args: Any, **options: Any) -> Any:
    """numba.njit that looks through the checks of the import hook: numba compiles the function and not its wrapper."""
    if len(args) == 1 and callable(args[0]):
        return _njit(inspect.unwrap(args[0]), **options)
    decorate: Callable[..., Any] = _njit(*args, **options)
    return lambda function: decorate(inspect.unwrap(function))


# What the import hook meets first it compiles anew in every process, not only dor3d: the large ones come before it.
_MET = (beartype.claw, lightning.fabric, scipy.stats, timm)

# Both before the first import of dor3d: shapes and types in its signatures are checked at every call.
numba.njit = _njit_of_plain_function
jaxtyping.install_import_hook("dor3d", "beartype.beartype")


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept below ~/.cache stays out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that may not enter the repository (real frames, tracked poses, results that others published)."""
    if not SHARED.is_dir():
        pytest.skip("needs the data folder ../shared beside the repository, which is missing here")
    return SHARED
