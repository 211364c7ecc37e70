"""Reading depth frames from files, one at a time, and telling why one cannot be used.

16-bit PNG and TIFF, .npy (one frame or a stack), .npz (every array of frames in it) and folders of these. Integers are
in the camera's units (`Pinhole.depth_unit_mm`), floating-point values in mm; 0 means no reading.
"""

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from dor3d.errors import Dor3dError, FrameError, InputError
from dor3d.geometry import Pinhole
from dor3d.images import colour_image, eight_bit, read_image

SUFFIXES: Final = (".png", ".tif", ".tiff", ".npy", ".npz")
_FORMATS: Final = "16-bit PNG or TIFF, .npy or .npz"
_SMALLEST: Final = 16  # pixels; an array with a shorter side holds no frames
_RANGE_MM: Final = (80.0, 5000.0)  # where the nearest surface of a usable frame lies
_UNITS_MM: Final = (1.0, 0.125, 0.1, 0.25, 0.2, 0.5, 10.0, 1000.0)  # of sensors and of files people have met
_LIKELY_MM: Final = (200.0, 1500.0)


@dataclass(frozen=True)
class Frame:
    """A depth frame, or the reason why there is none.

    Attributes:
        name: path of the file that it came from.
        index: which frame of that file.
        depth: [H, W] as stored, or the error.
        many: whether its file holds more than one.
    """

    name: str
    index: int
    depth: ndarray | Dor3dError
    many: bool = False


def read_frames(inputs: Sequence[str | os.PathLike[str]], unit_mm: float | None = None) -> Iterator[Frame]:
    """Every frame of files and folders, in order, each read when it is asked for; a bad one comes as an error.

    Args:
        inputs: files and folders.
        unit_mm: of floating-point values, which are mm where nothing else is said.
    """
    for item in inputs:
        path = Path(item)
        for frame in _folder(path) if path.is_dir() else _file(path):
            yield frame if unit_mm is None else _scaled(frame, unit_mm)


