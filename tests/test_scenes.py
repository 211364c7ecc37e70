"""What is around a hand: things it holds, views, bodies, other hands, and what kinds of cameras make of them."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from reference import mesh_distance

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.around import NEAREST_MM, sample_solid
from dor3d.hand.faults import SensorFaults, sample_faults
from dor3d.hand.grasp import depth_in, sample_grasp
from dor3d.hand.model import hand_joints, hand_spheres
from dor3d.hand.pose import sample_hand
from dor3d.hand.scene import seen_joints
from dor3d.hand.sensor import apply_faults
from dor3d.hand.solids import ball, box, cylinder, mesh_of, rod, solid_distance
from dor3d.hand.stage import WIDE, SceneConfig, draw_scene
from dor3d.hand.views import VIEWS, random_rotation, sample_view
from dor3d.skeleton import FINGER_JOINTS

SOLIDS = {
    "ball": ball(20.0),
    "rod": rod(8.0, 90.0),
    "cylinder": cylinder(25.0, 60.0),
    "box": box((30.0, 60.0, 20.0)),
    "card": box((50.0, 80.0, 3.0), rounding=1.5),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_a_solid_is_drawn_where_its_distance_says(name):
    """The prism of a cylinder strays from its surface by little; everything else is exact."""
    rng = np.random.default_rng(0)
    rotation, at = random_rotation(rng), np.array([10.0, -20.0, 400.0])
    mesh = mesh_of(SOLIDS[name], rotation, at)
    for point in rng.uniform(-60.0, 60.0, (200, 3)):
        expected = solid_distance(SOLIDS[name], *(float(c) for c in point))
        if expected > 0:  # a mesh's distance is exact outside
            found = mesh_distance(rotation @ point + at, mesh.spheres, mesh.edges, mesh.wedges)
            assert found == pytest.approx(expected, abs=1.3 if name == "cylinder" else 0.01)


def test_solids_of_a_wanted_size():
    rng = np.random.default_rng(1)
    for _ in range(50):
        solid = sample_solid(rng, 30.0, 120.0)
        longest = 2 * (solid.half.max() + solid.rounding)
        assert 29.0 < longest < 121.0 and solid.rounding > 0


def test_a_hand_holds_things_without_being_in_them():
    """Skin touches, gives way by little, and usually several fingers take part."""
    rng = np.random.default_rng(2)
    touching, tried = [], 0
    while len(touching) < 60:
        tried += 1
        shape, pose = sample_hand(rng)
        held = sample_grasp(rng, shape, pose)
        if held is None:
            continue
        assert depth_in(shape, held) <= 4.0
        spheres = hand_spheres(shape, held.pose, hand_joints(shape, held.pose))
        touching.append(sum(_gap(spheres, joints, held) < 1.5 for joints in FINGER_JOINTS.values()))
    assert tried < 75
    assert np.mean(np.array(touching) >= 2) > 0.8


def _gap(spheres, joints, held):
    """The distance between a finger's skin and what the hand holds, from spheres along its bones."""
    ways = np.linspace(0.0, 1.0, 9)[:, None]
    chain = spheres[list(joints)]
    beads = np.concatenate([(1 - ways) * a + ways * b for a, b in itertools.pairwise(chain)])
    local = (beads[:, :3] - held.at) @ held.rotation
    return min(solid_distance(held.solid, *(float(c) for c in p)) - r for p, r in zip(local, beads[:, 3], strict=True))


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_rotations(view):
    rng = np.random.default_rng(3)
    for _ in range(20):
        rotation = sample_view(rng, view)
        assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) == pytest.approx(1.0)


def test_convention_views():
    """Camera frame: x right, y down, z away; columns are the hand's radial, distal and palmar axes."""
    rng = np.random.default_rng(4)
    mean = {view: np.mean([sample_view(rng, view) for _ in range(300)], 0) for view in VIEWS}
    assert np.abs(mean["around"]).max() < 0.15
    assert mean["front"][1, 1] < -0.3 and mean["front"][2, 2] < -0.1  # fingers up, the palm towards the camera
    assert mean["top"][2, 2] > 0.5  # the back of the hand towards the camera
    assert mean["egocentric"][2, 1] > 0.4 and mean["egocentric"][1, 1] < -0.2  # fingers away and up
    assert mean["egocentric"][0, 2] < 0  # a right hand's palm inwards, which is left


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_too_near_to_the_camera(view):
    config = replace(WIDE, views=tuple(float(v == view) for v in VIEWS), held=0.5, other=0.5, before=0.5, beside=0.5)
    rng = np.random.default_rng(5)
    for _ in range(25):
        scene = draw_scene(rng, config)
        assert (scene.spheres[:, 2] - scene.spheres[:, 3]).min() > NEAREST_MM - 1e-6


