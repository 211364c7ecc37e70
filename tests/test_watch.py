"""What a run leaves to be looked at: numbers, sheets of samples, boards, and the report's page."""

import importlib.machinery
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.errors import InputError, MissingExtraError
from dor3d.skeleton import JOINTS
from dor3d.train.recipes import get_recipe
from dor3d.train.watch import Watch
from dor3d.viz.overlay import draw_skeleton
from dor3d.viz.report import write_report
from dor3d.viz.sheet import crop_errors_mm, sample_sheet

SIZE, MM_PER_PIXEL = 64, 280 / 64
VALIDATION = {"validation_mm": 31.25, "validation_samples": 1024}


def logged(step: int) -> dict[str, float]:
    return {
        "lr": 1e-3,
        "loss": 4000.0 / step,
        "joint": 3000.0 / step,
        "ordinal": 1000.0 / step,
        "error_mm": 2000.0 / step,
        "samples_per_s": 900.0,
        "seconds_per_step": 0.07,
        "waiting": 0.03,
    }


@pytest.fixture(scope="module")
def hands() -> tuple[np.ndarray, np.ndarray]:
    """Crops [5, S, S] and their true points [5, 21, 3]."""
    source = SyntheticHands(SyntheticConfig(size=SIZE), seed=1)
    crops, points = zip(*(source[i] for i in range(5)), strict=True)
    return np.stack(crops), np.stack(points)


@pytest.fixture
def run(tmp_path: Path, hands: tuple[np.ndarray, np.ndarray]) -> Path:
    """The folder of a run that stopped on its way."""
    folder = tmp_path / "first try"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(get_recipe("synth-compact").to_json()))
    (folder / "record.json").write_text(json.dumps({"torch": "2.14", "machine": {"gpu": None, "cores": 16}}))
    with Watch(folder, 15625, tensorboard=False) as watch:
        for step in range(20, 2001, 20):
            watch.numbers(step, logged(step))
        for step, mm in ((1000, 29.5), (1500, 33.125), (2000, 31.25)):
            watch.numbers(step, {**VALIDATION, "validation_mm": mm})
        watch.picture(1000, sheet(hands, 9.0))
        watch.picture(2000, sheet(hands, 3.0))
    return folder


def sheet(hands: tuple[np.ndarray, np.ndarray], off: float = 0.0) -> np.ndarray:
    crops, points = hands
    return sample_sheet(crops, points, points + np.float32(off), JOINTS, mm_per_pixel=MM_PER_PIXEL)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def text_of(page: str) -> str:
    """A page without its pictures, which hold every short string by chance."""
    return re.sub(r"base64,[^\"]*", "", page)


# ---- numbers -------------------------------------------------------------------------------------------------------
def test_numbers_are_lines_that_can_be_read_at_once(tmp_path: Path) -> None:
    with Watch(tmp_path / "run", 100, tensorboard=False) as watch:
        watch.numbers(20, {"loss": 1.5, "error_mm": float("nan")})
        assert lines(tmp_path / "run") == [{"step": 20, "loss": 1.5, "error_mm": None}]
        watch.numbers(40, VALIDATION)
    with Watch(tmp_path / "run", 100, 40, tensorboard=False) as watch:
        watch.numbers(60, {"loss": 0.5})
    assert [line["step"] for line in lines(tmp_path / "run")] == [20, 40, 60]
    assert lines(tmp_path / "run")[1] == {"step": 40, **VALIDATION}
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"The run folder .*file.run cannot be written"):
        Watch(tmp_path / "file" / "run", 100)


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 100)
    watch.close()
    watch.close()


# ---- boards --------------------------------------------------------------------------------------------------------
def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return found.Reload()


