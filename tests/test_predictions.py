"""Files of poses: formats told apart, round trips, and what is said of bad ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import write_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.sets import open_set
from dor3d.errors import Dor3dError, InputError
from dor3d.evaluate.predictions import SYSTEMS, read_poses, write_poses
from dor3d.evaluate.score import score_file
from dor3d.evaluate.truth import read_truth

NYU = BENCHMARKS["nyu"]


def poses(count: int = 40, seed: int = 0) -> ndarray:
    rng = np.random.default_rng(seed)
    center = rng.uniform((-150, -100, 500), (150, 100, 900), (count, 1, 3))
    return center + rng.normal(0, 40, (count, len(NYU.joints), 3))


def as_system(mm: ndarray, system: str) -> ndarray:
    if system == "uvd":
        return np.concatenate([NYU.camera.project(mm), mm[..., 2:]], -1)
    signs = {"xyz": (1, 1, 1), "xyz, y up": (1, -1, 1), "xyz, y up, z negative": (1, -1, -1)}
    return mm * signs[system]


def text(values: ndarray, separator: str = " ", names: bool = False) -> str:
    rows = [separator.join(f"{x:.4f}" for x in pose.ravel()) for pose in values]
    return "\n".join(f"test/{i}.png{separator}{row}" if names else row for i, row in enumerate(rows)) + "\n"


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("truth_system", ["uvd", "xyz", "xyz, y up"])
@pytest.mark.parametrize("separator", [" ", ",", "\t", ", "])
@pytest.mark.parametrize("names", [False, True])
def test_every_format_scores_the_same(
    tmp_path: Path, system: str, truth_system: str, separator: str, names: bool
) -> None:
    true = poses()
    predicted = true + np.array([3.0, 4.0, 0.0])
    (tmp_path / "truth.txt").write_text(text(as_system(true, truth_system)))
    (tmp_path / "mine.txt").write_text(text(as_system(predicted, system), separator, names))
    score = score_file(NYU, read_truth(NYU, tmp_path / "truth.txt"), tmp_path / "mine.txt")
    assert score.mean_mm == pytest.approx(5.0, abs=1e-3)
    if truth_system == "uvd":  # otherwise a mirrored pair of readings is as good
        assert score.systems == ("uvd", system)


def test_ours_says_what_it_is(tmp_path: Path) -> None:
    true = poses(5)
    names = [f"a/{i}.png" for i in range(5)]
    path = write_poses(tmp_path / "mine.txt", true, NYU.joints, names, {"centers": "located", "cube_mm": [300, 300]})
    read = read_poses(path, NYU.joints)
    assert read.names == tuple(names) and read.notes["centers"] == "located"
    assert np.allclose(read.values, true, atol=1e-4)
    assert np.loadtxt(path, usecols=range(1, 43)).shape == (5, 42)  # others read it too


def test_frames_with_names_may_come_in_any_order(tmp_path: Path) -> None:
    true = poses(6)
    names = [f"{i}.png" for i in range(6)]
    write_poses(tmp_path / "truth.txt", true, NYU.joints, names, {})
    write_poses(tmp_path / "mine.txt", true[::-1] + 1.0, NYU.joints, names[::-1], {})
    score = score_file(NYU, read_truth(NYU, tmp_path / "truth.txt"), tmp_path / "mine.txt")
    assert score.mean_mm == pytest.approx(np.sqrt(3), abs=1e-3)


def test_some_of_the_joints_are_scored_as_such(tmp_path: Path) -> None:
    true = poses(6)
    (tmp_path / "truth.txt").write_text(text(as_system(true, "uvd")))
    mine = true[:, [3, 0]] + (0.0, 0.0, 2.0)
    write_poses(tmp_path / "mine.txt", mine, ("ring_pip", "little_tip"), [f"{i}" for i in range(6)], {})
    score = score_file(NYU, read_truth(NYU, tmp_path / "truth.txt"), tmp_path / "mine.txt")
    assert score.mean_mm == pytest.approx(2.0, abs=1e-3)
    assert score.per_joint_mm().keys() == {"ring_pip", "little_tip"}
    assert score.joints_line().startswith("2 of 14 joints")


def test_poses_jsonl_is_read_by_the_names_of_joints(tmp_path: Path) -> None:
    true = poses(3)
    order = list(NYU.joints)[::-1]
    lines = [
        json.dumps({"frame": f"{i}.png", "index": 0, "joints": order, "hands": [{"joints_mm": pose[::-1].tolist()}]})
        for i, pose in enumerate(true)
    ]
    (tmp_path / "poses.jsonl").write_text("\n".join(lines))
    read = read_poses(tmp_path / "poses.jsonl", NYU.joints)
    assert np.allclose(read.values, true) and read.names == ("0.png", "1.png", "2.png")


@pytest.mark.parametrize(
    ("mine", "its"),
    [
        ("test/depth_1_{:07d}.png", "depth_1_{:07d}.png"),
        ("depth_1_{:07d}.png", "C:\\\\nyu\\\\test\\\\depth_1_{:07d}.png"),
        ("./test/{}.png", "test/{}.png"),
    ],
)
def test_names_are_met_with_or_without_their_folders(mine: str, its: str, tmp_path: Path) -> None:
    true = poses(6)
    write_poses(tmp_path / "truth.txt", true, NYU.joints, [mine.format(i) for i in range(6)], {})
    write_poses(tmp_path / "mine.txt", true[::-1] + 1.0, NYU.joints, [its.format(i) for i in range(6)][::-1], {})
    score = score_file(NYU, read_truth(NYU, tmp_path / "truth.txt"), tmp_path / "mine.txt")
    assert score.mean_mm == pytest.approx(np.sqrt(3), abs=1e-3) and score.extra == 0


def test_frames_are_matched_by_name_or_told(tmp_path: Path) -> None:
    true = poses(6)
    write_poses(tmp_path / "truth.txt", true, NYU.joints, [f"a/{i}.png" for i in range(6)], {})
    truth = read_truth(NYU, tmp_path / "truth.txt")
    for names, message in (
        ([f"a/{i}.png" for i in (0, 1, 2, 3, 4, 9)], r"mine\.txt lacks frame a/5\.png; got 6 frames, 1 of the truth's"),
        ([f"a/{i}.png" for i in (0, 1, 2, 3, 4, 4)], r"mine\.txt has frame a/4\.png twice"),
        ([f"b/x{i}.png" for i in range(6)], "have no frame in common"),
    ):
        write_poses(tmp_path / "mine.txt", true, NYU.joints, names, {})
        with pytest.raises(InputError, match=message):
            score_file(NYU, truth, tmp_path / "mine.txt")
    write_poses(tmp_path / "mine.txt", true, NYU.joints, [f"a/{i}.png" for i in (0, 1, 2, 3, 4, 9)], {})
    score = score_file(NYU, truth, tmp_path / "mine.txt", skip_bad=True)
    assert list(score.rows) == [0, 1, 2, 3, 4] and score.extra == 1 and "lacks frame a/5.png" in score.skipped[0]
    assert "1 frame of 6 left out; 1 predicted frame without a truth" in (score.frames_line() or "")


@pytest.mark.parametrize("name", ["msra", "icvl"])
def test_the_truth_may_be_the_set_itself(name: str, tmp_path: Path) -> None:
    """Predictions of one's own are scored with nothing but the download."""
    benchmark = BENCHMARKS[name]
    rendered = write_sets.render(name, 4)
    write_sets.write(name, tmp_path / "set", rendered)
    frames = open_set(name, tmp_path / "set")
    labels = [frames.joints_mm(i) for i in range(4)]
    assert all(pose is not None for pose in labels)
    mine = np.array(labels) + (0.0, 3.0, 4.0)
    (tmp_path / "mine.txt").write_text(text(mine))
    score = score_file(benchmark, read_truth(benchmark, tmp_path / "set"), tmp_path / "mine.txt")
    assert score.mean_mm == pytest.approx(5.0, abs=1e-3)
    assert set(score.parts_mm()) == ({"P0", "P1"} if name == "msra" else {"sequence 1", "sequence 2"})
    assert score.layout == "separated by spaces, without frames' names"


