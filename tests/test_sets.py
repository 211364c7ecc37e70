"""Readers of the benchmarks against sets written in their formats, and what they say of damaged ones."""

from pathlib import Path

import numpy as np
import pytest
import write_sets
from write_sets import Rendered

from dor3d.data.sets import SETS, open_set
from dor3d.errors import Dor3dError, FrameError, InputError
from dor3d.geometry import PRESETS
from dor3d.skeleton import BENCHMARK_JOINTS

_COUNT = 6


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Rendered]]:
    return {name: write_sets.render(name, _COUNT) for name in BENCHMARK_JOINTS}


@pytest.fixture(scope="module")
def roots(rendered: dict[str, list[Rendered]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, frames in rendered.items():
        found[name] = tmp_path_factory.mktemp(name)
        write_sets.write(name, found[name], frames)
    return found


_ALL = {"nyu": "test", "icvl": "test", "msra": "all", "hands17": "all"}
_ROUNDED = {"nyu": 0.5, "icvl": 0.5, "msra": 0.0, "hands17": 0.5}  # mm: what the format's depth loses
_LABELS = {"nyu": 1e-6, "icvl": 0.005, "msra": 0.001, "hands17": 0.0001}  # mm


@pytest.mark.parametrize("name", BENCHMARK_JOINTS)
def test_depth_and_joints_come_back_within_the_precision_of_the_format(
    name: str, rendered: dict[str, list[Rendered]], roots: dict[str, Path]
) -> None:
    frames = open_set(name, roots[name], _ALL[name])
    order = [*range(0, _COUNT, 2), *range(1, _COUNT, 2)] if name == "msra" else range(_COUNT)
    assert len(frames) == _COUNT
    for index, which in enumerate(order):
        sample, truth = frames[index], rendered[name][which]
        expected = truth.depth_mm
        if name == "msra":  # nothing is stored outside the patch
            left, top, right, bottom = write_sets.msra_box(truth)
            expected = np.zeros_like(expected)
            expected[top:bottom, left:right] = truth.depth_mm[top:bottom, left:right]
        assert np.abs(sample.depth_mm - expected).max() <= _ROUNDED[name] + 1e-4
        assert sample.joints_mm is not None
        assert np.abs(sample.joints_mm - truth.joints_mm).max() <= _LABELS[name]
        assert sample.joints == BENCHMARK_JOINTS[name] and sample.camera == PRESETS[name]
    assert len({frames.frame_name(i) for i in range(_COUNT)}) == _COUNT


@pytest.mark.parametrize("name", BENCHMARK_JOINTS)
def test_canonical_joints_are_those_of_the_same_name(name: str, roots: dict[str, Path]) -> None:
    sample = open_set(name, roots[name], _ALL[name])[0]
    canonical = sample.canonical_mm
    assert canonical is not None and sample.joints_mm is not None
    shared = {"nyu": 10, "icvl": 5, "msra": 21, "hands17": 21}[name]
    assert np.isfinite(canonical).all(1).sum() == shared
    own = sample.joints_mm[sample.joints.index("index_tip")]
    assert np.array_equal(canonical[8], own)


@pytest.mark.parametrize("name", BENCHMARK_JOINTS)
def test_labels_lie_on_the_hand(name: str, roots: dict[str, Path]) -> None:
    """A wrong sign, order or camera would throw them off."""
    frames = open_set(name, roots[name], _ALL[name])
    near = []
    for i in range(len(frames)):
        sample = frames[i]
        assert sample.joints_mm is not None
        u, v = np.round(sample.camera.project(sample.joints_mm)).astype(int).T
        height, width = sample.depth_mm.shape
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        seen = sample.depth_mm[v[inside], u[inside]]
        near += (np.abs(seen - sample.joints_mm[inside, 2]) < 60).tolist()
    assert np.mean(near) > 0.7  # at an edge, and behind other fingers, a joint lies on no surface


def test_splits_of_hands17(roots: dict[str, Path]) -> None:
    frames = open_set("hands17", roots["hands17"], "test")
    assert frames[0].joints_mm is None and frames.frame_name(0).startswith("frame/images/")
    train, rest = (len(open_set("hands17", roots["hands17"], split)) for split in ("train", "held-out"))
    assert train + rest == _COUNT


def test_one_subject_of_msra_and_the_others(roots: dict[str, Path]) -> None:
    one, others = (open_set("msra", roots["msra"], split) for split in ("P1", "without-P1"))
    assert {one.subject(i) for i in range(len(one))} == {"P1"}
    assert {others.subject(i) for i in range(len(others))} == {"P0"}
    assert "this is no known version of 6 frames" in open_set("msra", roots["msra"]).notes()[0]


def test_faulty_frames_are_left_out_of_training(tmp_path: Path, rendered: dict[str, list[Rendered]]) -> None:
    frame = rendered["msra"][0]
    write_sets.write_msra(tmp_path, [frame] * 8, subjects=4)
    folder = tmp_path / "P2" / "TIP"
    folder.mkdir()
    line = " ".join(["1.0"] * 63)
    (folder / "joint.txt").write_text("180\n" + "\n".join([line] * 180) + "\n")
    assert len(open_set("msra", tmp_path, "without-P0")) == 6 + 180 - 3
    assert len(open_set("msra", tmp_path, "P2")) == 2 + 180


def test_rotated_copies_and_faulty_frames_of_icvl(tmp_path: Path) -> None:
    numbers = " ".join(["100.0"] * 48)
    lines = [f"20140312/image_{i:05d}.png {numbers}" for i in range(6700)]
    lines += [f"22-5/20140312/image_{i:05d}.png {numbers}" for i in range(10)]
    (tmp_path / "Training").mkdir()
    (tmp_path / "Training" / "labels.txt").write_text("\n".join(lines))
    train = open_set("icvl", tmp_path, "train")
    assert len(train) == 6699 and train.frame_name(6635).endswith("image_06636.png")
    assert len(open_set("icvl", tmp_path, "train-rotated")) == 6710


def test_the_real_nyu_frame(tmp_path: Path, shared: Path) -> None:
    """Its labels as the set has them are (u, v, d) here; what the reader gives must project onto them."""
    import json

    from scipy.io import savemat

    real = shared / "real" / "nyu"
    uvd = np.array(json.loads((real / "labels.json").read_text())["joints_uvd_36"])
    xyz = PRESETS["nyu"].unproject(uvd[:, :2], uvd[:, 2]) * (1, -1, 1)
    (tmp_path / "test").mkdir()
    savemat(tmp_path / "test" / "joint_data.mat", {"joint_xyz": np.broadcast_to(xyz, (3, 1, 36, 3))})
    (tmp_path / "test" / "depth_1_0000001.png").write_bytes((real / "depth_1_0000001.png").read_bytes())
    sample = open_set("nyu", tmp_path)[0]
    assert sample.joints_mm is not None
    uv = sample.camera.project(sample.joints_mm)
    scored = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25, 27, 30, 31, 32]
    assert np.allclose(uv, uvd[scored, :2], atol=1e-3)
    u, v = np.round(uv).astype(int).T
    assert np.median(np.abs(sample.depth_mm[v, u] - sample.joints_mm[:, 2])) < 20


# ---- bad input -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SETS)
def test_a_wrong_folder_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("")
    with pytest.raises(InputError, match=r"does not hold .*holiday\.jpg"):
        open_set(name, tmp_path)
    with pytest.raises(InputError, match="There is no folder"):
        open_set(name, tmp_path / "nowhere")


def test_a_missing_frame_is_told_when_it_is_asked_for(tmp_path: Path, rendered: dict[str, list[Rendered]]) -> None:
    write_sets.write_nyu(tmp_path, rendered["nyu"][:2])
    (tmp_path / "test" / "depth_1_0000002.png").unlink()
    frames = open_set("nyu", tmp_path)
    assert frames[0].depth_mm.any()
    with pytest.raises(FrameError, match=r"depth_1_0000002\.png cannot be read; got No such file"):
        frames[1]


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        ((5000.0, 0.0, 0.0), r"Training_Annotation\.txt, line 1: all joints lie outside the image; got pixel \(\d+, "),
        ((0.0, 0.0, 900.0), r"image_D00000001\.png shows no hand; got no surface .* a hand where .*line 1 says"),
    ],
)
def test_labels_that_are_not_the_frames(
    shift: tuple[float, float, float], message: str, tmp_path: Path, rendered: dict[str, list[Rendered]]
) -> None:
    frame = rendered["hands17"][0]
    empty_behind = np.where(np.abs(frame.depth_mm - frame.joints_mm[:, 2].mean()) < 200, frame.depth_mm, 0)
    write_sets.write_hands17(tmp_path, [Rendered(empty_behind.astype(np.float32), frame.joints_mm + shift)])
    frames = open_set("hands17", tmp_path, "all")
    assert frames.read(0).depth_mm.any()  # as it stands it can be had
    with pytest.raises(Dor3dError, match=message):
        frames[0]


