"""The predictor: a depth frame in, hands in millimetres out. NumPy in, NumPy out; no files, no drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.frames import check_frame, point_in_frame
from dor3d.geometry import Pinhole
from dor3d.predict.find import Finder, make_finder
from dor3d.predict.look import Aim, Look, Looker, Place, View
from dor3d.predict.sights import Sighting, probability
from dor3d.runtime.backends import REFERENCE, open_backend
from dor3d.runtime.base import CropModel

Side = Literal["auto", "left", "right"]
BELIEVED: Final = 0.5  # confidence of a hand that was looked for (docs/own-camera.md has what it costs)
_SPREAD: Final = 8.0  # log-odds of a side for each of its spreads that the other side's is larger by
_TINY: Final = 1e-9
_SUREST: Final = 6.0  # log-odds of a side


@dataclass(frozen=True)
class Hand:
    """One hand.

    Attributes:
        handedness: "left" or "right".
        handedness_confidence: that it is that one, 0.5 for a guess; 1 where the user said it.
        confidence: 0 to 1, that there is a hand and that its joints are right; falls with the mean of `std_mm`, and
            where hands were looked for with the locator's own doubts.
        center_mm: centre of the crop that the joints were read from (3), camera frame.
        joints_mm: [A, 3] in the camera frame, in the order of the model's joints.
        joints_px: [A, 2] where these project in the frame.
        std_mm: [A] root mean square over x, y and z of each joint's standard deviation.
    """

    handedness: Literal["left", "right"]
    handedness_confidence: float
    confidence: float
    center_mm: Float[ndarray, "3"]
    joints_mm: Float[ndarray, "a 3"]
    joints_px: Float[ndarray, "a 2"]
    std_mm: Float[ndarray, "a"]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, rounded to 0.001 mm and pixels."""
        return {
            "handedness": self.handedness,
            "handedness_confidence": round(self.handedness_confidence, 4),
            "confidence": round(self.confidence, 4),
            "center_mm": np.round(self.center_mm, 3).tolist(),
            "joints_mm": np.round(self.joints_mm, 3).tolist(),
            "joints_px": np.round(self.joints_px, 3).tolist(),
            "std_mm": np.round(self.std_mm, 3).tolist(),
        }


