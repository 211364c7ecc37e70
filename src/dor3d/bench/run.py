"""Models times backends on this machine: each pair is timed in a process of its own."""

import dataclasses
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dor3d.bench.machine import describe, peak_gflops
from dor3d.bench.measure import Job
from dor3d.bench.subject import Subject
from dor3d.errors import InputError
from dor3d.runtime.backends import Choice, installed
from dor3d.runtime.card import ModelCard, find_model, shipped
from dor3d.runtime.onnx import OnnxModel

LARGE: Final = ("resnet50", "swin-b")  # the paper's, which do not ship: timed with random weights
_LIMIT_S: Final = 240.0  # for one row; compiling a large network is slow
Tell = Callable[[str], None]


@dataclass
class Row:
    """What one model does in one backend; as in `--json`."""

    model: str
    backend: str
    precision: str
    batch: int
    latency_ms: float
    p99_ms: float | None
    frames_per_s: float
    pipeline_frames_per_s: float | None = None
    pipeline_ms: dict[str, float] | None = None
    best_batch: int = 1
    best_frames_per_s: float = 0.0
    ready_s: float = 0.0
    memory_mb: float = 0.0
    parameters: int | None = None
    gflop: float | None = None
    peak_share: float | None = None
    error_mm: float | None = None
    random_weights: bool = False


@dataclass
class Bench:
    """All that was measured, and what could not be."""

    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        return {"machine": self.machine, "rows": rows, "failed": self.failed}


def bench(
    models: Sequence[str],
    backends: Sequence[str],
    seconds: float,
    threads: int | None,
    tell: Tell,
    until: float = math.inf,
) -> Bench:
    """Time models in backends; without names those that ship and the paper's, in all that are installed.

    Args:
        models, backends: names; rows come model by model, each in the backends' order.
        seconds: for each of a row's three measurements.
        threads: on the processor; None: one a core.
        tell: what is timed next.
        until: `time.monotonic()` after which no row is begun.

    Raises InputError or ModelError for names that are wrong, before anything is timed.
    """
    named = [Choice.parse(name) for name in backends]
    found = Bench({**describe(), "peak_gflops": round(peak_gflops(), 1), "threads": threads})
    with tempfile.TemporaryDirectory() as folder:
        choices = named or installed()
        files = not all(choice.backend.startswith("torch-") for choice in choices)
        subjects = [_subject(name, Path(folder), files=files) for name in models or _default()]
        for subject in subjects:
            for choice in choices:
                place = _place(subject, choice)
                if place is None:
                    continue
                if time.monotonic() > until:
                    found.failed[f"{subject.name} in {choice}"] = "no time was left"
                    continue
                tell(f"{subject.name} in {choice}")
                _add(found, subject, choice, _timed(Job(str(place), str(choice), seconds, threads)))
    return found


def _default() -> list[str]:
    """What ships, the fast one first, and the paper's networks where they can be built."""
    names = sorted(shipped(), key=lambda name: name != "compact")
    return [*names, *LARGE] if _can_export() else names


def _can_export() -> bool:
    return all(importlib.util.find_spec(name) for name in ("torch", "timm", "onnx"))


def _place(subject: Subject, choice: Choice) -> Path | None:
    """What this backend opens; None for what it cannot."""
    if choice.backend.startswith("torch-"):
        return subject.run
    if subject.file is not None and subject.file.suffix == ".xml" and not choice.backend.startswith("openvino"):
        return None
    return subject.file


def _subject(name: str, folder: Path, *, files: bool) -> Subject:
    """A shipped name, a file, a run folder, or one of the paper's networks; `files`: the last two are exported too."""
    if name in LARGE or Path(name).is_dir():
        if not _can_export():
            raise InputError(f"To time {name} takes the training stack", fix="pip install 'dor3d[train]'")
        from dor3d.bench.networks import built

        run = Path(name) if Path(name).is_dir() else None
        return built(name, run, folder, files=files)
    path = find_model(name)
    card = OnnxModel(path, 1).card if path.suffix == ".onnx" else None
    subject = Subject(name if name in shipped() else path.stem, path, None, error_mm=_error(card))
    if card is not None and card.model and _can_export():
        from dor3d.bench.networks import with_network

        return with_network(subject, card, folder)
    return subject


def _error(card: ModelCard | None) -> float | None:
    told = (card.training.get("errors_mm") or {}) if card else {}
    return told.get("clear") if isinstance(told, dict) else None


def _timed(job: Job) -> dict[str, Any]:
    command = [sys.executable, "-m", "dor3d.bench.measure", json.dumps(job._asdict())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"it took more than {_LIMIT_S:.0f} s"}
    try:
        return json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        return {"error": done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"}


def _add(found: Bench, subject: Subject, choice: Choice, told: dict[str, Any]) -> None:
    if "error" in told:
        found.failed[f"{subject.name} in {choice}"] = str(told["error"])
        return
    row = Row(subject.name, choice.backend, choice.precision, 1, **told)
    row.parameters, row.gflop = subject.parameters, subject.gflop
    row.random_weights = subject.random or (subject.random_run and choice.backend.startswith("torch-"))
    row.error_mm = None if row.random_weights else subject.error_mm
    if subject.gflop is not None:
        row.peak_share = round(subject.gflop * row.frames_per_s / found.machine["peak_gflops"], 3)
    found.rows.append(row)