def test_one_joint_far_from_its_hand(tmp_path: Path, rendered: dict[str, list[Rendered]]) -> None:
    joints = rendered["msra"][0].joints_mm.copy()
    joints[4, 0] += 2000
    write_sets.write_msra(tmp_path, [rendered["msra"][0]] * 2)
    path = tmp_path / "P0" / "1" / "joint.txt"
    path.write_text("1\n" + " ".join(f"{x:.3f}" for x in (joints * (1, -1, -1)).ravel()))
    with pytest.raises(
        InputError, match=r"P0/1/joint\.txt, line 2: these joints are no hand's; got one that lies [12]\d{3} mm off"
    ):
        open_set("msra", tmp_path)[0]


def test_a_frame_without_readings(tmp_path: Path, rendered: dict[str, list[Rendered]]) -> None:
    frame = rendered["nyu"][0]
    write_sets.write_nyu(tmp_path, [Rendered(np.zeros_like(frame.depth_mm), frame.joints_mm)])
    with pytest.raises(FrameError, match=r"depth_1_0000001\.png shows nothing; got no reading in any pixel"):
        open_set("nyu", tmp_path)[0]


@pytest.mark.parametrize("name", BENCHMARK_JOINTS)
def test_an_unknown_split_is_told(name: str, roots: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"Unknown split of .*; got validation; expected "):
        open_set(name, roots[name], "validation")


