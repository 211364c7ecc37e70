"""The command line as its users and scripts see it: exit codes, one line for an error, files whole or not at all."""

import json
import subprocess
import sys
from functools import partial

import cv2
import numpy as np
import pytest
from tiny_onnx import hand_frame, tiny_model

from dor3d import cli, demo
from dor3d.errors import InputError, ModelError
from dor3d.files import whole_file, write_whole
from dor3d.predict import Predictor
from dor3d.skeleton import JOINTS
from dor3d.usage import split_fields

CAMERA = "287,287,160,120"


@pytest.fixture
def model(tmp_path):
    return str(tiny_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def frames(tmp_path):
    """A folder with frames 2, 9 and 10."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (10, 9, 2):
        write(folder / f"{number}.png", hand_frame(z=480 + number))
    return folder


def write(path, image):
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


def run(capsys, *words):
    """(exit code, stdout, stderr) of a command."""
    try:
        cli.main([str(word) for word in words])
        code = 0
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *words):
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def lines(path):
    return [json.loads(line) for line in (path / "poses.jsonl").read_text().splitlines()]


# ---- predict --------------------------------------------------------------------------------------------------------
def test_predict_writes_a_line_and_an_overlay_for_each_frame(capsys, tmp_path, frames, model):
    out = tmp_path / "out"
    code, said, _ = run(capsys, "predict", frames, "--camera", CAMERA, "--model", model, "--out", out)
    assert code == 0
    assert said.startswith("3 frames, 3 hands")
    assert "frames/s" in said
    entries = lines(out)
    assert [entry["frame"] for entry in entries] == [str(frames / f"{n}.png") for n in (2, 9, 10)]
    assert sorted(path.name for path in (out / "overlay").iterdir()) == ["10.png", "2.png", "9.png"]
    for entry in entries:
        assert set(entry) == {"frame", "index", "joints", "hands"}
        assert entry["joints"] == list(JOINTS)
        (hand,) = entry["hands"]
        sides = {"handedness", "handedness_confidence"}
        assert set(hand) == {*sides, "confidence", "center_mm", "joints_mm", "joints_px", "std_mm"}
    assert sorted(path.name for path in out.iterdir()) == ["overlay", "poses.jsonl"]


def test_predict_without_overlays(capsys, tmp_path, frames, model):
    run(capsys, "predict", frames, "--camera", CAMERA, "--model", model, "--no-overlay", "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["poses.jsonl"]


def test_a_stack_numbers_its_frames(capsys, tmp_path, model):
    np.save(tmp_path / "stack.npy", np.stack([hand_frame(), hand_frame(z=520)]))
    run(capsys, "predict", tmp_path / "stack.npy", "--camera", CAMERA, "--model", model, "--out", tmp_path / "out")
    assert [entry["index"] for entry in lines(tmp_path / "out")] == [0, 1]
    names = sorted(path.name for path in (tmp_path / "out" / "overlay").iterdir())
    assert names == ["stack_0000.png", "stack_0001.png"]


def test_frames_of_one_name_do_not_overwrite_each_other(capsys, tmp_path, model):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "1.png", hand_frame())
    words = ("predict", tmp_path / "a", tmp_path / "b", "--camera", CAMERA, "--model", model, "--out", tmp_path / "out")
    run(capsys, *words)
    assert sorted(path.name for path in (tmp_path / "out" / "overlay").iterdir()) == ["1-2.png", "1.png"]


def test_a_bad_frame_in_a_batch_is_an_entry(capsys, tmp_path, frames, model):
    (frames / "3.png").write_bytes((frames / "2.png").read_bytes()[:-20])
    write(frames / "4.png", np.zeros((240, 320), np.uint16))
    write(frames / "5.png", np.zeros((240, 320, 3), np.uint8))
    write(frames / "6.png", np.full((480, 640), 500, np.uint16))
    out = tmp_path / "out"
    code, said, _ = run(
        capsys, "predict", frames, tmp_path / "no.png", "--camera", "287,287,160,500", "--model", model, "--out", out
    )
    assert code == 0
    code, said, _ = run(
        capsys, "predict", frames, tmp_path / "no.png", "--camera", CAMERA, "--model", model, "--out", out
    )
    assert code == 0
    assert "4 errors" in said
    entries = lines(out)
    assert len(entries) == 8
    assert [set(entry) == {"frame", "index", "error"} for entry in entries] == [
        False, True, True, True, False, False, False, True
    ]  # fmt: skip
    assert "truncated" in entries[1]["error"]
    assert "empty" in entries[2]["error"]
    assert "colour" in entries[3]["error"]


def test_a_single_bad_frame_leaves_nothing(capsys, tmp_path, model):
    out = tmp_path / "out"
    words = ("--camera", CAMERA, "--model", model, "--out", out)
    assert "No such file" in refused(capsys, "predict", tmp_path / "no.png", *words)
    assert "empty" in refused(capsys, "predict", write(tmp_path / "0.png", np.zeros((240, 320), np.uint16)), *words)
    assert "--depth-unit-mm" in refused(capsys, "predict", write(tmp_path / "1.png", hand_frame() * 16), *words)
    np.save(tmp_path / "nan.npy", np.full((240, 320), np.nan))
    assert "not finite" in refused(capsys, "predict", tmp_path / "nan.npy", *words)
    good = write(tmp_path / "2.png", hand_frame())
    assert "off the image" in refused(capsys, "predict", good, *words, "--center", "900,0,500")
    assert not (out / "poses.jsonl").exists()
    assert not list(out.glob("**/*.png"))
    assert not list(out.glob(".*"))


def test_a_camera_of_another_size(capsys, tmp_path, frames, model):
    words = ("--camera", "d435", "--model", model, "--out", tmp_path / "out")
    assert "1280x720" in refused(capsys, "predict", frames / "2.png", *words)


def test_older_results_stay_when_a_run_fails(capsys, tmp_path, frames, model):
    out = tmp_path / "out"
    run(capsys, "predict", frames, "--camera", CAMERA, "--model", model, "--out", out)
    before = (out / "poses.jsonl").read_text()
    refused(capsys, "predict", tmp_path / "no.png", "--camera", CAMERA, "--model", model, "--out", out)
    assert (out / "poses.jsonl").read_text() == before


def test_depth_units(capsys, tmp_path, model):
    write(tmp_path / "fine.png", hand_frame() * 8)
    np.save(tmp_path / "metres.npy", hand_frame() / 1000)
    np.save(tmp_path / "mm.npy", hand_frame().astype(np.float32))
    found = []
    for name, unit in (
        ("fine.png", ["--depth-unit-mm", "0.125"]),
        ("metres.npy", ["--depth-unit-mm", "1000"]),
        ("mm.npy", []),
    ):
        run(capsys, "predict", tmp_path / name, "--camera", CAMERA, "--model", model, *unit, "--out", tmp_path / "out")
        found.append(lines(tmp_path / "out")[0]["hands"][0]["joints_mm"])
    np.testing.assert_allclose(found[1], found[0], atol=0.1)
    np.testing.assert_allclose(found[2], found[0], atol=0.1)


def test_centers_by_order_and_by_name(capsys, tmp_path, frames, model):
    words = ("predict", frames, "--camera", CAMERA, "--model", model, "--hand", "right", "--out", tmp_path / "out")
    (tmp_path / "order.txt").write_text("# x y z\n0 0 482\n1, 0, 489\n\n2 0 490\n")
    run(capsys, *words, "--centers", tmp_path / "order.txt")
    by_order = [entry["hands"][0]["center_mm"] for entry in lines(tmp_path / "out")]
    (tmp_path / "name.txt").write_text("10.png 2 0 490\n2.png 0 0 482\n9.png 1 0 489\n")
    run(capsys, *words, "--centers", tmp_path / "name.txt")
    assert [entry["hands"][0]["center_mm"] for entry in lines(tmp_path / "out")] == by_order
    run(capsys, *words, "--center", "0,0,482")
    assert lines(tmp_path / "out")[0]["hands"][0]["center_mm"] == by_order[0]


def test_too_few_centers_are_errors_of_their_frames(capsys, tmp_path, frames, model):
    (tmp_path / "c.txt").write_text("0 0 482\n")
    words = ("predict", frames, "--camera", CAMERA, "--model", model, "--out", tmp_path / "out")
    code, _, _ = run(capsys, *words, "--centers", tmp_path / "c.txt")
    assert code == 0
    assert ["error" in entry for entry in lines(tmp_path / "out")] == [False, True, True]


@pytest.mark.parametrize("text", ["", "1 2\n", "a b c\n", "x.png 1 2 3\n4 5 6\n", "1 2 3 4 5\n"])
def test_bad_files_of_centers(capsys, tmp_path, frames, model, text):
    (tmp_path / "c.txt").write_text(text)
    refused(capsys, "predict", frames, "--camera", CAMERA, "--model", model, "--centers", tmp_path / "c.txt")


@pytest.mark.parametrize(
    "words",
    [
        ["--center", "1,2"],
        ["--center", "1,2,x"],
        ["--center", "0,0,500", "--centers", "c.txt"],
        ["--centers", "no-such-file.txt"],
        ["--cube", "3"],
        ["--cube", "300,300,300"],
        ["--depth-unit-mm", "0"],
        ["--depth-unit-mm", "nan"],
        ["--backend", "abacus"],
        ["--threads", "0"],
        ["--track", "--center", "0,0,500"],
        ["--track", "--rate", "0"],
    ],
)
def test_bad_options(capsys, frames, model, words):
    refused(capsys, "predict", frames, "--camera", CAMERA, "--model", model, *words)


def test_bad_cameras_and_models(capsys, tmp_path, frames, model):
    assert "Unknown camera" in refused(capsys, "predict", frames, "--camera", "d999", "--model", model)
    assert "four numbers" in refused(capsys, "predict", frames, "--camera", "1,2", "--model", model)
    assert "No such model" in refused(capsys, "predict", frames, "--camera", CAMERA, "--model", "big")
    (tmp_path / "x.onnx").write_text("hello")
    assert "cannot be opened" in refused(capsys, "predict", frames, "--camera", CAMERA, "--model", tmp_path / "x.onnx")


def test_no_hand_is_said(capsys, tmp_path, model):
    write(tmp_path / "wall.png", np.full((240, 320), 1500, np.uint16))
    words = ("--camera", CAMERA, "--model", model, "--out", tmp_path / "out")
    code, said, _ = run(capsys, "predict", tmp_path / "wall.png", *words)
    assert code == 0
    assert "1 without a hand" in said
    assert lines(tmp_path / "out")[0]["hands"] == []


# ---- the other verbs ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["predict"],
        ["predict", "a.png"],
        ["predict", "--camera", "d435"],
        ["predict", "a.png", "--camera", "d435", "--hand", "up"],
        ["predict", "a.png", "--camera", "d435", "--wrong", "1"],
        ["predict", "a.png", "--camera", "d435", "--threads", "many"],
        ["foretell", "a.png"],
        ["render", "--count", "x", "--out", "y"],
        ["render", "--count", "0", "--out", "y"],
        ["train"],
        ["train", "synth-compact", "--lr"],
        pytest.param(["train", "no-such-recipe"], marks=pytest.mark.slow),  # imports torch
        pytest.param(["export", "no-such-run", "--out", "a.onnx"], marks=pytest.mark.slow),
        ["export", "no-such-run", "--out", "a.onnx", "--format", "stone"],
    ],
)
def test_wrong_usage_is_one_line(capsys, words):
    refused(capsys, *words)


@pytest.mark.parametrize(
    "words", [["--help"], *([verb, "--help"] for verb in ("demo", "predict", "render", "train", "export"))]
)
def test_help(capsys, words):
    code, said, _ = run(capsys, *words)
    assert code == 0
    assert "usage: dor3d" in said


def test_version(capsys):
    assert run(capsys, "--version")[1].startswith("dor3d 0.")


def test_train_hands_the_recipes_own_fields_over():
    words, changes = split_fields(
        [
            "train",
            "r",
            "--lr",
            "3e-4",
            "--steps",
            "5",
            "--resume",
            "--model.size=64",
            "--weight-decay",
            "-1",
            "--out=x",
        ],
        cli._VERBS,
    )
    assert words == ["train", "r", "--steps", "5", "--resume", "--out", "x"]
    assert changes == {"lr": "3e-4", "model.size": "64", "weight_decay": "-1"}
    words, changes = split_fields(["tables", "4", "3", "--seeds", "1", "--batch", "8", "--out", "x"], cli._VERBS)
    assert words == ["tables", "4", "3", "--seeds", "1", "--out", "x"] and changes == {"batch": "8"}
    assert split_fields(["demo", "--lr", "1"], cli._VERBS) == (["demo", "--lr", "1"], {})


def test_another_broken_pipe_is_no_gone_reader(capsys, monkeypatch):
    monkeypatch.setattr("dor3d.cli.parse", lambda *_: lambda: (_ for _ in ()).throw(BrokenPipeError("a worker's")))
    with pytest.raises(BrokenPipeError, match="a worker's"):
        cli.main(["demo"])


def test_a_missing_extra_is_named(capsys, monkeypatch):
    def fail():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setitem(cli._VERBS, "demo", lambda: fail())
    assert "pip install 'dor3d[train]'" in refused(capsys, "demo")


def test_help_imports_nothing_heavy():
    """So it comes at once; `benchmarks/start_speed.py` says how soon."""
    heavy = "('torch', 'cv2', 'numpy', 'onnxruntime', 'matplotlib', 'numba')"
    code = f"""
import contextlib, io, sys
from dor3d.cli import main
sys.argv = ["dor3d", "--help"]
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main()
print([m for m in {heavy} if m in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---- demo -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def demo_frames(tmp_path):
    path = tmp_path / "demo.npz"
    camera = {"fx": 287.0, "fy": 287.0, "cx": 160.0, "cy": 120.0, "width": 320, "height": 240}
    truth = np.zeros((2, 21, 3)) + (0, 0, 500)
    np.savez(path, depth=np.stack([hand_frame(), hand_frame(z=520)]), joints_mm=truth, camera=json.dumps(camera))
    return path


def test_demo_writes_a_page(tmp_path, demo_frames, model, monkeypatch):
    monkeypatch.setattr(demo, "Predictor", partial(Predictor, least_confidence=0.0))  # the tiny model is never sure
    page = demo.run(tmp_path / "out", model, demo_frames)
    assert page == tmp_path / "out" / "index.html"
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 4
    assert "mean joint error" in text
    entries = lines(tmp_path / "out")
    assert [entry["index"] for entry in entries] == [0, 1]
    assert len(list((tmp_path / "out" / "overlay").iterdir())) == 2


def test_demo_frames_can_be_predicted_like_any_others(capsys, tmp_path, demo_frames, model):
    words = ("--camera", CAMERA, "--model", model, "--out", tmp_path / "out")
    assert run(capsys, "predict", demo_frames, *words)[1].startswith("2 frames")


def test_a_broken_demo_says_so(tmp_path, demo_frames, model):
    demo_frames.write_bytes(demo_frames.read_bytes()[:200])
    with pytest.raises(InputError, match="demo's frames cannot be read"):
        demo.run(tmp_path / "out", model, demo_frames)
    with pytest.raises(ModelError):
        demo.run(tmp_path / "out", "no-such-model", _demo(tmp_path))


def _demo(tmp_path):
    path = tmp_path / "again.npz"
    camera = json.dumps({"fx": 287.0, "fy": 287.0, "cx": 160.0, "cy": 120.0})
    np.savez(path, depth=hand_frame()[None], joints_mm=np.zeros((1, 21, 3)), camera=camera)
    return path


# ---- files ----------------------------------------------------------------------------------------------------------
def test_files_are_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_whole(path, "old")
    with pytest.raises(RuntimeError), whole_file(path, "w") as stream:
        stream.write("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    write_whole(path, b"bytes")
    write_whole(path, lambda stream: stream.write(b"more"))
    assert path.read_bytes() == b"more"
    assert path.stat().st_mode & 0o400


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        write_whole(tmp_path / "file" / "a.txt", "x")
