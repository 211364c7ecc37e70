"""How near the rendered hand comes to real hands' surfaces: version 1, version 2, and version 1 corrected by others.

    python benchmarks/hand_fit.py [--shared ../shared] [--model NAME|FILE] [--sizes] [--maps FOLDER] [--rendered]

Frames of three people, each from another camera (sr305 19, realsense 8, nyu 1). In every frame pose and sizes are
fitted from the joints that the network predicts (`surface_fit.py`), then the distance of the hand's readings to the
fitted surface is measured (median and root mean square over a frame, cut off at 20 mm; means over a person's frames).

"two others" is version 1 with a correction of its flesh and radii, fitted to the frames of the other two people: no
frame is judged that it was fitted to. Version 2 has such a correction from all three, rounded and mended by hand: its
figures show that the mending kept it, no more. --sizes prints that correction. No correction moves a joint.

--rendered takes three rendered people of version 1 instead: what a correction gains there is what the fit makes up.

Red in the maps: readings before the fitted surface; blue: behind it; full colour at 6 mm. They show frames that are not
ours to publish: keep the folder out of the repository.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy import ndarray
from real_data import Frame, real_frames
from real_frames import mask_of
from sr305_check import continuous
from surface_fit import (
    CORRECTION,
    NOWHERE,
    SCALE_MM,
    UNKNOWNS,
    Fit,
    Observation,
    Prior,
    angle_prior,
    fit_frame,
    nearest,
    normal_equations,
)

from dor3d.files import write_whole
from dor3d.geometry import Pinhole
from dor3d.hand.model import ARM_SPHERES, SPHERES, rot_x, rot_y, rot_z, sample_shape
from dor3d.hand.pose import gesture_pose
from dor3d.hand.scene import read_frame
from dor3d.hand.sizes import SIZES
from dor3d.hand.stage import SceneConfig, place_hand
from dor3d.predict import Predictor
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import BONES, JOINT_COUNT
from dor3d.viz.overlay import png

_NEAR_MM, _PIECE, _EDGE_PX, _CUT_MM = 40.0, 30, 1.0, 20.0
_POINTS, _FRAMES, _ROUNDS = 700, 4.0, 4
_FLESH_SD, _WEB_SD, _RADIUS_SD, _JOINT_RADIUS_SD = 3.0, 2.0, 0.10, 0.06
_CUSHION_RADIUS_SD = 0.25
_CUSHIONS = ("carpal_r", "carpal_u", "thenar")
_SCENE = SceneConfig(focal_jitter=0.0, distance_mm=(450.0, 600.0), body=0.0, plane=0.0)
_MAP, _MAP_MM, _FULL_MM = 240, 250.0, 6.0


class Hand(NamedTuple):
    """A frame's observation and all its readings of the hand [N, 3] (mm), to judge by."""

    seen: Observation
    readings: ndarray