def test_tensorboard_gets_numbers_and_pictures(tmp_path: Path, hands: tuple[np.ndarray, np.ndarray]) -> None:
    with Watch(tmp_path, 100) as watch:
        watch.numbers(20, {"loss": 1.5, "error_mm": 20.0})
        assert [s.value for s in events(tmp_path).Scalars("loss")] == [1.5]  # not only after the end
        watch.numbers(40, VALIDATION)
        path = watch.picture(40, sheet(hands))
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {"loss", "error_mm", "validation_mm", "validation_samples"}
    assert [(s.step, s.value) for s in found.Scalars("validation_mm")] == [(40, 31.25)]
    (image,) = found.Images("samples")
    assert image.step == 40
    shown = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, cv2.imread(str(path)))


def age(folder: Path) -> None:
    """Event files sort by the second they were begun in: as if this was long ago."""
    for number, path in enumerate(sorted((folder / "tensorboard").iterdir())):
        path.rename(path.with_name(f"events.out.tfevents.{number:010d}.here.1.0"))


def test_a_resumed_run_has_each_step_once(tmp_path: Path, hands: tuple[np.ndarray, np.ndarray]) -> None:
    for done, end in ((0, 80), (40, 100)):
        with Watch(tmp_path, 100, done) as watch:
            for step in range(done + 20, end + 1, 20):
                watch.numbers(step, {"loss": float(end)})
                watch.picture(step, sheet(hands))
        age(tmp_path)
    found = events(tmp_path)
    assert [(s.step, s.value) for s in found.Scalars("loss")] == [(20, 80), (40, 80), (60, 100), (80, 100), (100, 100)]
    assert [i.step for i in found.Images("samples")] == [20, 40, 60, 80, 100]


def test_a_run_that_begins_anew_forgets_what_lay_there(tmp_path: Path, hands: tuple[np.ndarray, np.ndarray]) -> None:
    with Watch(tmp_path, 100) as watch:
        watch.numbers(40, {"loss": 1.0})
        watch.picture(40, sheet(hands))
    age(tmp_path)
    (tmp_path / "samples" / "mine.png").write_bytes(b"")
    with Watch(tmp_path, 100) as watch:
        watch.numbers(20, {"loss": 2.0})
    assert [s.step for s in events(tmp_path).Scalars("loss")] == [20]
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["mine.png"]


def test_a_missing_package_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError) as caught:
        Watch(tmp_path / "run", 100, wandb="hands")
    assert str(caught.value) == (
        "Weights & Biases needs the package wandb; expected the extra 'wandb'. "
        "Install it with: pip install 'dor3d[wandb]'"
    )
    assert not (tmp_path / "run").exists()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match="expected the extra 'train'"):
        Watch(tmp_path / "run", 100)


class LoggerStandIn:
    """What is used of lightning's WandbLogger."""

    made: list["LoggerStandIn"]
    problem: Exception | None = None

    def __init__(self, **options: Any) -> None:
        self.options, self.told = options, list[Any]()
        self.made.append(self)

    @property
    def experiment(self) -> Any:
        if self.problem:
            raise self.problem
        return types.SimpleNamespace(finish=lambda: self.told.append("finish"))

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.told.append((step, values))

    def log_image(self, key: str, images: list[np.ndarray], step: int) -> None:
        self.told.append((step, key, images[0].shape))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[LoggerStandIn]:
    wandb, errors = types.ModuleType("wandb"), types.ModuleType("wandb.errors")
    wandb.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    setattr(errors, "Error", type("Error", (Exception,), {}))  # noqa: B010
    logger = type("Logger", (LoggerStandIn,), {"made": []})
    loggers = types.SimpleNamespace(WandbLogger=logger)
    for name, module in {"wandb": wandb, "wandb.errors": errors, "lightning.pytorch.loggers": loggers}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return logger


def test_weights_and_biases_gets_the_same(
    tmp_path: Path, stand_in: type[LoggerStandIn], hands: tuple[np.ndarray, np.ndarray]
) -> None:
    for done in (0, 20, 0):
        with Watch(tmp_path / "run", 100, done, tensorboard=False, wandb="hands") as watch:
            watch.numbers(done + 20, VALIDATION)
            watch.picture(done + 20, sheet(hands))
    first, resumed, anew = stand_in.made
    assert first.told[0] == (20, VALIDATION)
    assert first.told[1][:2] == (20, "samples")
    assert first.told[2] == "finish"
    assert (first.options["project"], first.options["name"]) == ("hands", "run")
    assert first.options["version"] == resumed.options["version"] != anew.options["version"]