def test_subjects_are_told_by_place_in_a_whole_test_alone(tmp_path: Path) -> None:
    """Published files have no names; their frames lie in the order of the subjects."""
    msra = BENCHMARKS["msra"]
    total = msra.frames["all"][0]
    assert list(msra.parts) == [f"P{n}" for n in range(9)] and msra.parts["P8"] == (total - 8492, total)
    true = np.tile(poses(1)[:, :1], (total, 1, 1))
    off = np.zeros_like(true)
    off[msra.parts["P2"][0] : msra.parts["P2"][1], :, 0] = 9.0
    one = replace(msra, joints=("wrist",))
    for count, subjects in ((total, 9), (total - 1, 0)):
        np.savetxt(tmp_path / "truth.txt", true[:count].reshape(count, -1), fmt="%.3f")
        np.savetxt(tmp_path / "mine.txt", (true + off)[:count].reshape(count, -1), fmt="%.3f")
        score = score_file(one, read_truth(one, tmp_path / "truth.txt"), tmp_path / "mine.txt")
        parts = score.parts_mm()
        assert len(parts) == subjects
        if parts:
            assert parts["P2"] == pytest.approx(9.0) and parts["P1"] == pytest.approx(0.0, abs=1e-3)


# ---- bad input -----------------------------------------------------------------------------------------------------
def _bad(tmp_path: Path, change: str) -> Path:
    lines = text(as_system(poses(4), "uvd")).splitlines()
    words = lines[2].split()
    lines[2] = {
        "short": " ".join(words[:-1]),
        "other": " ".join(words[:-2] + ["12,7x"] + words[-1:]),
        "nan": " ".join(words[:-1] + ["nan"]),
        "icvl": " ".join(words + words[:6]),
        "more": " ".join(words + words[:1]),
    }[change]
    (tmp_path / "bad.txt").write_text("\n".join(lines))
    return tmp_path / "bad.txt"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("short", r"bad\.txt, line 3: 41 numbers; expected 42: 3 for each of 14 joints"),
        ("more", r"bad\.txt, line 3: 43 numbers; expected 42"),
        ("icvl", r"bad\.txt, line 3: 48 numbers; expected 42"),
        ("nan", r"bad\.txt, line 3: a number that is not finite"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: str, message: str) -> None:
    path = _bad(tmp_path, change)
    with pytest.raises(InputError, match=message):
        read_poses(path, NYU.joints)
    read = read_poses(path, NYU.joints, skip_bad=True)
    assert read.rows == (0, 1, 3) and len(read.skipped) == 1 and "line 3" in read.skipped[0]


