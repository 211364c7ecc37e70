"""Augmentation: what it may change, and that it depends on (seed, epoch, index) alone."""

import numpy as np
import pytest
from numpy import ndarray

from dor3d.data.augment import STRONG, Augmentation, change_box, change_image, generator
from dor3d.errors import InputError
from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.roll import upright_turn

HAND = np.random.default_rng(0).normal((10.0, -20.0, 700.0), 50.0, (21, 3))
HAND[9] = HAND[0] + (60.0, -60.0, 20.0)  # where the middle finger begins
BOX = CropBox(Pinhole.preset("nyu"), (10.0, -20.0, 700.0), (300.0, 300.0), 64)


def draw(seed: int, epoch: int, index: int, how: Augmentation = STRONG) -> tuple[CropBox, ndarray]:
    rng = generator(seed, epoch, index)
    return change_box(BOX, how, rng, HAND), change_image(np.zeros((64, 64), np.float32), how, rng)


def test_the_same_sample_of_an_epoch_is_always_changed_alike() -> None:
    (box, image), (again, same) = draw(3, 1, 7), draw(3, 1, 7)
    assert box == again and np.array_equal(image, same)
    others = [draw(3, 1, 8), draw(3, 2, 7), draw(4, 1, 7)]
    assert all(box != other for other, _ in others)


def test_nothing_changes_unless_asked_for() -> None:
    box, image = draw(0, 0, 0, Augmentation())
    assert box == BOX and not image.any()


def test_hands_point_upwards_as_often_as_asked_for() -> None:
    turn, _ = upright_turn(HAND, BOX.camera)
    turns = np.array([draw(0, 0, i, Augmentation(rotation_deg=5.0, upright=0.7))[0].rotation for i in range(300)])
    upright = np.abs((turns - turn + np.pi) % (2 * np.pi) - np.pi) < 0.65
    assert 0.6 < upright.mean() < 0.8 and np.abs(turns[~upright]).max() <= np.radians(5.0)
    assert Augmentation(upright=0.1).room.turned
    with pytest.raises(InputError, match=r"upright 2\.0"):
        Augmentation(upright=2.0)


def test_changes_stay_in_their_ranges_and_reach_them() -> None:
    boxes = [draw(0, 0, i)[0] for i in range(400)]
    turns = np.degrees([box.rotation for box in boxes])
    scales = np.array([box.cube_mm[0] / 300 for box in boxes])
    shifts = np.array([box.center_mm for box in boxes]) - BOX.center_mm
    assert np.abs(turns).max() <= 180 and turns.max() > 170 and turns.min() < -170
    assert scales.min() >= 0.8 and scales.max() <= 1.2 and np.ptp(scales) > 0.38
    assert np.allclose(shifts.std(0), 8, rtol=0.15) and {box.cube_mm[1] for box in boxes} == {300.0}


def test_points_follow_the_box() -> None:
    joints = np.array([[30.0, -40.0, 690.0], [10.0, -20.0, 700.0]])
    box, _ = draw(1, 0, 0)
    assert np.allclose(box.to_camera(box.to_crop(joints)), joints, atol=1e-6)


def test_erasing_and_dropping() -> None:
    only_erased = Augmentation(erase=1.0, erase_share=(0.1, 0.1))
    _, image = draw(0, 0, 0, only_erased)
    rows, columns = np.nonzero(image == 1)
    assert image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()  # one rectangle
    assert 0.06 < (image == 1).mean() < 0.13
    shares = [(draw(0, 0, i, Augmentation(drop_share=0.15))[1] == 1).mean() for i in range(100)]
    assert 0.13 < max(shares) < 0.17 and min(shares) < 0.02


def test_the_given_image_stays_as_it_was() -> None:
    image = np.zeros((64, 64), np.float32)
    change_image(image, Augmentation(erase=1.0, drop_share=0.5), generator(0, 0, 0))
    assert not image.any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": (1.2, 0.8)},
        {"scale": (0.0, 1.0)},
        {"erase": 1.5},
        {"drop_share": -0.1},
        {"erase_share": (0.0, 0.1)},
        {"shift_mm": -1.0},
        {"rotation_deg": -1.0},
    ],
)
def test_ranges_that_make_no_sense(wrong: dict[str, float | tuple[float, float]]) -> None:
    with pytest.raises(InputError):
        Augmentation(**wrong)  # pyright: ignore[reportArgumentType]
