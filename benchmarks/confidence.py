"""What `confidence` tells: hands that are there, hands that are not, and joints that are far off, in whole frames.

    python benchmarks/confidence.py [--model NAME|FILE] [--locator auto|rule|FILE] [--frames 512]
        [--scenes rooms|people|edge]

Scenes: rooms as in the frozen set `rooms`, of another seed and at their cameras' full resolution, with none, one or two
hands, among them hands that are cut off, hidden, or hold something; the same in which people have faces and others
stand around; or a hand over the image's edge. What is found counts as a hand's if their middles are within 100 mm.

A line for each confidence from which a hand is believed: how many of the hands with at least five joints in sight are
found, how many frames show a hand that is none, and how far off the joints of the believed ones are. Then, for what
`predict` tells of, how many are found by how much is seen of them.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dor3d.data.rooms import LEAST_SEEN
from dor3d.data.synthetic import generator
from dor3d.data.testsets import ROOMS
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.room import HandTruth, Room, RoomConfig, draw_room
from dor3d.hand.scene import read_frame, seen_joints
from dor3d.hand.stage import WIDE, draw_scene
from dor3d.predict import Hand, Predictor
from dor3d.predict.find import make_finder
from dor3d.predict.predictor import BELIEVED
from dor3d.runtime.onnx import OnnxModel

_SEED = 2**31 + 9  # beyond training's seeds, and none of the frozen sets'
_FOUND_MM, _FAR_OFF_MM = 100.0, 40.0
_LEAST = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)
_JOINTS = (LEAST_SEEN, 7, 9, 12, 22)


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
    parser.add_argument("--scenes", choices=("rooms", "people", "edge"), default="rooms")
    args = parser.parse_args()
    model, finder = OnnxModel(args.model, 1), make_finder(args.locator, 1)
    said: list[Said] = []
    asked: dict[tuple[int, int | None], int] = {}  # (frame, number in it) of hands to be found: joints in sight
    for number, (room, depth) in enumerate(frames(args.frames, args.scenes)):
        asked |= {(number, i): hand.seen for i, hand in enumerate(room.hands) if hand.seen >= LEAST_SEEN}
        found = Predictor(model, room.scene.camera, locator=finder, least_confidence=0.0)(depth) if depth.any() else []
        said += [judge(number, hand, room.hands) for hand in found]
    print(f"{args.frames} frames, {len(asked)} hands to be found, {len(said)} said\n")
    print("| confidence | found | frames with a false hand | mean error (mm) | over 40 mm |\n|---|---|---|---|---|")
    for least in _LEAST:
        believed = [one for one in said if one.confidence >= least]
        errors = np.array([one.error_mm for one in believed if one.whose is not None])
        hands = {(one.frame, one.whose) for one in believed if one.whose is not None}
        false = {one.frame for one in believed if np.isinf(one.error_mm)}
        far = f"{errors.mean():.1f} | {(errors > _FAR_OFF_MM).mean():.1%}" if len(errors) else " | "
        print(f"| {least:.2f} | {len(hands) / max(len(asked), 1):.1%} | {len(false) / args.frames:.1%} | {far} |")
    print(f"\n| joints in sight | hands | found, from {BELIEVED:g} of confidence on |\n|---|---|---|")
    hands = {(one.frame, one.whose) for one in said if one.confidence >= BELIEVED}
    for low, high in itertools.pairwise(_JOINTS):
        some = [key in hands for key, seen in asked.items() if low <= seen < high]
        print(f"| {low} to {high - 1} | {len(some)} | {f'{np.mean(some):.1%}' if some else ''} |")
    ranks = np.array([(one.confidence, one.error_mm) for one in said if one.whose is not None]).argsort(0).argsort(0)
    print(f"\nrank correlation of confidence and error: {np.corrcoef(ranks.T)[0, 1]:.2f}")


def frames(count: int, scenes: str) -> Iterator[tuple[Room, np.ndarray]]:
    """Rooms and their readings (mm, 0: none)."""
    for index in range(count):
        rng = generator(_SEED, index)
        room = draw_edge(rng) if scenes == "edge" else draw_room(rng, ROOMS if scenes == "rooms" else RoomConfig())
        yield room, read_frame(room.scene, rng)


def draw_edge(rng: np.random.Generator) -> Room:
    """A hand over the image's edge, with no other to be mistaken for it."""
    scene = draw_scene(rng, replace(WIDE, cut=1.0, other=0.0))
    return Room(scene, (HandTruth(scene.joints_mm, True, int(seen_joints(scene).sum())),))


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