def test_skipped_frames_stay_out_of_the_score(tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_text(text(as_system(poses(4), "uvd")))
    truth = read_truth(NYU, tmp_path / "truth.txt")
    score = score_file(NYU, truth, _bad(tmp_path, "nan"), skip_bad=True)
    assert score.mean_mm == pytest.approx(0.0, abs=1e-3)
    assert list(score.rows) == [0, 1, 3] and score.to_json()["frames"] == 3


def test_a_frame_too_few(tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_text(text(as_system(poses(4), "uvd")))
    (tmp_path / "mine.txt").write_text(text(as_system(poses(4), "uvd")[:3]))
    with pytest.raises(InputError, match=r"mine\.txt has another number of frames than the truth; got 3; expected 4"):
        score_file(NYU, read_truth(NYU, tmp_path / "truth.txt"), tmp_path / "mine.txt")


def test_poses_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "truth.txt").write_text(text(as_system(poses(4), "uvd")))
    (tmp_path / "mine.txt").write_text(text(poses(4) + 5000.0))
    with pytest.raises(InputError, match="does not fit the truth in any coordinate system"):
        score_file(NYU, read_truth(NYU, tmp_path / "truth.txt"), tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no poses"),
        (b"\xff\xfe\x00", "is no text"),
        (b"# dor3d {", "line 1: not a header of ours"),
        (b'# dor3d {"system": "polar", "unit": "mm"}', "line 1: not a header of ours"),
    ],
)
def test_what_is_no_file_of_poses(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_poses(tmp_path / "x.txt", NYU.joints)
    with pytest.raises(InputError, match="cannot be read"):
        read_poses(tmp_path / "nowhere.txt", NYU.joints)


@given(content=st.binary(max_size=400), suffix=st.sampled_from([".txt", ".jsonl"]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_raise_nothing_foreign(content: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    path.write_bytes(content)
    try:
        read_poses(path, NYU.joints, skip_bad=True)
    except Dor3dError as error:
        assert "\n" not in str(error)
