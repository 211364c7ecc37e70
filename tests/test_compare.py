"""Scores and comparisons: the published files give the published numbers, tables and figures hold what they should."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dor3d.benchmarks import BENCHMARKS
from dor3d.cli import main
from dor3d.errors import InputError
from dor3d.evaluate.compare import compare, parse_results
from dor3d.evaluate.predictions import write_poses
from dor3d.evaluate.published import TABLE_1, reported
from dor3d.evaluate.score import score_file
from dor3d.evaluate.truth import read_truth

# what the published files give, to 0.001 mm
PUBLISHED = {
    "nyu": {
        "HandPointNet": 10.540,
        "DenseReg": 10.214,
        "V2V-PoseNet": 8.419,
        "Point-to-Point": 9.045,
        "CrossInfoNet": 10.078,
        "A2J": 8.610,
        "SRN": 7.788,
        "TriHorn-Net": 7.676,
    },
    "icvl": {
        "HandPointNet": 6.935,
        "DenseReg": 7.239,
        "V2V-PoseNet": 6.284,
        "Point-to-Point": 6.328,
        "CrossInfoNet": 6.732,
        "A2J": 6.461,
        "SRN": 6.271,
        "TriHorn-Net": 5.736,
        "HandFoldingNet": 5.958,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_give_their_published_errors(name: str, shared: Path) -> None:
    benchmark, folder = BENCHMARKS[name], shared / "published" / name
    truth = read_truth(benchmark, folder / "truth.txt")
    scores = {method: score_file(benchmark, truth, folder / f"{method}.txt") for method in PUBLISHED[name]}
    assert {m: s.mean_mm for m, s in scores.items()} == pytest.approx(PUBLISHED[name], abs=0.005)
    assert {s.systems for s in scores.values()} == {("uvd", "uvd")}
    if name == "nyu":  # the halves as other papers give them
        assert list(scores["TriHorn-Net"].parts_mm().values()) == pytest.approx([4.00, 9.22], abs=0.005)
        assert list(scores["V2V-PoseNet"].parts_mm().values()) == pytest.approx([4.22, 10.18], abs=0.005)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A truth and two methods, one 5 mm off and one 10 mm."""
    icvl, rng = BENCHMARKS["icvl"], np.random.default_rng(0)
    true = rng.uniform((-60, -60, 300), (60, 60, 400), (30, 16, 3))
    made = {}
    for name, off in (("truth", (0, 0, 0)), ("A2J", (3, 4, 0)), ("mine", (0, 6, 8))):
        uvd = np.concatenate([icvl.camera.project(true + off), (true + off)[..., 2:]], -1)
        made[name] = tmp_path / f"{name}.txt"
        np.savetxt(made[name], uvd.reshape(30, -1), fmt="%.5f")
    return made


