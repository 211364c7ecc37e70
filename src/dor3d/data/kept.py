"""The first crops of a rendered stream, kept on the disk: trainings that are compared read what was rendered once."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy import ndarray

from dor3d.data.batch import Batch
from dor3d.data.synthetic import SyntheticHands
from dor3d.errors import InputError
from dor3d.files import write_whole
from dor3d.skeleton import JOINTS

_IMAGES: Final = "images.npy"
_POINTS: Final = "points.npy"
_ABOUT: Final = "about.json"
_CHUNK: Final = 1024


class KeptHands:
    """A stream whose first samples are read from the disk, equal bit for bit; the rest is rendered as ever.

    Args:
        stream: what was kept.
        folder: that `keep` wrote.

    Raises InputError where there are none of this stream.
    """

    length: int | None = None

    def __init__(self, stream: SyntheticHands, folder: Path) -> None:
        if not is_kept(stream, folder):
            raise InputError(f"{folder} holds no crops of this stream", got=_about(folder), expected=_name(stream))
        self.stream, self.folder, self.count = stream, folder, int(_about(folder)["count"])
        self._arrays: tuple[ndarray, ndarray] | None = None  # opened where they are read: nothing to send to workers

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        """Some samples as a training batch."""
        if max(indices) >= self.count:
            return self.stream.batch(epoch, indices)
        if self._arrays is None:
            self._arrays = _open(self.folder, "r")
        images, points = (torch.from_numpy(array[list(indices)]) for array in self._arrays)
        return Batch(images[:, None], points)


def is_kept(stream: SyntheticHands, folder: Path, count: int = 1) -> bool:
    """Whether a folder holds the first samples of this stream, at least so many."""
    about = _about(folder)
    return about.get("stream") == _name(stream) and about["count"] >= count


def keep(stream: SyntheticHands, count: int, folder: Path, processes: int = 1) -> None:
    """Render the first samples of a stream into a folder, which appears whole or not at all.

    Args:
        stream: of rendered crops.
        count: how many samples.
        folder: that must not exist.
        processes: that render.

    Raises InputError for a stream that shows other things than right hands: what it shows is not kept.
    """
    if stream.config.mixed:
        raise InputError("Only crops of right hands are kept", got=stream.config, fix="Leave out left and empty.")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    size = stream.config.size
    for name, shape in ((_IMAGES, (count, size, size)), (_POINTS, (count, len(JOINTS), 3))):
        np.lib.format.open_memmap(part / name, "w+", np.float32, shape).flush()
    chunks = [range(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK)]
    if processes == 1:
        for chunk in chunks:
            _render(stream, part, chunk)
    else:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_render, [stream] * len(chunks), [part] * len(chunks), chunks))
    write_whole(part / _ABOUT, json.dumps({"stream": _name(stream), "count": count}))
    os.replace(part, folder)


def bytes_of(size: int, count: int) -> int:
    """What so many crops of this size take on the disk."""
    return 4 * count * (size * size + 3 * len(JOINTS))


def _render(stream: SyntheticHands, folder: Path, chunk: range) -> None:
    images, points = _open(folder, "r+")
    for i in chunk:
        images[i], points[i] = stream[i]


def _open(folder: Path, mode: Any) -> tuple[ndarray, ndarray]:
    return np.load(folder / _IMAGES, mmap_mode=mode), np.load(folder / _POINTS, mmap_mode=mode)


def _about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    return json.loads(path.read_text()) if path.exists() else {}


def _name(stream: SyntheticHands) -> str:
    """What a stream's samples follow from."""
    return f"seed {stream.seed}, {stream.config}"
