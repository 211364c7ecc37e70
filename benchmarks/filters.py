"""Filters of joints compared: how a hand at rest trembles, how late one that moves is, how far behind one drifts.

    python benchmarks/filters.py [--model NAME|FILE] [--scenes N] [--threads N]

What the network says of the streams of benchmarks/track.py is kept, and each filter is given the same. A drift is added
to what is said of a hand that rests: its noise is the network's.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
from track import Scenes, follow, jitter, lag, stream

from dor3d.predict import Predictor
from dor3d.predict.steady import BoneLengths, CalmFilter

_DRIFTS = (30, 60, 120, 300)  # mm/s
_FRAME_S = 1 / 30
Filter = Callable[[np.ndarray, float], np.ndarray]


class OneEuro:
    """The filter of Casiez et al., a joint's speed being one signal."""

    def __init__(self, still_hz: float, per_mm_s: float, rest_mm_s: float, speed_hz: float) -> None:
        self.still_hz, self.per_mm_s, self.rest_mm_s, self.speed_hz = still_hz, per_mm_s, rest_mm_s, speed_hz
        self.last: np.ndarray | None = None

    def __call__(self, joints: np.ndarray, seconds: float) -> np.ndarray:
        if self.last is None:
            self.last, self.raw, self.speed = joints, joints, np.zeros_like(joints)
            return joints
        self.speed = self.speed + share(self.speed_hz, seconds) * ((joints - self.raw) / seconds - self.speed)
        speed = np.linalg.norm(self.speed, axis=1, keepdims=True)
        cutoff = self.still_hz + self.per_mm_s * np.maximum(speed - self.rest_mm_s, 0.0)
        self.raw, self.last = joints, self.last + share(cutoff, seconds) * (joints - self.last)
        return self.last


def share(cutoff_hz: float | np.ndarray, seconds: float) -> float | np.ndarray:
    turn = 2 * math.pi * cutoff_hz * seconds
    return turn / (turn + 1)


FILTERS: dict[str, Callable[[], Filter]] = {
    "none": lambda: lambda joints, _: joints,
    "1 euro, 1.2 Hz, opens early": lambda: OneEuro(1.2, 0.04, 30.0, 2.0),
    "1 euro, 0.6 Hz, opens late": lambda: OneEuro(0.6, 0.04, 80.0, 1.5),
    "by distance (ours)": CalmFilter,
}


def filtered(said: np.ndarray, make: Callable[[], Filter]) -> np.ndarray:
    own, bones = make(), BoneLengths()
    return np.array([bones(own(pose, _FRAME_S)) for pose in said])


def behind(said: np.ndarray, make: Callable[[], Filter], speed: float) -> float:
    way = np.arange(len(said))[:, None, None] * _FRAME_S * speed * np.array([1.0, 0.0, 0.0])
    return float(((said + way) - filtered(said + way, make))[30:, :, 0].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    kept = []
    for number, scene in zip(range(10 * args.scenes), Scenes("d435-640"), strict=False):
        predictor = Predictor(args.model, scene.camera, threads=args.threads)
        still, (moving, true) = (
            stream(scene, moves=False, seed=number)[0],
            stream(scene, moves=True, seed=1000 + number),
        )
        said, way = (follow(predictor, frames, steady=False)[0] for frames in (still, moving))
        if np.isfinite(said).all() and np.isfinite(way).all():
            kept.append((said, way, true))
        if len(kept) == args.scenes:
            break
    speeds = " / ".join(map(str, _DRIFTS))
    print(f"| filter | jitter, median (mm) | lag (frames) | behind a drift of {speeds} mm/s (mm) |\n|---|---|---|---|")
    for name, make in FILTERS.items():
        shakes = np.median([jitter(filtered(said, make)) for said, _, _ in kept])
        late = np.median([lag(filtered(way, make), true) for _, way, true in kept])
        off = " / ".join(f"{np.mean([behind(said, make, v) for said, _, _ in kept]):.1f}" for v in _DRIFTS)
        print(f"| {name} | {shakes:.2f} | {late:.2f} | {off} |", flush=True)


if __name__ == "__main__":
    main()
