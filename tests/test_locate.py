"""Finding a hand by rule."""

import json

import cv2
import numpy as np
import pytest
from tiny_onnx import hand_frame

from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.predict.locate import _grown, locate

CAMERA = Pinhole(287.0, 287.0, 160.0, 120.0)
TRUTH = np.array([19.0, -32.0, 500.0])  # middle of the drawn hand's extent, wrist at y = 50


def distance(depth, truth=TRUTH, camera=CAMERA, unit=1.0) -> float:
    (found,) = locate(depth, camera, unit)
    return float(np.linalg.norm(np.array(found.center_mm) - truth))


def test_a_hand_with_its_forearm():
    assert distance(hand_frame()) < 30


@pytest.mark.parametrize("z", [250, 350, 800, 1200])
def test_distance_does_not_matter(z):
    focal = 574.0 if z > 600 else 287.0
    camera = Pinhole(focal, focal, 320.0, 240.0)
    truth = TRUTH + (0, 0, z - 500)
    assert distance(hand_frame(640, 480, z, focal), truth, camera) < 35


def test_the_unit_scales_the_depth():
    assert distance(hand_frame() * 8, unit=0.125) < 30


def test_a_body_behind_the_hand_is_left_out():
    frame = hand_frame()
    body = frame == 0
    body[:60] = False
    frame[body] = 640
    assert distance(frame) < 40


def test_specks_and_holes_do_not_matter():
    frame = hand_frame()
    rng = np.random.default_rng(0)
    frame[rng.random(frame.shape) < 0.05] = 0
    frame[rng.random(frame.shape) < 0.001] = 200
    assert distance(frame) < 35


def test_turned_frames_give_turned_centres():
    camera = Pinhole(287.0, 287.0, 119.5, 159.5)
    frame = np.ascontiguousarray(np.rot90(hand_frame()))  # the arm comes in from the right
    truth = np.array([TRUTH[1], -TRUTH[0], TRUTH[2]])
    assert distance(frame, truth, camera) < 30


@pytest.mark.parametrize("shape", [(16, 16), (17, 640), (100, 33), (1080, 1920)])
def test_no_surface_is_no_hand(shape):
    assert locate(np.zeros(shape, np.uint16), CAMERA) == []
    assert locate(np.full(shape, 600, np.uint16), Pinhole(20.0, 20.0, 8.0, 8.0)) == []


def test_a_wall_and_specks_are_no_hand():
    wall = np.full((240, 320), 1500, np.uint16)
    specks = np.zeros((240, 320), np.uint16)
    specks[::40, ::40] = 500
    assert locate(wall, CAMERA) == []
    assert locate(specks, CAMERA) == []


def test_grown_follows_the_mask_and_not_the_air():
    inside = np.zeros((9, 21), bool)
    inside[1, 1:20] = inside[1:8, 19] = inside[7, 1:20] = True  # a U lying on its side
    seed = np.zeros_like(inside)
    seed[1, 1] = True
    reference = seed.astype(np.uint8)
    cross, square = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), np.ones((3, 3), np.uint8)
    for step in range(25):
        np.testing.assert_array_equal(_grown(seed, inside, step), reference > 0)
        reference = cv2.dilate(reference, square if step % 2 else cross) & inside
    assert not _grown(seed, inside, 25)[7, 1]
    np.testing.assert_array_equal(_grown(seed, inside, 60), inside)


def test_real_frames_with_labels(shared):
    folder = shared / "real" / "realsense"
    camera = Pinhole.load(folder / "camera.json")
    for name, joints in json.loads((folder / "labels.json").read_text())["joints"].items():
        depth = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        truth = center_of_joints(np.array(list(joints.values())))
        assert distance(depth, truth, camera) < 40, name


def test_real_frames_with_a_body_behind(shared):
    folder = shared / "real" / "sr305"
    camera = Pinhole.load(folder / "camera.json")
    # looked at: the hands of the first session lie before the chest, those of the second at the image's left
    for path in sorted(folder.glob("*.png")):
        (found,) = locate(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), camera, camera.depth_unit_mm)
        assert -80 < found.center_mm[0] < 60, path.name
        assert 480 < found.center_mm[2] < 660, path.name
