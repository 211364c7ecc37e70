"""Hands that point upwards: how far a crop turns for it, and who turns it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from blob import CUBE, SIZE
from hypothesis import given
from hypothesis import strategies as st

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.errors import InputError, ModelError
from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.geometry.roll import upright_turn
from dor3d.hand.scene import read_frame, rolled
from dor3d.hand.stage import WIDE, SceneConfig, draw_scene
from dor3d.model.network import ModelConfig
from dor3d.predict import Predictor
from dor3d.predict.look import Look, Looker
from dor3d.runtime.base import CropOutput
from dor3d.runtime.card import ModelCard
from dor3d.skeleton import JOINTS

CAMERA = Pinhole(400.0, 380.0, 321.0, 238.0, 640, 480)
MCP = JOINTS.index("middle_mcp")
UP = -math.pi / 2


def angle(points: np.ndarray) -> float:
    """Of the way from wrist to middle finger in a crop or an image, from x towards y."""
    across, down = (points[MCP] - points[0])[:2]
    return math.atan2(down, across)


def apart(a: float, b: float) -> float:
    return abs(math.remainder(a - b, math.tau))


@given(seed=st.integers(0, 1000), mirrored=st.booleans())
def test_convention_a_crop_that_turns_by_it_shows_the_hand_upright(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-0.3, 0.3, 2)
    z = rng.uniform(300.0, 900.0)
    joints = np.array([x * z, y * z, z]) + rng.normal(0.0, 60.0, (21, 3))
    turn, length = upright_turn(joints, CAMERA)
    center = tuple(center_of_joints(joints).tolist())
    points = CropBox(CAMERA, center, CUBE, SIZE, turn, mirrored).to_crop(joints)
    assert apart(angle(points), UP) < 1e-6
    # how long it seems, at the wrist's depth
    assert length == pytest.approx(
        np.linalg.norm((points[MCP] - points[0])[:2]) * CUBE[0] / SIZE * joints[0, 2] / center[2], rel=1e-6
    )


def test_a_scene_turns_about_the_ray_to_a_place() -> None:
    """On the axis by exactly the angle; off it about as much; distances and what is read stay."""
    config = replace(WIDE, body=1.0, views=(1.0,), faces=1.0)
    scenes = (draw_scene(np.random.default_rng(seed), config, CAMERA) for seed in range(20))
    scene = next(one for one in scenes if len(one.dark))
    center = center_of_joints(scene.joints_mm)
    turned = rolled(scene, center, 0.7)
    assert np.allclose(center_of_joints(rolled(turned, center, -0.7).joints_mm), center)
    assert np.allclose(
        np.linalg.norm(turned.joints_mm - center, axis=1), np.linalg.norm(scene.joints_mm - center, axis=1)
    )
    before, after = (CAMERA.project(joints) for joints in (scene.joints_mm, turned.joints_mm))
    assert apart(angle(after), angle(before) + 0.7) < 0.2
    on_axis = scene.joints_mm - center + (0.0, 0.0, 600.0)
    place = np.array([0.0, 0.0, 600.0])
    square = Pinhole(400.0, 400.0, 320.0, 240.0, 640, 480)
    exact = rolled(scene._replace(joints_mm=on_axis), place, 0.7).joints_mm
    assert apart(angle(square.project(exact)), angle(square.project(on_axis)) + 0.7) < 1e-9
    gaps = (np.linalg.norm(one.dark[0, :3] - one.spheres[:, :3], axis=1) for one in (scene, turned))
    assert np.allclose(*gaps)


def test_the_stream_shows_upright_hands_as_well_as_a_first_look_can_tell() -> None:
    source = SyntheticHands(SyntheticConfig(scene=SceneConfig(), size=32, upright=1.0, left=0.3), 1)
    off, lengths = [], []
    for i in range(150):
        sample = source.sample(i)
        off.append(apart(angle(sample.points), UP))
        lengths.append(upright_turn(sample.scene.joints_mm, sample.scene.camera)[1])
    long, short = np.array(lengths) > 60.0, np.array(lengths) < 20.0
    assert 0.08 < np.array(off)[long].mean() < 0.25 < 0.6 < np.array(off)[short].mean()
    plain = SyntheticHands(SyntheticConfig(scene=SceneConfig(), size=32), 1)
    assert np.mean([apart(angle(plain.sample(i).points), UP) for i in range(60)]) > 1.0
    with pytest.raises(InputError, match=r"A share of hands lies in \[0, 1\]; got upright 2"):
        SyntheticConfig(upright=2.0)


class Drawn:
    """A stand-in network that says where the joints of a given scene are, and keeps the boxes' crops."""

    def __init__(self, *, upright: bool) -> None:
        self.card = ModelCard("drawn", SIZE, CUBE, JOINTS, upright=upright)
        self.crops: list[np.ndarray] = []
        self.points = np.zeros((21, 3), np.float32)

    def __call__(self, crops: np.ndarray) -> CropOutput:
        self.crops += list(crops[:, 0])
        points = np.tile(self.points, (len(crops), 1, 1))
        return CropOutput(points, np.full_like(points, 0.2))


@pytest.mark.parametrize("upright", [True, False])
def test_second_looks_are_upright_for_networks_that_know_hands_so(upright: bool) -> None:
    """A hand that points to the right is seen pointing upwards."""
    model, rng = Drawn(upright=upright), np.random.default_rng(4)
    scene = draw_scene(rng, SceneConfig(distance_mm=(500.0, 500.0), faults=False), CAMERA)
    middle = center_of_joints(scene.joints_mm)
    turn, _ = upright_turn(scene.joints_mm, CAMERA)
    scene = rolled(scene, middle, turn + math.pi / 2)
    center = tuple(center_of_joints(scene.joints_mm).tolist())
    model.points = CropBox(CAMERA, center, CUBE, SIZE).to_crop(scene.joints_mm).astype(np.float32)
    frame = read_frame(scene, rng)
    Predictor(model, CAMERA, hand="right")(frame, center)
    first, second = model.crops
    expected = CropBox(CAMERA, center, CUBE, SIZE, -math.pi / 2 if upright else 0.0).image(frame)
    assert np.abs(first - CropBox(CAMERA, center, CUBE, SIZE).image(frame)).max() == 0
    assert (np.abs(second - expected) < 0.05).mean() > 0.97


def test_the_turn_stays_where_it_cannot_be_told() -> None:
    looker = Looker(Drawn(upright=True), CAMERA, CUBE)

    def after(way: tuple[float, float, float], rotation: float) -> float:
        joints = np.tile([0.0, 0.0, 500.0], (21, 1))
        joints[MCP] += way
        box = CropBox(CAMERA, (0.0, 0.0, 500.0), CUBE, SIZE, rotation)
        return looker.after(Look(box, joints, np.ones(21), 1.0, None)).rotation

    assert after((0.0, -80.0, 0.0), 0.3) == pytest.approx(0.0, abs=0.02)
    assert after((5.0, 5.0, -80.0), 0.3) == 0.3  # it points at the camera
    assert apart(after((80.0, 0.0, 0.0), 0.0), UP) < 0.1


def test_networks_of_other_joints_know_no_upright_hands() -> None:
    with pytest.raises(ModelError, match=r"told by the 21 joints; got 2 joints\. Train with --model.upright false"):
        ModelConfig(joints=("a", "b"), upright=True)
    text = '{"format": 1, "name": "x", "size": 32, "cube_mm": [1, 1], "joints": ["a"], "upright": true}'
    with pytest.raises(ModelError, match="makes no sense; got upright hands of other joints"):
        ModelCard.parse(text, "x.onnx")