def main() -> None:
    """Fit, judge, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--rendered", action="store_true")
    args = parser.parse_args()
    if not args.rendered and not (args.shared / "real").is_dir():
        raise SystemExit(
            f"no real frames in {args.shared / 'real'}: they are not part of the repository, give --shared"
        )
    frames = rendered_frames() if args.rendered else real_frames(args.shared)
    people, prior = observed(frames, args.shared, OnnxModel(args.model)), angle_prior()
    if args.sizes:
        print_sizes(fit_correction(1, people, prior))
        return
    heads = ("person", "frames", "version 1 (mm)", "two others", "version 2")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for person, hands in people.items():
        others = {name: frames for name, frames in people.items() if name != person}
        rows = ((1, np.zeros(CORRECTION)), (1, fit_correction(1, others, prior)), (2, np.zeros(CORRECTION)))
        cells = []
        for title, (version, correction) in zip(heads[2:], rows, strict=True):
            fitted = [(hand, fit_frame(version, hand.seen, correction, prior)) for hand in hands]
            cells.append("{:.2f} / {:.2f}".format(*np.mean([judge(*pair) for pair in fitted], 0)))
            if args.maps:
                picture = np.hstack([residual_map(*pair) for pair in fitted])
                write_whole(args.maps / f"{person} {title.removesuffix(' (mm)')}.png", png(picture))
        print(f"| {person} | {len(hands)} | {' | '.join(cells)} |", flush=True)


# ---- what is seen ---------------------------------------------------------------------------------------------------
def rendered_frames() -> Iterator[Frame]:
    """Six frames each of three rendered people, right hands that the camera sees from the palm but for one in three."""
    rng, camera = np.random.default_rng(2**31 + 11), Pinhole.preset("sr305")
    for person in range(3):
        shape = sample_shape(rng)
        for index, gesture in enumerate(("spread", "flat", "relaxed", "four", "victory", "cup")):
            view = np.diag([-1.0, -1.0, 1.0] if index % 3 == 2 else [1.0, -1.0, -1.0])  # fingers up
            turn = rot_z(rng.normal(0.0, 0.4)) @ rot_y(rng.normal(0.0, 0.3)) @ rot_x(rng.normal(0.0, 0.3))
            scene = place_hand(rng, _SCENE, shape, gesture_pose(gesture, shape), turn @ view, camera)
            middle = scene.joints_mm.mean(0)
            yield Frame(f"rendered {person + 1}/{index}", read_frame(scene, rng), scene.camera, middle, {})


def observed(frames: Iterable[Frame], shared: Path, model: OnnxModel) -> dict[str, list[Hand]]:
    """Predict frames; hands by person."""
    people: dict[str, list[Hand]] = {}
    for frame in frames:
        hands = Predictor(model, frame.camera)(frame.depth)
        if not hands:
            print(f"{frame.name}: no hand found")
            continue
        hand = min(hands, key=lambda hand: float(np.linalg.norm(hand.joints_mm.mean(0) - frame.middle)))
        people.setdefault(frame.name.split("/")[0], []).append(
            observe(frame, hand.joints_mm, hand.std_mm, mask_of(frame, shared))
        )
    return people


def observe(frame: Frame, joints: ndarray, std: ndarray, mask: ndarray | None) -> Hand:
    """The hand's readings: near the predicted bones and in a mask if there is one, off the edges in depth."""
    depth, pieces = frame.depth.astype(np.float64), continuous(frame.depth)
    v, u = np.nonzero(depth > 0)
    near = np.zeros(depth.shape, bool)
    points = frame.camera.unproject(np.stack([u, v], -1).astype(np.float64), depth[v, u])
    near[v, u] = to_bones(points, joints) < _NEAR_MM
    if mask is not None:
        near &= mask
    held = np.bincount(pieces[near], minlength=pieces.max() + 1) >= _PIECE
    hand = near & held[pieces]
    held[0] = False  # edges
    whole = (hand | held[pieces]).astype(np.uint8)  # the forearm too: no outline where the hand goes on
    grown = np.pad(whole, 1, constant_values=1)  # nor at the edge of the image
    inside = np.where(whole, cv2.distanceTransform(grown, cv2.DIST_L2, 5)[1:-1, 1:-1] - 0.5, 0.0)
    inside -= np.where(whole, 0.0, cv2.distanceTransform(1 - whole, cv2.DIST_L2, 5) - 0.5)
    v, u = np.nonzero(hand & (pieces > 0) & (inside > _EDGE_PX))
    readings = frame.camera.unproject(np.stack([u, v], -1).astype(np.float64), depth[v, u])
    some = readings[np.linspace(0, len(readings) - 1, min(_POINTS, len(readings))).astype(int)]
    seen = Observation(frame.name, some, joints.astype(np.float64), std, depth, inside, frame.camera)
    return Hand(seen, readings)


def to_bones(points: ndarray, joints: ndarray) -> ndarray:
    """Distance [N] (mm) of points to the skeleton."""
    nearest_bone = np.full(len(points), np.inf)
    for a, b in BONES:
        bone, way = joints[b] - joints[a], points - joints[a]
        t = np.clip(way @ bone / (bone @ bone), 0.0, 1.0)
        nearest_bone = np.minimum(nearest_bone, np.linalg.norm(way - t[:, None] * bone, axis=1))
    return nearest_bone


# ---- a correction ---------------------------------------------------------------------------------------------------
def correction_sd() -> ndarray:
    """[SPHERE_COUNT, 4] what a correction may be before any frame is seen; 0: stays as it is."""
    sd = np.zeros(CORRECTION)
    sd[1:JOINT_COUNT, 3] = _JOINT_RADIUS_SD
    for k in range(JOINT_COUNT, len(SPHERES) - len(ARM_SPHERES)):
        flesh = _WEB_SD if SPHERES[k].startswith("web") else _FLESH_SD
        sd[k] = *[flesh] * 3, _CUSHION_RADIUS_SD if SPHERES[k] in _CUSHIONS else _RADIUS_SD
    for name in ("wrist_r", "wrist_u"):
        sd[SPHERES.index(name)] = 1.5, _FLESH_SD, 1.0, _RADIUS_SD  # the joint stays in their middle
    return sd


