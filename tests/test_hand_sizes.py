"""The versions of the hand's sizes: the first never changes, the second has the same joints in other flesh."""

import hashlib

import cv2
import numpy as np
import pytest
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.hand.contact import MAX_DEPTH_MM, loosen, self_penetration
from dor3d.hand.model import (
    ANGLE_COUNT,
    EDGES,
    HAND_SPHERES,
    SPHERES,
    WEDGES,
    HandShape,
    average_shape,
    hand_joints,
    hand_spheres,
    posed_hand,
    sample_shape,
)
from dor3d.hand.pose import GESTURES, gesture_pose
from dor3d.hand.render import FAR, cast
from dor3d.hand.sizes import SIZES
from dor3d.skeleton import JOINTS

FLAT = np.zeros(ANGLE_COUNT)
VERSION_1 = "c0910ef595a79924"  # of what was drawn before there were versions


def spheres(shape: HandShape, pose: ndarray = FLAT) -> ndarray:
    return hand_spheres(shape, pose, hand_joints(shape, pose))


def drawn(version: int, count: int) -> list[HandShape]:
    """People, the same in both versions but for what version 2 varies otherwise."""
    return [sample_shape(np.random.default_rng(person), version) for person in range(count)]


def palmar(hands: list[ndarray], name: str) -> ndarray:
    """How far a sphere reaches out of the palm [N] (mm)."""
    return np.array([hand[SPHERES.index(name), 2] + hand[SPHERES.index(name), 3] for hand in hands])


def test_version_1_is_what_it_was() -> None:
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    for shape in (average_shape(), *(sample_shape(rng) for _ in range(50))):
        for pose in (FLAT, GESTURES["relaxed"]):
            digest.update(np.round(spheres(shape, pose) * 100).astype(np.int64).tobytes())
    assert digest.hexdigest().startswith(VERSION_1)


def test_version_1_is_the_default() -> None:
    rng, other = np.random.default_rng(4), np.random.default_rng(4)
    for a, b in ((average_shape(), average_shape(1)), (sample_shape(rng), sample_shape(other, 1))):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert rng.random() == other.random()


@pytest.mark.parametrize("version", [0, len(SIZES) + 1])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(InputError, match=f"got {version}"):
        average_shape(version)
    with pytest.raises(ValueError, match="version"):
        sample_shape(np.random.default_rng(0), version)


@pytest.mark.parametrize("name", ["flat", "fist", "relaxed", "pinch"])
def test_versions_have_the_same_joints(name: str) -> None:
    one, two = (hand_joints(average_shape(version), GESTURES[name]) for version in (1, 2))
    assert np.abs(one - two).max() < 0.2
    means = [np.mean([hand_joints(shape, GESTURES[name]) for shape in drawn(version, 200)], 0) for version in (1, 2)]
    assert np.linalg.norm(means[0] - means[1], axis=1).max() < 1.0


def test_the_palm_of_version_2_is_hollow_between_its_cushions() -> None:
    (flat,), (hollow,) = ([spheres(average_shape(version))] for version in (1, 2))
    for cushion in ("carpal_r", "carpal_u", "hypothenar", "thenar"):
        assert palmar([hollow], cushion) > palmar([flat], cushion) + 1.5
    for middle in ("pad_middle", "pad_ring"):
        assert palmar([hollow], middle) < palmar([flat], middle) - 3.5


def test_people_of_version_2_vary_as_hands_do() -> None:
    """Relief of the palm some millimetres around the average; fingers and wrist as thick as hands are."""
    hands = [spheres(shape) for shape in drawn(2, 800)]
    length = np.array([hand[JOINTS.index("middle_tip"), 1] for hand in hands]) / 179.1
    relief = (palmar(hands, "carpal_u") - palmar(hands, "pad_middle")) / length
    assert 12 < relief.mean() < 20 and 2.0 < relief.std() < 5.0
    assert (relief > 0).all()
    ball = palmar(hands, "thenar") / length
    assert 24 < ball.mean() < 36 and 2.0 < ball.std() < 5.0
    finger = 2 * np.array([hand[JOINTS.index("index_dip"), 3] for hand in hands]) / length
    assert 13 < finger.mean() < 16 and 1.2 < finger.std() < 2.2  # Garrett: 14 to 18 mm broad
    assert finger.min() > 8.5 and finger.max() < 21
    wrist = np.array([np.ptp([hand[k, 0] + s * hand[k, 3] for k, s in ((21, 1), (22, -1))]) for hand in hands])
    assert 44 < (wrist / length).mean() < 58


def test_only_the_flesh_of_version_2_varies_more() -> None:
    spread = [np.std([spheres(shape)[:HAND_SPHERES, 2] for shape in drawn(version, 400)], 0) for version in (1, 2)]
    for name in ("carpal_r", "hypothenar", "thenar", "pad_middle", "pad_ring"):
        assert spread[1][SPHERES.index(name)] > spread[0][SPHERES.index(name)]
    joints = slice(0, len(JOINTS))
    assert np.allclose(spread[0][joints], spread[1][joints], atol=0.8)


@pytest.mark.parametrize("name", GESTURES)
def test_gestures_fit_the_average_hand_of_version_2(name: str) -> None:
    shape = average_shape(2)
    assert self_penetration(shape, gesture_pose(name, shape)) <= MAX_DEPTH_MM


def test_parts_of_version_2_overlap_no_more_than_those_of_version_1() -> None:
    left, loosened = [], []
    for version in (1, 2):
        depths = []
        for person, shape in enumerate(drawn(version, 220)):
            pose = list(GESTURES.values())[person % len(GESTURES)].copy()
            loosened.append(loosen(shape, pose))
            depths.append(max(self_penetration(shape, pose), 0.0))
        left.append(np.mean(depths))
    assert np.mean(loosened[220:]) >= np.mean(loosened[:220])
    assert left[1] <= left[0]


@pytest.mark.parametrize("name", ["flat", "spread"])
def test_the_skin_of_version_2_has_no_holes(name: str) -> None:
    for shape in (average_shape(2), *drawn(2, 4)):
        for view in (np.diag([1.0, -1.0, -1.0]), np.diag([-1.0, -1.0, 1.0])):  # palm, back
            hand = posed_hand(shape, gesture_pose(name, shape), view)[1]
            hand[:, 2] += 600.0
            rays = np.linspace(-0.25, 0.25, 400)
            depth, owner = np.full((400, 400), FAR), np.full((400, 400), -1)
            cast(hand, EDGES, WEDGES, rays, rays, depth, owner)
            palm = (depth < FAR)[200:].astype(np.uint8)  # fingers may close gaps between them
            _, tree = cv2.findContours(palm, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
            assert (tree[0, :, 3] < 0).all()


def test_the_wrist_of_version_2_does_not_stand_out() -> None:
    """The joint's own sphere, which belongs to no wedge, lies within the two beside it."""
    for shape in (average_shape(2), *drawn(2, 200)):
        hand = spheres(shape)
        for side in (-1.0, 1.0):
            beside = (side * hand[21:23, 2] + hand[21:23, 3]).max()
            assert hand[0, 3] < beside + 0.6