class Predictor:
    """Finds the hand in depth frames of one camera.

    Args:
        model: a shipped name, an ONNX file, or any `CropModel`.
        camera: a preset's name, "FX,FY,CX,CY", a JSON file, or a Pinhole.
        hand: "right", "left", or "auto": both are tried, and the one that the network is surer of stays.
        cube_mm: in-plane side and depth of the crop's cube, if not the model's own; the joints cannot leave it.
        passes: how often the network looks; each look after the first is centred on the joints of the one before,
            and shows the hand pointing upwards to networks that know it so best.
        backend: what runs a model that is given by its name or file, as `dor3d.runtime.backends` names it; `auto` tries
            those that are installed, once, which takes some seconds.
        threads: of the networks; None: one a core.
        locator: what looks for hands where none is given: `auto`, the network that ships or else the rule; `rule`; a
            locator's ONNX file; or any `Finder`.
        least_confidence: of a hand that was looked for, 0 to 1; less sure ones are left out. A hand whose centre is
            given is always told.

    Raises ModelError, CameraError or InputError.
    """

    def __init__(
        self,
        model: str | Path | CropModel = "compact",
        camera: str | Pinhole = "d435",
        *,
        hand: Side = "auto",
        cube_mm: float | tuple[float, float] | None = None,
        passes: int = 2,
        backend: str = REFERENCE,
        threads: int | None = None,
        locator: str | Path | Finder = "auto",
        least_confidence: float = BELIEVED,
    ) -> None:
        if hand not in get_args(Side):
            raise InputError("Unknown hand", got=hand, expected=" or ".join(get_args(Side)))
        if passes < 1:
            raise InputError("There must be at least one pass", got=passes)
        if not 0 <= least_confidence <= 1:
            raise InputError("A confidence lies between 0 and 1", got=least_confidence)
        self.camera = camera if isinstance(camera, Pinhole) else Pinhole.parse(camera)
        self.model: CropModel = open_backend(model, backend, threads) if isinstance(model, (str, Path)) else model
        self.finder = make_finder(locator, threads) if isinstance(locator, (str, Path)) else locator
        self.hand: Side = hand
        self.passes, self.least_confidence = passes, least_confidence
        self.cube_mm = _cube(cube_mm, self.model.card.cube_mm)
        self.looker = Looker(self.model, self.camera, self.cube_mm)

    @property
    def network_s(self) -> float:
        """Time spent in the network so far."""
        return self.looker.network_s

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints, in the order of the output."""
        return self.model.card.joints

    def __call__(
        self, depth: Num[ndarray, "h w"], center_mm: Sequence[float] | Float[ndarray, "3"] | None = None
    ) -> list[Hand]:
        """The hands in a frame; an empty list when there is none.

        Args:
            depth: integers in the camera's depth unit or floating-point values in mm; 0 means no reading.
            center_mm: where the first crop is centred (x, y, z in mm); without it the hand is looked for. Later
                passes follow the joints either way.

        Raises FrameError for what is no depth frame, CameraError for one of another camera's size, and InputError for a
        centre off the image.
        """
        (hands,) = self.batch([depth], [center_mm])
        return hands

    def batch(
        self,
        depths: Sequence[Num[ndarray, "h w"]],
        centers_mm: Sequence[Sequence[float] | Float[ndarray, "3"] | None] | None = None,
    ) -> list[list[Hand]]:
        """The hands in each of some frames of the camera, as of one; the network is asked for all of them at once.

        Args:
            depths: of the frames.
            centers_mm: of each frame, or None where the hand is to be looked for.

        Raises what one frame does; then none has an answer.
        """
        given = [None] * len(depths) if centers_mm is None else list(centers_mm)
        frames = [(depth, self.checked(depth)) for depth in depths]
        sights: list[tuple[int, Sighting | None, Place]] = []
        for i, ((depth, unit), center) in enumerate(zip(frames, given, strict=True)):
            if center is None:
                sights += [(i, where, where.center_mm) for where in self.find(depth, unit)]
            else:
                point_in_frame(center, self.camera, depth.shape)
                sights.append((i, None, (float(center[0]), float(center[1]), float(center[2]))))
        hands: list[list[Hand]] = [[] for _ in frames]
        looks = self.looks([(*frames[i], start) for i, _, start in sights])
        for (i, where, _), seen in zip(sights, looks, strict=True):
            if seen is not None and (hand := self._believed(where, *seen)) is not None:
                hands[i].append(hand)
        return hands

    def _believed(self, where: Sighting | None, look: Look, right: float) -> Hand | None:
        """The hand that was seen where it was said to be, or where it was sighted if that and it are sure enough."""
        hand = hand_of(look, right)
        if where is None:
            return hand
        sure = belief(where, look)
        return replace(hand, confidence=sure) if sure >= self.least_confidence else None

    def checked(self, depth: Num[ndarray, "h w"]) -> float:
        """Millimetres per unit of a frame; raises FrameError or CameraError for one that cannot be used."""
        check_frame(depth, self.camera)
        return 1.0 if depth.dtype.kind == "f" else self.camera.depth_unit_mm

    def find(self, depth: Num[ndarray, "h w"], unit_mm: float) -> list[Sighting]:
        """Where hands may be."""
        return self.finder(depth, self.camera, unit_mm)

    def looks(self, starts: Sequence[tuple[Num[ndarray, "h w"], float, Place]]) -> list[tuple[Look, float] | None]:
        """Look `passes` times, from each of these starts on: the last look, and the log-odds of a right hand in all.

        None where there is nothing to be seen.

        Args:
            starts: frames, mm per unit of theirs, and where the first crop is centred.
        """
        known = {"auto": 0.0, "right": math.inf, "left": -math.inf}[self.hand]
        views = {i: View(depth, unit, Aim(start, self.hand == "left")) for i, (depth, unit, start) in enumerate(starts)}
        sides, found = dict.fromkeys(views, known), dict[int, tuple[Look, float]]()
        for _ in range(self.passes):
            seen = self._see(list(views.values()), [sides[i] for i in views])
            found = {i: one for i, one in zip(views, seen, strict=True) if one is not None}
            sides = {i: right for i, (_, right) in found.items()}
            views = {i: views[i]._replace(aim=self.looker.after(look)) for i, (look, _) in found.items()}
        return [found.get(i) for i in range(len(starts))]

    def _see(self, views: Sequence[View], sides: Sequence[float]) -> list[tuple[Look, float] | None]:
        """The next look at each, and the log-odds of a right hand by then; None where it shows nothing."""
        if self.hand != "auto":
            looks = zip(self.looker.many(views), sides, strict=True)
            return [None if look is None else (look, side) for look, side in looks]
        seen: list[tuple[Look, float] | None] = []
        for pair, before in zip(self.looker.both(views), sides, strict=True):
            right = 0.0 if pair is None else min(max(before + right_of(pair), -_SUREST), _SUREST)
            seen.append(None if pair is None else (pair[0] if right >= 0 else pair[1], right))
        return seen


def hand_of(look: Look, right: float) -> Hand:
    """What was seen, as users get it.

    Args:
        look: at the hand.
        right: log-odds of a right hand; infinite where it is known.
    """
    camera, mine = look.box.camera, -right if look.box.mirrored else right
    return Hand(
        "left" if look.box.mirrored else "right",
        probability(mine),
        look.confidence,
        np.array(look.box.center_mm),
        look.joints_mm,
        camera.project(look.joints_mm),
        look.std_mm,
    )


def belief(where: Sighting, look: Look) -> float:
    """That there is a hand, and its joints are right: what was sighted and what was seen there, as if independent."""
    odds = (sure / max(1 - sure, _TINY) for sure in (where.confidence, look.confidence))
    return probability(math.log(max(math.prod(odds), _TINY)))


def right_of(pair: tuple[Look, Look]) -> float:
    """Log-odds of a right hand from a look for one and one for a left hand at the same place.

    What the network tells of the two is averaged; one that does not tell is surer of the joints of the right side.
    """
    plain, mirrored = pair
    if plain.right is not None and mirrored.right is not None:
        told = (plain.right + mirrored.right) / 2
    else:
        spreads = float(plain.std_mm.mean()), float(mirrored.std_mm.mean())
        told = _SPREAD * (spreads[1] - spreads[0]) / max(min(spreads), 1e-6)
    return min(max(told, -_SUREST), _SUREST)


def _cube(given: float | tuple[float, float] | None, own: tuple[float, float]) -> tuple[float, float]:
    if given is None:
        return own
    cube = (float(given), float(given)) if isinstance(given, (int, float)) else (float(given[0]), float(given[1]))
    if not all(np.isfinite(side) and 50 <= side <= 2000 for side in cube):
        raise InputError("The cube cannot hold a hand", got=cube, expected="sides of 50 to 2000 mm")
    return cube
