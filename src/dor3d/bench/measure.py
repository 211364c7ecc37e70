"""One model in one backend, timed in a process of its own, so that its peak memory is its own.

`python -m dor3d.bench.measure '{"model": ..., "backend": ..., ...}'` prints one JSON object.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from dor3d.demo import load_frames
from dor3d.errors import Dor3dError
from dor3d.geometry.roll import upright_turn
from dor3d.predict import Predictor, Tracker
from dor3d.predict.look import Aim
from dor3d.runtime.backends import open_backend
from dor3d.runtime.base import CropModel, CropOutput
from dor3d.runtime.parity import made_up_crops

_WARM_UP: Final = 5
_LARGEST: Final = 256  # crops in a batch
_RATE_HZ: Final = 30.0
_LEAN: Final = 0.3  # rad, of the hand that is followed


class Job(NamedTuple):
    """What is timed.

    Attributes:
        model: file, shipped name or run folder.
        backend: with its precision, as `--backend` takes it.
        seconds: for each of the three measurements.
        threads: on the processor; None: one a core.
    """

    model: str
    backend: str
    seconds: float = 3.0
    threads: int | None = None


def measure(job: Job) -> dict[str, Any]:
    """Latencies of one crop, the best batch, frames a second of the whole pipeline, and peak memory.

    Raises Dor3dError for what cannot run.
    """
    start = time.perf_counter()
    model = open_backend(Path(job.model) if Path(job.model).exists() else job.model, job.backend, job.threads)
    one = made_up_crops(1, model.card.size)
    model(one)
    ready = time.perf_counter() - start
    times = timed(lambda: model(one), job.seconds)
    batch, rate = best_batch(model, job.seconds)
    return {
        "latency_ms": round(1e3 * float(np.median(times)), 3),
        "p99_ms": round(1e3 * float(np.percentile(times, 99)), 3),
        "frames_per_s": round(1 / float(np.mean(times)), 1),
        "best_batch": batch,
        "best_frames_per_s": round(rate, 1),
        **pipeline(model, job.seconds),
        "ready_s": round(ready, 2),
        "memory_mb": float(round(peak_memory_mb())),
    }


def peak_memory_mb() -> float:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status")
    if status.exists():  # what `resource` tells on Linux holds the process that started this one
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def timed(work: Callable[[], object], seconds: float) -> ndarray:
    """Seconds of each round until so many have passed, one at least; the first ones, which are slower, are not told."""
    begin, times = time.perf_counter(), []
    while len(times) < _WARM_UP + 3 or time.perf_counter() < begin + seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
        if len(times) > 1 and time.perf_counter() > begin + 2 * seconds:
            break
    return np.array(times[min(_WARM_UP, len(times) - 1) :])


def best_batch(model: CropModel, seconds: float) -> tuple[int, float]:
    """The size of batch that gives most crops a second, and how many; doubled while it helps and room and time last."""
    best, size = (1, 0.0), 1
    while size <= _LARGEST:
        crops = made_up_crops(size, model.card.size)
        try:
            rate = size / float(np.median(timed(lambda crops=crops: model(crops), seconds / 4)))
        except (MemoryError, Dor3dError, RuntimeError):  # no room for it: what went before stands
            break
        if rate < 0.97 * best[1]:
            break
        best = max(best, (size, rate), key=lambda found: found[1])
        if size / rate > seconds / 4:
            break
        size *= 2
    return best


class Followed:
    """A model whose hand never leaves: it is asked, and then a hand in the middle of the crop is told.

    So a network with random weights costs in the tracker what a trained one does. Where a network wants hands upright
    the hand leans, so that crops are turned, as most are; the first one is not yet.
    """

    def __init__(self, model: CropModel) -> None:
        self.model, self.card, self.times = model, model.card, list[float]()
        self.lean = _LEAN if self.card.upright else 0.0
        demo = load_frames()
        joints = demo.joints_mm[0].astype(np.float64)  # rounded to float32 the hand would wander off in the end
        joints[:, 2] = joints[:, 2].mean()  # as deep as the crop's centre: no joint's depth moves another's place
        leaning = _turned(joints[:, :2], upright_turn(joints, demo.camera)[0] - self.lean)[: len(self.card.joints)]
        leaning = leaning - (leaning.min(0) + leaning.max(0)) / 2
        self.first, self.later = self._points(leaning), self._points(_turned(leaning, self.lean))

    def _points(self, xy_mm: ndarray) -> ndarray:
        pq = xy_mm * self.card.size / self.card.cube_mm[0] + self.card.size / 2
        return np.column_stack([pq, np.full(len(pq), self.card.cube_mm[1] / 2)])

    def __call__(self, crops: ndarray) -> CropOutput:
        """What the model takes, and a hand."""
        points = np.repeat((self.later if self.times else self.first)[None], len(crops), 0)
        start = time.perf_counter()
        self.model(crops)
        self.times.append(time.perf_counter() - start)
        return CropOutput(points, np.full_like(points, 0.5), np.full((len(crops), 2), 6.0, np.float32))


def _turned(xy: ndarray, turn: float) -> ndarray:
    c, s = math.cos(turn), math.sin(turn)
    return xy @ np.array([[c, s], [-s, c]])


def pipeline(model: CropModel, seconds: float) -> dict[str, Any]:
    """Frames a second from a depth array in memory to the joints of one followed hand, and where the time goes (ms)."""
    demo, followed = load_frames(), Followed(model)
    tracker = Tracker(Predictor(followed, demo.camera, hand="right"), rate_hz=_RATE_HZ)
    depth = demo.depth[0]
    (hand,) = tracker(depth)
    frames = timed(lambda: tracker(depth), seconds)
    x, y, z = hand.center_mm.tolist()
    box = tracker.predictor.looker.box(Aim((x, y, z), rotation=followed.lean))
    crops = timed(lambda: box.image(depth, demo.camera.depth_unit_mm), seconds / 4)
    whole, network, crop = (float(np.mean(t)) for t in (frames, followed.times[-len(frames) :], crops))
    parts = {"crop": crop, "network": network, "rest": max(whole - crop - network, 0.0)}
    return {
        "pipeline_frames_per_s": round(1 / whole, 1),
        "pipeline_ms": {name: round(1e3 * part, 3) for name, part in parts.items()},
    }


if __name__ == "__main__":
    try:
        print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))
    except Dor3dError as error:
        print(json.dumps({"error": str(error)}))
