"""A model over a set, and a look at a set: from files on disk to files on disk."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import write_sets
from write_sets import Rendered

from dor3d.benchmarks import BENCHMARKS
from dor3d.cli import main
from dor3d.data.centers import FileCenters
from dor3d.data.sample import Sample
from dor3d.data.sets import open_set
from dor3d.data.synthetic import render_set
from dor3d.errors import InputError
from dor3d.evaluate.fit import fit_camera
from dor3d.evaluate.inspect import inspect
from dor3d.evaluate.predictions import read_poses
from dor3d.evaluate.run import evaluate, open_centers, open_model
from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints

COUNT = 8


@pytest.fixture(scope="module")
def frames() -> dict[str, list[Rendered]]:
    return {name: write_sets.render(name, COUNT, seed=1) for name in ("nyu", "msra", "hands17")}


@pytest.fixture(scope="module")
def roots(frames: dict[str, list[Rendered]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, made in frames.items():
        found[name] = tmp_path_factory.mktemp(name)
        write_sets.write(name, found[name], made)
    return found


@pytest.mark.parametrize(
    ("name", "split", "joints"), [("nyu", "test", 10), ("msra", "all", 21), ("hands17", "all", 21)]
)
def test_the_shipped_model_on_a_rendered_set(
    name: str, split: str, joints: int, roots: dict[str, Path], tmp_path: Path
) -> None:
    dataset = open_set(name, roots[name], split)
    result = evaluate(open_model("compact"), dataset, open_centers("truth", dataset), tmp_path)
    assert result.score is not None
    assert result.score.mean_mm < 20 and len(result.score.joints) == joints
    saved = json.loads((tmp_path / "score.json").read_text())["methods"]["model"]
    assert saved["mean_mm"] == pytest.approx(result.score.mean_mm, abs=1e-4)
    notes = read_poses(tmp_path / "predictions.txt", dataset.joints).notes
    assert notes["centers"] == "ground truth" and notes["uses_truth"] and notes["cube_mm"] == [280.0, 300.0]
    assert "true joints" in "\n".join(result.lines())


@pytest.mark.parametrize("source", ["mass", "locate"])
def test_centres_that_a_user_has(source: str, roots: dict[str, Path], tmp_path: Path) -> None:
    dataset = open_set("hands17", roots["hands17"], "all")
    result = evaluate(open_model("compact"), dataset, open_centers(source, dataset), tmp_path)
    assert result.score is not None and not result.score.notes["uses_truth"]
    assert np.median(result.score.errors_mm) < 40


@pytest.mark.parametrize("source", ["mass", "box"])
def test_frames_without_public_labels_leave_a_submission(source: str, roots: dict[str, Path], tmp_path: Path) -> None:
    dataset = open_set("hands17", roots["hands17"], "test")
    result = evaluate(open_model("compact"), dataset, open_centers(source, dataset), tmp_path)
    assert result.score is None and {p.name for p in tmp_path.iterdir()} == {"predictions.txt", "submission.txt"}
    submitted = read_poses(tmp_path / "submission.txt", dataset.joints)
    assert submitted.names[0] == "frame/images/image_D00000001.png"
    assert np.allclose(submitted.values, read_poses(tmp_path / "predictions.txt", dataset.joints).values)


def test_a_set_without_boxes_says_so(roots: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="nyu brings no boxes"):
        open_centers("box", open_set("nyu", roots["nyu"]))


def test_a_bad_frame_stops_or_is_skipped(
    frames: dict[str, list[Rendered]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sets.write_nyu(tmp_path / "set", frames["nyu"])
    (tmp_path / "set" / "test" / "depth_1_0000003.png").write_bytes(b"")
    words = ["evaluate", "compact", "--dataset", "nyu", "--root", str(tmp_path / "set"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and "depth_1_0000003.png is empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    main([*words, "--skip-bad"])
    assert "left out: " in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "score.json").read_text())["methods"]["model"]["frames"] == COUNT - 1


def test_a_folder_with_left_hands(tmp_path: Path) -> None:
    render_set(4, "sr305", 3, tmp_path / "mine")
    dataset = open_set("folder", tmp_path / "mine")
    assert [dataset.left(i) for i in range(4)] == [False, True, False, True]
    result = evaluate(open_model("compact"), dataset, open_centers("truth", dataset), tmp_path / "out")
    assert result.score is not None and result.score.errors_mm.mean(1).max() < 40


def test_frames_with_labels_among_others_are_scored(tmp_path: Path) -> None:
    render_set(4, "sr305", 3, tmp_path / "mine")
    path = tmp_path / "mine" / "labels.json"
    labels = json.loads(path.read_text())
    del labels["joints"]["000001.png"]
    path.write_text(json.dumps(labels))
    dataset = open_set("folder", tmp_path / "mine")
    result = evaluate(open_model("compact"), dataset, open_centers("mass", dataset), tmp_path / "out")
    assert result.score is not None and result.score.to_json()["frames"] == 3
    assert len(read_poses(tmp_path / "out" / "predictions.txt", dataset.joints).values) == 4


def test_json_is_one_object_without_labels_too(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "hands17", "--root", str(roots["hands17"]), "--split", "test", "--out", str(tmp_path)]
    main(["evaluate", "compact", *words, "--json"])
    assert json.loads(capsys.readouterr().out) == {"benchmark": "hands17", "methods": {}, "skipped": []}


# ---- centres -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("system", ["uvd", "xyz, y up", "xyz, y down"])
def test_files_of_centres_are_told_apart(
    system: str, frames: dict[str, list[Rendered]], roots: dict[str, Path], tmp_path: Path
) -> None:
    camera = BENCHMARKS["nyu"].camera
    centers = np.array([center_of_joints(frame.joints_mm) for frame in frames["nyu"]])
    rows = {
        "uvd": np.concatenate([camera.project(centers), centers[:, 2:]], 1),
        "xyz, y up": centers * (1, -1, 1),
        "xyz, y down": centers,
    }[system]
    lines = [" ".join(f"{x:.3f}" for x in row) for row in rows]
    lines[2] = "invalid invalid invalid"
    (tmp_path / "center_test_refined.txt").write_text("\n".join(lines) + "\n")
    dataset = open_set("nyu", roots["nyu"])
    read = FileCenters(tmp_path / "center_test_refined.txt", dataset)
    assert read.system == system and system in read.name
    assert np.allclose(read.of(1, dataset[1], (300.0, 300.0)), centers[1], atol=0.01)
    result = evaluate(open_model("compact"), dataset, read, tmp_path / "out")
    assert result.without_hand == 1 and "1 frame had no centre" in "\n".join(result.lines())


def test_files_of_centres_that_belong_elsewhere(roots: dict[str, Path], tmp_path: Path) -> None:
    dataset = open_set("nyu", roots["nyu"])
    file = tmp_path / "centers.txt"
    for content, message in (
        ("1 2 3\n", "has another number of lines than the set; got 1; expected 8"),
        ("1 2\n" * COUNT, "line 1; got 1 2; expected x y z, or invalid"),
        ("invalid\n" * COUNT, "has no valid centre"),
        ("3000 3000 9000\n" * COUNT, "do not lie on the hands of this set"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            FileCenters(file, dataset)
    with pytest.raises(InputError, match="Unknown source of centres; got magic"):
        open_centers("magic", dataset)


# ---- a look at a set -----------------------------------------------------------------------------------------------
def test_a_whole_set_looks_whole(roots: dict[str, Path], tmp_path: Path) -> None:
    found = inspect(open_set("hands17", roots["hands17"], "all"), tmp_path)
    assert found.in_image is not None and found.in_image > 0.9
    assert found.on_surface is not None and found.on_surface > 0.7
    assert not found.problems and not [w for w in found.warnings if "surface" in w]
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet is not None and sheet.shape == (480, 1440, 3)


def test_what_is_wrong_with_a_set_is_said(frames: dict[str, list[Rendered]], tmp_path: Path) -> None:
    flipped = [Rendered(frame.depth_mm, frame.joints_mm * (-1, -1, 1)) for frame in frames["nyu"]]
    write_sets.write_nyu(tmp_path / "set", flipped)
    (tmp_path / "set" / "test" / "depth_1_0000001.png").unlink()
    text = "\n".join(inspect(open_set("nyu", tmp_path / "set"), tmp_path / "out").lines())
    assert "frames: 8 (expected 8,252)" in text and "a part, or another version" in text
    assert "7 there, 1 missing\n  no file test/depth_1_0000001.png" in text
    assert "most joints lie on no surface" in text
    assert "labels and depth fit better with x the other way round and y the other way round" in text


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (lambda c: c, None),
        (
            lambda c: replace(c, fx=c.fx * 1.08, fy=c.fy * 1.08),
            r"a focal length of about 4[678]\d, 4[678]\d and not 513",
        ),
        (
            lambda c: replace(c, cx=c.cx + 15, cy=c.cy - 15),
            r"a principal point near \(31\d, 24\d\) and not \(331, 230\)",
        ),
    ],
)
def test_a_camera_that_does_not_fit_is_told(
    camera: Callable[[Pinhole], Pinhole], message: str | None, frames: dict[str, list[Rendered]]
) -> None:
    """Labels in mm through a wrong camera leave the hand; what is said to fit is what the frames were made with."""
    own, joints = camera(BENCHMARKS["hands17"].camera), BENCHMARKS["hands17"].joints
    fit = fit_camera([Sample("", frame.depth_mm, own, joints, frame.joints_mm) for frame in frames["hands17"]])
    assert fit is not None
    problem = fit.problem(own)
    assert problem is None if message is None else problem is not None and re.search(message, problem)
    assert fit_camera([]) is None


def test_labels_and_files_of_two_versions(frames: dict[str, list[Rendered]], tmp_path: Path) -> None:
    write_sets.write_msra(tmp_path / "set", frames["msra"])
    folder = tmp_path / "set" / "P0" / "1"
    (folder / "000001_depth.bin").rename(folder / "000007_depth.bin")
    found = inspect(open_set("msra", tmp_path / "set"), tmp_path)
    assert found.files.missing == ["P0/1/000001_depth.bin"] and found.files.unlabelled == 1
    assert "1 file without a label besides: parts of two versions?" in "\n".join(found.lines())
    with pytest.raises(InputError, match=r"1 frame of 8 cannot be read; got no file .*000001_depth\.bin"):
        dataset = open_set("msra", tmp_path / "set")
        evaluate(open_model("compact"), dataset, open_centers("truth", dataset), tmp_path / "out")


def test_inspect_from_the_command_line(
    roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", "--dataset", "msra", "--root", str(roots["msra"]), "--out", str(tmp_path)])
    assert "expected 76,375 or 76,391" in capsys.readouterr().out and (tmp_path / "contact_sheet.png").exists()
