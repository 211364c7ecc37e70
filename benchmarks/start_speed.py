"""How soon `dor3d --help` answers, and a prediction of one frame from the shell.

    python benchmarks/start_speed.py [--rounds 5] [--dor3d .venv/bin/dor3d]

Seconds of the whole process, best and median of the rounds; the first round, which may write bytecode, is not counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dor3d.demo import load_frames


def seconds(command: list[str], rounds: int) -> np.ndarray:
    """Wall-clock time of each round."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return np.array(times[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dor3d", default=str(Path(sys.executable).with_name("dor3d")))
    args = parser.parse_args()
    demo = load_frames()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        frame, camera = place / "frame.npy", place / "camera.json"
        np.save(frame, demo.depth[0])
        camera.write_text(demo.camera.to_json())
        predict = ["predict", str(frame), "--camera", str(camera), "--no-overlay", "--out", str(place / "out")]
        for name, words in (("dor3d --help", ["--help"]), ("dor3d predict, one frame", predict)):
            times = seconds([args.dor3d, *words], args.rounds)
            print(f"{name}: {times.min():.2f} s at best, {np.median(times):.2f} s in the median of {args.rounds}")


if __name__ == "__main__":
    main()
