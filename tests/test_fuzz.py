"""Every reader on damaged files: it reads them or says in one line what is wrong, and nothing else happens."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import write_sets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dor3d.benchmarks import BENCHMARKS
from dor3d.data.centers import FileCenters
from dor3d.data.lines import LineFile
from dor3d.data.listing import list_files
from dor3d.data.sets import open_set
from dor3d.data.synthetic import render_set
from dor3d.errors import Dor3dError
from dor3d.evaluate.predictions import read_poses, write_poses
from dor3d.evaluate.truth import read_truth

_SPLITS = {"nyu": "test", "icvl": "test", "msra": "all", "hands17": "all", "folder": "all"}
_NASTY = (
    *(b"", b"\0", b"\n", b"\r", b",", b"-", b"nan", b"1e999", b"9" * 400, b"[" * 3000, b"{", b"null", b"\xff\xfe"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"../../x.png", b"image_9.png ", b"invalid"),
)
_Edit = tuple[float, int, bytes]

# places in a file, how many bytes go there, and what comes instead
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 64), st.sampled_from(_NASTY) | st.binary(max_size=12)),
    min_size=1,
    max_size=4,
)
cut = st.none() | st.floats(0, 1)
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def damaged(data: bytes, changes: list[_Edit], keep: float | None) -> bytes:
    for place, length, instead in changes:
        at = int(place * len(data))
        data = data[:at] + instead + data[at + length :]
    return data if keep is None else data[: int(keep * len(data))]


def survives(job: Callable[[], object]) -> None:
    try:
        job()
    except Dor3dError as error:
        assert str(error) and "\n" not in str(error)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in BENCHMARKS:
        found[name] = tmp_path_factory.mktemp(name)
        write_sets.write(name, found[name], write_sets.render(name, 2))
    found["folder"] = tmp_path_factory.mktemp("folder")
    render_set(2, "sr305", 0, found["folder"])
    return found


def _kinds(root: Path) -> list[Path]:
    """One file of each kind in a set."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return list({(path.suffix, path.stem if path.suffix != ".png" else ""): path for path in files}.values())


@pytest.mark.parametrize("name", _SPLITS)
def test_sets(name: str, roots: dict[str, Path]) -> None:
    root = roots[name]
    for path in _kinds(root):
        whole = path.read_bytes()
        try:
            _fuzz_file(name, root, path, whole)
        finally:
            path.write_bytes(whole)


def _fuzz_file(name: str, root: Path, path: Path, whole: bytes) -> None:
    def read() -> None:
        frames = open_set(name, root, _SPLITS[name])
        list_files(frames)
        for i in range(min(4, len(frames))):
            survives(partial(frames.__getitem__, i))

    @fuzz
    @given(changes=edits, keep=cut)
    def look(changes: list[_Edit], keep: float | None) -> None:
        path.write_bytes(damaged(whole, changes, keep))
        survives(read)
        if name in BENCHMARKS and path.suffix != ".png":
            survives(lambda: read_truth(BENCHMARKS[name], root, split=_SPLITS[name], skip_bad=True))

    look()


@fuzz
@given(content=st.binary(max_size=300))
def test_lines(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        path.write_bytes(content)
        lines = LineFile(path)
        assert len(lines) == sum(bool(line.strip()) for line in content.split(b"\n"))
        for i in range(len(lines)):
            lines.first_word(i)
            survives(partial(lines.words, i))
            survives(partial(lines.numbers, i, 3))


@fuzz
@given(changes=edits, keep=cut)
def test_centres(changes: list[_Edit], keep: float | None, roots: dict[str, Path], tmp_path: Path) -> None:
    frames = open_set("nyu", roots["nyu"])
    path = tmp_path / "centers.txt"
    path.write_bytes(damaged(b"12.5 -30.25 712.0\ninvalid invalid invalid\n", changes, keep))
    survives(lambda: FileCenters(path, frames).of(0, frames[0], (300.0, 300.0)))


@fuzz
@given(changes=edits, keep=cut, suffix=st.sampled_from([".txt", ".jsonl"]))
def test_predictions(changes: list[_Edit], keep: float | None, suffix: str, tmp_path: Path) -> None:
    path, joints = tmp_path / f"x{suffix}", ("a", "b")
    if suffix == ".txt":
        write_poses(path, np.ones((3, 2, 3)), joints, ["1", "2", "3"], {"centers": "located"})
    else:
        hand = {"joints_mm": [[1, 2, 3], [4, 5, 6]]}
        path.write_text(json.dumps({"frame": "a.png", "joints": joints, "hands": [hand]}) + "\n")
    path.write_bytes(damaged(path.read_bytes(), changes, keep))
    survives(lambda: read_poses(path, joints))
    survives(lambda: read_poses(path, joints, skip_bad=True))
