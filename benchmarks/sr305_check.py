"""Do predictions lie in the hand? A count over the real sr305 frames, which have no labels.

    python benchmarks/sr305_check.py [--model NAME|FILE] [--shared ../shared] [--out FOLDER]

No centre is given. A frame passes when at least 18 of the 21 joints project within 8 pixels of the hand's surface and
no joint lies more than 10 mm before that surface (a joint is under the skin, so it may well lie behind it).

The hand's surface never looks at the prediction. It is measured on the depth frame at full resolution: pixels are
joined to their neighbours where depth is continuous; of the pieces so made, those count that hold the near surface
which `dor3d.predict.locate` cut at the wrist, and of these the pixels within 130 mm of the middle of that cut. A
joint before a pixel that is not the hand's (the gap between two fingers, say) has no surface to be compared with,
only a distance.

The count is easily met by joints that huddle in the palm, so the share of the surface within 15 mm of a bone is printed
beside it: fingers that the skeleton does not reach are missing from that share. It decides nothing.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dor3d.files import write_whole
from dor3d.frames import in_mm, read_frames
from dor3d.geometry import Pinhole
from dor3d.predict import Hand, Predictor
from dor3d.predict.batch import overlay
from dor3d.predict.locate import locate
from dor3d.skeleton import BONES
from dor3d.viz.overlay import png

NEAR_PX, ENOUGH, BEFORE_MM, RADIUS_MM, JUMP_MM, BONE_MM = 8.0, 18, 10.0, 130.0, 15.0, 15.0


class Verdict(NamedTuple):
    """How one hand lies on its surface."""

    near: int  # joints within NEAR_PX of the surface
    before_mm: float  # how far the worst joint lies before it (negative: all are behind)

    @property
    def passed(self) -> bool:
        """Whether the frame counts."""
        return self.near >= ENOUGH and self.before_mm <= BEFORE_MM


def main() -> None:
    """Predict, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    camera = Pinhole.load(args.shared / "real" / "sr305" / "camera.json")
    predictor = Predictor(args.model, camera)
    passed = total = right = 0
    for frame in read_frames([args.shared / "real" / "sr305"]):
        name, depth = Path(frame.name).name, in_mm(frame.depth, camera)
        hands, surface = predictor(frame.depth), hand_surface(depth, camera)
        verdict = judge(hands[0].joints_px, hands[0].joints_mm, depth, surface) if hands else Verdict(0, np.inf)
        total, passed = total + 1, passed + verdict.passed
        right += bool(hands) and hands[0].handedness == "right"
        print(f"{name}  {_line(verdict, hands, surface, camera)}")
        if args.out:
            write_whole(args.out / name, png(_picture(depth, hands, predictor.joints, surface)))
    print(f"{passed} of {total} frames pass; {right} of {total} said to be a right hand, as all are")


def _line(verdict: Verdict, hands: list[Hand], surface: np.ndarray, camera: Pinhole) -> str:
    if not hands:
        return "FAIL  no hand"
    hand = hands[0]
    share = covered(hand.joints_px, camera.fx / float(hand.joints_mm[:, 2].mean()), surface)
    return (
        f"{'ok  ' if verdict.passed else 'FAIL'}  {verdict.near:2d}/21 within {NEAR_PX:.0f} px, "
        f"worst {verdict.before_mm:6.1f} mm before the surface; {share:4.0%} covered, "
        f"{hand.handedness:5}, confidence {hand.confidence:.2f}"
    )


def hand_surface(depth: np.ndarray, camera: Pinhole) -> np.ndarray:
    """Mask [H, W] of the hand's pixels in a frame (mm)."""
    mask = np.zeros(depth.shape, bool)
    for place in locate(depth, camera):
        labels = continuous(depth)
        at = np.round(camera.project(place.points_mm.astype(np.float64))).astype(int)
        held = np.bincount(labels[at[:, 1], at[:, 0]], minlength=labels.max() + 1)
        held[0] = 0
        v, u = np.nonzero((held >= 3)[labels])
        points = camera.unproject(np.stack([u, v], -1).astype(np.float64), depth[v, u].astype(np.float64))
        low, high = np.percentile(place.points_mm, (1, 99), axis=0)
        inside = np.linalg.norm(points - (low + high) / 2, axis=1) <= RADIUS_MM
        mask[v[inside], u[inside]] = True
    return mask


def continuous(depth: np.ndarray) -> np.ndarray:
    """Labels [H, W] of pieces without a jump in depth between neighbours; 0: no reading, or behind a jump."""
    far = np.where(depth > 0, depth, 1e6).astype(np.float32)
    nearest = cv2.erode(far, np.ones((3, 3), np.uint8))
    return cv2.connectedComponents(((depth > 0) & (far - nearest <= JUMP_MM)).astype(np.uint8), connectivity=4)[1]


def judge(joints_px: np.ndarray, joints_mm: np.ndarray, depth: np.ndarray, surface: np.ndarray) -> Verdict:
    """Where a hand's joints lie with respect to the surface."""
    distance = cv2.distanceTransform((~surface).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    u, v = np.round(joints_px).astype(int).T
    inside = (u >= 0) & (u < depth.shape[1]) & (v >= 0) & (v < depth.shape[0])
    u, v, z = u[inside], v[inside], joints_mm[inside, 2]
    on = surface[v, u]
    before = depth[v, u][on] - z[on]
    return Verdict(int((distance[v, u] <= NEAR_PX).sum()), float(before.max(initial=-np.inf)))


def covered(joints_px: np.ndarray, pixels_per_mm: float, surface: np.ndarray) -> float:
    """Share of the surface within BONE_MM of a bone, in the image."""
    bones = np.zeros(surface.shape, np.uint8)
    for a, b in BONES:
        ends = (tuple(int(c) for c in np.round(joints_px[j])) for j in (a, b))
        cv2.line(bones, *ends, 1, max(1, round(2 * BONE_MM * pixels_per_mm)))
    return float(bones[surface].mean())


def _picture(depth: np.ndarray, hands: list[Hand], joints: tuple[str, ...], surface: np.ndarray) -> np.ndarray:
    """The overlay, with the surface's outline."""
    picture = np.ascontiguousarray(overlay(depth, hands, joints))
    outline, _ = cv2.findContours(surface.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, (0, 120, 120), 1)
    return picture


if __name__ == "__main__":
    main()
