"""How well hands are found in whole frames: recall, false alarms, distance, time, and which hands are missed.

    python benchmarks/locate_accuracy.py [auto|rule|FILE] [--count N] [--version 2]

On the frozen set `rooms`, of whose hands those with at least five joints in sight have to be found (of the others
nothing is asked). A hand is found if what is seen of it is within 100 mm of its middle. A line for each confidence from
which a hand is believed; then, for one of these confidences, how many are found by how much is seen of them.
"""

import argparse
import itertools
import math
import time

import numpy as np

from dor3d.data.rooms import LEAST_SEEN, RoomSample
from dor3d.data.testsets import ROOMS_COUNT, rooms
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.pose import HAND_VERSIONS
from dor3d.predict.find import LearnedFinder, make_finder
from dor3d.predict.sights import Sighting
from dor3d.train.locating import judge_frame

_LEAST = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_FOUND_MM = 100.0
_SHOWN, _JOINTS = 0.3, (1, 5, 7, 9, 12, 15, 22)
Judged = tuple[list[Sighting], np.ndarray, np.ndarray]  # what was seen, hands' middles, how many joints are in sight


def frame_of(sample: RoomSample) -> np.ndarray:
    """Its readings without what pads them; the grid's own camera is theirs."""
    return sample.depth[: len(sample.grid.rows), : len(sample.grid.columns)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locator", nargs="?", default="auto")
    parser.add_argument("--count", type=int, default=ROOMS_COUNT)
    parser.add_argument("--version", type=int, choices=HAND_VERSIONS, default=1, help="of `rooms`")
    args = parser.parse_args()
    finder, source, took = make_finder(args.locator, threads=1), rooms(args.version), 0.0
    if isinstance(finder, LearnedFinder):
        finder.least = _LEAST[0]
    frames: list[Judged] = []
    for index in range(args.count):
        sample = source.sample(index)
        frame = frame_of(sample)
        start = time.perf_counter()
        seen = finder(frame, sample.grid.camera, 1.0)
        took += time.perf_counter() - start
        hands, middles = sample.room.hands, np.array([center_of_joints(h.joints_mm) for h in sample.room.hands])
        frames.append((seen, middles.reshape(-1, 3), np.array([hand.seen for hand in hands], int)))
    total = sum(int((joints >= LEAST_SEEN).sum()) for _, _, joints in frames)
    print(f"{args.locator}: {args.count} frames, {total} hands to be found, {1e3 * took / args.count:.2f} ms a frame\n")
    print("| confidence | found | frames with a false alarm | off (median) |\n|---|---|---|---|")
    for least in _LEAST if isinstance(finder, LearnedFinder) else (0.5,):
        print(line(least, frames, total))
    print(f"\n| joints in sight | hands | found, from {_SHOWN:g} of confidence on |\n|---|---|---|")
    for low, high in itertools.pairwise(_JOINTS):
        some = [zip(hits_of(frame), frame[2], strict=True) for frame in frames]
        hits = [hit for pairs in some for hit, joints in pairs if low <= joints < high]
        share = f"{np.mean(hits):.1%}" if hits else ""
        print(f"| {low} to {high - 1} | {len(hits)} | {share} |")


def hits_of(frame: Judged) -> list[bool]:
    """Of each hand: whether something believable is near."""
    places = [one.center_mm for one in frame[0] if one.confidence >= _SHOWN]
    return [any(math.dist(middle, place) < _FOUND_MM for place in places) for middle in frame[1]]


def line(least: float, frames: list[Judged], total: int) -> str:
    missed, false, off = 0.0, 0, []
    for seen, middles, joints in frames:
        asked = joints >= LEAST_SEEN
        believed = [one for one in seen if one.confidence >= least]
        _, gone, alarms = judge_frame(believed, middles, asked, _FOUND_MM)
        missed, false = missed + gone, false + (alarms > 0)
        for one in believed:
            apart = np.linalg.norm(middles - one.center_mm, axis=1) if len(middles) else np.array([np.inf])
            nearest = int(apart.argmin())
            if apart[nearest] < _FOUND_MM and asked[nearest]:
                off.append(apart[nearest])
    far = f"{np.median(off):.1f} mm" if off else ""
    return f"| {least:.2f} | {1 - missed / total:.1%} | {false / len(frames):.1%} | {far} |"


if __name__ == "__main__":
    main()