def fit_correction(version: int, people: dict[str, list[Hand]], prior: Prior) -> ndarray:
    """Fit one correction [SPHERE_COUNT, 4] of the average hand to frames of several people.

    In each round every frame's pose and sizes are fitted, then the correction takes a step with these eliminated.
    Frames of one person say the same again: together they count as four at most.
    """
    sd = correction_sd()
    which = np.flatnonzero(sd)
    width, correction = sd.ravel()[which], np.zeros(CORRECTION)
    fits: dict[str, Fit] = {}
    for _ in range(_ROUNDS):
        a, g = np.diag(1 / width**2), correction.ravel()[which] / width**2
        for hands in people.values():
            for seen, _ in hands:
                fit = fits[seen.name] = fit_frame(version, seen, correction, prior, fits.get(seen.name))
                own_a, own_g, _ = normal_equations(version, seen, fit, correction, prior, SCALE_MM, which)
                to, by = eliminated(own_a, own_g)
                share = min(1.0, _FRAMES / len(hands))
                a, g = a + share * to, g + share * by
        correction.flat[which] -= np.clip(np.linalg.solve(a, g), -width, width)
    return correction


def eliminated(a: ndarray, g: ndarray) -> tuple[ndarray, ndarray]:
    """Normal equations of the correction alone: Schur's complement of a frame's own unknowns."""
    n = UNKNOWNS
    solved = np.linalg.solve(a[:n, :n] + 1e-6 * np.eye(n), np.column_stack([a[:n, n:], g[:n]]))
    return a[n:, n:] - a[n:, :n] @ solved[:, :-1], g[n:] - a[n:, :n] @ solved[:, -1]


def print_sizes(correction: ndarray) -> None:
    """Print version 1's radii and places with a correction."""
    sizes = SIZES[0]
    radii, places = sizes.radii * np.exp(correction[:, 3]), sizes.places + correction[:, :3]
    places[SPHERES.index("thenar"), 2] -= sizes.thenar_lift * (radii - sizes.radii)[SPHERES.index("thenar")]
    for name, radius, place in zip(SPHERES, radii, places, strict=True):
        print(f"{name:11} {radius:5.1f}  ({', '.join(f'{x:.1f}' for x in place)})")


# ---- the verdict ----------------------------------------------------------------------------------------------------
def off_surface(hand: Hand, fit: Fit) -> tuple[ndarray, ndarray]:
    """Readings [N, 3] of the hand without its forearm, and their signed distances [N] to the surface (mm)."""
    found = nearest(hand.readings, fit.spheres)
    own = ~np.isin(found.spheres, ARM_SPHERES).any(1) & (found.distance < NOWHERE)
    return hand.readings[own], found.distance[own]


def judge(hand: Hand, fit: Fit) -> tuple[float, float]:
    """Median and root mean square distance (mm)."""
    distance = np.minimum(np.abs(off_surface(hand, fit)[1]), _CUT_MM)
    return float(np.median(distance)), float(np.sqrt((distance**2).mean()))


def residual_map(hand: Hand, fit: Fit) -> ndarray:
    """[240, 240, 3] the readings, coloured by their distance."""
    points, distance = off_surface(hand, fit)
    camera, middle = hand.seen.camera, hand.seen.joints.mean(0)
    scale = _MAP / _MAP_MM * middle[2] / camera.fx
    u, v = ((camera.project(points) - camera.project(middle)) * scale + _MAP / 2).T
    picture = np.zeros((_MAP, _MAP, 3), np.uint8)
    size = max(1, int(np.ceil(scale)))
    for x, y, share in zip(u.astype(int), v.astype(int), np.clip(distance / _FULL_MM, -1, 1), strict=True):
        colour = (1.0, 1 - share, 1 - share) if share > 0 else (1 + share, 1 + share, 1.0)
        picture[max(y, 0) : y + size, max(x, 0) : x + size] = np.array(colour) * 255
    return picture


if __name__ == "__main__":
    main()
