"""What the README shows is run as it stands, in its order, in an empty folder with the files that it speaks of."""

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import write_sets

from dor3d.benchmarks import BENCHMARKS
from dor3d.cli import main
from dor3d.evaluate.tables import as_markdown

ROOT = Path(__file__).resolve().parent.parent
README, DOCS = (ROOT / "README.md").read_text(), ROOT / "docs"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if line.startswith("dor3d ")
]
# a run of its full length takes hours
SHORTER = {
    "train": ["--steps", "2", "--batch", "4", "--validation", "4", "--workers", "0"],
    "tables": ["--steps", "2", "--batch", "4", "--validation", "4", "--seeds", "1", "--frames", "4", "--size", "32"],
    "figures": ["--frames", "4"],
    "export": ["--calibrate", "8"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of the camera that the README names, as a folder and as an array."""
    path = tmp_path_factory.mktemp("readme")
    main(["render", "--count", "2", "--camera", "d435", "--out", str(path / "frames")])
    write_benchmark(path)
    np.save(path / "frame.npy", cv2.imread(str(path / "frames" / "000000.png"), cv2.IMREAD_UNCHANGED))
    return path


def write_benchmark(path: Path) -> None:
    """NYU in small, a file of centres, the truth and another method's predictions as the community passes them on."""
    frames, camera = write_sets.render("nyu", 4), BENCHMARKS["nyu"].camera
    write_sets.write_nyu(path / "NYU", frames)
    joints = np.array([frame.joints_mm for frame in frames])
    np.savetxt(path / "center_test_refined.txt", joints.mean(1) * (1, -1, 1), fmt="%.3f")
    for name, mm in (("truth.txt", joints), ("a2j.txt", joints + 3.0)):
        uvd = np.concatenate([camera.project(mm), mm[..., 2:]], -1)
        np.savetxt(path / name, uvd.reshape(len(frames), -1), fmt="%.4f")


@pytest.mark.slow
def test_every_command_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    for words in COMMANDS:
        main([*words, *SHORTER.get(words[0], [])])
    assert {words[0] for words in COMMANDS} >= {"predict", "train", "export", "inspect", "evaluate", "score", "compare"}
    assert len((folder / "hands" / "poses.jsonl").read_text().splitlines()) == 2
    assert (folder / "mine.onnx").stat().st_size > 1e6


@pytest.mark.slow
def test_the_lines_of_python_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(folder)
    (block,) = [block for language, block in BLOCKS if language == "python"]
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.split()[0] in ("left", "right") and printed.count("\n") == 21


def test_the_reproduced_tables_are_those_of_their_files() -> None:
    folder = DOCS / "reproduction"
    page = (DOCS / "reproduction.md").read_text()
    tables = sorted(folder.rglob("table_*.md"))
    assert tables and all(path.read_text() in page for path in tables)
    for path in tables:
        assert as_markdown(json.loads(path.with_suffix(".json").read_text())) == path.read_text()
