"""The renderer against slow references; its streams; the speed-ups that must not change a picture."""

import numpy as np
import pytest
from reference import mesh_distance, sphere_trace

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.model import EDGES, WEDGES
from dor3d.hand.render import tangent_normals
from dor3d.hand.scene import exact_depth, hidden_joints, read_crop, read_frame
from dor3d.hand.stage import SceneConfig, draw_scene

BARE = SceneConfig(body=0.0, plane=0.0, faults=False, cameras=("sr305",), distance_mm=(300.0, 600.0))


def _window(scene, count):
    """About count x count sensor pixels spread over the hand and a margin."""
    uv = scene.camera.project(scene.joints_mm)
    low, high = uv.min(0) - 40, uv.max(0) + 40
    return np.linspace(low[0], high[0], count), np.linspace(low[1], high[1], count)


@pytest.mark.parametrize("seed", range(6))
def test_ray_casting_equals_sphere_tracing_of_the_union(seed):
    scene = draw_scene(np.random.default_rng(seed), BARE)
    columns, rows = _window(scene, 24)
    depth, _ = exact_depth(scene, columns, rows)
    camera = scene.camera
    pixel_mm = 600.0 / camera.fx
    for i, v in enumerate(rows):
        for j, u in enumerate(columns):
            ray = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
            t, gap = sphere_trace(scene.spheres, EDGES, WEDGES, *ray, 1500.0)
            if np.isfinite(t) and np.isfinite(depth[i, j]):
                assert depth[i, j] == pytest.approx(t, abs=0.05) or _at_silhouette(scene, ray, t, depth[i, j])
            else:  # one of them sees a surface: only where the ray passes within a pixel of its edge
                assert np.isinf(t) == np.isinf(depth[i, j]) or gap < pixel_mm


def _at_silhouette(scene, ray, traced, cast):
    """Whether a ray that grazes one surface and goes on to another passes within a pixel of the nearer one's edge."""
    camera = scene.camera
    near = min(traced, cast)
    point = np.array([ray[0] * near, ray[1] * near, near])
    return abs(mesh_distance(point, scene.spheres, EDGES, WEDGES)) < near / camera.fx


@pytest.mark.parametrize("seed", range(3))
def test_hits_lie_on_the_surface_and_nothing_lies_before_them(seed):
    scene = draw_scene(np.random.default_rng(100 + seed), BARE)
    columns, rows = _window(scene, 40)
    depth, owner = exact_depth(scene, columns, rows)
    camera = scene.camera
    rng = np.random.default_rng(0)
    hits = np.argwhere(np.isfinite(depth))
    assert len(hits) > 100
    for i, j in hits[rng.permutation(len(hits))[:60]]:
        ray = np.array([(columns[j] - camera.cx) / camera.fx, (rows[i] - camera.cy) / camera.fy, 1.0])
        assert owner[i, j] >= 0
        assert abs(mesh_distance(ray * depth[i, j], scene.spheres, EDGES, WEDGES)) < 1e-3
        for before in (0.5, 5.0, 50.0):
            assert mesh_distance(ray * (depth[i, j] - before), scene.spheres, EDGES, WEDGES) > -1e-3


def test_tangent_planes_touch_their_three_spheres():
    spheres = np.array([[0.0, 0, 0, 10], [40, 0, 0, 7], [5, 30, 0, 12]])
    normals = np.empty((2, 3))
    assert tangent_normals(*spheres, normals)
    offsets = spheres[:, :3] @ normals.T + spheres[:, 3:]
    assert np.allclose(offsets, offsets[0])
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)


def test_a_sphere_inside_another_has_no_tangent_planes():
    spheres = np.array([[0.0, 0, 0, 50], [10, 0, 0, 5], [0, 10, 0, 5]])
    assert not tangent_normals(*spheres, np.empty((2, 3)))