def test_wide_scenes_are_a_pure_function_of_seed_and_index():
    config = SyntheticConfig(scene=WIDE, size=64)
    a, b = SyntheticHands(config, 3), SyntheticHands(config, 3)
    _ = [b[i] for i in (9, 2)]
    for i in range(12):
        assert np.array_equal(a[i][0], b[i][0]) and np.array_equal(a[i][1], b[i][1])


def test_something_is_seen_of_every_hand():
    rng = np.random.default_rng(9)
    assert min(seen_joints(draw_scene(rng, WIDE)).sum() for _ in range(80)) >= WIDE.least_seen


def test_what_wide_scenes_hold():
    """Each chance brings what it says, and none of it where there is none."""
    rng = np.random.default_rng(6)
    alone = SceneConfig(body=0.0, plane=0.0)
    count = len(draw_scene(rng, alone).spheres)
    for name in ("held", "other", "before", "beside"):
        more = [len(draw_scene(rng, replace(alone, **{name: 1.0})).spheres) > count for _ in range(20)]
        assert np.mean(more) > 0.7, name


def test_a_cut_hand_reaches_over_the_edge():
    rng = np.random.default_rng(7)
    outside = []
    for _ in range(40):
        scene = draw_scene(rng, SceneConfig(body=0.0, plane=0.0, cut=1.0, cameras=("sr305",)))
        uv = scene.camera.project(scene.joints_mm)
        outside.append(((uv < 0) | (uv >= (640, 480))).any(1).mean())
        u, v = scene.camera.project(center_of_joints(scene.joints_mm))
        assert min(u, 640 - u, v, 480 - v) < 45.0 * scene.camera.fx / scene.joints_mm[:, 2].mean()
    assert 0.1 < np.mean(outside) < 0.6


@pytest.mark.parametrize(
    ("wrong", "text"),
    [({"held": 1.2}, "Chances"), ({"views": ()}, "weights of views"), ({"views": (1.0,) * 5}, "weights of views")],
)
def test_scenes_refuse_what_is_no_chance(wrong, text):
    with pytest.raises(ValueError, match=text):
        SceneConfig(**wrong)


# ---- kinds of cameras -----------------------------------------------------------------------------------------------
def _post():
    """A post 40 columns wide, 300 mm before a wall at 700 mm."""
    depth = np.full((60, 200), 700.0)
    depth[:, 80:120] = 400.0
    return depth


def _read(faults, depth):
    return apply_faults(depth, faults, (1.0, 1.0), 1 / 500, np.random.default_rng(0))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_shadows_are_what_the_projector_does_not_see(side):
    """Beside the post, on the side away from the projector, baseline x focal length x (1/near - 1/far) columns wide."""
    lost = _read(SensorFaults(baseline_mm=side * 50.0, rim=1.0), _post()) == 0
    width = 50.0 * 500 * (1 / 400 - 1 / 700)
    columns = np.flatnonzero(lost.all(0))
    expected = np.arange(80 - width, 80) if side > 0 else np.arange(120, 120 + width)
    assert abs(len(columns) - width) <= 1.5
    assert columns.min() == pytest.approx(expected.min(), abs=1.5)
    assert not lost[:, 80:120].any()


def test_matching_windows_fatten_edges_in_runs():
    grown = _read(SensorFaults(fatten_px=2.0), _post()) == 400.0
    width = grown.sum(1)
    assert 41 < width.mean() < 44 and width.max() <= 44
    run = np.abs(np.diff(grown[:, 79].astype(int))).sum()
    assert 4 < run < 30  # neither straight nor pixel by pixel


def test_hollows_bulge_and_flat_walls_do_not():
    hollow = np.full((60, 60), 500.0)
    hollow[25:35, 25:35] = 520.0
    read = _read(SensorFaults(bulge=0.2), hollow)
    assert read[30, 30] == pytest.approx(524.0, abs=0.5)
    assert read[30, 45] == pytest.approx(500.0)


def test_smearing_joins_surfaces():
    depth = _post()
    depth[:, 120:] = 450.0
    read = _read(SensorFaults(smear=1), depth)
    assert 400 < read[30, 119] < read[30, 120] < 450  # 50 mm apart: ramps
    assert read[30, 79] == 700.0 and read[30, 80] == 400.0  # 300 mm apart: a step


@pytest.mark.parametrize("kind", ["any", "structured", "coded", "stereo", "tof"])
def test_every_kind_of_camera_leaves_the_wall_where_it_is(kind):
    rng = np.random.default_rng(8)
    for _ in range(10):
        read = apply_faults(np.full((60, 80), 600.0), sample_faults(rng, kind), (1.0, 1.0), 1 / 500, rng)
        assert (read > 0).mean() > 0.8
        assert np.median(read[read > 0]) == pytest.approx(600.0, abs=2.5)