def test_weights_and_biases_without_a_login_is_told_at_the_start(tmp_path: Path, stand_in: type[LoggerStandIn]) -> None:
    stand_in.problem = sys.modules["wandb.errors"].Error("No API key.")
    with pytest.raises(InputError, match=r"cannot be used; got No API key\. Run 'wandb login'"):
        Watch(tmp_path, 100, tensorboard=False, wandb="hands")


# ---- sheets --------------------------------------------------------------------------------------------------------
def test_errors_take_pixels_at_the_cubes_scale() -> None:
    true = np.zeros((2, 21, 3), np.float32)
    off = true + np.array([3.0, 0.0, 8.0], np.float32)
    np.testing.assert_allclose(crop_errors_mm(true, off, 2.0), [10.0, 10.0])


@pytest.mark.parametrize(("count", "across", "rows"), [(1, 1, 1), (4, 4, 1), (5, 3, 2)])
def test_a_sheet_has_rows_of_enlarged_crops(
    hands: tuple[np.ndarray, np.ndarray], count: int, across: int, rows: int
) -> None:
    crops, points = (x[:count] for x in hands)
    sheet = sample_sheet(crops, points, points + 5, JOINTS, mm_per_pixel=MM_PER_PIXEL)
    assert sheet.shape[1] == pytest.approx(294 * across, abs=10)
    assert sheet.shape[0] == pytest.approx(324 * rows + 36, abs=10)
    assert sheet.std() > 10


def test_the_prediction_can_be_told_from_the_truth(hands: tuple[np.ndarray, np.ndarray]) -> None:
    crops, points = hands
    right = sample_sheet(crops, points, points, JOINTS, mm_per_pixel=MM_PER_PIXEL)
    wrong = sample_sheet(crops, points, points + 8, JOINTS, mm_per_pixel=MM_PER_PIXEL)
    lost = sample_sheet(crops, points, points * np.float32("nan"), JOINTS, mm_per_pixel=MM_PER_PIXEL)

    def coloured(picture: np.ndarray) -> int:
        return int((np.ptp(picture.astype(int), axis=-1) > 60).sum())

    assert coloured(lost) == 0
    assert coloured(wrong) > coloured(right) > 500  # the truth lies over a prediction that is right
    assert ((right != wrong).any(-1)).mean() > 0.01
    assert (lost == 255).all(-1).sum() > 500  # the truth


def test_joints_lie_on_the_pixels_they_are_in() -> None:
    crop = np.ones((1, 48, 48), np.float32)
    crop[0, 20, 30] = -1.0
    nowhere = np.full((1, 1, 3), np.nan, np.float32)
    at = np.array([[[30.0, 20.0, 0.0]]], np.float32)
    sheets = [sample_sheet(crop, true, nowhere, ("wrist",), mm_per_pixel=1.0)[60:300] for true in (nowhere, at)]
    pixel, point = (np.argwhere((sheet == value).all(-1)) for sheet, value in zip(sheets, (170, 255), strict=True))
    assert len(pixel) == 36  # 6 x 6 of the sheet's
    np.testing.assert_allclose(pixel.mean(0), point.mean(0), atol=0.6)


def test_a_sheet_of_nothing_is_refused() -> None:
    none = np.zeros((0, 21, 3), np.float32)
    with pytest.raises(InputError, match="at least one crop"):
        sample_sheet(np.zeros((0, 8, 8), np.float32), none, none, JOINTS, mm_per_pixel=1.0)


def test_a_thin_skeleton_is_of_one_colour() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    uv = np.stack([np.linspace(20, 180, 21), 100 + 60 * np.sin(np.arange(21.0))], -1)
    draw_skeleton(picture, uv, colour=(255, 255, 255))
    assert picture.any()
    assert (picture == picture[..., :1]).all()


