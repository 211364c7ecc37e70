"""How long a network's threads should stay awake when they have answered: what another network lacks meanwhile.

    python benchmarks/spin_speed.py [--us 500 ...] [--rounds 2] [--seconds 2]

For onnxruntime as it comes, and with each of these times (microseconds; 0: not at all): ms for one crop after another,
for a frame of the demo in which the hand is looked for (locator and network in turn), for a hand that is followed, and
for one that is followed while a second is looked for each tenth frame. Medians; the best of the rounds, which take
turns, since machines drift.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import numpy as np
import onnxruntime

from dor3d.bench.measure import timed
from dor3d.demo import load_frames
from dor3d.predict import Predictor, Tracker
from dor3d.runtime.parity import made_up_crops

_KEY = "session.intra_op.spin_duration_us"
_HEADS = ("one crop", "looked for", "followed", "a second looked for")


class Options(onnxruntime.SessionOptions):
    """Options that take another time than the package's own."""

    us: int | None = None

    def add_session_config_entry(self, key: str, value: str) -> None:
        if key != _KEY:
            super().add_session_config_entry(key, value)
        elif self.us:
            super().add_session_config_entry(key, str(self.us))
        elif self.us == 0:
            super().add_session_config_entry("session.intra_op.allow_spinning", "0")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--us", type=int, nargs="+", default=[1000, 500, 200, 50, 0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    demo, predictors = load_frames(), dict[int | None, Predictor]()
    onnxruntime.SessionOptions = Options
    for us in (None, *args.us):
        Options.us = us
        predictors[us] = Predictor("compact", demo.camera)
    found = {us: np.full(len(_HEADS), np.inf) for us in predictors}
    for us in [us for _ in range(args.rounds) for us in predictors]:
        time.sleep(0.5)  # until the last one's threads sleep
        found[us] = np.minimum(found[us], measured(predictors[us], list(demo.depth), args.seconds))
    print(f"| threads stay awake for (us) | {' | '.join(_HEADS)} |\n|---|{'---|' * len(_HEADS)}")
    for us, times in found.items():
        print(f"| {'as it comes' if us is None else us} | {' | '.join(f'{ms:.2f}' for ms in times)} |")


def measured(predictor: Predictor, frames: list[np.ndarray], seconds: float) -> np.ndarray:
    """Medians (ms), in the order of the heads."""
    crop, each = made_up_crops(1, predictor.model.card.size), itertools.cycle(frames)
    one, two = Tracker(predictor), Tracker(predictor, most=2)
    works: tuple[Callable[[], object], ...] = (
        lambda: predictor.model(crop),
        lambda: predictor(next(each)),
        lambda: one(frames[0]),
        lambda: two(frames[0]),
    )
    return np.array([1e3 * np.median(timed(work, seconds)) for work in works])


if __name__ == "__main__":
    main()
