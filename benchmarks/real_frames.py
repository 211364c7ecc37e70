"""The error on labelled real frames of other cameras, with given centres and without.

    python benchmarks/real_frames.py [--model NAME|FILE] [--shared ../shared] [--out FOLDER]

realsense: 8 frames with 20 joints from a tracker (a few mm off themselves); centres are those of the hand's mask: its
centroid in the image, at its median depth. nyu: one test frame, over the joints that its labels share with ours: five
tips, four pips, the thumb's ip; the centre is the middle of the labelled joints' bounding box.

Labels place joints in ways of their own. "one offset a joint" is the error once each joint's mean offset from its label
in the other frames, turned with the palm, is taken off. A frame without a hand is told as missed and counts 100 mm.
Frames and overlays are not ours to publish: keep --out out of the repository.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from real_data import Frame, real_frames

from dor3d.files import write_whole
from dor3d.predict import Hand, Predictor
from dor3d.predict.batch import overlay
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import JOINTS
from dor3d.viz.overlay import png

_MISSED_MM = 100.0


class Judged(NamedTuple):
    """What was said of a frame, and how far each labelled joint is off [J, 3] (NaN where no hand was found)."""

    frame: Frame
    hand: Hand | None
    offsets: np.ndarray


def main() -> None:
    """Predict, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = OnnxModel(args.model)
    frames = [frame for frame in real_frames(args.shared) if frame.joints]
    heads = ("frames", "centre", "missed", "mean (mm)", "median", "one offset a joint", "right hands")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for name in ("realsense", "nyu"):
        some = [frame for frame in frames if frame.name.startswith(name)]
        for given in (True, False):
            judged = [judge(model, frame, centre_of(frame, args.shared) if given else None) for frame in some]
            print(f"| {name} | {'given' if given else 'none'} | {line(judged)} |")
            if args.out:
                write_overlays(judged, args.out / f"{name}_{'given' if given else 'none'}")


def judge(model: OnnxModel, frame: Frame, centre: np.ndarray | None) -> Judged:
    """Predict a frame; of several hands the one nearest to the labelled one counts."""
    hands = Predictor(model, frame.camera)(frame.depth, centre)
    if not hands:
        return Judged(frame, None, np.full((len(frame.joints), 3), np.nan))
    hand = min(hands, key=lambda hand: float(np.linalg.norm(hand.joints_mm.mean(0) - frame.middle)))
    own = hand.joints_mm[[JOINTS.index(name) for name in frame.joints]]
    return Judged(frame, hand, own - np.stack(list(frame.joints.values())))


def centre_of(frame: Frame, shared: Path) -> np.ndarray:
    """Of the hand's mask where there is one, else of the labels."""
    mask = mask_of(frame, shared)
    if mask is None:
        return frame.middle
    v, u = np.nonzero(mask & (frame.depth > 0))
    return frame.camera.unproject(np.array([u.mean(), v.mean()]), np.array(float(np.median(frame.depth[v, u]))))


def mask_of(frame: Frame, shared: Path) -> np.ndarray | None:
    """The hand's pixels [H, W], where somebody marked them."""
    mask_file = shared / "real" / f"{frame.name.replace('depth', 'mask')}.png"
    if "depth" not in frame.name or not mask_file.exists():
        return None
    return np.asarray(cv2.imread(str(mask_file), cv2.IMREAD_GRAYSCALE)) > 0


def line(judged: list[Judged]) -> str:
    """Cells of a row."""
    found = [one for one in judged if one.hand is not None]
    missed, errors = len(judged) - len(found), [error_mm(one) for one in judged]
    right = sum(one.hand is not None and one.hand.handedness == "right" for one in judged)
    fair = f"{fair_error(found):.2f}" if len(found) > 1 else ""
    cells = f"{missed} of {len(judged)} | {np.mean(errors):.2f} | {np.median(errors):.2f} | {fair}"
    return f"{cells} | {right} of {len(judged)}"


def error_mm(judged: Judged) -> float:
    """The mean over a frame's labelled joints (mm)."""
    return _MISSED_MM if judged.hand is None else float(np.linalg.norm(judged.offsets, axis=1).mean())


def fair_error(found: list[Judged]) -> float:
    """The mean error (mm) once joints' mean offsets in the other frames are taken off."""
    turns = np.stack([palm_axes(one.hand) for one in found if one.hand is not None])
    own = np.stack([one.offsets @ turn for one, turn in zip(found, turns, strict=True)])
    others = (own.sum(0) - own) / (len(own) - 1)
    return float(np.linalg.norm(own - others, axis=-1).mean())


def palm_axes(hand: Hand) -> np.ndarray:
    """[3, 3] whose columns are the palm's axes in the camera frame."""
    wrist, index, middle, little = (
        hand.joints_mm[JOINTS.index(name)] for name in ("wrist", "index_mcp", "middle_mcp", "little_mcp")
    )
    along, normal = middle - wrist, np.cross(index - wrist, little - wrist)
    normal /= np.linalg.norm(normal)
    along = along - normal * (along @ normal)
    along /= np.linalg.norm(along)
    return np.stack([along, np.cross(normal, along), normal], -1)


def write_overlays(judged: list[Judged], out: Path) -> None:
    """What was said, over the frames."""
    for frame, hand, _ in judged:
        picture = overlay(frame.depth, [hand] if hand else [], JOINTS)
        write_whole(out / f"{Path(frame.name).name}.png", png(picture))


if __name__ == "__main__":
    main()
