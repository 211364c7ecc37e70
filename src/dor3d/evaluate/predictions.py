"""Files of poses: the community's text format, HANDS2017's submissions, poses.jsonl, and our own text.

A line a frame, 3 numbers a joint, separated by spaces, tabs or commas, after the frame's name or without one. The
numbers are (u, v, d) or (x, y, z), the latter in one of several frames: `SYSTEMS`. Our own text begins with a line
"# dor3d {...}" that says which, and how the poses were come by; NumPy's loadtxt skips it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.files import whole_file
from dor3d.geometry import Pinhole
from dor3d.text import parse_json

SYSTEMS: Final[dict[str, str]] = {
    "uvd": "pixels and depth in mm",
    "xyz": "mm, y down",
    "xyz, y up": "mm, y up, as NYU's labels have it",
    "xyz, y up, z negative": "mm, y up and z towards the camera, as MSRA's labels have it",
}
_HEADER: Final = "# dor3d "
_COMPARED: Final = 512  # frames that tell coordinate systems apart
_INSIDE: Final = 0.9  # share of (u, v) inside the image; of (x, y), which lie about 0, a quarter or so


@dataclass(frozen=True)
class PoseFile:
    """What a file of poses says.

    Attributes:
        path: the file.
        joints: names of the joints, in the order of the numbers.
        values: [N, A, 3] numbers as they stand there.
        names: the frames' names, or empty.
        rows: the place of each frame among all frames of the file, those left out included.
        notes: what the file says of itself (ours alone): coordinate system, model, centres, cube.
        skipped: what was wrong with each frame that was left out, when bad ones may be.
        layout: how its lines are laid out, for people.
    """

    path: Path
    joints: tuple[str, ...]
    values: Float[ndarray, "n a 3"]
    names: tuple[str, ...]
    rows: tuple[int, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    layout: str = ""

    @property
    def frames(self) -> int:
        """How many frames the file has, those left out included."""
        return len(self.rows) + len(self.skipped)

    def in_camera(self, system: str, camera: Pinhole) -> Float[ndarray, "n a 3"]:
        """The poses in the camera frame (mm, y down), if the file is in this system."""
        return _TO_CAMERA[system](self.values, camera)

    def systems(self, camera: Pinhole) -> list[str]:
        """The coordinate systems that the numbers can be in by their looks, likeliest first."""
        if "system" in self.notes:
            return [self.notes["system"]]
        u, v, d = np.moveaxis(self.values, -1, 0)
        if np.median(d) < 0:
            return ["xyz, y up, z negative"]
        width, height = camera.width or np.inf, camera.height or np.inf
        inside = (u > 0) & (u < width) & (v > 0) & (v < height)
        return ["uvd"] if inside.mean() > _INSIDE else ["xyz", "xyz, y up"]


_TO_CAMERA: Final[dict[str, Callable[[ndarray, Pinhole], ndarray]]] = {
    "uvd": lambda values, camera: camera.unproject(values[..., :2], values[..., 2]),
    "xyz": lambda values, _: values,
    "xyz, y up": lambda values, _: values * (1.0, -1.0, 1.0),
    "xyz, y up, z negative": lambda values, _: values * (1.0, -1.0, -1.0),
}


def agree(truth: PoseFile, predicted: PoseFile, camera: Pinhole) -> tuple[str, str]:
    """The coordinate systems of a file of truths and one of predictions.

    The truth's is told by its looks. The predictions' is the one in which they lie closest to it: a wrong reading is
    off by hundreds of millimetres, so that their quality decides nothing.
    """
    some = slice(None, None, max(1, len(truth.values) // _COMPARED))

    def apart(systems: tuple[str, str]) -> float:
        a = _TO_CAMERA[systems[0]](truth.values[some], camera)
        return float(np.linalg.norm(a - _TO_CAMERA[systems[1]](predicted.values[some], camera), axis=-1).mean())

    theirs = predicted.systems(camera)[:1] if predicted.notes else list(SYSTEMS)
    return min(((a, b) for a in truth.systems(camera) for b in theirs), key=lambda pair: round(apart(pair), 3))


def read_poses(path: Path, joints: Sequence[str], *, skip_bad: bool = False) -> PoseFile:
    """Read a file of poses.

    Args:
        path: text as described above, or poses.jsonl.
        joints: names of the joints that a frame has, unless the file (ours) names its own; poses.jsonl is brought into
            their order.
        skip_bad: leave out frames that cannot be read, and list them.

    Raises:
        InputError: with the line's number, for a wrong count of numbers, what is no number, or no frame at all.
    """
    path = Path(path)
    lines = _lines(path)
    json_lines = path.suffix == ".jsonl"
    notes = {"system": "xyz"} if json_lines else _notes(path, lines[0] if lines else "")
    joints = tuple(notes.get("joints", joints))
    names, values, rows, skipped = [], [], [], []
    for row, (number, read) in enumerate((_jsonl_frames if json_lines else _text_frames)(lines, joints)):
        try:
            name, pose = read()
        except _BadLineError as problem:
            error = InputError(f"{path}, line {number}: {problem}", expected=problem.expected)
            if not skip_bad:
                raise error from None
            skipped.append(str(error))
            continue
        names.append(name)
        values.append(pose)
        rows.append(row)
    if not values:
        raise InputError(f"{path} holds no poses", expected="a line of numbers for each frame")
    named = tuple(names) if all(names) else ()
    poses = np.array(values, np.float64).reshape(len(values), len(joints), 3)
    layout = _layout(path, lines[-1], named=bool(named))
    return PoseFile(path, joints, poses, named, tuple(rows), notes, tuple(skipped), layout)


def write_poses(
    path: Path,
    joints_mm: Float[ndarray, "n a 3"],
    joints: Sequence[str],
    names: Sequence[str],
    notes: Mapping[str, Any],
) -> Path:
    """Write poses in the camera frame (mm, y down) as our text, whole or not at all.

    Args:
        joints_mm: one pose a frame.
        joints: the joints' names.
        names: the frames' names, without white space.
        notes: how they were come by; they stand in the file's first line.
    """
    with whole_file(path, "w") as stream:
        stream.write(_HEADER + json.dumps({**notes, "joints": list(joints), "system": "xyz", "unit": "mm"}) + "\n")
        for name, pose in zip(names, joints_mm, strict=True):
            stream.write(f"{name} {' '.join(f'{number:.4f}' for number in pose.ravel())}\n")
    return Path(path)


def write_submission(path: Path, joints_mm: Float[ndarray, "n 21 3"], names: Sequence[str]) -> Path:
    """Write HANDS2017's result file: a frame's path and 63 numbers (x, y, z in mm, y down), separated by tabs."""
    with whole_file(path, "w") as stream:
        for name, pose in zip(names, joints_mm, strict=True):
            stream.write("\t".join([name, *(f"{number:.4f}" for number in pose.ravel())]) + "\n")
    return Path(path)


def _layout(path: Path, line: str, *, named: bool) -> str:
    between = next((what for mark, what in ((",", "commas"), ("\t", "tabs")) if mark in line), "spaces")
    separated = "JSON" if path.suffix == ".jsonl" else f"separated by {between}"
    return f"{separated}, {'with' if named else 'without'} frames' names"


class _BadLineError(Exception):
    def __init__(self, what: str, expected: str | None = None) -> None:
        super().__init__(what)
        self.expected = expected


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text", got=f"byte {error.start}: {error.reason}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read", got=error.strerror or error) from None


def _notes(path: Path, first: str) -> dict[str, Any]:
    if not first.startswith(_HEADER):
        return {}
    try:
        notes = parse_json(first.removeprefix(_HEADER))
        if notes["system"] not in SYSTEMS or notes.get("unit") != "mm":
            raise ValueError(f"system {notes['system']!r}, unit {notes.get('unit')!r}")
        if not notes["joints"] or not all(isinstance(name, str) for name in notes["joints"]):
            raise ValueError("joints without names")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}, line 1: not a header of ours", got=error, expected="as dor3d writes it") from None
    return notes


_Read = Callable[[], tuple[str, list[float]]]


def _text_frames(lines: Sequence[str], joints: Sequence[str]) -> Iterator[tuple[int, _Read]]:
    expected = 3 * len(joints)
    for number, line in enumerate(lines, 1):
        content = line.strip()
        if content and not content.startswith("#"):
            yield number, lambda content=content: _text_pose(content, expected)


def _text_pose(line: str, count: int) -> tuple[str, list[float]]:
    words = line.replace(",", " ").split()
    if not words:
        raise _BadLineError("no number", f"{count}: 3 for each of {count // 3} joints")
    # a frame may be called 000123; a number too many that is not whole is just that
    named = not _is_number(words[0]) or (len(words) == count + 1 and words[0].isdecimal())
    name = words.pop(0) if named else ""
    if len(words) != count:
        raise _BadLineError(f"{len(words)} numbers", f"{count}: 3 for each of {count // 3} joints")
    try:
        pose = [float(word) for word in words]
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise _BadLineError(f"{wrong[:40]!r} is no number") from None
    _check_finite(pose)
    return name, pose


def _is_number(word: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf(inity)?)", word, re.I) is not None


def _check_finite(pose: Sequence[float]) -> None:
    if not np.isfinite(pose).all():
        raise _BadLineError("a number that is not finite")


def _jsonl_frames(lines: Sequence[str], joints: Sequence[str]) -> Iterator[tuple[int, _Read]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, lambda line=line: _json_pose(line, joints)


def _json_pose(line: str, joints: Sequence[str]) -> tuple[str, list[float]]:
    try:
        entry = parse_json(line)
        name = "_".join(str(entry["frame"]).split())
        if "error" in entry or not entry["hands"]:
            raise _BadLineError(f"no hand in {name}" + (f" ({entry['error']})" if "error" in entry else ""))
        pose = dict(zip(entry["joints"], entry["hands"][0]["joints_mm"], strict=True))
        missing = [joint for joint in joints if joint not in pose]
        if missing:
            raise _BadLineError(f"no joint {missing[0]}", ", ".join(joints))
        values = [float(number) for joint in joints for number in pose[joint]]
        if len(values) != 3 * len(joints):
            raise _BadLineError("joints that have not 3 numbers")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _BadLineError(f"not an entry of poses.jsonl ({error})") from None
    _check_finite(values)
    return name, values
