"""What can run a model here, and which of it is fastest.

| backend | runs | computes in |
|---|---|---|
| `onnxruntime`, `onnxruntime-cuda`, `-tensorrt`, `-coreml`, `-directml` | ONNX files | float32 |
| `openvino` | ONNX files, OpenVINO's .xml | float32; bfloat16 and float16 where the processor has them |
| `openvino-throughput` | the same, a batch shared out among the cores: for many crops at once | the same |
| `torch-eager`, `torch-compile`, `torch-graph` | run folders | float32, bfloat16, float16 |

`auto` tries those that are installed and run the file, keeps those that answer as onnxruntime does on the CPU, within
the bounds of `dor3d.runtime.parity`, and takes the fastest. What it took is remembered for this file, these versions
and this machine, below ~/.cache/dor3d. One frame alone is left to onnxruntime, which starts soonest.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple, cast, get_args

import numpy as np
import onnxruntime

from dor3d.errors import Dor3dError, InputError
from dor3d.files import write_whole
from dor3d.runtime.base import CropModel, Precision
from dor3d.runtime.card import find_model
from dor3d.runtime.onnx import PROVIDERS, OnnxModel, Provider, providers
from dor3d.runtime.openvino import Hint, OpenVinoModel, precisions
from dor3d.runtime.parity import made_up_crops, parity
from dor3d.text import parse_json

AUTO: Final = "auto"
REFERENCE: Final = "onnxruntime"
_OPENVINO: Final[dict[str, Hint]] = {"openvino": "latency", "openvino-throughput": "throughput"}
_TORCH: Final = ("eager", "compile", "graph")
_ROUNDS: Final = 20
_CROPS: Final = 8
_MARGIN: Final = 0.9  # of onnxruntime's time that another must stay below to be worth it


class Choice(NamedTuple):
    """A backend and what it computes in."""

    backend: str
    precision: Precision = "fp32"

    def __str__(self) -> str:
        return self.backend if self.precision == "fp32" else f"{self.backend}:{self.precision}"

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """`NAME` or `NAME:PRECISION`; raises InputError for an unknown one."""
        name, _, precision = text.partition(":")
        if name not in names() or precision not in ("", *get_args(Precision)):
            raise InputError("Unknown backend", got=text, expected=f"{AUTO} or {', '.join(names())}[:fp32|bf16|fp16]")
        return cls(name, cast(Precision, precision or "fp32"))


def names() -> tuple[str, ...]:
    """All backends, installed or not."""
    others = (_onnx_name(provider) for provider in PROVIDERS)
    return (*others, *_OPENVINO, *(f"torch-{mode}" for mode in _TORCH))


def open_backend(
    model: str | Path, backend: str = AUTO, threads: int | None = None, *, once: bool = False
) -> CropModel:
    """A model in a backend.

    Args:
        model: a shipped name, an ONNX file, OpenVINO's .xml, or (torch) a run folder.
        backend: `auto`, or a backend's name, with `:bf16` or `:fp16` behind it for other precisions than float32.
        threads: of the network on the CPU; None: one a core.
        once: whether it will be asked little, so that `auto` had better take what starts soonest.

    Raises InputError for a backend that is unknown, not installed or not for this machine, and ModelError for what it
    cannot run. None of them is replaced by a slower one without a word.
    """
    if backend != AUTO:
        choice = Choice.parse(backend)
    elif once and find_model(model).suffix != ".xml":
        choice = Choice(REFERENCE)
    else:
        choice = fastest(model, threads)
    return open_choice(model, choice, threads)


def open_choice(model: str | Path, choice: Choice, threads: int | None = None) -> CropModel:
    """As `open_backend`, for a choice."""
    name, precision = choice
    if name in _OPENVINO:
        return OpenVinoModel(model, threads, precision=precision, hint=_OPENVINO[name])
    if name.startswith("torch-"):
        return _torch_model(Path(model), choice)
    if precision != "fp32":
        raise InputError("onnxruntime computes in what the file says", got=str(choice), expected=name)
    return OnnxModel(model, threads, _provider(name))


def fastest(model: str | Path, threads: int | None = None) -> Choice:
    """What answers soonest on one crop after another, by trial or as remembered from one."""
    path = find_model(model)
    of_openvino = path.suffix == ".xml"
    if not of_openvino and not _has("openvino") and providers() == ["cpu"]:
        return Choice(REFERENCE)  # there is nothing to choose
    place, key = _memory(), _key(path, threads)
    known = _remembered(place)
    with contextlib.suppress(KeyError, InputError):
        return Choice.parse(known[key])
    choices = [choice for choice in runs_files() if choice.backend == "openvino" or not of_openvino]
    if not choices:
        raise InputError("OpenVINO is not installed, and runs .xml files alone", fix="pip install 'dor3d[openvino]'")
    times = dict(_tried(path, choices, threads))
    best = min(times, key=lambda choice: times[choice] * (_MARGIN if choice == choices[0] else 1.0))
    _remember(place, {**known, key: str(best)})
    return best


def runs_files() -> list[Choice]:
    """All here that run files, onnxruntime on the CPU first."""
    found = sorted((Choice(_onnx_name(provider)) for provider in providers()), key=lambda one: one.backend != REFERENCE)
    if _has("openvino"):
        found += [Choice("openvino", precision) for precision in precisions()]
    return found


def installed() -> list[Choice]:
    """All that this machine can be expected to run, onnxruntime on the CPU first."""
    if not _has("torch"):
        return runs_files()
    from dor3d.runtime.pytorch import choices

    return runs_files() + [Choice(f"torch-{mode}", precision) for mode, precision in choices()]


def _tried(path: Path, choices: list[Choice], threads: int | None) -> Iterator[tuple[Choice, float]]:
    """Median seconds a crop of each that works and agrees with the first."""
    first = open_choice(path, choices[0], threads)
    crops = made_up_crops(_CROPS, first.card.size)
    expected = first(crops)
    yield choices[0], seconds_a_crop(first, _ROUNDS)
    for choice in choices[1:]:
        try:
            model = open_choice(path, choice, threads)
            found = parity(first.card, model(crops), expected)
        except Dor3dError:
            continue
        if found.within(choice.precision):
            yield choice, seconds_a_crop(model, _ROUNDS)


def seconds_a_crop(model: CropModel, rounds: int) -> float:
    """The median time of one crop, after some to warm up."""
    crop = made_up_crops(1, model.card.size)
    times = []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        model(crop)
        times.append(time.perf_counter() - start)
    return float(np.median(times[3:]))


def _torch_model(run: Path, choice: Choice) -> CropModel:
    if not importlib.util.find_spec("torch"):
        raise InputError("PyTorch is not installed", fix="pip install 'dor3d[train]'")
    if not run.is_dir():
        raise InputError("PyTorch runs trained runs", got=run, expected="a run folder", fix="Take another --backend.")
    from dor3d.runtime.pytorch import open_run

    return open_run(run, choice.backend.removeprefix("torch-"), choice.precision)


def _onnx_name(provider: Provider) -> str:
    return REFERENCE if provider == "cpu" else f"{REFERENCE}-{provider}"


def _provider(name: str) -> Provider:
    return cast(Provider, name.removeprefix(REFERENCE).removeprefix("-") or "cpu")


# ---- what was fastest before ---------------------------------------------------------------------------------------
def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dor3d" / "backends.json"


def _key(path: Path, threads: int | None) -> str:
    """The file, the versions of what may run it, and the machine, as one word."""
    versions = [onnxruntime.__version__, providers(), metadata.version("openvino") if _has("openvino") else ""]
    machine = [platform.machine(), processor(), os.cpu_count(), threads]
    digest = hashlib.sha256(path.read_bytes())
    digest.update(json.dumps([versions, machine]).encode())
    return digest.hexdigest()[:32]


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _remembered(place: Path) -> dict[str, str]:
    try:
        raw = parse_json(place.read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in raw.items()} if isinstance(raw, dict) else {}


def _remember(place: Path, known: dict[str, str]) -> None:
    """A cache that cannot be written costs a trial each time, and nothing else."""
    try:
        write_whole(place, json.dumps(known, indent=1) + "\n")
    except Dor3dError:
        return
