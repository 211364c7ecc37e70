"""What a machine is, and how many products it can do."""

import importlib.util
import os
import platform
import time
from importlib import metadata
from typing import Any, Final

import numpy as np

from dor3d.runtime.backends import processor

_SIDE: Final = 1536  # of the square matrices whose product is timed
_ROUNDS: Final = 8
_RUNTIMES: Final = ("onnxruntime", "openvino", "torch", "numpy")


def describe() -> dict[str, Any]:
    """Processor, cores, GPU, system and versions."""
    versions = {name: metadata.version(name) for name in _RUNTIMES if importlib.util.find_spec(name)}
    return {
        "processor": processor(),
        "cores": cores(),
        "gpu": gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu() -> str:
    """The GPU's name, if PyTorch is there and sees one."""
    if not importlib.util.find_spec("torch"):
        return ""
    from dor3d.runtime.pytorch import gpu_name

    return gpu_name()


def peak_gflops() -> float:
    """GFLOP/s of a product of large float32 matrices on the processor, the best of some rounds."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((_SIDE, _SIDE), np.float32) for _ in range(2))
    best = np.inf
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        np.matmul(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * _SIDE**3 / best / 1e9
