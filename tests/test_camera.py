"""Pinhole cameras: projection and its inverse, presets, and what can be wrong with intrinsics."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dor3d.errors import CameraError
from dor3d.geometry import PRESETS, Pinhole


@pytest.mark.parametrize("distortion", [(), (0.1, 0.02, 0.001, -0.001), (-0.2, 0.05, 0.0, 0.0, -0.01)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unproject_undoes_project(distortion: tuple[float, ...], dtype: type) -> None:
    camera = Pinhole(500.0, 510.0, 320.0, 240.0, distortion=distortion)
    rng = np.random.default_rng(0)
    points = (rng.uniform(-0.3, 0.3, (4, 50, 3)) * 500 + (0, 0, 600)).astype(dtype)
    back = camera.unproject(camera.project(points), points[..., 2])
    assert back.dtype == points.dtype
    assert_allclose(back, points, atol=1e-6 if dtype == np.float64 else 0.02)


def test_resizing_keeps_the_field_of_view() -> None:
    camera = PRESETS["sr305"]
    small = camera.resized(320, 240)
    corners = np.array([[-0.5, -0.5], [639.5, 479.5]])  # the outer edges of the corner pixels
    assert_allclose(camera.rays(corners), small.rays(np.array([[-0.5, -0.5], [319.5, 239.5]])))
    assert small.depth_unit_mm == camera.depth_unit_mm
    assert small.resized(640, 480).fx == pytest.approx(camera.fx)


def test_resizing_needs_a_size() -> None:
    with pytest.raises(CameraError, match="without an image size cannot be resized"):
        Pinhole(500.0, 500.0, 320.0, 240.0).resized(320, 240)


# ---- presets -------------------------------------------------------------------------------------------------------


def test_the_cameras_of_benchmarks_and_common_sensors_are_there() -> None:
    wanted = {"nyu", "icvl", "msra", "hands17", "sr305", "d435", "kinect2", "azure-kinect", "oak-d"}
    assert wanted <= set(PRESETS)


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_is_a_plausible_camera(name: str) -> None:
    camera = PRESETS[name]
    width, height = camera.width, camera.height
    assert camera.name == name
    assert width is not None
    assert height is not None
    assert width >= height
    assert 0.9 < camera.fx / camera.fy < 1.1  # pixels are square, or nearly
    assert abs(camera.cx - width / 2) < 0.1 * width
    assert abs(camera.cy - height / 2) < 0.1 * height
    assert 50 <= math.degrees(2 * math.atan(width / 2 / camera.fx)) <= 125
    assert camera.depth_unit_mm in (0.1, 0.125, 0.25, 1.0)


def test_the_presets_of_the_benchmarks_are_the_published_numbers() -> None:
    """The digits that published error tables depend on."""
    values = {name: (c.fx, c.fy, c.cx, c.cy) for name, c in PRESETS.items()}
    assert values["nyu"] == (588.03, 587.07, 320, 240)
    assert values["icvl"] == (240.99, 240.96, 160, 120)
    assert values["msra"] == (241.42, 241.42, 160, 120)
    assert values["hands17"] == (475.065948, 475.065857, 315.944855, 245.287079)
    assert PRESETS["sr305"].depth_unit_mm == 0.125


def test_a_presets_name_is_read_leniently() -> None:
    assert Pinhole.preset(" Azure_Kinect ") is PRESETS["azure-kinect"]


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(CameraError, match=r"Unknown camera; got d999; expected one of nyu, icvl.* FX,FY,CX,CY"):
        Pinhole.preset("d999")


# ---- reading intrinsics --------------------------------------------------------------------------------------------


def test_four_numbers_are_a_camera() -> None:
    assert Pinhole.parse("475.1, 475.2,320,240") == Pinhole(475.1, 475.2, 320.0, 240.0)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", ",,,"])
def test_other_than_four_numbers_are_not(text: str) -> None:
    with pytest.raises(CameraError, match=r"Intrinsics cannot be read; got .*; expected four numbers FX,FY,CX,CY"):
        Pinhole.parse(text)


def test_a_camera_file_holds_the_fields(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    fields = {"fx": 500, "fy": 501, "cx": 320, "cy": 240, "width": 640, "height": 480, "distortion": [0.1, 0, 0, 0]}
    path.write_text(json.dumps(fields))
    camera = Pinhole.parse(str(path))
    assert (camera.fy, camera.width, camera.distortion) == (501, 640, (0.1, 0, 0, 0))


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"fx": 500}', '{"fx": 5, "fy": 5, "cx": 1, "cy": 1, "zoom": 2}'])
def test_a_broken_camera_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(CameraError, match=r"camera\.json cannot be used; got .*expected a JSON object with fx, fy"):
        Pinhole.load(path)


def test_a_missing_camera_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"none\.json cannot be used"):
        Pinhole.load(tmp_path / "none.json")


@pytest.mark.parametrize("field", ["fx", "width", "depth_unit_mm", "distortion"])
def test_a_camera_file_with_text_for_a_number_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"fx": 500, "fy": 501, "cx": 320, "cy": 240, field: "abcd"}))
    with pytest.raises(CameraError, match=r"camera\.json cannot be used"):
        Pinhole.load(path)


# ---- intrinsics that cannot be -------------------------------------------------------------------------------------


def test_a_negative_fy_is_explained() -> None:
    with pytest.raises(CameraError, match=r"Focal lengths must be positive; got .* negative fy marks data with y up"):
        Pinhole(588.0, -587.0, 320.0, 240.0)


def test_numbers_must_be_finite_units_positive_and_coefficients_opencvs() -> None:
    with pytest.raises(CameraError, match="a number that is not finite"):
        Pinhole(500.0, 500.0, math.nan, 240.0)
    with pytest.raises(CameraError, match="The depth unit must be positive; got 0 mm"):
        Pinhole(500.0, 500.0, 320.0, 240.0, depth_unit_mm=0.0)
    with pytest.raises(CameraError, match="Wrong number of distortion coefficients; got 3"):
        Pinhole(500.0, 500.0, 320.0, 240.0, distortion=(0.1, 0.1, 0.1))


def test_a_frame_of_another_size_is_refused() -> None:
    camera = PRESETS["sr305"]
    camera.check_frame((480, 640))
    with pytest.raises(CameraError, match="does not fit camera sr305; got 320x240; expected 640x480"):
        camera.check_frame((240, 320))


def test_a_principal_point_outside_the_frame_is_refused() -> None:
    camera = Pinhole(900.0, 900.0, 640.0, 360.0)
    camera.check_frame((720, 1280))
    with pytest.raises(CameraError, match=r"principal point lies outside the frame; got cx=640, cy=360 .* 320x240"):
        camera.check_frame((240, 320))
