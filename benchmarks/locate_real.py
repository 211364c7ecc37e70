"""Whether hands are found in real frames, and found no more when they are painted out.

    python benchmarks/locate_real.py [auto|rule|FILE] [--shared ../shared] [--out FOLDER]

Each frame of ../shared/real has one right hand. Its middle is that of its labels' bounding box (realsense, nyu) or of
the surface that `sr305_check.py` takes for the hand (sr305, not labelled); it is found if a sighting is within 100 mm.
Then all that is within 120 mm of the middle is painted out with what is behind it: the nearest pixel of the frame that
is at least 200 mm farther, or has no reading beyond a hand's shadow. Forearm, body and room stay. Every sighting is a
false alarm.
At the end the same of the whole pipeline, which looks at each place with `compact`.
--out: pictures of both, to look at. They are not ours to publish: keep them out of the repository.
"""

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
from real_data import Frame, real_frames
from scipy.ndimage import distance_transform_edt

from dor3d.files import write_whole
from dor3d.geometry.crop import center_of_joints
from dor3d.predict import Predictor
from dor3d.predict.find import LearnedFinder, make_finder
from dor3d.predict.predictor import BELIEVED
from dor3d.predict.sights import Sighting
from dor3d.viz.overlay import grey_depth, png

LEAST, FOUND_MM, HAND_MM, BEHIND_MM, GAP_PX = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), 100.0, 120.0, 200.0, 13


def main() -> None:
    """Find, paint out, find again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("locator", nargs="?", default="auto")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    finder = make_finder(args.locator, threads=1)
    if isinstance(finder, LearnedFinder):
        finder.least = LEAST[0]
    seen: list[tuple[str, np.ndarray, list[Sighting], list[Sighting]]] = []
    for frame in real_frames(args.shared):
        bare = painted_out(frame)
        with_hand, without = (finder(depth, frame.camera, 1.0) for depth in (frame.depth, bare))
        seen.append((frame.name, frame.middle, with_hand, without))
        if args.out:
            pictures = [_picture(d, frame, s) for d, s in ((frame.depth, with_hand), (bare, without))]
            write_whole(args.out / f"{frame.name.replace('/', '_')}.png", png(np.hstack(pictures)))
    print(f"{args.locator}: {len(seen)} frames\n")
    print("| confidence | found | false alarms beside it | false alarms without it |\n|---|---|---|---|")
    for least in LEAST if isinstance(finder, LearnedFinder) else (0.5,):
        print(_line(least, seen))
    for name, middle, with_hand, without in seen:
        near = min((math.dist(one.center_mm, middle) for one in with_hand), default=math.inf)
        sure = max((one.confidence for one in without), default=0.0)
        if near > FOUND_MM or sure >= 0.5:
            print(f"{name}: nearest sighting {near:.0f} mm off; without the hand {sure:.2f} sure")
    print(_pipeline(list(real_frames(args.shared)), args.locator))


def _pipeline(frames: list[Frame], locator: str) -> str:
    """What hands of the whole pipeline are told of, true ones and false ones."""
    true, beside, without = [], [], []
    for frame in frames:
        predictor = Predictor("compact", frame.camera, threads=1, locator=locator, least_confidence=0.0)
        for hand in predictor(frame.depth):
            apart = math.dist(center_of_joints(hand.joints_mm), frame.middle)
            (true if apart < FOUND_MM else beside).append((hand.confidence, frame.name))
        without += [(hand.confidence, frame.name) for hand in predictor(painted_out(frame))]
    told = [f"\nwhole pipeline: {len(true)} true hands in {len(frames)} frames, the least sure {min(true)[0]:.2f}"]
    for what, hands in (("beside them", beside), ("with the hands painted out", without)):
        sure = sorted(hand for hand in hands if hand[0] >= BELIEVED)
        told.append(f"false hands {what}: {len(sure)}" + "".join(f"\n    {name} {c:.2f}" for c, name in sure))
    return "\n".join(told)


def painted_out(frame: Frame) -> np.ndarray:
    """The frame's readings without its hand."""
    rows, columns = np.indices(frame.depth.shape)
    places = np.stack([columns, rows], -1).astype(np.float64)
    points = frame.camera.unproject(places, frame.depth.astype(np.float64))
    hand = (frame.depth > 0) & (np.linalg.norm(points - frame.middle, axis=-1) < HAND_MM)
    hand = cv2.dilate(hand.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    none = cv2.morphologyEx((frame.depth == 0).astype(np.uint8), cv2.MORPH_OPEN, np.ones((GAP_PX, GAP_PX), np.uint8))
    behind = ~hand & ((frame.depth > frame.middle[2] + BEHIND_MM) | (none > 0))
    v, u = distance_transform_edt(~behind, return_distances=False, return_indices=True)
    filled = frame.depth[v, u] if behind.any() else np.zeros_like(frame.depth)
    return np.where(hand, filled, frame.depth)


def _line(least: float, seen: list[tuple[str, np.ndarray, list[Sighting], list[Sighting]]]) -> str:
    found = beside = alarms = 0
    for _, middle, with_hand, without in seen:
        believed = [one for one in with_hand if one.confidence >= least]
        hits = [one for one in believed if math.dist(one.center_mm, middle) < FOUND_MM]
        found += bool(hits)
        beside += len(believed) > len(hits)
        alarms += any(one.confidence >= least for one in without)
    n = len(seen)
    return f"| {least:.2f} | {found} of {n} | {beside} of {n} | {alarms} of {n} |"


def _picture(depth: np.ndarray, frame: Frame, seen: list[Sighting]) -> np.ndarray:
    picture = np.repeat(grey_depth(depth)[..., None], 3, -1)
    for at, colour in ((frame.middle, (255, 255, 255)), *((np.array(s.center_mm), (255, 160, 60)) for s in seen)):
        u, v = frame.camera.project(at)
        radius = 90.0 * frame.camera.fx / at[2]
        cv2.circle(picture, (round(u), round(v)), round(radius), colour, 1, cv2.LINE_AA)
    for i, one in enumerate(seen):
        cv2.putText(picture, f"{one.confidence:.2f}", (4, 14 + 14 * i), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 160, 60))
    return picture


if __name__ == "__main__":
    main()
