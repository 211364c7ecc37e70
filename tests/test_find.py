"""Locators as files: exported, run without torch, and behind the predictor, which they tell where hands are."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from tiny_onnx import hand_frame, tiny_model

from dor3d.cli import main
from dor3d.errors import InputError, ModelError
from dor3d.geometry import Pinhole
from dor3d.geometry.grid import coarse_grid
from dor3d.model.checkpoint import save_model
from dor3d.model.locator import Locator, LocatorConfig
from dor3d.model.network import HandNet, ModelConfig
from dor3d.predict import Predictor
from dor3d.predict.find import LearnedFinder, RuleFinder, make_finder
from dor3d.predict.sights import Sighting
from dor3d.runtime import export_locator as exporting
from dor3d.runtime.export_locator import export_locator, made_up_frames
from dor3d.runtime.locator import SHIPPED, CellsSaid, OnnxLocator
from dor3d.runtime.onnx import OnnxModel

CAMERA = Pinhole(287.0, 287.0, 160.0, 120.0, 320, 240)


def used() -> Locator:
    """A small locator with statistics of some frames."""
    torch.manual_seed(0)
    net = Locator(LocatorConfig(8, 16))
    with torch.no_grad():
        net(torch.from_numpy(made_up_frames(6, 3)), torch.full((6,), 0.01))
    return net.eval()


@pytest.fixture(scope="module")
def net() -> Locator:
    return used()


@pytest.fixture
def file(net: Locator, tmp_path: Path) -> Path:
    export_locator(net, tmp_path / "locator.onnx")
    return tmp_path / "locator.onnx"


@pytest.mark.parametrize("half", [True, False])
def test_the_file_agrees_with_the_network(half: bool, net: Locator, tmp_path: Path) -> None:
    assert export_locator(net, tmp_path / "net.onnx", half=half) < (1 if half else 0.01)
    frames = made_up_frames(2, 9)
    with torch.no_grad():
        expected = net(torch.from_numpy(frames), torch.tensor([0.006, 0.006]))
    for i, frame in enumerate(frames[:, 0]):
        said = OnnxLocator(tmp_path / "net.onnx")(frame, 0.006)
        for part, own in zip(said, expected, strict=True):
            assert part.dtype == np.float32
            np.testing.assert_allclose(part, own[i].numpy(), atol=0.3 if half else 1e-3)


def test_smaller_grids_are_padded_as_in_training(file: Path) -> None:
    frame = made_up_frames(1)[0, 0]
    whole = frame.copy()
    whole[:, 100:] = 0
    for small, large in zip(OnnxLocator(file)(frame[:, :100], 0.01), OnnxLocator(file)(whole, 0.01), strict=True):
        assert np.array_equal(small, large)


def test_what_does_not_agree_is_not_written(net: Locator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_difference", lambda *_: 3.0)
    with pytest.raises(ModelError, match=r"does not agree .* got 3.0 times what it may be off. Nothing was written"):
        export_locator(net, tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_a_trained_locator_from_the_command_line_to_sightings(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    small = ["--batch", "2", "--validation", "2", "--workers", "0", "--locator.width", "8", "--locator.merged", "16"]
    main(["train", "locator", *small, "--steps", "1", "--out", str(tmp_path / "run")])
    main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "locator.onnx")])
    assert "agrees with torch" in capsys.readouterr().out
    finder = make_finder(tmp_path / "locator.onnx")
    assert isinstance(finder, LearnedFinder)
    finder.least = 1e-6  # it has learnt nothing
    found = finder(hand_frame(), CAMERA, 1.0)
    assert 1 <= len(found) <= 2 and all(np.isfinite(where.center_mm).all() for where in found)


def test_finders_by_name(file: Path, tmp_path: Path) -> None:
    assert isinstance(make_finder("rule"), RuleFinder)
    assert isinstance(make_finder("auto"), LearnedFinder if SHIPPED.exists() else RuleFinder)
    assert isinstance(make_finder(str(file)), LearnedFinder)
    with pytest.raises(ModelError, match=r"There is no locator none.onnx; expected auto, rule, or an ONNX file"):
        make_finder("none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="cannot be opened"):
        make_finder(tmp_path / "text.onnx")
    model = tiny_model(tmp_path / "tiny.onnx")
    with pytest.raises(ModelError, match=r"tiny.onnx is no locator; expected a file that `dor3d export` wrote"):
        make_finder(model)
    with pytest.raises(ModelError, match=r"locator.onnx finds hands and reads no joints. It is for --locator"):
        OnnxModel(file)
    bare = onnx.load(str(file))
    helper.set_model_props(bare, {"dor3d": "{"})
    onnx.save(bare, str(tmp_path / "bare.onnx"))
    with pytest.raises(ModelError, match="is no locator"):
        make_finder(tmp_path / "bare.onnx")
    with pytest.raises(InputError, match="threads must be at least 1"):
        make_finder(file, threads=0)


def test_the_rule_finds_one_hand_of_either_side() -> None:
    (found,) = RuleFinder()(hand_frame(), CAMERA, 1.0)
    assert found.confidence == 0.5
    assert np.abs(np.array(found.center_mm) - (10, -20, 500)).max() < 30


def test_the_predictor_looks_where_it_is_told_to(tmp_path: Path) -> None:
    """Each place is a hand."""
    model = tiny_model(tmp_path / "tiny.onnx")
    places = [(10.0, -20.0, 500.0), (10.0, 40.0, 500.0)]
    finder = lambda depth, camera, unit_mm: [Sighting(place, 0.9) for place in places]  # noqa: E731
    hands = Predictor(model, CAMERA, locator=finder, passes=1)(hand_frame())
    assert [tuple(hand.center_mm) for hand in hands] == places
    assert Predictor(model, CAMERA, locator=lambda depth, camera, unit_mm: [])(hand_frame()) == []


def test_a_grid_of_a_locator_reads_pixels_and_units(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network is given is the frame on its coarse grid in mm, and the grid's own angle."""
    given, cells = [], np.full((30, 40), -9.0, np.float32)
    none = CellsSaid(cells, np.stack([cells, cells]), cells)
    monkeypatch.setattr(OnnxLocator, "__call__", lambda self, depth, pitch: given.append((depth, pitch)) or none)
    camera = Pinhole(600.0, 600.0, 320.0, 240.0, 640, 480, 0.25)
    frame = np.arange(640 * 480, dtype=np.uint16).reshape(480, 640)
    assert LearnedFinder(OnnxLocator(file))(frame, camera, 0.25) == []
    ((depth, pitch),) = given
    grid = coarse_grid(camera, 640, 480)
    assert np.array_equal(depth, frame[grid.rows[:, None], grid.columns].astype(np.float32) * np.float32(0.25))
    assert pitch == pytest.approx(grid.step / 600.0)


def test_networks_of_joints_are_no_locators(tmp_path: Path) -> None:
    save_model(tmp_path, HandNet(ModelConfig(backbone="lcnet_035", size=32)))
    with pytest.raises(ModelError, match="holds no network that finds hands"):
        export_locator(tmp_path, tmp_path / "locator.onnx")
