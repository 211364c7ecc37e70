"""What it brings that `dor3d predict` reads ahead and writes behind: frames a second from files to files.

    python benchmarks/stream_speed.py [--frames 240] [--threads N] [--model NAME|FILE] [--rounds 3]

Depth PNGs of the demo's hands, 640x480, become poses.jsonl and an overlay each, with the hand followed; once with one
thread for everything, once as `dor3d predict` does it. Prints both and their ratio, the best of the rounds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dor3d.demo import load_frames
from dor3d.predict import batch
from dor3d.predict.batch import Options, predict_files
from dor3d.predict.flow import WriteBehind, read_ahead


class Immediate(WriteBehind):
    """Writes when it is told to."""

    def do(self, work: Callable[..., object], *args: Any) -> None:
        """Do it now."""
        work(*args)


def write_frames(folder: Path, count: int) -> Path:
    """So many depth PNGs, each of its own noise; returns a file with their camera."""
    demo, rng = load_frames(), np.random.default_rng(0)
    for number in range(count):
        depth = cv2.resize(demo.depth[number % len(demo.depth)], (640, 480), interpolation=cv2.INTER_NEAREST)
        noisy = np.where(depth > 0, depth + rng.integers(0, 4, depth.shape), 0).astype(np.uint16)
        cv2.imwrite(str(folder / f"{number:05d}.png"), noisy)
    camera = folder / "camera.json"
    camera.write_text(demo.camera.resized(640, 480).to_json())
    return camera


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    ways = {"one thread": (iter, Immediate), "reading ahead, writing behind": (read_ahead, WriteBehind)}
    best = dict.fromkeys(ways, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        camera = write_frames(Path(folder), args.frames)
        options = Options(
            camera=str(camera), model=args.model, threads=args.threads, track=True, out=Path(folder) / "out"
        )
        for turn in range(args.rounds + 1):  # the first warms up
            for name, (batch.read_ahead, batch.WriteBehind) in ways.items():
                start = time.perf_counter()
                done = predict_files([folder], options)
                rate = done.frames / (time.perf_counter() - start)
                best[name] = max(best[name], rate if turn else 0.0)
    for name, rate in best.items():
        print(f"{name:<30} {rate:6.1f} frames/s")
    print(f"ratio {best['reading ahead, writing behind'] / best['one thread']:.2f}")


if __name__ == "__main__":
    main()