# ---- the report ----------------------------------------------------------------------------------------------------
def test_the_report_holds_the_runs_numbers(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    page = path.read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/png;base64,") == 5  # four curves and the last sheet
    shown = text_of(page)
    for words in (
        *("Training of synth-compact", "From the folder first try", "stopped at step 2,000 of 15,625", "12 %"),
        *("29.50 mm", "best held-out error, at step 1,000, over 1,024 samples"),
        *("31.25 mm", "last held-out error, at step 2,000", "Samples at step 2,000", "900 /s", "1.00 mm"),
        *("<td>model.cube_mm</td><td>280.0, 300.0</td>", "<td>data.kind</td><td>synthetic</td>"),
        *("<h2>Record</h2>", "<td>machine.cores</td><td>16</td>", "<td>machine.gpu</td><td>–</td>"),
    ):
        assert words in shown, words
    assert 'class="problem"' not in shown
    assert "{" not in shown.partition("</style>")[2]


def test_a_finished_run_is_called_so(run: Path) -> None:
    with Watch(run, 15625, 2000, tensorboard=False) as watch:
        watch.numbers(15625, logged(15625))
    (run / "record.json").unlink()
    shown = text_of(write_report(run).read_text())
    assert "finished" in shown
    assert "all 15,625 steps" in shown
    assert "Record" not in shown


def test_values_are_text_and_not_html(run: Path) -> None:
    config = {"recipe": "<script>x</script>", "steps": 5000, "data": {"<i>": "<b>&{style}", "list": [{"a": "<u>"}]}}
    (run / "config.json").write_text(json.dumps(config))
    (run / "record.json").write_text(json.dumps(["<s>", 1]))
    shown = text_of(write_report(run).read_text())
    assert not re.findall(r"<(script|i|b&|u|s)>", shown)
    assert "&lt;script&gt;" in shown
    assert "<td>data.&lt;i&gt;</td><td>&lt;b&gt;&amp;{style}</td>" in shown
    assert "<td>data.list.0.a</td><td>&lt;u&gt;</td>" in shown


def test_broken_lines_are_counted_and_left_out(run: Path) -> None:
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'[1]\n"x"\n{"loss": 1}\n{"step": "2"}\n{"step": true}\n{"step": NaN}\n{"step": -1}\n')
        file.write(b'{"step": 1' + b"0" * 400 + b"}\n" + b"[" * 100_000 + b"\n\xff\xfe\n\n")
        file.write(b'{"step": 2020, "loss": null, "error_mm": Infinity, "validation_mm": "3", "lr": [1]}\n{"step": 20')
    shown = text_of(write_report(run).read_text())
    assert "Left out of metrics.jsonl: 11 lines that cannot be read." in shown
    assert "stopped at step 2,020" in shown
    assert "29.50 mm" in shown


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "There is no metrics.jsonl: the run has not logged anything yet."),
        ({"metrics.jsonl": ""}, "metrics.jsonl is empty"),
        ({"metrics.jsonl": '{"step": 5}'}, "stopped at step 5 of 100"),
        ({"metrics.jsonl": '{"step": 5, "loss": 0, "validation_mm": 3}'}, "3.00 mm"),
        ({"metrics.jsonl": '{"step": 5, "error_mm": 1e200}'}, "1.0e+200 mm"),
        ({"config.json": "{"}, "config.json is not JSON."),
        ({"config.json": "[1, 2]"}, "the configuration does not say of how many"),
        ({"config.json": '{"steps": "many", "samples": 10, "batch": 0}'}, "the configuration does not say of how many"),
        ({"config.json": '{"a":' * 400 + "1" + "}" * 400}, "<td>a.a.a.a"),
        ({"record.json": "\x00"}, "record.json is not JSON."),
    ],
)
def test_a_folder_with_little_in_it_gives_a_page(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, content in {"config.json": '{"steps": 100}', **files}.items():
        (tmp_path / name).write_text(content)
    assert words in text_of(write_report(tmp_path).read_text())


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not the folder of a training run; got no config\.json in it"):
        write_report(tmp_path)
    with pytest.raises(InputError, match="got no folder"):
        write_report(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []
