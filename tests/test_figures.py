"""Figures: what is drawn is what networks and sets say, and what is missing is named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from variants import HEADS
from write_sets import render, write

from dor3d import cli
from dor3d.data.testsets import clear
from dor3d.errors import InputError
from dor3d.evaluate import figures
from dor3d.evaluate.crops import last_crops, rendered_crops, set_crops
from dor3d.evaluate.figures import Request, make_figures
from dor3d.evaluate.maps import JointMaps, departure, disagreement, joint_maps
from dor3d.model.checkpoint import save_model
from dor3d.model.network import HandNet, ModelConfig
from dor3d.ordinal import Discretisation
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import JOINTS
from dor3d.viz.figures import mean_width
from dor3d.viz.sheet import sample_sheet

SIZE = 64


def network(head: str, **changes: object) -> HandNet:
    torch.manual_seed(0)
    config = {"backbone": "mobilenetv4_conv_small_050", "size": SIZE, **HEADS[head], **changes}
    return HandNet(ModelConfig(**config)).eval()  # type: ignore[arg-type]


@pytest.fixture
def crop() -> np.ndarray:
    image = np.ones((SIZE, SIZE), np.float32)
    image[16:48, 20:40] = 0.0
    return image


TRUE = np.tile(np.array([[20.0, 40.0, 150.0]], np.float32), (21, 1))


@pytest.mark.parametrize("head", [h for h in HEADS if h != "heatmap"])
def test_maps_lead_to_the_joints_that_the_network_gives(head: str, crop: np.ndarray) -> None:
    net = network(head)
    maps = joint_maps(net, crop, TRUE)
    with torch.no_grad():
        image = torch.from_numpy(crop)[None, None]
        points, seen = net(image).points[0].numpy(), net.maps(image)
    if maps.probability:
        step, weights = SIZE / maps.x.shape[-1], (np.array(1 / maps.x.shape[1]), np.array(1 / maps.y.shape[2]))
        if head == "learned":
            weights = tuple(w[0].detach().numpy() for w in net.head.weights(seen.xy, seen.z)[:2])  # type: ignore[union-attr, operator]
        np.testing.assert_allclose((weights[0] * maps.x.sum(-1)).sum(-1) * step, points[:, 0], atol=0.01)
        np.testing.assert_allclose((weights[1] * maps.y.sum(-2)).sum(-1) * step, points[:, 1], atol=0.01)
        assert (maps.ideal_x.sum(-1) * step == 22).all() and (maps.ideal_y.sum(-2) * step == 42).all()  # the upper end
    else:
        side = maps.x.shape[-1]
        middles = (np.arange(side) + 0.5) * SIZE / side
        np.testing.assert_allclose(maps.ideal_x[3], np.tile(20 - middles, (side, 1)), atol=1e-4)
        np.testing.assert_allclose(maps.ideal_y[3], np.tile(40 - middles[:, None], (1, side)), atol=1e-4)
        assert (maps.seen is None) is (head != "pixel-offset")
        if maps.seen is not None:
            assert maps.seen.sum() == 16 * 10  # of half the crop's side


def test_departure_is_nothing_for_ideal_maps_and_grows_with_noise(crop: np.ndarray) -> None:
    maps = joint_maps(network("offset"), crop, TRUE)
    ideal = maps._replace(x=maps.ideal_x, y=maps.ideal_y)
    assert (departure(ideal) == 0).all()
    rng = np.random.default_rng(0)
    noise = [departure(ideal._replace(x=ideal.x + rng.normal(0, sd, ideal.x.shape))).mean() for sd in (5, 10, 20)]
    assert 0 < noise[0] < noise[1] < noise[2]


def test_departure_is_a_share_of_what_an_ideal_line_falls_by() -> None:
    line = np.array([[[1.0, 0.5, 0.7, 0.0]]])  # the nearest falling line has 0.6 twice: 0.05 off on average
    flat = np.zeros((1, 4, 1))
    steps = np.array([[[1.0, 1.0, 0.0, 0.0]]])
    probabilities = JointMaps(line, flat, steps, flat, None, probability=True)
    assert departure(probabilities) == pytest.approx([2.5])  # x and y, half each
    offsets = JointMaps(line * 10, flat, steps * 20, flat + [[[3.0]], [[1.0]]][0], None, probability=False)
    offsets = offsets._replace(ideal_y=np.arange(4.0).reshape(1, 4, 1))
    assert departure(offsets) == pytest.approx([100 * (0.5 / 20) / 2])


def test_disagreement_is_between_lines_and_not_along_them() -> None:
    noisy = np.array([[[1.0, 0.5, 0.7, 0.0]] * 3])  # three lines that say the same
    flat = np.zeros((1, 4, 3))
    maps = JointMaps(noisy, flat, noisy, flat, None, probability=True)
    assert departure(maps) > 0 and disagreement(maps) == pytest.approx([0])
    tilted = noisy + np.array([[[-0.1], [0.0], [0.1]]])
    assert disagreement(maps._replace(x=tilted)) == pytest.approx([100 * (0.2 / 3) / 2])  # x and y, half each
    seen = np.array([[True] * 4, [True] * 4, [False] * 4])
    masked = maps._replace(x=tilted, y=flat.swapaxes(1, 2), seen=seen)
    assert disagreement(masked) == pytest.approx([100 * 0.05 / 2])


def test_heatmaps_have_nothing_for_figure_1(crop: np.ndarray) -> None:
    with pytest.raises(InputError, match="Head heatmap has neither offsets nor thresholds to show"):
        joint_maps(network("heatmap"), crop, TRUE)


def test_mean_width_is_that_of_the_intervals_that_coordinates_fall_into() -> None:
    disc = Discretisation((0.0, 1.0, 3.0, 7.0))
    assert mean_width(disc, np.array([0.5, 1.0, 2.9, 3.0, 7.0, 9.0])) == pytest.approx((1 + 2 + 2 + 4 + 4 + 4) / 6)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    for head in ("ordinal", "offset"):
        save_model(tmp_path / head, network(head))
    return [f"ours={tmp_path / 'ordinal'}", str(tmp_path / "offset")]


def picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None and image.std() > 5
    return image


def test_all_figures_of_the_frozen_set(tmp_path: Path, runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "truth.txt"
    truth.write_text("\n".join(" ".join(["100", "100", "500"] * 14) for _ in range(3)))
    given = ["--frames", "8", "--truths", f"nyu={truth}", "--out", str(tmp_path / "out"), "--models", *runs]
    cli.main(["figures", "1", "2", "3", "4", "6", "calibration", *given])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == [*(f"figure_{n}.png" for n in (1, 2, 3, 4, 6)), "calibration.png"]
    for name in names:
        picture(tmp_path / "out" / name)


@pytest.mark.parametrize("name", ["msra", "nyu"])
def test_figures_of_a_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NYU has joints that the model does not predict, and the other way round."""
    write(name, tmp_path / "set", render(name, 7))
    shown: list[tuple[np.ndarray, int]] = []

    def sheet(images: np.ndarray, points: np.ndarray, *rest: object, **named: object) -> np.ndarray:
        shown.append((images, points.shape[1]))
        return sample_sheet(images, points, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(figures, "sample_sheet", sheet)
    request = Request(["compact"], name, tmp_path / "set", frames=3, out=tmp_path)
    for path in make_figures(["6", "calibration"], request):
        picture(path)
    images, joints = shown[0]
    frames = request.open_frames()
    common = [joint for joint in frames.joints if joint in JOINTS]
    crops = last_crops(OnnxModel("compact"), set_crops(frames, "mass", 100, images.shape[1], (280.0, 300.0), common), 2)
    places = {i for i, crop in enumerate(crops.images) if any(np.array_equal(crop, image) for image in images)}
    assert joints == len(common) and places == {0, (len(frames) - 1) // 2, len(frames) - 1}  # spread over the recording


@pytest.mark.parametrize(
    ("figure", "changes", "said"),
    [
        ("1", {}, "Figure 1 looks inside networks; got none; expected run folders, with --models"),
        ("1", {"models": ["compact"]}, r"Figure 1 looks inside networks; got \['compact'\]"),
        (
            "4",
            {"truths": ["truth.txt"]},
            "A file of true poses needs its benchmark; got truth.txt; expected NAME=FILE, as ",
        ),
        ("4", {"truths": ["mano=truth.txt"]}, "Unknown benchmark; got mano"),
        ("6", {"dataset": "nyu"}, "It is not said where nyu lies. Name its folder with --root"),
        ("6", {"dataset": "mano"}, "Unknown data set; got mano; expected synthetic, nyu"),
        ("6", {"models": ["a/run", "b/run"]}, "Two models have the same name; .*Name them: NAME=PLACE"),
    ],
)
def test_what_a_figure_lacks_is_named(tmp_path: Path, figure: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_figures([figure], Request(frames=2, out=tmp_path, **changes))  # type: ignore[arg-type, list-item]


def test_models_are_named_by_their_whole_folder() -> None:
    """A learning rate's dot is no suffix."""
    request = Request(["runs/offset-x0.5-s0", "runs/offset-x0.25-s0/", "mine=x/y.onnx", "x/model.onnx", "compact"])
    assert list(request.named_models()) == ["offset-x0.5-s0", "offset-x0.25-s0", "mine", "model", "compact"]


def test_cases_are_chosen_by_error_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "run_on", lambda model, images: (moved(len(images)), None))
    monkeypatch.setattr(figures, "last_crops", lambda model, crops, looks: crops)
    shown: list[np.ndarray] = []
    monkeypatch.setattr(figures, "sample_sheet", lambda images, true, said, *_, **__: shown.append(said - true) or 255)
    monkeypatch.setattr(figures, "png", lambda sheet: b"")
    clear_points = rendered_crops(clear(96, (280.0, 300.0)), range(21)).points

    def moved(n: int) -> np.ndarray:
        """Frame i is off by (7 i) mod 21 px."""
        away = (7 * np.arange(n) % 20 + np.arange(n) / 100)[:, None]
        said = clear_points.copy()
        said[..., 0] += away
        return said

    make_figures(["6"], Request(frames=21, out=tmp_path))
    errors = shown[0][:, 0, 0]
    every = np.sort((7 * np.arange(21) % 20) + np.arange(21) / 100)
    np.testing.assert_allclose(errors, every[[1, 4, 7, 10, 15, 18, 19, 20]], atol=1e-3)


def test_figures_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["figures", "--out", str(tmp_path)])
    assert "It is not said which figures; expected some of 1, 2" in capsys.readouterr().err


def test_figures_refuse_models_that_do_not_fit_them(tmp_path: Path, runs: list[str]) -> None:
    save_model(tmp_path / "larger", network("ordinal", size=96))
    request = Request([*runs, str(tmp_path / "larger")], frames=2, out=tmp_path)
    with pytest.raises(InputError, match="the models take different ones"):
        make_figures(["1"], request)
    with pytest.raises(InputError, match="no such joint; got nose; expected one of wrist"):
        make_figures(["1"], Request(runs, frames=2, joint="nose", out=tmp_path))
    with pytest.raises(InputError, match="Figure 3 shows an ordinal head"):
        make_figures(["3"], Request(runs[1:], frames=2, out=tmp_path))
