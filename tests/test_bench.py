"""`dor3d bench`: what it prints is what it measured, in the form that is promised."""

import json
from pathlib import Path

import numpy as np
import pytest

from dor3d.bench import run as bench_run
from dor3d.bench.measure import Followed, Job, best_batch, measure, peak_memory_mb, pipeline
from dor3d.bench.report import as_text, draw_pareto
from dor3d.bench.run import Bench, Row, bench
from dor3d.cli import main
from dor3d.demo import load_frames
from dor3d.errors import InputError, ModelError
from dor3d.predict import Predictor, Tracker
from dor3d.predict.look import Aim
from dor3d.runtime.base import CropOutput
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import JOINTS

QUICK = 0.02
PROMISED = {"model", "backend", "precision", "batch", "latency_ms", "p99_ms", "frames_per_s", "pipeline_frames_per_s"}


def test_rows_have_the_promised_fields(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["bench", "compact", "--backend", "onnxruntime", "openvino", "--seconds", str(QUICK), "--threads", "1"]
    main([*words, "--json", "--out", str(tmp_path)])
    told = json.loads(capsys.readouterr().out)
    assert [row["backend"] for row in told["rows"]] == ["onnxruntime", "openvino"] and not told["failed"]
    for row in told["rows"]:
        assert set(row) >= PROMISED and row["model"] == "compact" and row["batch"] == 1
        assert 0 < row["latency_ms"] <= row["p99_ms"] and row["pipeline_frames_per_s"] > 0
        assert row["best_frames_per_s"] > 0 and 50 < row["memory_mb"] < 2000
        assert row["parameters"] == pytest.approx(1.73e6, rel=0.01) and row["gflop"] == pytest.approx(0.14, abs=0.02)
        assert row["peak_share"] == pytest.approx(
            row["gflop"] * row["frames_per_s"] / told["machine"]["peak_gflops"], abs=2e-3
        )
    assert told == json.loads((tmp_path / "bench.json").read_text())
    assert "| compact | openvino |" in (tmp_path / "bench.md").read_text()


@pytest.mark.parametrize(
    ("models", "backends", "error", "said"),
    [
        (["nope"], [], ModelError, "No such model; got nope"),
        (["compact"], ["onnx"], InputError, "Unknown backend; got onnx"),
    ],
)
def test_wrong_names_end_before_anything_is_timed(
    models: list[str], backends: list[str], error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_run, "peak_gflops", lambda: 1.0)
    monkeypatch.setattr(bench_run, "_timed", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(error, match=said):
        bench(models, backends, QUICK, 1, lambda _: None)


def test_what_cannot_be_run_is_told_and_the_others_go_on() -> None:
    found = bench(["compact"], ["onnxruntime-cuda", "onnxruntime"], QUICK, 1, lambda _: None)
    assert [row.backend for row in found.rows] == ["onnxruntime"]
    assert list(found.failed) == ["compact in onnxruntime-cuda"] and "lacks a provider" in as_text(found)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_measurement_takes_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "compact", "--seconds", seconds])
    assert "The time of a measurement must be positive" in capsys.readouterr().err


class FourAtMost:
    """A network that has room for four crops."""

    def __init__(self) -> None:
        self.card, self.most = OnnxModel("compact", 1).card, 0

    def __call__(self, crops: np.ndarray) -> CropOutput:
        if len(crops) > 4:
            raise MemoryError
        self.most = max(self.most, len(crops))
        points = np.zeros((len(crops), len(JOINTS), 3), np.float32)
        return CropOutput(points, points + 1)


def test_batches_grow_until_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dor3d.bench.measure.timed", lambda work, _: (work(), np.full(3, 0.003))[1]
    )  # whatever is asked
    model = FourAtMost()
    assert best_batch(model, QUICK)[0] == 4 and model.most == 4


def test_a_followed_hand_costs_one_look_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never leaves, or time would go into looking for it; and its crops are turned, which costs more."""
    asked: list[np.ndarray] = []
    followed, demo = Followed(OnnxModel("compact", threads=1)), load_frames()
    monkeypatch.setattr(
        followed.model, "_run", lambda crops, run=followed.model._run: (asked.append(crops), run(crops))[1]
    )
    predictor = Predictor(followed, demo.camera, hand="right")
    tracker = Tracker(predictor)
    (hand,) = tracker(demo.depth[0])
    x, y, z = hand.center_mm.tolist()
    turned = predictor.looker.box(Aim((x, y, z), rotation=0.3)).image(demo.depth[0], demo.camera.depth_unit_mm)
    del asked[:]
    for _ in range(60):
        tracker(demo.depth[0])
    assert len(asked) == 60 and all(np.mean(crop != turned) < 0.02 for crop in asked)


def test_the_pipeline_of_networks_whose_answers_say_nothing() -> None:
    told = pipeline(FourAtMost(), 0.1)
    assert told["pipeline_frames_per_s"] > 0 and set(told["pipeline_ms"]) == {"crop", "network", "rest"}


def test_memory_is_this_processs_own() -> None:
    before = peak_memory_mb()
    block = np.ones(2**25)
    assert peak_memory_mb() >= before and block[0] == 1
    assert measure(Job("compact", "onnxruntime", QUICK, 1))["memory_mb"] >= before


def test_the_table_tells_how_much_faster_than_eager_each_is() -> None:
    rows = [
        Row("compact", "openvino", "fp32", 1, 5.0, 6.0, 200.0),
        Row("compact", "torch-eager", "fp32", 1, 20.0, 21.0, 50.0),
        Row("compact", "torch-eager", "bf16", 1, 40.0, 41.0, 25.0),
        Row("swin-b", "openvino", "fp32", 1, 90.0, 99.0, 11.0),
    ]
    lines = as_text(Bench({"processor": "x", "cores": 2, "gpu": "", "peak_gflops": 100.0}, rows)).splitlines()
    table = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
    assert [row[table[0].index("times eager")] for row in table[2:]] == ["4.0", "1.0", "0.5", ""]


def test_the_plot_takes_the_fastest_of_each_model(tmp_path: Path) -> None:
    rows = [
        Row("compact", "onnxruntime", "fp32", 1, 5.0, 6.0, 200.0, error_mm=10.0),
        Row("compact", "openvino", "bf16", 1, 2.0, 3.0, 500.0, error_mm=10.0),
        Row("swin-b", "openvino", "fp32", 1, 90.0, 99.0, 11.0),
    ]
    machine = {"processor": "x", "cores": 2, "gpu": "", "peak_gflops": 100.0}
    assert draw_pareto(Bench(machine, rows), tmp_path / "a.png") and (tmp_path / "a.png").stat().st_size > 5000
    assert not draw_pareto(Bench(machine, rows[2:]), tmp_path / "b.png") and not (tmp_path / "b.png").exists()
