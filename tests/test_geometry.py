"""Crops: each line of the table in dor3d/geometry/__init__.py, and maps that agree with each other.

A wrong convention runs without an error and is wrong, so the `test_convention_*` below use numbers worked out by hand.
"""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from dor3d.errors import InputError
from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.crop import center_of_joints

CAMERA = Pinhole(500.0, 500.0, 320.0, 240.0, 640, 480)


def box(**changes: object) -> CropBox:
    """A crop of 100 px over 200 mm at 500 mm: 2 mm and 2 image pixels a crop pixel, its centre at (320, 240)."""
    values = {"camera": CAMERA, "center_mm": (0.0, 0.0, 500.0), "cube_mm": (200.0, 300.0), "size": 100}
    return CropBox(**{**values, **changes})  # type: ignore[arg-type]


def points(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows, np.float64)


# ---- the table of conventions --------------------------------------------------------------------------------------


def test_convention_camera_frame_x_right_y_down_z_forward() -> None:
    centre, right, below, beyond = CAMERA.project(points((0, 0, 500), (50, 0, 500), (0, 50, 500), (50, 50, 1000)))
    assert_allclose(centre, [320, 240])
    assert_allclose(right, [370, 240])
    assert_allclose(below, [320, 290])
    assert_allclose(beyond, [345, 265])


def test_convention_depth_image_is_row_then_column_and_zero_is_no_reading() -> None:
    depth = np.zeros((480, 640), np.float32)
    depth[300, 400] = 500.0
    there = box(center_mm=(80.0, 60.0, 500.0), size=200)  # centred on u = 400, v = 300
    raw = there.crop(depth)
    assert raw.max() == 500.0
    assert set(np.unique(there.normalise(raw))) == {0.0, 1.0}  # no reading: the far face


def test_convention_an_integer_image_point_is_a_pixels_centre() -> None:
    """Halving the resolution merges pixels 0 and 1, whose centres lie at 0 and 1, into one with its centre at 0.5."""
    half = CAMERA.resized(320, 240)
    ray = np.array([[-319.5 / 500, -239.5 / 500, 1.0]])  # through the meeting point of the first four pixels
    assert_allclose(CAMERA.project(ray), [[0.5, 0.5]])
    assert_allclose(half.project(ray), [[0.0, 0.0]], atol=1e-12)


def test_convention_lens_distortion_moves_points_and_leaves_frames_as_they_are() -> None:
    k1, k2, p1, p2 = 0.1, 0.01, 0.001, -0.002
    lens = Pinhole(500.0, 500.0, 320.0, 240.0, 640, 480, distortion=(k1, k2, p1, p2))
    x, y = 0.2, -0.1
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)  # OpenCV's model
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    assert_allclose(lens.project(points((100, -50, 500))), [[320 + 500 * bent_x, 240 + 500 * bent_y]], atol=1e-9)
    depth = np.arange(480 * 640, dtype=np.float32).reshape(480, 640)
    assert_array_equal(box(camera=lens).crop(depth), box().crop(depth))  # the centre's ray is not bent


def test_convention_crop_column_j_covers_j_to_j_plus_1() -> None:
    """The cube's left face is p = 0, its right face p = S; the centre of the cube is the corner of four pixels."""
    pqr = box().to_crop(points((-100, -100, 500), (100, 100, 500), (0, 0, 500), (-99, -99, 500)))
    assert_allclose(pqr[:, :2], [[0, 0], [100, 100], [50, 50], [0.5, 0.5]], atol=1e-9)
    u, v = box(size=200).lookup()  # one image pixel a crop pixel: the centre of column 0 lies at u = 320 - 99.5
    assert (u[0, 0], v[0, 0]) == (221, 141)  # 220.5 and 140.5: a tie goes up
    u, v = box(size=200, center_mm=(0.4, 0.4, 500.0)).lookup()
    assert (u[0, 0], v[0, 0], u[0, 1], v[1, 0]) == (221, 141, 222, 142)


def test_convention_mirroring_is_p_to_s_minus_p() -> None:
    here = points((30, -20, 480), (-70, 10, 560))
    plain, mirrored = box(rotation=0.3).to_crop(here), box(rotation=0.3, mirrored=True).to_crop(here)
    assert_allclose(mirrored[:, 0], 100 - plain[:, 0], atol=1e-9)
    assert_allclose(mirrored[:, 1:], plain[:, 1:], atol=1e-9)


def test_convention_r_counts_from_the_near_face() -> None:
    near, middle, far = box().to_crop(points((0, 0, 350), (0, 0, 500), (0, 0, 650)))[:, 2]
    assert (near, middle, far) == (0, 150, 300)


def test_convention_network_input_is_minus_1_at_the_near_face_and_1_at_the_far_one() -> None:
    raw = np.array([[350, 500, 650, 425], [349, 100, 651, 0]], np.float32)
    normal = box().normalise(raw)
    assert_allclose(normal, [[-1, 0, 1, -0.5], [-1, -1, 1, 1]])
    assert normal.dtype == np.float32


def test_convention_resampling_takes_whole_pixels_and_never_averages() -> None:
    depth = np.random.default_rng(0).uniform(300, 900, (480, 640)).astype(np.float32)
    assert np.isin(box(rotation=0.7, size=173).crop(depth), depth).all()


def test_convention_hands_a_left_hand_becomes_the_mirrored_image_of_a_right_one() -> None:
    depth = np.random.default_rng(1).uniform(300, 900, (480, 640)).astype(np.float32)
    odd = {"center_mm": (3.1, -7.3, 511.0), "rotation": 0.4}
    assert_array_equal(box(**odd, mirrored=True).image(depth), box(**odd).image(depth)[:, ::-1])


# ---- one map for the image and the points --------------------------------------------------------------------------

# Plain numbers, made into objects inside the tests: the shape checks draw random numbers, which strategies may not.
lenses = st.one_of(
    st.just(()),
    st.tuples(
        st.floats(-0.15, 0.15), st.floats(-0.05, 0.05), st.floats(-0.003, 0.003), st.floats(-0.003, 0.003),
        st.floats(-0.01, 0.01),
    ),
)  # fmt: skip
sides = st.floats(100, 400)
boxes = st.fixed_dictionaries(
    {
        "camera": st.tuples(st.floats(200, 1200), st.floats(200, 1200), st.floats(100, 700), st.floats(100, 500)),
        "lens": lenses,
        "ray": st.tuples(st.floats(-0.4, 0.4), st.floats(-0.3, 0.3)),
        "z": st.floats(200, 2000),
        "cube": st.tuples(sides, sides),
        "size": st.integers(16, 256),
        "rotation": st.floats(-math.pi, math.pi),
        "mirrored": st.booleans(),
    }
)


def any_box(values: dict[str, Any]) -> CropBox:
    camera = Pinhole(*values["camera"], distortion=values["lens"])
    (x, y), z = values["ray"], values["z"]
    return CropBox(camera, (x * z, y * z, z), values["cube"], values["size"], values["rotation"], values["mirrored"])


def beyond_lens(box: CropBox, rays: np.ndarray) -> bool:
    """Whether rays (x / z, y / z) lie farther off the axis than these lenses see: there their polynomials turn back."""
    return bool(box.camera.distortion) and float(np.linalg.norm(rays, axis=-1).max()) > 1.0


offsets = st.lists(st.tuples(*[st.floats(-0.5, 0.5)] * 3), min_size=1, max_size=8)


def test_points_come_back_near_the_fold_of_a_strong_lens() -> None:
    camera = Pinhole(200.0, 200.0, 100.0, 100.0, distortion=(-0.125, -0.03125, 0.0, 0.0, 0.0))
    points = np.array([[0.0, -123.0, 100.0], [60.0, 100.0, 100.0]])  # 51 degrees off the axis; it folds at 53
    assert_allclose(camera.unproject(camera.project(points), points[:, 2]), points, atol=1e-6)


@settings(max_examples=300, deadline=None)
@given(boxes, offsets)
def test_points_come_back_from_the_crop(values: dict[str, Any], parts: list[tuple[float, float, float]]) -> None:
    """Below 1e-3 mm for every point in the cube: turned, mirrored, through a bent lens."""
    there = any_box(values)
    in_plane, depth = there.cube_mm
    spread = np.array([in_plane, in_plane, min(depth, there.center_mm[2])])
    before = np.array(there.center_mm) + np.array(parts) * spread
    if beyond_lens(there, before[:, :2] / before[:, 2:]):
        return
    assert np.abs(there.to_camera(there.to_crop(before)) - before).max() < 1e-3


@settings(max_examples=100, deadline=None)
@given(boxes, st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8))
def test_crop_points_come_back_from_the_camera(values: dict[str, Any], parts: list[tuple[float, float, float]]) -> None:
    there = any_box(values)
    pqr = np.array(parts) * (there.size, there.size, min(there.cube_mm[1], there.center_mm[2]))
    pqr[:, 2] = np.maximum(pqr[:, 2], 1 - there.near_mm)  # in front of the camera
    if beyond_lens(there, there.camera.rays(there.pq_to_uv(pqr[:, :2]))):
        return
    assert np.abs(there.to_crop(there.to_camera(pqr)) - pqr).max() < 1e-3


@settings(max_examples=60, deadline=None)
@given(boxes)
def test_the_nearest_lookup_is_that_of_warp_affine(values: dict[str, Any]) -> None:
    """The pixels of OpenCV's warpAffine but for its ties and 1/32 px (its resize is up to half a cell off)."""
    there = any_box(values)
    height, width = 480, 640
    ids = np.arange(1, height * width + 1, dtype=np.float32).reshape(height, width)
    uv0, du, dv = there.pq_to_uv(np.array([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]]))
    matrix = np.stack([du - uv0, dv - uv0, uv0], 1)
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(ids, matrix, (there.size, there.size), flags=flags, borderValue=0.0)
    j, i = np.meshgrid(np.arange(there.size), np.arange(there.size))
    uv = np.stack([j, i, np.ones_like(j)], -1) @ matrix.T
    clear = (np.abs(uv - np.floor(uv) - 0.5) > 0.05).all(-1)
    assert_array_equal(there.crop(ids)[clear], theirs[clear])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0.0, 0.5, -2.0])
def test_drawn_markers_lie_where_their_points_map_to(rotation: float, mirrored: bool) -> None:
    """Image and labels agree; the usual mistake, half an image pixel, would be 0.77 crop pixels here."""
    lens = Pinhole(500.0, 510.0, 320.3, 240.2, 640, 480, distortion=(0.05, 0.01, 0.001, 0.001))
    there = CropBox(lens, (1.0, 2.0, 500.0), (200.0, 300.0), 307, rotation, mirrored)
    markers = np.random.default_rng(2).uniform(-55, 55, (40, 3)) + there.center_mm
    gaps = [drawn_at(there, marker) - there.to_crop(marker)[:2] for marker in markers]
    assert np.abs(gaps).max() < 0.4  # what the nearest lookup rounds off
    assert np.abs(np.mean(gaps, 0)).max() < 0.1


def drawn_at(there: CropBox, point: np.ndarray) -> np.ndarray:
    """The middle, in crop pixels, of a disc drawn around a point's place in the image."""
    u, v = there.camera.project(point)
    rows, columns = np.mgrid[:480, :640]
    depth = np.where(np.hypot(columns - u, rows - v) < 12, point[2], 0).astype(np.float32)
    i, j = np.nonzero(there.crop(depth))
    return np.array([j.mean() + 0.5, i.mean() + 0.5])


def test_a_crop_that_is_not_turned_reads_rows_and_columns_apart() -> None:
    there = box(center_mm=(11.0, -17.0, 430.0), mirrored=True)
    columns, rows = there.lookup_axes()
    almost = box(center_mm=(11.0, -17.0, 430.0), mirrored=True, rotation=1e-12)
    assert_array_equal(there.lookup()[0], np.broadcast_to(columns, (100, 100)))
    assert_array_equal(there.lookup()[1], np.broadcast_to(rows[:, None], (100, 100)))
    assert_array_equal(there.lookup()[0], almost.lookup()[0])
    assert_array_equal(there.lookup()[1], almost.lookup()[1])


def test_a_turned_crop_has_no_separable_lookup() -> None:
    with pytest.raises(InputError, match=r"A rotated crop has no separable lookup; got rotation 0\.5"):
        box(rotation=0.5).lookup_axes()


def test_outside_the_image_is_no_reading() -> None:
    depth = np.full((480, 640), 500, np.float32)
    raw = box(center_mm=(-320.0, 0.0, 500.0)).crop(depth)  # centred on u = 0
    assert (raw[:, :49] == 0).all()
    assert (raw[:, 51:] == 500).all()


def test_cropping_leaves_the_frame_as_it_was() -> None:
    depth = np.full((480, 640), 500, np.float32)
    depth[0, 0] = 0
    before = depth.copy()
    box().image(depth)
    assert_array_equal(depth, before)


def test_rotation_turns_right_towards_down() -> None:
    """A quarter turn puts what was right of the centre below it."""
    p, q, _ = box(rotation=math.pi / 2).to_crop(points((50, 0, 500)))[0]
    assert_allclose((p, q), (50, 75), atol=1e-9)


def test_augmented_is_another_box() -> None:
    changed = box().augmented(rotation=0.2, scale=1.5, shift_mm=(1.0, 2.0, 3.0))
    assert changed.center_mm == (1.0, 2.0, 503.0)
    assert changed.cube_mm == (300.0, 300.0)  # the depth of the cube is not scaled
    assert changed.rotation == 0.2
    assert box(rotation=0.1).augmented(rotation=0.2).rotation == pytest.approx(0.3)


def test_the_centre_of_joints_is_the_middle_of_their_bounding_box() -> None:
    joints = np.array([[[0, 0, 500], [10, 0, 500], [20, 40, 560]]], np.float64)
    assert_allclose(center_of_joints(joints), [[10, 20, 530]])


# ---- a user's mistakes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"center_mm": (0.0, 0.0, 0.0)}, "The crop's centre must lie before the camera; got"),
        ({"center_mm": (0.0, math.nan, 500.0)}, "expected finite x, y, z with z > 0"),
        ({"cube_mm": (0.0, 300.0)}, "The cube's sides must be positive; got"),
        ({"cube_mm": (300.0, math.inf)}, "expected mm, say 300"),
        ({"size": 0}, "The crop's size must be positive; got 0; expected pixels, say 224"),
    ],
)
def test_a_box_that_cannot_be_says_why(changes: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match="; ") as caught:
        box(**changes)
    assert text in str(caught.value)
