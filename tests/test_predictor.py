"""Predictor: a frame in, hands out; checked with a network whose answers are known."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_onnx import CUBE_MM, SIZE, hand_frame, tiny_model

from dor3d.errors import CameraError, Dor3dError, FrameError, InputError, ModelError
from dor3d.geometry import CropBox, Pinhole
from dor3d.predict import Predictor
from dor3d.predict.look import confidence
from dor3d.runtime.base import CropOutput
from dor3d.runtime.card import ModelCard, find_model
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import JOINTS

CAMERA = Pinhole(287.0, 287.0, 160.0, 120.0, 320, 240)


@pytest.fixture
def model(tmp_path):
    return tiny_model(tmp_path / "tiny.onnx")


def test_a_hand_has_everything_in_its_place(model):
    (hand,) = Predictor(model, CAMERA)(hand_frame())
    assert hand.joints_mm.shape == (21, 3)
    assert hand.joints_px.shape == (21, 2)
    assert hand.std_mm.shape == (21,)
    assert 0 < hand.confidence < 1
    np.testing.assert_allclose(CAMERA.project(hand.joints_mm), hand.joints_px, atol=1e-9)
    np.testing.assert_allclose(hand.joints_mm[:, 2], hand.center_mm[2] - 10)
    again = json.loads(json.dumps(hand.to_json()))
    assert set(again) == {
        "handedness",
        "handedness_confidence",
        "confidence",
        "center_mm",
        "joints_mm",
        "joints_px",
        "std_mm",
    }
    assert np.shape(again["joints_mm"]) == (21, 3)


def test_points_map_back_through_the_crop(model):
    center = (10.0, -20.0, 500.0)
    (hand,) = Predictor(model, CAMERA, hand="right", passes=1)(hand_frame(), center)
    box = CropBox(CAMERA, center, CUBE_MM, SIZE)
    points = OnnxModel(model)(box.image(hand_frame().astype(np.float32))[None, None]).points[0]
    np.testing.assert_allclose(hand.joints_mm, box.to_camera(points), atol=1e-6)
    np.testing.assert_array_equal(hand.center_mm, center)


def test_later_passes_centre_on_the_joints(model):
    center = np.array((10.0, -20.0, 500.0))
    first, second, third = (
        Predictor(model, CAMERA, hand="right", passes=n)(hand_frame(), center)[0] for n in (1, 2, 3)
    )
    middle = (first.joints_mm.min(0) + first.joints_mm.max(0)) / 2
    np.testing.assert_allclose(second.center_mm, middle, atol=1e-6)
    assert np.linalg.norm(third.center_mm - second.center_mm) > 1


def test_a_mirrored_frame_gives_the_other_hand_mirrored(model):
    frame, center = hand_frame(), (20.0, -20.0, 500.0)
    frame[:, 160] = 0  # an even number of columns has no middle one
    mirrored = np.zeros_like(frame)
    mirrored[:, 1:] = frame[:, :0:-1]  # about column 160, the principal point
    predictor = Predictor(model, CAMERA)
    (one,), (other,) = predictor(frame, center), predictor(mirrored, (-20.0, -20.0, 500.0))
    assert {one.handedness, other.handedness} == {"left", "right"}
    np.testing.assert_allclose(one.joints_mm * (-1, 1, 1), other.joints_mm, atol=1e-3)


@pytest.mark.parametrize("hand", ["auto", "right"])
def test_frames_at_once_are_as_one_by_one(model, hand):
    calls = []

    class Counting:
        card, run = OnnxModel(model).card, OnnxModel(model, 1)

        def __call__(self, crops):
            calls.append(len(crops))
            return self.run(crops)

    predictor = Predictor(Counting(), CAMERA, hand=hand, locator="rule")
    frames = [hand_frame(), np.full_like(hand_frame(), 4000), np.roll(hand_frame(), 9, 1)]
    centers = [None, None, (20.0, -20.0, 500.0)]
    alone = [predictor(frame, center) for frame, center in zip(frames, centers, strict=True)]
    calls.clear()
    together = predictor.batch(frames, centers)
    assert len(calls) == predictor.passes
    assert [len(hands) for hands in together] == [len(hands) for hands in alone] and len(together[2]) == 1
    for some, others in zip(together, alone, strict=True):
        for one, other in zip(some, others, strict=True):
            assert one.handedness == other.handedness
            np.testing.assert_allclose(one.joints_mm, other.joints_mm, atol=0.01)
    assert predictor.batch([]) == []
    with pytest.raises(FrameError):
        predictor.batch([frames[0], np.zeros_like(frames[0])])


def test_a_backend_runs_what_is_named(model):
    (plain,), (other,) = (Predictor(model, CAMERA, backend=name)(hand_frame()) for name in ("onnxruntime", "openvino"))
    assert np.abs(plain.joints_mm - other.joints_mm).max() < 0.2
    with pytest.raises(InputError, match="Unknown backend; got fast"):
        Predictor(model, CAMERA, backend="fast")


def test_the_user_can_say_which_hand_it_is(model):
    for side in ("left", "right"):
        (hand,) = Predictor(model, CAMERA, hand=side)(hand_frame())
        assert (hand.handedness, hand.handedness_confidence) == (side, 1.0)


def test_auto_takes_the_hand_that_the_network_is_surer_of(model):
    (hand,) = Predictor(model, CAMERA, passes=1)(hand_frame(), (60.0, -20.0, 500.0))  # the hand fills the left side
    assert hand.handedness == "right" and 0.5 < hand.handedness_confidence < 1
    (hand,) = Predictor(model, CAMERA, passes=1)(hand_frame(), (-60.0, -20.0, 500.0))
    assert hand.handedness == "left"


def test_integers_are_in_the_cameras_unit_and_floats_in_mm(model):
    fine = Pinhole(287.0, 287.0, 160.0, 120.0, 320, 240, 0.125)
    (a,) = Predictor(model, CAMERA)(hand_frame())
    (b,) = Predictor(model, fine)(hand_frame() * 8)
    (c,) = Predictor(model, fine)(hand_frame().astype(np.float32))
    (d,) = Predictor(model, fine)(hand_frame().astype(np.float64))
    for other in (b, c, d):
        np.testing.assert_allclose(a.joints_mm, other.joints_mm, atol=1e-3)


@pytest.mark.parametrize("center", [(0.0, 0.0, 500.0), (-200.0, 150.0, 450.0), (250.0, -180.0, 600.0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_frame_in_any_unit_gives_the_same_crop(center, mirrored):
    box = CropBox(CAMERA, center, CUBE_MM, 48, mirrored=mirrored)
    expected = box.image(hand_frame().astype(np.float32))
    np.testing.assert_allclose(box.image(hand_frame() * 8, 0.125), expected, atol=1e-6)


def test_the_mirrored_crop_is_the_crop_of_the_mirrored_box():
    box = CropBox(CAMERA, (13.3, -20.1, 500.0), CUBE_MM, 48)
    mirror = CropBox(CAMERA, (13.3, -20.1, 500.0), CUBE_MM, 48, mirrored=True)
    a, b = box.image(hand_frame())[:, ::-1], mirror.image(hand_frame())
    assert (a != b).mean() < 0.01  # ties between two equally near pixels may fall differently


def test_no_hand_is_an_empty_list(model):
    wall = np.full((240, 320), 1500, np.uint16)
    assert Predictor(model, CAMERA)(wall) == []
    assert Predictor(model, CAMERA)(hand_frame(), (-220.0, -150.0, 500.0)) == []  # nothing there


def test_a_hand_that_almost_touches_the_camera_stays_before_it(model):
    (hand,) = Predictor(model, CAMERA)(hand_frame(z=110), (0.0, 0.0, 60.0))
    assert (hand.joints_mm[:, 2] > 0).all()
    assert np.isfinite(hand.joints_px).all()


def test_cube_and_passes_are_checked(model):
    assert Predictor(model, CAMERA, cube_mm=250.0).cube_mm == (250.0, 250.0)
    assert Predictor(model, CAMERA, cube_mm=(250.0, 300.0)).cube_mm == (250.0, 300.0)
    assert Predictor(model, CAMERA).cube_mm == CUBE_MM
    for bad in ({"cube_mm": 3.0}, {"cube_mm": float("nan")}, {"passes": 0}, {"threads": 0}):
        with pytest.raises(InputError):
            Predictor(model, CAMERA, **bad)


def test_bad_frames_are_refused(model):
    predictor = Predictor(model, CAMERA)
    with pytest.raises(FrameError, match="empty"):
        predictor(np.zeros((240, 320), np.uint16))
    with pytest.raises(CameraError, match="320x240"):
        predictor(np.full((480, 640), 500, np.uint16))
    with pytest.raises(FrameError, match="hand's distance"):
        predictor(hand_frame(z=30))
    with pytest.raises(InputError, match="off the image"):
        predictor(hand_frame(), (900.0, 0.0, 500.0))


def test_confidence_falls_with_the_spread():
    values = [confidence(mm) for mm in (0.0, 1.0, 5.0, 15.0, 40.0, 1e6)]
    assert values[0] == 1
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)


def test_std_is_the_root_mean_square_over_the_axes(model):
    (hand,) = Predictor(model, CAMERA, hand="right", passes=1)(hand_frame(), (0.0, 0.0, 500.0))
    box = CropBox(CAMERA, (0.0, 0.0, 500.0), CUBE_MM, SIZE)
    sigma = OnnxModel(model)(box.image(hand_frame().astype(np.float32))[None, None]).sigma[0]
    plane = CUBE_MM[0] / SIZE * (490 / 500)  # joints lie 10 mm before the centre
    expected = np.sqrt(((sigma[:, :2] * plane) ** 2).sum(1) / 3 + sigma[:, 2] ** 2 / 3)
    np.testing.assert_allclose(hand.std_mm, expected, rtol=1e-5)


def test_other_runtimes_fit_behind_the_same_interface():
    class Middle:
        card = ModelCard("middle", 16, (300.0, 300.0), ("a", "b"))

        def __call__(self, crops):
            points = np.tile(np.array([[8.0, 8.0, 150.0], [9.0, 8.0, 150.0]], np.float32), (len(crops), 1, 1))
            return CropOutput(points, np.ones_like(points))

    predictor = Predictor(Middle(), CAMERA)
    (hand,) = predictor(hand_frame())
    assert predictor.joints == ("a", "b")
    assert hand.joints_mm.shape == (2, 3)


# ---- model files ----------------------------------------------------------------------------------------------------
def refuse(path, words):
    with pytest.raises(ModelError, match=words) as caught:
        OnnxModel(path)
    assert "\n" not in str(caught.value)


def test_missing_empty_broken_and_foreign_model_files(tmp_path, model):
    refuse("no-such-model", "No such model")
    refuse(tmp_path, "folder")
    (tmp_path / "empty.onnx").touch()
    refuse(tmp_path / "empty.onnx", "empty")
    (tmp_path / "text.onnx").write_text("hello")
    refuse(tmp_path / "text.onnx", "cannot be opened")
    (tmp_path / "half.onnx").write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    refuse(tmp_path / "half.onnx", "cannot be opened")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    refuse(tmp_path / "model.safetensors", "dor3d export")
    refuse(tiny_model(tmp_path / "bare.onnx", metadata=""), "not a dor3d model")
    refuse(tiny_model(tmp_path / "odd.onnx", metadata="{"), "metadata")
    refuse(tiny_model(tmp_path / "old.onnx", card={"format": 99}), "format")
    refuse(tiny_model(tmp_path / "size.onnx", card={"size": 64}), "does not fit")
    refuse(tiny_model(tmp_path / "cube.onnx", card={"cube_mm": [0, 300]}), "no sense")


def test_a_foreign_network_with_our_metadata(tmp_path):
    x = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("label", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["label"])], "foreign", [x], [y])
    foreign = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    card = {"format": 1, "name": "x", "size": 8, "cube_mm": [300, 300], "joints": ["a"]}
    helper.set_model_props(foreign, {"dor3d": json.dumps(card)})
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    refuse(tmp_path / "foreign.onnx", "inputs or outputs")


def test_metadata_round_trip(model):
    card = OnnxModel(model).card
    assert (card.name, card.size, card.cube_mm, card.joints) == ("tiny", SIZE, CUBE_MM, JOINTS)


def test_paths_and_names_find_models(model):
    assert find_model(str(model)) == model
    with pytest.raises(Dor3dError):
        find_model("../weights/compact")
