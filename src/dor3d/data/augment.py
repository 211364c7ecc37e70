"""Augmentation: another CropBox, then faults in the crop. A pure function of (seed, epoch, index).

Turning, scaling and shifting change the box and not the image, so that raw pixels are resampled once; erasing and
dropping pixels change what the box shows. Ranges are those that A2J, TriHorn-Net and V2V-PoseNet use.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from dor3d.data.window import Room
from dor3d.errors import InputError
from dor3d.geometry import CropBox
from dor3d.geometry.roll import told_turn

MOST_SD: Final = 3.0  # a shift beyond it is cut there, so that a window of the frame can hold every crop
FAR: Final = 1.0  # what the network sees where there is no reading


@dataclass(frozen=True)
class Augmentation:
    """How far crops may be changed; the defaults change nothing.

    Attributes:
        rotation_deg: largest turn in the image plane, either way.
        upright: share of hands that are turned to point upwards, about as well as a first look can tell, instead.
        scale: smallest and largest factor of the cube's in-plane side: above 1 the hand looks smaller.
        shift_mm: standard deviation of the centre's shift along each axis; three of them are the most.
        erase: probability that a rectangle is erased.
        erase_share: smallest and largest share of the crop that it covers.
        drop_share: largest share of pixels that lose their reading.
    """

    rotation_deg: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shift_mm: float = 0.0
    erase: float = 0.0
    erase_share: tuple[float, float] = (0.02, 0.2)
    drop_share: float = 0.0
    upright: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high:
            raise InputError("Scales must be positive, the smaller first", got=self.scale)
        if not all(0 <= share <= 1 for share in (self.erase, self.drop_share, self.upright)):
            got = f"erase {self.erase}, drop_share {self.drop_share}, upright {self.upright}"
            raise InputError("Shares must lie in [0, 1]", got=got)
        if not 0 < self.erase_share[0] <= self.erase_share[1] <= 1:
            raise InputError("The erased share must lie in (0, 1], the smaller first", got=self.erase_share)
        if self.shift_mm < 0 or self.rotation_deg < 0:
            raise InputError("Ranges must not be negative", got=f"{self.shift_mm} mm, {self.rotation_deg} degrees")

    @property
    def room(self) -> Room:
        """What a window must hold for every crop that this can ask for."""
        return Room(self.scale[1], MOST_SD * self.shift_mm, max(self.rotation_deg, self.upright) > 0)


STRONG: Final = Augmentation(180.0, (0.8, 1.2), 8.0, erase=0.5, drop_share=0.15)


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch, whatever worker asks for them."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, index))))


def change_box(box: CropBox, how: Augmentation, rng: np.random.Generator, joints_mm: Float[ndarray, "a 3"]) -> CropBox:
    """The box turned, scaled and shifted; draws the same number of values whatever the ranges are.

    Args:
        box: that is changed.
        how: and by how much.
        rng: of this sample.
        joints_mm: of the hand; those of `dor3d.skeleton.JOINTS` where hands are to point upwards.
    """
    turn = math.radians(rng.uniform(-how.rotation_deg, how.rotation_deg))
    scale = rng.uniform(*how.scale)
    x, y, z = (how.shift_mm * np.clip(rng.standard_normal(3), -MOST_SD, MOST_SD)).tolist()
    if how.upright and rng.random() < how.upright:
        turn = told_turn(joints_mm, box.camera, rng)
    return box.augmented(rotation=turn, scale=scale, shift_mm=(x, y, z))


def change_image(image: Float[ndarray, "s s"], how: Augmentation, rng: np.random.Generator) -> Float[ndarray, "s s"]:
    """A normalised crop with a rectangle erased and pixels dropped; the given one stays as it was."""
    changed = image.copy()
    changed[lost_pixels(len(image), how, rng)] = FAR
    return changed


def lost_pixels(size: int, how: Augmentation, rng: np.random.Generator) -> Bool[ndarray, "s s"]:
    """Which pixels of a crop are erased or dropped."""
    lost = np.zeros((size, size), bool)
    if rng.random() < how.erase:
        lost[_rectangle(size, how.erase_share, rng)] = True
    if how.drop_share:
        share = rng.uniform(0, how.drop_share)
        lost |= np.frombuffer(rng.bytes(2 * size * size), np.uint16).reshape(size, size) < round(65536 * share)
    return lost


def _rectangle(size: int, share: tuple[float, float], rng: np.random.Generator) -> tuple[slice, slice]:
    area, aspect = rng.uniform(*share) * size * size, math.exp(rng.uniform(-1, 1))
    height = min(size, max(1, round(math.sqrt(area * aspect))))
    width = min(size, max(1, round(math.sqrt(area / aspect))))
    top, left = (int(rng.integers(0, size - side + 1)) for side in (height, width))
    return slice(top, top + height), slice(left, left + width)
