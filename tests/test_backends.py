"""Backends: all that run here give the same joints, the fastest is taken and remembered, what is missing is named."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dor3d.cli import main
from dor3d.errors import InputError, ModelError
from dor3d.model.checkpoint import save_model
from dor3d.model.network import HandNet, ModelConfig
from dor3d.runtime import backends
from dor3d.runtime.backends import Choice, fastest, names, open_backend
from dor3d.runtime.base import CropModel
from dor3d.runtime.export import export_onnx
from dor3d.runtime.export_openvino import export_openvino
from dor3d.runtime.onnx import OnnxModel
from dor3d.runtime.openvino import OpenVinoModel, precisions
from dor3d.runtime.parity import Parity, made_up_crops, parity
from dor3d.runtime.quantize import eight_bit_layers

CROPS = made_up_crops(24, 64, 3)
HERE = ["onnxruntime", *(str(Choice("openvino", precision)) for precision in precisions())]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder, beside it the file that it was exported to."""
    torch.manual_seed(0)
    net = HandNet(ModelConfig(backbone="lcnet_035", size=64, head="offset", kinds=True, errors=True))
    with torch.no_grad():
        for seed in range(3):
            net(torch.from_numpy(made_up_crops(8, 64, seed)))
    folder = tmp_path_factory.mktemp("run")
    save_model(folder, net.eval())
    export_onnx(folder, folder / "net.onnx", precision="fp32")
    return folder


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dor3d" / "backends.json"


@pytest.mark.parametrize("name", [*HERE, "openvino-throughput", "torch-eager", "torch-eager:bf16"])
@pytest.mark.parametrize("count", [1, 5])
def test_every_backend_says_the_same(name: str, count: int, run: Path) -> None:
    model = open_backend(run if name.startswith("torch") else run / "net.onnx", name, 1)
    expected = OnnxModel(run / "net.onnx", 1)(CROPS)
    parts = [model(CROPS[i : i + count]) for i in range(0, len(CROPS), count)]
    said = type(parts[0])(*(np.concatenate(some) for some in zip(*parts, strict=True)))
    assert isinstance(model, CropModel)
    assert parity(model.card, said, expected).within(Choice.parse(name).precision)


@pytest.mark.slow
def test_a_compiled_network_says_the_same(run: Path) -> None:
    model = open_backend(run, "torch-compile")
    assert parity(model.card, model(CROPS), OnnxModel(run / "net.onnx", 1)(CROPS)).within("fp32")


def test_the_fastest_is_taken_and_remembered(run: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"onnxruntime": 3.0, "openvino": 1.0}
    monkeypatch.setattr(backends, "seconds_a_crop", lambda model, rounds: times[kind(model)])
    assert fastest(run / "net.onnx", 1).backend == "openvino"
    assert set(json.loads(memory.read_text()).values()) <= {"openvino", "openvino:bf16", "openvino:fp16"}
    monkeypatch.setattr(backends, "_tried", lambda *_: pytest.fail("it was tried again"))
    assert fastest(run / "net.onnx", 1).backend == "openvino"


def test_for_one_frame_nothing_is_tried(run: Path, memory: Path) -> None:
    assert isinstance(open_backend(run / "net.onnx", once=True), OnnxModel) and not memory.exists()


def kind(model: object) -> str:
    return "onnxruntime" if isinstance(model, OnnxModel) else "openvino"


def test_what_answers_otherwise_is_not_taken(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "seconds_a_crop", lambda model, rounds: 3.0 if kind(model) == "onnxruntime" else 1.0)
    monkeypatch.setattr(backends, "parity", lambda *_: Parity(1.0, 9.0))
    assert fastest(run / "net.onnx", 1) == Choice("onnxruntime")


def test_a_little_faster_is_not_worth_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "seconds_a_crop", lambda model, rounds: 1.0 if kind(model) == "onnxruntime" else 0.95)
    assert fastest(run / "net.onnx", 1) == Choice("onnxruntime")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}'])
def test_a_broken_memory_is_no_memory(text: str, run: Path, memory: Path) -> None:
    memory.parent.mkdir()
    memory.write_text(text)
    assert str(fastest(run / "net.onnx", 1)) in HERE