def test_tables_and_figures(files: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare(
        BENCHMARKS["icvl"],
        read_truth(BENCHMARKS["icvl"], files["truth"]),
        {"A2J": files["A2J"], "mine": files["mine"]},
        out,
    )
    rows = {row["method"]: row for row in csv.DictReader((out / "table.csv").open())}
    assert float(rows["A2J"]["mean_mm"]) == pytest.approx(5, abs=1e-3)
    assert float(rows["mine"]["palm_mm"]) == pytest.approx(10, abs=1e-3)
    assert float(rows["mine"]["z_mm"]) == pytest.approx(8, abs=1e-3)
    table = (out / "table.md").read_text()
    assert "| A2J | **5.000** | 6.46 | -1.46 |" in table  # best in bold, beside the paper's number
    assert "| JGR-P2O | not recomputed | 6.02 |" in table and "DOR3D-Net" in table
    for name in ("error_per_joint.png", "success_curve.png"):
        picture = cv2.imread(str(out / name))
        assert picture is not None and min(picture.shape[:2]) > 300 and picture.std() > 5


def test_methods_are_compared_on_the_joints_that_all_have(files: dict[str, Path], tmp_path: Path) -> None:
    icvl = BENCHMARKS["icvl"]
    true = read_truth(icvl, files["truth"]).in_camera("uvd", icvl.camera)
    some = ("index_tip", "palm")
    mine = true[:, [icvl.joints.index(name) for name in some]] + (0.0, 0.0, 1.0)
    write_poses(tmp_path / "some.txt", mine, some, [str(i) for i in range(30)], {})
    scores = compare(
        icvl, read_truth(icvl, files["truth"]), {"A2J": files["A2J"], "some": tmp_path / "some.txt"}, tmp_path / "out"
    )
    assert {s.joints for s in scores.values()} == {("palm", "index_tip")}
    assert scores["some"].mean_mm == pytest.approx(1, abs=1e-3) and scores["A2J"].mean_mm == pytest.approx(5, abs=1e-3)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Of 2 joints alone" in table and "| A2J | 5.000 |  |  |" in table  # no number of the paper beside it


def test_the_command_prints_one_object(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = ["--benchmark", "icvl", "--truth", str(files["truth"])]
    results = [f"{name}={files[name]}" for name in ("A2J", "mine")]
    main(["compare", *truth, "--results", *results, "--out", str(tmp_path / "out"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["benchmark"] == "icvl" and set(found["methods"]) == {"A2J", "mine"}
    mine = found["methods"]["mine"]
    assert mine["mean_mm"] == pytest.approx(10, abs=1e-3) and mine["frames"] == 30
    assert mine["success_max"]["20"] == 100 and set(mine["per_joint_mm"]) == set(BENCHMARKS["icvl"].joints)
    main(["score", *truth, "--pred", str(files["mine"]), "--json"])
    assert json.loads(capsys.readouterr().out)["methods"]["mine"] == mine
    main(["score", *truth, "--pred", str(files["mine"])])
    assert "16 joints, centres not stated; read as uvd" in capsys.readouterr().out


def test_bad_input_ends_in_one_line(files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["score", "--benchmark", "nyu", "--truth", str(files["truth"]), "--pred", str(files["mine"])])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("truth.txt, line 1: 48 numbers; expected 42: 3 for each of 14 joints\n")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="cannot be read"):
        compare(
            BENCHMARKS["icvl"], read_truth(BENCHMARKS["icvl"], files["truth"]), {"x": tmp_path / "nowhere.txt"}, out
        )
    assert not out.exists()


def test_frames_that_one_method_lacks_are_left_out_of_all(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = files["mine"].read_text().splitlines()
    lines[7] = "broken"
    (tmp_path / "mine.txt").write_text("\n".join(lines))
    results = [f"A2J={files['A2J']}", f"mine={tmp_path / 'mine.txt'}"]
    words = ["compare", "--benchmark", "icvl", "--truth", str(files["truth"]), "--results", *results]
    with pytest.raises(SystemExit):
        main([*words, "--out", str(tmp_path / "out")])
    assert "mine.txt, line 8: 0 numbers; expected 48" in capsys.readouterr().err
    main([*words, "--out", str(tmp_path / "out"), "--skip-bad"])
    out = capsys.readouterr().out
    assert "A2J: 29 frames" in out and "mine: 29 frames" in out and "left out: " in out and "line 8" in out
    table = (tmp_path / "out" / "table.md").read_text()
    assert "1 frame of 30 left out" in table and "no whole split of ICVL" in table
    assert "mine: 1 frame could not be used." in table


@pytest.mark.parametrize("words", [["A2J"], ["=a.txt"], ["A2J="]])
def test_results_that_cannot_be_read(words: list[str]) -> None:
    with pytest.raises(InputError, match="expected NAME=FILE"):
        parse_results(words)
    with pytest.raises(InputError, match="same name"):
        parse_results(["a=1.txt", "a=2.txt"])


def test_names_of_methods_are_met_however_written() -> None:
    assert reported("v2v posenet", "nyu") == TABLE_1["V2V-PoseNet"]["nyu"]
    assert reported("Point-to-Point", "icvl") is None


def test_a_method_has_one_row_however_its_name_is_written(files: dict[str, Path], tmp_path: Path) -> None:
    compare(
        BENCHMARKS["icvl"],
        read_truth(BENCHMARKS["icvl"], files["truth"]),
        {"v2v posenet": files["mine"]},
        tmp_path / "out",
    )
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| v2v posenet | **10.000** | 6.28 |" in table and "V2V-PoseNet" not in table