def test_joints_lie_inside_the_surface_that_is_seen_at_them():
    """Image and label agree: the nearest surface at a visible joint is about the joint's radius before it."""
    for seed in range(20):
        scene = draw_scene(np.random.default_rng(seed), BARE)
        seen = ~hidden_joints(scene)
        uv = scene.camera.project(scene.joints_mm)
        for k in np.flatnonzero(seen):
            depth, _ = exact_depth(scene, uv[k, :1], uv[k, 1:])
            before = scene.joints_mm[k, 2] - depth[0, 0]
            assert 0 < before <= scene.spheres[k, 3] + 2.0 + 1e-6


def test_crop_reads_what_the_frame_shows():
    """Casting only the looked-up sensor pixels gives the frame's own depth there."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scene = draw_scene(rng, BARE)
        x, y, z = (float(c) for c in center_of_joints(scene.joints_mm))
        for size, rotation in ((64, 0.0), (300, 0.0), (64, 0.6)):
            box = CropBox(scene.camera, (x, y, z), (260.0, 300.0), size, rotation)
            frame = read_frame(scene, np.random.default_rng(0))
            assert np.allclose(box.normalise(read_crop(scene, box, np.random.default_rng(0))), box.image(frame))


def test_surfaces_beyond_the_cube_do_not_change_the_input():
    config = SceneConfig(body=1.0, faults=False, cameras=("sr305",), distance_mm=(300.0, 600.0))
    for seed in range(5):
        scene = draw_scene(np.random.default_rng(seed), config)
        x, y, z = (float(c) for c in center_of_joints(scene.joints_mm))
        box = CropBox(scene.camera, (x, y, z), (260.0, 300.0), 96)
        frame = read_frame(scene, np.random.default_rng(0))
        assert np.allclose(box.normalise(read_crop(scene, box, np.random.default_rng(0))), box.image(frame))


def test_sample_is_a_pure_function_of_seed_and_index():
    a, b = SyntheticHands(SyntheticConfig(), 3), SyntheticHands(SyntheticConfig(), 3)
    _ = [b[i] for i in (9, 2)]  # another order
    for i in (0, 7):
        (image, points), (again, same) = a[i], b[i]
        assert np.array_equal(image, again) and np.array_equal(points, same)
    assert not np.array_equal(a[0][0], SyntheticHands(SyntheticConfig(), 4)[0][0])


def test_samples_have_the_shapes_and_ranges_of_the_conventions():
    image, points = SyntheticHands(SyntheticConfig(size=96), 0)[5]
    assert image.shape == (96, 96) and image.dtype == np.float32
    assert points.shape == (21, 3) and points.dtype == np.float32
    assert image.min() >= -1 and image.max() == 1  # some background
    assert (image < 1).mean() > 0.02


def test_faults_leave_the_hand_where_it_is():
    """What the sensor adds is noise about the surface, not a shift of it."""
    config = SceneConfig(body=0.0, plane=0.0, cameras=("sr305",))
    offsets = []
    for seed in range(12):
        scene = draw_scene(np.random.default_rng(seed), config)
        columns, rows = (np.round(a) for a in _window(scene, 60))
        exact, _ = exact_depth(scene, columns, rows)
        frame = read_frame(scene, np.random.default_rng(1))
        height, width = frame.shape
        u, v = columns.astype(int).clip(0, width - 1), rows.astype(int).clip(0, height - 1)
        read = frame[v[:, None], u]
        both = np.isfinite(exact) & (read > 0) & (u == columns)[None] & (v == rows)[:, None]
        if both.any():
            offsets.append(np.median((read - exact)[both]))
    assert abs(np.median(offsets)) < 0.5 and np.abs(offsets).max() < 3


def test_renderer_refuses_a_camera_with_distortion():
    scene = draw_scene(np.random.default_rng(0), BARE)
    bent = Pinhole(500.0, 500.0, 320.0, 240.0, 640, 480, distortion=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="undistorted rays"):
        exact_depth(scene._replace(camera=bent), np.arange(3.0), np.arange(3.0))