def test_a_memory_that_cannot_be_written_costs_a_trial_alone(run: Path, memory: Path) -> None:
    memory.parent.write_text("a file where the folder should be")
    assert str(fastest(run / "net.onnx", 1)) in HERE


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("onnx", "Unknown backend; got onnx; expected auto or onnxruntime, .*openvino, .*torch-eager"),
        ("openvino:int4", "Unknown backend; got openvino:int4"),
        ("onnxruntime:bf16", "onnxruntime computes in what the file says; got onnxruntime:bf16"),
        (
            "onnxruntime-directml",
            "This onnxruntime lacks a provider; got directml; expected .*-directml may",
        ),
        ("torch-eager", r"PyTorch runs trained runs; got .*net\.onnx; expected a run folder"),
    ],
)
def test_what_cannot_run_is_named(name: str, said: str, run: Path) -> None:
    with pytest.raises(InputError, match=said):
        open_backend(run / "net.onnx", name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_graphs_say_the_same_again_and_again(precision: str, run: Path) -> None:
    model, expected = open_backend(run, f"torch-graph:{precision}"), OnnxModel(run / "net.onnx", 1)(CROPS)
    first = model(CROPS)
    model(CROPS[::-1].copy())
    for said in (first, model(CROPS)):
        assert parity(model.card, said, expected).within(Choice.parse(f"torch-graph:{precision}").precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_graphs_need_a_gpu(run: Path) -> None:
    with pytest.raises(InputError, match="CUDA graphs need a GPU; got cpu"):
        open_backend(run, "torch-graph")


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_does_not_start_is_no_silent_cpu(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dor3d.runtime import onnx

    monkeypatch.setattr(onnx.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(ModelError, match=r"onnxruntime cannot start cuda; got \['CPUExecutionProvider'\].*driver"):
        open_backend(run / "net.onnx", "onnxruntime-cuda")


def test_signals_are_survived_when_models_have_come_and_gone(run: Path) -> None:
    lines = (
        "import os, signal, sys",
        "from dor3d.runtime.openvino import OpenVinoModel",
        "signal.signal(signal.SIGTERM, lambda *_: print('survived'))",
        "first, second = (OpenVinoModel(sys.argv[1], 1) for _ in range(2))",
        "del first, second",
        "os.kill(os.getpid(), signal.SIGTERM)",
    )
    command = [sys.executable, "-X", "faulthandler", "-c", "\n".join(lines), str(run / "net.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "survived\n", done.stderr


def test_a_processor_is_not_asked_for_what_it_cannot(run: Path) -> None:
    for precision in {"bf16", "fp16"} - set(precisions()):
        with pytest.raises(InputError, match=f"This processor does not compute so; got {precision}; expected fp32"):
            open_backend(run / "net.onnx", f"openvino:{precision}")


def test_backends_have_the_names_that_the_command_line_promises() -> None:
    assert {"onnxruntime", "openvino", "torch-eager", "torch-compile", "torch-graph"} <= set(names())


@pytest.mark.parametrize("limit", ["fp32", "fp16"])
def test_openvinos_own_form_says_the_same(limit: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.xml"
    export_openvino(run / "net.onnx", out, CROPS, limit)  # type: ignore[arg-type]
    model = open_backend(out, "auto", 1)
    assert isinstance(model, OpenVinoModel) and model.card == OnnxModel(run / "net.onnx").card
    assert parity(model.card, model(CROPS), OnnxModel(run / "net.onnx", 1)(CROPS)).within("fp16")


def test_what_disagrees_in_openvinos_form_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dor3d.runtime.export_openvino.parity", lambda *_: Parity(0.06, 0.1))
    with pytest.raises(ModelError, match=r"got 0\.060 mm apart .*expected at most 0\.05 mm on average.*Nothing was"):
        export_openvino(run / "net.onnx", tmp_path / "net.xml", CROPS, "fp32")
    assert not list(tmp_path.iterdir())


def test_openvinos_files_have_their_ending(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"OpenVINO's files end in \.xml; got .*net\.onnx"):
        export_openvino(run / "net.onnx", tmp_path / "net.onnx", CROPS, "fp32")


@pytest.mark.parametrize(
    ("found", "limit", "good"),
    [
        (Parity(0.05, 0.2), "fp32", True),
        (Parity(0.05, 0.21), "fp32", False),
        (Parity(0.3, 1.2), "bf16", True),
        (Parity(0.51, 0.6), "int8", False),
        (Parity(float("nan"), 0.0), "fp16", False),
    ],
)
def test_how_far_apart_is_near_enough(found: Parity, limit: str, good: bool) -> None:
    assert found.within(limit) is good  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words",
    [["--precision", "fp32"], ["--format", "openvino"], ["--precision", "int8"]],
    ids=["onnx", "openvino", "int8"],
)
def test_runs_are_exported_from_the_command_line(
    words: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / ("mine.xml" if "openvino" in words else "mine.onnx")
    main(["export", str(run), *words, "--calibrate", "0", "--out", str(out)])
    told = capsys.readouterr().out
    assert "on 256 crops" in told and ("layers are in eight bits" in told) == ("int8" in words)
    model = open_backend(out, "auto", 1)
    assert model.card.name == "mine"
    found = parity(model.card, model(CROPS), OnnxModel(run / "net.onnx", 1)(CROPS))
    assert found.within("int8" if "int8" in words else "fp16")


def test_eight_bits_hold_where_the_network_can_bear_them(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    assert export_onnx(run, out, precision="int8", crops=CROPS, calibration=made_up_crops(64, 64, 4)).within("int8")
    eight, layers = eight_bit_layers(out)
    assert layers / 2 < eight < layers  # neck and heads stay as they are
    expected = OnnxModel(run / "net.onnx", 1)(CROPS)
    for name in ("onnxruntime", "openvino"):
        model = open_backend(out, name, 1)
        assert parity(model.card, model(CROPS), expected).within("int8"), name
