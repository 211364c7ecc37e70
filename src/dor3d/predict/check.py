"""A look at a few frames of a camera, and what seems wrong with them or with what is said of the camera."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import CameraError, Dor3dError, FrameError, InputError
from dor3d.frames import Frame, in_mm, read_frames
from dor3d.geometry import Pinhole
from dor3d.geometry.grid import coarse_grid
from dor3d.predict.planes import plane_test
from dor3d.predict.predictor import Hand, Predictor, Side
from dor3d.predict.scale import focal_ratio, hand_length, lengths
from dor3d.skeleton import JOINTS, PALM_JOINTS
from dor3d.text import count_of

Level = Literal["error", "warning", "fine"]
_HOLES: Final = 0.2  # share of a hand without a reading
_EMPTY: Final = 0.9  # share of a frame without one, where there is no hand
_NOISY: Final = 0.008  # of the depth, between two frames of what rests
_FLICKER: Final = 0.06  # share of pixels that have a reading in one of two frames only
_RESTS: Final = (20.0, 0.06)  # mm, and share of the depth: what changes by more has moved
_CALM: Final = 25  # percentile over pairs of frames: in some of them something moves
_ALIKE: Final = 0.7  # share of two frames' readings that rest, if one follows the other
_COARSE_MM: Final = 3.2  # a pixel at the hand: a finger is five of them wide
_NEAR_MM, _FAR_MM = 180.0, 1500.0
_HAND_MM: Final = (115.0, 225.0)  # wrist to middle fingertip: of small children, and of very large men
_TRUSTED: Final = 0.4  # confidence of hands that something is concluded from
_OFF: Final = 1.2  # of focal lengths, as far as a network can tell
_SIDE: Final = 0.8  # share of hands that must be the other one


class Finding(NamedTuple):
    """What was found.

    Attributes:
        level: `error` where no joint can be right, `warning` where they may suffer, `fine`.
        about: what it is about, in a word.
        said: what was seen and, unless it is fine, what to do.
    """

    level: Level
    about: str
    said: str


@dataclass
class _Seen:
    """What a stream of frames showed so far."""

    frames: int = 0
    errors: list[tuple[str, Dor3dError]] = field(default_factory=list)
    empty: list[float] = field(default_factory=list)
    holes: list[float] = field(default_factory=list)
    noise: list[float] = field(default_factory=list)
    flicker: list[float] = field(default_factory=list)
    bowls: list[bool] = field(default_factory=list)
    hands: list[Hand] = field(default_factory=list)
    lengths: list[ndarray] = field(default_factory=list)  # of hands, by other cameras
    before: ndarray | None = None  # the last frame on its grid


def check_files(
    inputs: Sequence[str],
    camera: str,
    depth_unit_mm: float | None = None,
    hand: Side = "auto",
    hand_mm: float = 0.0,
    model: str = "compact",
    locator: str = "auto",
) -> list[Finding]:
    """`check_frames` of files and folders; the arguments are those of `dor3d check`.

    Raises InputError, CameraError or ModelError for what cannot be used.
    """
    if not inputs:
        raise InputError("No input", expected="depth frames or folders of them")
    if not (math.isfinite(hand_mm) and (hand_mm == 0 or 80 <= hand_mm <= 300)):
        raise InputError("No hand is so long", got=f"{hand_mm:g} mm", expected="80 to 300, wrist to middle fingertip")
    predictor = Predictor(model, Pinhole.parse(camera, depth_unit_mm), locator=locator)
    frames = read_frames(inputs, depth_unit_mm)
    return check_frames(frames, predictor, side=None if hand == "auto" else hand, hand_mm=hand_mm)


def findings_text(found: Sequence[Finding]) -> str:
    """Findings for people, a line each."""
    return "\n".join(f"{one.level:8} {one.about:13} {one.said}" for one in found)


def findings_json(found: Sequence[Finding]) -> str:
    """Findings as one JSON object."""
    return json.dumps({"findings": [one._asdict() for one in found]})


def check_frames(
    frames: Iterable[Frame], predictor: Predictor, *, side: Literal["left", "right"] | None = None, hand_mm: float = 0.0
) -> list[Finding]:
    """What seems wrong with frames, the gravest first; at least one finding on each matter that could be judged.

    Args:
        frames: a few, if they follow each other so much the better; a hand should be in them.
        predictor: of their camera, that looks for either hand.
        side: which hand was shown, if that is known: images that are mirrored can be told by it.
        hand_mm: how long it is from the wrist's crease to the middle fingertip (mm), if that was measured.
    """
    seen = _Seen()
    for frame in frames:
        _look(seen, frame, predictor, ruler=hand_mm > 0)
    found = [*_of_errors(seen), *_of_readings(seen), *_of_rays(seen), *_of_hands(seen, predictor.camera, side, hand_mm)]
    return sorted(found, key=lambda one: ("error", "warning", "fine").index(one.level))


def _look(seen: _Seen, frame: Frame, predictor: Predictor, *, ruler: bool) -> None:
    seen.frames += 1
    try:
        if isinstance(frame.depth, Dor3dError):
            raise frame.depth
        predictor.checked(frame.depth)
    except Dor3dError as error:
        seen.errors.append((frame.name, error))
        return
    camera = predictor.camera
    grid = coarse_grid(camera, frame.depth.shape[1], frame.depth.shape[0])
    z = grid.of(in_mm(frame.depth, camera))
    seen.empty.append(float((z == 0).mean()))
    if seen.before is not None and seen.before.shape == z.shape:
        _compare(seen, seen.before, z)
    seen.before = z
    test = plane_test(z, _rays(camera, grid.columns, grid.rows))
    if test is not None:
        seen.bowls.append(test.are_distances)
    hands = [hand for hand in predictor(frame.depth) if hand.confidence >= _TRUSTED]
    seen.hands += hands
    seen.holes += [_holes(frame.depth, hand) for hand in hands]
    if ruler and predictor.joints == JOINTS:
        unit_mm = predictor.checked(frame.depth)
        seen.lengths += [lengths(predictor, frame.depth, unit_mm, hand) for hand in hands]


def _compare(seen: _Seen, before: Float[ndarray, "h w"], z: Float[ndarray, "h w"]) -> None:
    """Noise and flicker between two frames, if one follows the other."""
    both, either = (z > 0) & (before > 0), (z > 0) | (before > 0)
    apart = np.abs(z - before)[both]
    rests = apart < _RESTS[0] + _RESTS[1] * z[both]
    if both.sum() < 100 or rests.mean() < _ALIKE or both.sum() < 0.5 * either.sum():
        return
    seen.noise.append(float(np.median(apart[rests] / z[both][rests])))
    # a reading that is missing in the midst of others is no motion
    within = cv2.boxFilter(both.astype(np.float32), -1, (3, 3)) > 0.5
    seen.flicker.append(float((either & ~both & within).sum() / both.sum()))


def _holes(depth: ndarray, hand: Hand) -> float:
    """Share of what a hand covers that has no reading."""
    mask = np.zeros(depth.shape, np.uint8)
    palm = hand.joints_px[list(PALM_JOINTS)] if len(hand.joints_px) == len(JOINTS) else hand.joints_px
    hull = cv2.convexHull(np.clip(palm, -1e4, 1e4).round().astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1)
    covered = depth[mask > 0]
    return float((covered == 0).mean()) if covered.size else 1.0


def _rays(camera: Pinhole, columns: ndarray, rows: ndarray) -> Float[ndarray, "h w 2"]:
    return camera.rays(np.stack(np.meshgrid(columns.astype(np.float64), rows.astype(np.float64)), -1))


def _of_errors(seen: _Seen) -> list[Finding]:
    if not seen.frames:
        return [Finding("error", "frames", "There are none.")]
    if not seen.errors:
        return [Finding("fine", "frames", f"{count_of(seen.frames, 'frame')} can be used.")]
    name, error = seen.errors[0]
    level: Level = "error" if len(seen.errors) == seen.frames else "warning"
    about = "camera" if isinstance(error, CameraError) else "frames"
    if isinstance(error, FrameError) and "hand's distance" in str(error):
        about = "unit"
    return [Finding(level, about, f"{len(seen.errors)} of {seen.frames} cannot be used; the first, {name}: {error}")]


def _of_readings(seen: _Seen) -> list[Finding]:
    found: list[Finding] = []
    advice = "Is the scene too near, too far, in sunlight, or lit by a second camera?"
    if seen.holes and np.median(seen.holes) > _HOLES:
        said = f"{np.median(seen.holes):.0%} of the hand has none. {advice}"
        found.append(Finding("warning", "readings", said))
    elif seen.empty and not seen.holes and np.median(seen.empty) > _EMPTY:
        found.append(Finding("warning", "readings", f"{np.median(seen.empty):.0%} of the pixels have none. {advice}"))
    elif seen.empty:
        found.append(Finding("fine", "readings", f"{1 - np.median(seen.empty):.0%} of the pixels have one."))
    if not seen.flicker:
        return found
    flicker, noise = (float(np.percentile(values, _CALM)) for values in (seen.flicker, seen.noise))
    if flicker > _FLICKER:
        advice = "Does another depth camera or a lamp shine on the scene?"
        found.append(Finding("warning", "interference", f"{flicker:.0%} of the readings come and go. {advice}"))
    if noise > _NOISY:
        advice = "Come nearer, or turn on the camera's own filters; does another camera shine on the scene?"
        found.append(Finding("warning", "noise", f"What rests trembles by {noise:.1%} of its distance. {advice}"))
    elif flicker <= _FLICKER:
        found.append(Finding("fine", "noise", f"What rests trembles by {noise:.2%} of its distance."))
    return found


def _of_rays(seen: _Seen) -> list[Finding]:
    if not seen.bowls:
        return []
    if np.mean(seen.bowls) > 0.5:
        said = "Walls are bowls: these are distances along the rays. Give depths along the viewing axis instead."
        return [Finding("error", "depth", f"{said} (z = distance / sqrt(1 + x^2 + y^2) for the ray (x, y, 1)).")]
    return [Finding("fine", "depth", "Walls are flat: these are depths along the viewing axis.")]


def _of_hands(seen: _Seen, camera: Pinhole, side: str | None, hand_mm: float) -> list[Finding]:
    usable, hands = seen.frames - len(seen.errors), seen.hands
    if not usable:
        return []
    if not hands:
        said = "None was found that can be trusted. Is one in the frames, 0.2 to 1.5 m away? Is the unit right?"
        return [Finding("warning", "hand", said)]
    z = float(np.median([hand.joints_mm[:, 2].mean() for hand in hands]))
    said = f"{count_of(len(hands), 'hand')} in {count_of(usable, 'frame')}, {z:.0f} mm away."
    found = [Finding("fine" if 2 * len(hands) > usable else "warning", "hand", said)]
    pixel = z / max(camera.fx, camera.fy)
    if pixel > _COARSE_MM:
        said = f"A pixel covers {pixel:.1f} mm at the hand. Come nearer, or choose a higher resolution."
        found.append(Finding("warning", "resolution", said))
    if not _NEAR_MM <= z <= _FAR_MM:
        said = f"Hands are {z:.0f} mm away; what is known of joints is from {_NEAR_MM:.0f} to {_FAR_MM:.0f} mm."
        found.append(Finding("warning", "distance", said))
    return found + _of_length(hands, seen.lengths, hand_mm) + _of_side(hands, side)


def _of_length(hands: Sequence[Hand], by_cameras: Sequence[ndarray], hand_mm: float) -> list[Finding]:
    """Of hands that look straight in the frames: a length is measured along the middle finger."""
    if hands[0].joints_mm.shape[0] != len(JOINTS):
        return []
    length = float(np.median([hand_length(hand.joints_mm) for hand in hands]))
    about = f"The hand is {length:.0f} mm long"
    if hand_mm:
        surest = np.argsort([-hand.confidence for hand in hands])[: (len(hands) + 1) // 2]
        ratio = focal_ratio(np.stack(by_cameras)[surest], hand_mm)
        if ratio is not None and not 1 / _OFF < ratio < _OFF:
            said = f"{about}, not {hand_mm:.0f}: focal lengths (or the depth unit) seem to be wrong."
            said += f" With {ratio:.2f} times the focal lengths the hand would fit."
            return [Finding("error", "scale", said)]
        return [Finding("fine", "scale", f"{about}; measured: {hand_mm:.0f}.")]
    if not _HAND_MM[0] <= length <= _HAND_MM[1]:
        said = f"{about}, which none is: focal lengths or depth unit seem to be wrong. --hand-mm tells more."
        return [Finding("warning", "scale", said)]
    return [Finding("fine", "scale", f"{about} (--hand-mm compares it with a ruler's).")]


def _of_side(hands: Sequence[Hand], side: str | None) -> list[Finding]:
    if side is None:
        return []
    other = float(np.mean([hand.handedness != side for hand in hands]))
    if other >= _SIDE:
        said = f"{other:.0%} of the hands look like the other hand: the images seem to be mirrored. Mirror them back."
        return [Finding("error", "mirror", said)]
    if other > 1 - _SIDE:
        return [Finding("warning", "mirror", f"{other:.0%} of the hands look like the other hand; --hand fixes it.")]
    return [Finding("fine", "mirror", f"{1 - other:.0%} of the hands look like a {side} one.")]