def test_the_test_of_msra_is_all_of_it(roots: dict[str, Path]) -> None:
    assert open_set("msra", roots["msra"], "test").split == "all"


def test_a_truncated_mat(tmp_path: Path, rendered: dict[str, list[Rendered]]) -> None:
    write_sets.write_nyu(tmp_path, rendered["nyu"][:1])
    path = tmp_path / "test" / "joint_data.mat"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(InputError, match=r"joint_data\.mat is broken"):
        open_set("nyu", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("image_D00000001.png 1 2 3", "line 2; got 3 numbers; expected 63"),
        ("image_D00000001.png " + " ".join(["x"] * 63), "line 2; got something that is no number"),
        ("image_D00000001.png " + " ".join(["nan"] * 63), "line 2; got a number that is not finite"),
        ("1.0 " * 63, "line 2; got '1.0' first; expected the name of a PNG file"),
    ],
)
def test_a_bad_line_of_labels_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "training").mkdir()
    good = "image_D00000000.png " + " ".join(["1.0"] * 63)
    (tmp_path / "training" / "Training_Annotation.txt").write_text(f"{good}\n{line}\n")
    frames = open_set("hands17", tmp_path, "all")
    assert frames.joints_mm(0) is not None
    with pytest.raises(InputError, match=rf"Training_Annotation\.txt, {message}"):
        frames.frame_name(1)
        frames.joints_mm(1)


@pytest.mark.parametrize("keep", [0, 10, 23, 24, 100])
def test_a_truncated_patch(tmp_path: Path, rendered: dict[str, list[Rendered]], keep: int) -> None:
    write_sets.write_msra(tmp_path, rendered["msra"][:2])
    path = tmp_path / "P0" / "1" / "000000_depth.bin"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FrameError, match="truncated"):
        open_set("msra", tmp_path)[0]


def test_a_wrong_count_of_msra(tmp_path: Path, rendered: dict[str, list[Rendered]]) -> None:
    write_sets.write_msra(tmp_path, rendered["msra"][:4])
    path = tmp_path / "P1" / "1" / "joint.txt"
    path.write_text(path.read_text().replace("2\n", "3\n", 1))
    with pytest.raises(InputError, match=r"joint\.txt: the first line does not count the others; got 3; expected 2"):
        open_set("msra", tmp_path)