def _scaled(frame: Frame, unit_mm: float) -> Frame:
    if isinstance(frame.depth, Dor3dError) or frame.depth.dtype.kind != "f":
        return frame
    return replace(frame, depth=frame.depth * np.float32(unit_mm))


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Sorts "2.png" before "10.png"."""
    return [(0, int(part)) if part.isdigit() else (1, part.lower()) for part in re.split(r"(\d+)", name) if part]


def _folder(path: Path) -> Iterator[Frame]:
    try:
        files = sorted((f for f in path.iterdir() if _is_input(f)), key=lambda f: natural_key(f.name))
    except OSError as error:
        yield Frame(str(path), 0, FrameError(f"Folder {path} cannot be read", got=error.strerror))
        return
    if not files:
        yield Frame(str(path), 0, FrameError(f"No depth frames in folder {path}", expected=_FORMATS))
    for file in files:
        yield from _file(file)


def _is_input(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _file(path: Path) -> Iterator[Frame]:
    readers = {".npy": _stack, ".npz": _archive}
    try:
        if not path.exists():
            raise FrameError(f"No such file: {path}")
        if path.suffix.lower() not in SUFFIXES:
            raise FrameError(f"{path} has an unknown format", got=path.suffix or "no suffix", expected=_FORMATS)
        if path.stat().st_size == 0:
            raise FrameError(f"{path} is empty", got="0 bytes")
        reader = readers.get(path.suffix.lower(), _image)
        yield from reader(path)
    except Dor3dError as error:
        yield Frame(str(path), 0, error)
    except OSError as error:
        yield Frame(str(path), 0, FrameError(f"{path} cannot be read", got=error.strerror or error))


def _image(path: Path) -> Iterator[Frame]:
    yield Frame(str(path), 0, read_image(path))


# ---- arrays ---------------------------------------------------------------------------------------------------------
def _stack(path: Path) -> Iterator[Frame]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise _broken(path, error) from None
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        raise colour_image(str(path), f"an array of shape {array.shape}")
    if not _holds_frames(array):
        raise FrameError(
            f"{path} holds no depth frames",
            got=f"an array of {array.dtype} of shape {array.shape}",
            expected="numbers [H, W] or [N, H, W]",
        )
    for frame in _frames_of(path, [array]):
        yield replace(frame, many=array.ndim == 3)


def _archive(path: Path) -> Iterator[Frame]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            # a file of ours carries the truth beside its frames
            names = ["depth"] if "depth" in names else sorted(names, key=natural_key)
            yield from _frames_of(path, (archive[name] for name in names))
    except (ValueError, EOFError, AttributeError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> FrameError:
    return FrameError(f"{path} is broken or no NumPy file", got=str(error).partition("\n")[0] or type(error).__name__)


def _holds_frames(array: ndarray) -> bool:
    return array.ndim in (2, 3) and min(array.shape[-2:]) >= _SMALLEST and array.dtype.kind in "iuf"


def _frames_of(path: Path, arrays: Iterable[ndarray]) -> Iterator[Frame]:
    """The frames of arrays [H, W] and [N, H, W]; other arrays are passed over."""
    index = 0
    for array in arrays:
        if not _holds_frames(array):
            continue
        for depth in array if array.ndim == 3 else array[None]:
            yield Frame(str(path), index, np.asarray(depth), many=True)
            index += 1
    if index == 0:
        raise FrameError(f"{path} holds no depth frames", expected="arrays of numbers [H, W] or [N, H, W]")


# ---- checks ---------------------------------------------------------------------------------------------------------
def check_frame(depth: ndarray, camera: Pinhole) -> float:
    """Raise FrameError or CameraError unless this is a depth frame of this camera.

    Args:
        depth: [H, W]; integers in the camera's units, floating-point values in mm.
        camera: where it is said to come from.

    Returns the depth of the nearest surface (mm): the first percentile of the readings.
    """
    _check_kind(depth)
    camera.check_frame(depth.shape)
    low, high = depth.min(), depth.max()  # NaN comes through
    if not (np.isfinite(low) and np.isfinite(high)):
        raise FrameError(
            "The frame has values that are not finite", got=f"{low} to {high}", expected="0 for no reading"
        )
    if low < 0:
        raise FrameError(
            "The frame has negative depths", got=f"{low:g}", expected="depth along the viewing axis, 0 for none"
        )
    if high == 0:
        raise FrameError("The frame is empty", got="0 in every pixel", expected="depth readings")
    nearest = _nearest(depth)
    unit = 1.0 if depth.dtype.kind == "f" else camera.depth_unit_mm
    if not _RANGE_MM[0] <= nearest * unit <= _RANGE_MM[1]:
        raise _wrong_unit(nearest, unit)
    return nearest * unit


def _check_kind(depth: ndarray) -> None:
    if depth.ndim == 3 and depth.shape[-1] in (3, 4):
        raise colour_image("The frame", f"shape {depth.shape}")
    if depth.ndim != 2:
        raise FrameError("The frame has a wrong shape", got=depth.shape, expected="[height, width]")
    if min(depth.shape) < _SMALLEST:
        raise FrameError("The frame is too small", got=f"{depth.shape[1]}x{depth.shape[0]} pixels")
    if depth.dtype.kind not in "iuf":
        raise FrameError("The frame holds no depths", got=depth.dtype, expected="integers or floating-point numbers")
    if depth.dtype.itemsize == 1:
        raise eight_bit("The frame", str(depth.dtype))


def _nearest(depth: ndarray) -> float:
    """First percentile of the readings on a grid of pixels, in units of the array."""
    step = max(1, min(depth.shape) // 100)
    seen = depth[::step, ::step]
    seen = seen[seen > 0]
    if not len(seen):
        seen = depth[depth > 0]
    at = len(seen) // 100
    return float(np.partition(seen, at)[at])


def _wrong_unit(nearest: float, unit: float) -> FrameError:
    likely = [u for u in _UNITS_MM if u != unit and _LIKELY_MM[0] <= nearest * u <= _LIKELY_MM[1]]
    hint = f"The depths look like units of {likely[0]:g} mm: use --depth-unit-mm {likely[0]:g}." if likely else ""
    return FrameError(
        "The nearest surface is not at a hand's distance",
        got=f"{nearest * unit:.4g} mm",
        expected=f"{_RANGE_MM[0]:.0f} to {_RANGE_MM[1]:.0f} mm",
        fix=hint or "Check the depth unit (--depth-unit-mm).",
    )


def in_mm(depth: ndarray, camera: Pinhole) -> ndarray:
    """A frame in mm, float32 [H, W]."""
    unit = 1.0 if depth.dtype.kind == "f" else camera.depth_unit_mm
    return depth.astype(np.float32) * np.float32(unit)


def point_in_frame(center_mm: Sequence[float] | ndarray, camera: Pinhole, shape: tuple[int, ...]) -> None:
    """Raise InputError unless a point (mm) lies before the camera and inside a frame of this [height, width]."""
    center = np.asarray(center_mm, np.float64)
    if center.shape != (3,) or not np.isfinite(center).all() or center[2] <= 0:
        raise InputError("The centre cannot be used", got=tuple(center_mm), expected="x, y, z in mm with z > 0")
    u, v = camera.project(center)
    if not (0 <= u < shape[1] and 0 <= v < shape[0]):
        raise InputError(
            "The centre lies off the image",
            got=f"pixel ({u:.0f}, {v:.0f}) for {', '.join(f'{c:g}' for c in center)} mm",
            expected=f"inside {shape[1]}x{shape[0]}",
            fix="A centre is x (right), y (down), z (away) in mm from the camera.",
        )
