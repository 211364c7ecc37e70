"""The core install: it works without the training stack, and it is small."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dor3d.skeleton import JOINTS

ROOT = Path(__file__).resolve().parent.parent
# What only the extras install.
ABSENT = (
    "torch", "torchvision", "timm", "lightning", "numba", "scipy", "onnx", "onnxscript", "safetensors", "torchmetrics",
    "tensorboard", "openvino", "beartype",
)  # fmt: skip
MOST_MB = 500
CAMERA = "240,240,160,120"


BLOCK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def blocked(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that finds no training stack, as in a core install."""
    return subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, timeout=120)


def hand_like_frame() -> np.ndarray:
    """A palm with five fingers, flat, half a metre before the camera; its depth in mm, no background."""
    v, u = np.mgrid[:240, :320]
    hand = np.hypot(u - 160, v - 125) < 20
    for finger in range(5):
        hand |= (np.abs(u - (140 + 10 * finger)) < 3) & (v > 75) & (v < 120)
    return np.where(hand, 500, 0).astype(np.float32)


def test_import_needs_no_training_stack() -> None:
    done = blocked("import dor3d, dor3d.geometry, dor3d.ordinal, dor3d.predict, dor3d.viz, dor3d.runtime.onnx")
    assert done.returncode == 0, done.stderr


def test_help_needs_no_training_stack() -> None:
    done = blocked("sys.argv = ['dor3d', '--help']\nfrom dor3d.cli import main\nsys.exit(main())")
    assert done.returncode == 0, done.stderr
    for verb in ("predict", "demo", "train"):
        assert verb in done.stdout


def test_it_is_a_module_too_and_ends_quietly_with_its_reader() -> None:
    words = f"{sys.executable} -m dor3d predict --help"
    done = subprocess.run(["bash", "-c", f"{words} | head -1"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: dor3d predict") and "Traceback" not in done.stderr


def test_a_verb_that_needs_the_training_stack_says_so() -> None:
    done = blocked("sys.argv = ['dor3d', 'train', 'synth-compact']\nfrom dor3d.cli import main\nsys.exit(main())")
    assert done.returncode == 2, done.stderr
    assert "pip install 'dor3d[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def dor3d_blocked(*words: str) -> subprocess.CompletedProcess[str]:
    """A command, where there is no training stack."""
    return blocked(f"sys.argv = {['dor3d', *words]}\nfrom dor3d.cli import main\nsys.exit(main())")


def test_sets_are_looked_at_and_scored_without_the_training_stack(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "0.npy", hand_like_frame())
    (mine / "camera.json").write_text('{"fx": 240, "fy": 240, "cx": 160, "cy": 120}')
    labels = {"names": list(JOINTS), "joints": {"0.npy": [[0.0, -40.0, 505.0]] * 21}}
    (mine / "labels.json").write_text(json.dumps(labels))
    done = dor3d_blocked("inspect", "--dataset", "folder", "--root", str(mine), "--out", str(tmp_path / "look"))
    assert done.returncode == 0, done.stderr
    assert "frames: 1" in done.stdout and (tmp_path / "look" / "contact_sheet.png").exists()
    out = tmp_path / "out"
    done = dor3d_blocked(
        "evaluate",
        "compact",
        "--dataset",
        "folder",
        "--root",
        str(mine),
        "--centers",
        "mass",
        "--out",
        str(out),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["methods"]["model"]["frames"] == 1
    pose = " ".join(["0.0 -40.0 505.0"] * 21)
    (tmp_path / "truth.txt").write_text(f"{pose}\n")
    truth = ["--benchmark", "msra", "--truth", str(tmp_path / "truth.txt")]
    for words in (
        ["score", *truth, "--pred", str(out / "predictions.txt")],
        ["compare", *truth, "--results", f"mine={out / 'predictions.txt'}", "--out", str(tmp_path / "figures")],
    ):
        done = dor3d_blocked(*words)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures" / "success_curve.png").exists()


def test_a_set_that_needs_scipy_says_so(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "joint_data.mat").write_bytes(b"x")
    done = dor3d_blocked("inspect", "--dataset", "nyu", "--root", str(tmp_path))
    assert done.returncode == 2 and "NYU's joint_data.mat needs SciPy" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it would be released."""
    folder = tmp_path_factory.mktemp("wheel")
    pip(Path(sys.executable), "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("dor3d-*.whl"))


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that holds the wheel and no extra."""
    folder = tmp_path_factory.mktemp("core") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip(folder / "bin" / "python", "install", str(wheel))
    return folder / "bin"


def pip(python: Path, *arguments: str) -> None:
    done = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def run(core: Path, cwd: Path, *command: str) -> str:
    """A command of the core environment, run far from the repository; its standard output."""
    done = subprocess.run([core / command[0], *command[1:]], capture_output=True, text=True, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_holds_what_a_user_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "dor3d/py.typed" in names
    assert "dor3d/weights/compact.onnx" in names
    assert "dor3d/weights/compact.md" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if not name.startswith("dor3d")]
    assert not [name for name in names if "__pycache__" in name]


@pytest.mark.slow
def test_the_core_has_no_training_stack(core: Path, tmp_path: Path) -> None:
    code = f"from importlib.util import find_spec; print([m for m in {ABSENT} if find_spec(m)])"
    assert run(core, tmp_path, "python", "-c", code).strip() == "[]"


@pytest.mark.slow
def test_the_core_is_small(core: Path) -> None:
    size = sum(path.lstat().st_blocks * 512 for path in core.parent.rglob("*"))
    assert size < MOST_MB * 1e6


@pytest.mark.slow
def test_predict_works_in_the_core(core: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "frame.npy", hand_like_frame())
    run(core, tmp_path, "dor3d", "predict", "frame.npy", "--camera", CAMERA, "--center", "0,-40,500", "--out", "out")
    (line,) = (tmp_path / "out" / "poses.jsonl").read_text().splitlines()
    pose = json.loads(line)
    assert pose["frame"] == "frame.npy"
    assert pose["index"] == 0
    assert len(pose["joints"]) == 21
    (hand,) = pose["hands"]
    assert hand["handedness"] in ("left", "right")
    assert 0 <= hand["confidence"] <= 1
    assert np.shape(hand["joints_mm"]) == (21, 3)
    assert np.shape(hand["joints_px"]) == (21, 2)
    assert np.shape(hand["std_mm"]) == (21,)
    assert np.abs(np.array(hand["joints_mm"]) - hand["center_mm"]).max() < 300
    assert len(list((tmp_path / "out" / "overlay").glob("*.png"))) == 1


@pytest.mark.slow
def test_demo_works_in_the_core(core: Path, tmp_path: Path) -> None:
    run(core, tmp_path, "dor3d", "demo", "--out", "out")
    assert (tmp_path / "out" / "poses.jsonl").read_text()
    assert list((tmp_path / "out").glob("*.html"))
