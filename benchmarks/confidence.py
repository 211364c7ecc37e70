"""What `confidence` tells: hands that are there, hands that are not, and joints that are far off, in whole frames.

    python benchmarks/confidence.py [--model NAME|FILE] [--locator auto|rule|FILE] [--frames 512] [--people]

Rooms as in the frozen set `rooms`, of another seed and at their cameras' full resolution, with none, one or two hands,
among them hands that are cut off, hidden, or hold something; --people: in which people have faces and others stand
around. What is found counts as a hand's if their middles are within 100 mm. A line for each confidence from which a
hand is believed: how many of the hands with at least five joints in sight are found, how many frames show a hand that
is none, and how far off the joints of the believed ones are.
"""

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dor3d.data.rooms import LEAST_SEEN
from dor3d.data.synthetic import generator
from dor3d.data.testsets import ROOMS
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.room import HandTruth, Room, RoomConfig, draw_room
from dor3d.hand.scene import read_frame
from dor3d.predict import Hand, Predictor
from dor3d.predict.find import make_finder
from dor3d.runtime.onnx import OnnxModel

_SEED = 2**31 + 9  # beyond training's seeds, and none of the frozen sets'
_FOUND_MM, _FAR_OFF_MM = 100.0, 40.0
_LEAST = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)


class Said(NamedTuple):
    """A hand that was said to be there.

    Attributes:
        frame: its number.
        confidence: of it.
        error_mm: the mean over joints; infinite where no hand is.
        whose: the number of the hand that it is, if that has to be found.
    """

    frame: int
    confidence: float
    error_mm: float
    whose: int | None


def main() -> None:
    """Render, predict, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--locator", default="auto")
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--people", action="store_true")
    args = parser.parse_args()
    model, finder, said, asked = OnnxModel(args.model, 1), make_finder(args.locator, 1), [], 0
    for number, (room, depth) in enumerate(frames(args.frames, RoomConfig() if args.people else ROOMS)):
        asked += sum(hand.seen >= LEAST_SEEN for hand in room.hands)
        found = Predictor(model, room.scene.camera, locator=finder, least_confidence=0.0)(depth) if depth.any() else []
        said += [judge(number, hand, room.hands) for hand in found]
    print(f"{args.frames} frames, {asked} hands to be found, {len(said)} said\n")
    print("| confidence | found | frames with a false hand | mean error (mm) | over 40 mm |\n|---|---|---|---|---|")
    for least in _LEAST:
        believed = [one for one in said if one.confidence >= least]
        errors = np.array([one.error_mm for one in believed if one.whose is not None])
        hands = {(one.frame, one.whose) for one in believed if one.whose is not None}
        false = {one.frame for one in believed if np.isinf(one.error_mm)}
        far = f"{errors.mean():.1f} | {(errors > _FAR_OFF_MM).mean():.1%}" if len(errors) else " | "
        print(f"| {least:.2f} | {len(hands) / max(asked, 1):.1%} | {len(false) / args.frames:.1%} | {far} |")
    ranks = np.array([(one.confidence, one.error_mm) for one in said if one.whose is not None]).argsort(0).argsort(0)
    print(f"\nrank correlation of confidence and error: {np.corrcoef(ranks.T)[0, 1]:.2f}")


def frames(count: int, config: RoomConfig) -> Iterator[tuple[Room, np.ndarray]]:
    """Rooms and their readings (mm, 0: none)."""
    for index in range(count):
        rng = generator(_SEED, index)
        room = draw_room(rng, config)
        yield room, read_frame(room.scene, rng)


def judge(frame: int, hand: Hand, truth: tuple[HandTruth, ...]) -> Said:
    """Whose hand it is, and how far off."""
    middle = center_of_joints(hand.joints_mm)
    apart = [float(np.linalg.norm(center_of_joints(one.joints_mm) - middle)) for one in truth]
    if not apart or min(apart) > _FOUND_MM:
        return Said(frame, hand.confidence, np.inf, None)
    nearest = int(np.argmin(apart))
    error = float(np.linalg.norm(hand.joints_mm - truth[nearest].joints_mm, axis=1).mean())
    return Said(frame, hand.confidence, error, nearest if truth[nearest].seen >= LEAST_SEEN else None)


if __name__ == "__main__":
    main()
