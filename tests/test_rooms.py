"""Whole frames of rooms: how many hands, what is known of each, and that nothing is where it cannot be."""

import numpy as np
import pytest

from dor3d.data.synthetic import generator
from dor3d.geometry import Pinhole
from dor3d.hand.around import NEAREST_MM
from dor3d.hand.room import RoomConfig, draw_room
from dor3d.hand.scene import exact_depth, image_size, read_sensor

CONFIG = RoomConfig()


def _rooms(count, seed=0, config=CONFIG):
    return [draw_room(np.random.default_rng((seed, i)), config) for i in range(count)]


def test_rooms_hold_as_many_hands_as_wanted():
    counts = [len(room.hands) for room in _rooms(80)]
    assert {0, 1, 2} == set(counts)
    assert all(not room.hands for room in _rooms(5, config=RoomConfig(hands=(1.0, 0.0, 0.0))))
    assert np.mean([len(room.hands) for room in _rooms(20, config=RoomConfig(hands=(0.0, 0.0, 1.0)))]) > 1.7


def test_either_hand_comes_as_often():
    sides = [hand.is_right for room in _rooms(120) for hand in room.hands]
    assert 0.35 < np.mean(sides) < 0.65


def test_hands_are_where_their_joints_say():
    """The surface at a joint that is seen lies just before it."""
    checked = 0
    for room in _rooms(25, 1, RoomConfig(hands=(0.0, 0.3, 0.7))):
        for hand in room.hands:
            if hand.seen < 9:
                continue
            uv = room.scene.camera.project(hand.joints_mm)
            first = np.array([exact_depth(room.scene, uv[k, :1], uv[k, 1:])[0][0, 0] for k in range(21)])
            before = hand.joints_mm[:, 2] - first
            assert np.sum((before > 0) & (before < 32.0)) >= hand.seen
            checked += 1
    assert checked > 10


def test_how_much_is_seen_of_a_hand():
    """Furniture hides some hands wholly and leaves most of them in sight."""
    seen = np.array([hand.seen for room in _rooms(120, 2) for hand in room.hands])
    assert (seen >= 6).mean() > 0.75
    assert seen.min() < 6


def test_nothing_is_too_near_to_the_camera():
    for room in _rooms(40, 3):
        spheres = room.scene.spheres
        assert not len(spheres) or (spheres[:, 2] - spheres[:, 3]).min() > NEAREST_MM - 1e-6


def test_two_hands_do_not_pass_through_each_other():
    for room in _rooms(20, 4, RoomConfig(hands=(0.0, 0.0, 1.0))):
        if len(room.hands) == 2:
            a, b = (hand.joints_mm for hand in room.hands)
            assert np.linalg.norm(a[:, None] - b[None], axis=-1).min() > 8.0


def test_a_room_is_a_pure_function_of_its_generator():
    for a, b in zip(_rooms(10, 5), _rooms(10, 5), strict=True):
        assert np.array_equal(a.scene.spheres, b.scene.spheres)
        assert [hand.is_right for hand in a.hands] == [hand.is_right for hand in b.hands]


@pytest.mark.parametrize("name", ["d435-640", "icvl"])
def test_rooms_before_a_given_camera(name):
    camera = Pinhole.preset(name)
    assert draw_room(np.random.default_rng(0), CONFIG, camera).scene.camera == camera


def test_what_is_out_of_range_has_no_reading():
    """A wall that runs away from the camera ends where cameras do; noise never makes it nearer than nothing."""
    for seed in range(60):
        rng = generator(seed, 0)
        scene = draw_room(rng, RoomConfig(walls=(0.0, 1.0, 1.0))).scene
        width, height = image_size(scene.camera)
        depth = read_sensor(scene, np.arange(0, width, 8), np.arange(0, height, 8), rng)
        assert depth.min() >= 0 and depth.max() < 15_000
