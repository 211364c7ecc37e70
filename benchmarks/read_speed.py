"""How fast the benchmarks' files are read, on sets written for the purpose.

    python benchmarks/read_speed.py [--lines 957032]

Prints NYU-format file to a finished 224x224 crop against the bare PNG decode (aim: 1.4 times at most), MSRA's .bin
files to crops a second (aim: 2,000), and the time and memory that opening a full-size HANDS2017 takes (aims: 10 s,
600 MB). All on one core.
"""

import argparse
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from dor3d.data.hands17 import Hands17
from dor3d.data.msra import read_patch
from dor3d.geometry import PRESETS, CropBox
from dor3d.images import read_packed_png

_ROUNDS = 300


def timed(*jobs: Callable[[], object], rounds: int = _ROUNDS) -> list[float]:
    """Median seconds of each job; they take turns, so that a busy machine is equally busy for all."""
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(rounds):
        for job, mine in zip(jobs, times, strict=True):
            start = time.perf_counter()
            job()
            mine.append(time.perf_counter() - start)
    return [statistics.median(mine) for mine in times]


def scene(width: int, height: int) -> ndarray:
    """A made-up depth frame (mm): a hand-sized bump before a noisy wall, which compresses as real frames do."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:height, :width]
    wall = 1400 + 0.3 * u + rng.normal(0, 3, (height, width))
    bump = (u - width / 2) ** 2 + (v - height / 2) ** 2 < (width / 9) ** 2
    return np.where(bump, 700 + rng.normal(0, 2, (height, width)), wall).astype(np.float32)


def nyu(folder: Path) -> None:
    counts = np.round(scene(640, 480)).astype(np.uint16)
    path = folder / "depth_1_0000001.png"
    cv2.imwrite(str(path), np.stack([counts & 255, counts >> 8, 0 * counts], -1).astype(np.uint8))
    box = CropBox(PRESETS["nyu"], (0.0, 0.0, 700.0), (300.0, 300.0), 224)
    turned = box.augmented(rotation=0.5)
    decode, *wholes = timed(
        lambda: cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED),
        lambda: box.image(read_packed_png(path).astype(np.float32)),
        lambda: turned.image(read_packed_png(path).astype(np.float32)),
    )
    for name, whole in zip(("upright", "turned"), wholes, strict=True):
        print(f"NYU file to {name} crop: {1e3 * whole:.2f} ms, {whole / decode:.2f} times the bare decode")


def msra(folder: Path) -> None:
    patch = scene(320, 240)[60:180, 90:230].astype("<f4")
    path = folder / "000000_depth.bin"
    path.write_bytes(struct.pack("<6i", 320, 240, 90, 60, 230, 180) + patch.tobytes())
    box = CropBox(PRESETS["msra"], (0.0, 0.0, 700.0), (250.0, 300.0), 224)
    print(f"MSRA file to crop: {1 / timed(lambda: box.image(read_patch(path)))[0]:.0f} a second")


def hands17(folder: Path, lines: int) -> None:
    """Opens in a process of its own, so that its memory is told apart."""
    training = folder / "training"
    training.mkdir()
    numbers = "\t".join(f"{x:.4f}" for x in np.random.default_rng(0).uniform(-200, 800, 63))
    with (training / "Training_Annotation.txt").open("w") as file:
        file.writelines(f"image_D{i + 1:08d}.png\t{numbers}\n" for i in range(lines))
    size = (training / "Training_Annotation.txt").stat().st_size
    subprocess.run([sys.executable, __file__, "--open", str(folder)], check=True)
    print(f"    ({lines:,} lines, {size / 1e6:.0f} MB)")


def open_hands17(root: Path) -> None:
    start = time.perf_counter()
    frames = Hands17(root, "all")
    frames.joints_mm(len(frames) - 1)
    seconds = time.perf_counter() - start
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"HANDS2017 of {len(frames):,} frames: open in {seconds:.2f} s, {megabytes:.0f} MB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=957_032)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        open_hands17(args.open)
        return
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        nyu(Path(folder))
        msra(Path(folder))
        hands17(Path(folder), args.lines)


if __name__ == "__main__":
    main()
