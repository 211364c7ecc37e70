"""Frames per second from depth arrays in memory to joints, with the hand looked for in every frame.

    python benchmarks/predict_speed.py [--frames FOLDER --camera NAME] [--model NAME|FILE] [--threads N] [--seconds S]

Without --frames it takes those of the demo. Reading and drawing are not counted. Prints the whole pipeline's rate, the
share of each part, and the rate of the network alone.
"""

import argparse
import itertools
import time

import numpy as np

from dor3d.demo import load_frames
from dor3d.errors import Dor3dError
from dor3d.frames import check_frame, read_frames
from dor3d.geometry import Pinhole
from dor3d.predict import Predictor


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames")
    parser.add_argument("--camera", default="sr305")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--hand", default="auto", choices=("auto", "left", "right"))
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    frames, camera = _frames(args.frames, args.camera)
    predictor = Predictor(args.model, camera, hand=args.hand, passes=args.passes, threads=args.threads)
    for depth in frames:
        predictor(depth)
    predictor.looker.network_s = 0.0
    times = _timed(predictor, frames, args.seconds)
    network = predictor.network_s / len(times)
    print(f"{len(frames)} frames of {frames[0].shape[1]}x{frames[0].shape[0]}, {len(times)} predictions")
    print(f"pipeline  {1 / times.mean():7.1f} frames/s  (mean {times.mean() * 1e3:.2f} ms, median "
          f"{np.median(times) * 1e3:.2f}, 99 % below {np.percentile(times, 99) * 1e3:.2f})")  # fmt: skip
    print(f"network   {1 / network:7.1f} frames/s  ({network * 1e3:.2f} ms a frame)")
    unit = camera.depth_unit_mm
    for name, part in (
        ("check", lambda depth: check_frame(depth, camera)),
        ("find", lambda depth: predictor.find(depth, unit if depth.dtype.kind != "f" else 1.0)),
    ):
        print(f"{name:<9} {_timed(part, frames, 1.0).mean() * 1e3:7.2f} ms a frame")


def _frames(folder: str | None, camera: str) -> tuple[list[np.ndarray], Pinhole]:
    if folder is None:
        demo = load_frames()
        return list(demo.depth), demo.camera
    found = [frame.depth for frame in read_frames([folder])]
    return [depth for depth in found if not isinstance(depth, Dor3dError)], Pinhole.parse(camera)


def _timed(work, frames: list[np.ndarray], seconds: float) -> np.ndarray:
    times, end = [], time.perf_counter() + seconds
    for depth in itertools.cycle(frames):
        begin = time.perf_counter()
        work(depth)
        times.append(time.perf_counter() - begin)
        if time.perf_counter() > end:
            return np.array(times)
    raise SystemExit("no frames")


if __name__ == "__main__":
    main()
