"""One look of a network at a place in a frame: a crop, its joints, and what else the network says of it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.geometry.roll import upright_turn
from dor3d.predict.sights import probability
from dor3d.runtime.base import CropModel, CropOutput

Place = tuple[float, float, float]
_HALF_SURE_MM: Final = 15.0  # mean standard deviation at which the confidence is one half
_SHORT_MM: Final = 15.0  # of a palm in the image plane, which then tells no roll
_NEAREST_MM: Final = 20.0  # no joint and no crop's centre is nearer to the camera
_LEAST_SURFACE: Final = 0.005  # share of a crop that must show something inside the cube


class Aim(NamedTuple):
    """What a look is at.

    Attributes:
        center_mm: where the crop is centred.
        mirrored: whether a left hand is to be seen.
        rotation: of the crop (rad), as `CropBox` has it.
    """

    center_mm: Place
    mirrored: bool = False
    rotation: float = 0.0


class View(NamedTuple):
    """A frame, and what a look at it is at.

    Attributes:
        depth: [H, W] in any unit.
        unit_mm: mm per unit.
        aim: of the look.
    """

    depth: ndarray
    unit_mm: float
    aim: Aim


class Look(NamedTuple):
    """What a network saw.

    Attributes:
        box: the crop that it looked at; mirrored where a left hand was to be seen.
        joints_mm: [A, 3] in the camera frame.
        std_mm: [A] root mean square over x, y and z of each joint's standard deviation.
        hand: probability that there is one; 1 from networks that do not tell.
        right: log-odds that what was there is a right hand; None from networks that do not tell.
    """

    box: CropBox
    joints_mm: Float[ndarray, "a 3"]
    std_mm: Float[ndarray, "a"]
    hand: float
    right: float | None

    @property
    def confidence(self) -> float:
        """0 to 1: that there is a hand, and how sure the network is of its joints."""
        return self.hand * confidence(float(self.std_mm.mean()))

    @property
    def middle_mm(self) -> Place:
        """Where the next crop is centred."""
        return _middle(self.joints_mm)


class Looker:
    """Crops frames of one camera and asks a network.

    Args:
        model: what is asked.
        camera: of the frames.
        cube_mm: in-plane side and depth of the crops' cube.
    """

    def __init__(self, model: CropModel, camera: Pinhole, cube_mm: tuple[float, float]) -> None:
        self.model, self.camera, self.cube_mm = model, camera, cube_mm
        self.network_s = 0.0  # time spent in the network so far

    def both(self, views: Sequence[View]) -> list[tuple[Look, Look] | None]:
        """A look for each hand at each, whichever its aim says, right ones first; None where it shows nothing."""
        pairs = [[self.box(view.aim._replace(mirrored=mirrored)) for mirrored in (False, True)] for view in views]
        crops = [pair[0].image(view.depth, view.unit_mm) for pair, view in zip(pairs, views, strict=True)]
        # a mirrored crop is the crop, mirrored: p -> S - p sends column j to column S - 1 - j
        found = self._look_at([(pair, [crop, crop[:, ::-1]]) for pair, crop in zip(pairs, crops, strict=True)])
        return [None if looks is None else (looks[0], looks[1]) for looks in found]

    def many(self, views: Sequence[View]) -> list[Look | None]:
        """A look at each; None where it shows nothing."""
        boxes = [self.box(view.aim) for view in views]
        crops = [box.image(view.depth, view.unit_mm) for box, view in zip(boxes, views, strict=True)]
        found = self._look_at([([box], [crop]) for box, crop in zip(boxes, crops, strict=True)])
        return [None if looks is None else looks[0] for looks in found]

    def after(self, look: Look) -> Aim:
        """Where the next look is; see `box_after`."""
        box = box_after(look.box, look.joints_mm, upright=self.model.card.upright)
        return Aim(box.center_mm, box.mirrored, box.rotation)

    def box(self, aim: Aim) -> CropBox:
        """The crop that an aim is."""
        size = self.model.card.size
        return CropBox(self.camera, aim.center_mm, self.cube_mm, size, aim.rotation, aim.mirrored)

    def _look_at(self, views: Sequence[tuple[list[CropBox], list[ndarray]]]) -> list[list[Look] | None]:
        """Looks at crops of the same content, for each such; None where it shows nothing. The network is asked once."""
        some = [i for i, (_, crops) in enumerate(views) if shows_something(crops[0])]
        looks: list[list[Look] | None] = [None] * len(views)
        if some:
            boxes = [box for i in some for box in views[i][0]]
            found = iter(self._read(boxes, self._run(np.stack([crop for i in some for crop in views[i][1]]))))
            for i in some:
                looks[i] = list(islice(found, len(views[i][0])))
        return looks

    def _run(self, crops: Float[ndarray, "b s s"]) -> CropOutput:
        begin = time.perf_counter()
        output = self.model(crops[:, None])
        self.network_s += time.perf_counter() - begin
        return output

    def _read(self, boxes: Sequence[CropBox], output: CropOutput) -> list[Look]:
        kinds = [None] * len(boxes) if output.kind is None else output.kind
        parts = zip(boxes, output.points, output.sigma, kinds, strict=True)
        return [_look(box, points, sigma, kind) for box, points, sigma, kind in parts]


def box_after(box: CropBox, joints_mm: Float[ndarray, "a 3"], *, upright: bool) -> CropBox:
    """The crop of the next look: centred on what was seen, and turned so that the hand points upwards.

    The turn stays as it is where the hand points at the camera or away.

    Args:
        box: of this look.
        joints_mm: that it saw, camera frame.
        upright: whether the network wants it so; of others crops are never turned.
    """
    turn = box.rotation
    if upright:
        wanted, length = upright_turn(joints_mm, box.camera)
        if length > _SHORT_MM:
            turn = wanted
    return replace(box, center_mm=_middle(joints_mm), rotation=turn)


def _middle(joints_mm: Float[ndarray, "a 3"]) -> Place:
    """Of a hand, never too near to the camera."""
    x, y, z = center_of_joints(joints_mm).tolist()
    return x, y, max(z, _NEAREST_MM)


def _look(
    box: CropBox, points: Float[ndarray, "a 3"], sigma: Float[ndarray, "a 3"], kind: Float[ndarray, "2"] | None
) -> Look:
    front = np.array([-np.inf, -np.inf, _NEAREST_MM - box.near_mm])
    joints = box.to_camera(np.maximum(points, front))  # a cube may reach behind the camera, a hand does not
    # a pixel of the crop is worth more mm behind the centre than before it: rays spread
    plane = box.mm_per_pixel * joints[:, 2:] / box.center_mm[2]
    std = np.sqrt((np.square(sigma[:, :2] * plane).sum(-1) + np.square(sigma[:, 2])) / 3)
    if kind is None:
        return Look(box, joints, std, 1.0, None)
    hand, right = kind.tolist()
    return Look(box, joints, std, probability(hand), -right if box.mirrored else right)


def shows_something(crop: Float[ndarray, "s s"]) -> bool:
    """Whether a normalised crop has any surface inside its cube worth a look."""
    return bool((crop < 1).mean() >= _LEAST_SURFACE)


def confidence(std_mm: float) -> float:
    """Between 1 (no spread) and 0, falling with the mean standard deviation (mm): 1 / (1 + (std / 15)^2)."""
    return 1.0 / (1.0 + (std_mm / _HALF_SURE_MM) ** 2)
