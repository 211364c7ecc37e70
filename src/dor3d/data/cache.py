"""A set's windows in shards, read by index, from a folder or straight from object storage.

The format is Lance: columns in shards, any rows by their numbers in one call, local or by URL (s3, gs, az). Against the
others that were measured (docs/log.md) it reads most rows a second and keeps its memory flat.
"""

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int, UInt16
from numpy import ndarray

from dor3d.data.window import Room, Window
from dor3d.errors import InputError, MissingExtraError
from dor3d.geometry import Pinhole
from dor3d.text import parse_json

FORMAT: Final = 2
KEY: Final = b"dor3d"
CODEC: Final = "lz4_raw"  # two fifths more bytes than zstd, unpacked in a third of the time


@dataclass(frozen=True)
class CacheInfo:
    """What a cache holds.

    Attributes:
        dataset, split: of which set.
        centers: where its crops are centred.
        uses_truth: whether the centres come from the labels, which is fair for training alone.
        camera: of all frames.
        joints: names of the labels.
        cube_mm: in-plane side and depth of the crops that it has room for.
        room: how far they may be changed.
        skipped: what was wrong with frames that were left out.
    """

    dataset: str
    split: str
    centers: str
    uses_truth: bool
    camera: Pinhole
    joints: tuple[str, ...]
    cube_mm: tuple[float, float]
    room: Room
    skipped: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        """A JSON object; `from_json` reads it."""
        return json.dumps({"format": FORMAT, **asdict(self), "camera": json.loads(self.camera.to_json())})

    @classmethod
    def from_json(cls, text: str, source: str) -> "CacheInfo":
        """Raises InputError for what another version wrote."""
        try:
            raw = parse_json(text)
            if raw.pop("format") != FORMAT:
                raise ValueError("another format")
            raw |= {"camera": Pinhole.from_json(json.dumps(raw["camera"])), "room": Room(**raw["room"])}
            raw |= {key: tuple(raw[key]) for key in ("joints", "cube_mm", "skipped")}
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"The cache {source} cannot be used", got=error, fix="Delete it; it will be made again."
            ) from None


@dataclass(frozen=True)
class Windows:
    """Some windows of a cache, one after the other.

    Attributes:
        counts: all their pixels, row by row.
        starts: [N] where each window begins in `counts`.
        boxes: [N, 4] left, top, width, height.
        unit_mm, mirrored, center_mm, joints_mm: of each, as in `Window`.
    """

    counts: UInt16[ndarray, "p"]
    starts: Int[ndarray, "n"]
    boxes: Int[ndarray, "n 4"]
    unit_mm: Float[ndarray, "n"]
    mirrored: ndarray
    center_mm: Float[ndarray, "n 3"]
    joints_mm: Float[ndarray, "n a 3"]

    def __len__(self) -> int:
        return len(self.starts)

    def window(self, place: int) -> Window:
        """One of them."""
        left, top, width, height = self.boxes[place].tolist()
        start = int(self.starts[place])
        counts = self.counts[start : start + width * height].reshape(height, width)
        return Window(
            *(counts, float(self.unit_mm[place]), left, top),
            *(self.center_mm[place], self.joints_mm[place], bool(self.mirrored[place])),
        )


class Cache:
    """The windows of a set.

    Processes share nothing: each opens it when it reads first, so that it can be handed to workers.

    Args:
        url: a folder, or a URL that Lance opens (s3://bucket/nyu-train.lance).

    Raises InputError for what is no cache of ours.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        rows, metadata = _look(self.url)
        self.info = CacheInfo.from_json(metadata, self.url)
        self._rows = rows
        self._opened: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return self._rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def read(self, indices: Sequence[int]) -> Windows:
        """Windows by their numbers, in the given order. Raises InputError for one that is damaged."""
        try:
            table = self._dataset().take(list(indices))
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"The cache {self.url} cannot be read", got=str(error).partition("\n")[0]) from None
        return _windows(table, len(self.info.joints), self.url)

    def _dataset(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), lance_library().dataset(self.url))
        return self._opened[1]


def _look(url: str) -> tuple[int, str]:
    try:
        dataset = lance_library().dataset(url)
        return dataset.count_rows(), (dataset.schema.metadata or {})[KEY].decode()
    except (OSError, ValueError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        raise InputError(
            f"{url} is no cache of windows", got=str(error).partition("\n")[0], expected="what dor3d train made"
        ) from None


def lance_library() -> Any:
    """The module `lance`; raises MissingExtraError where it is not installed."""
    try:
        import lance
    except ImportError:
        raise MissingExtraError("Caches of windows need the package pylance", "train") from None
    return lance


def _windows(table: Any, joints: int, url: str) -> Windows:
    import pyarrow as pa

    columns = {name: table[name].combine_chunks() for name in table.column_names}

    def numbers(name: str) -> ndarray:
        column = columns[name]
        flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        return flat.to_numpy(zero_copy_only=False)

    boxes = numbers("box").reshape(-1, 4).astype(np.int64)
    sizes = boxes[:, 2] * boxes[:, 3]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    counts, codec = np.empty(int(sizes.sum()), np.uint16), pa.Codec(CODEC)
    for row, (start, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        packed = columns["window"][row].as_buffer()
        if zlib.crc32(packed) != columns["check"][row].as_py():
            raise InputError(
                f"The window of {columns['name'][row]} in the cache {url} is damaged", got="a wrong checksum"
            )
        counts[start : start + size] = np.frombuffer(codec.decompress(packed, decompressed_size=2 * size), "<u2")
    return Windows(
        *(counts, starts, boxes, numbers("unit_mm").astype(np.float64), numbers("mirrored")),
        numbers("center_mm").reshape(-1, 3).astype(np.float64),
        numbers("joints_mm").reshape(-1, joints, 3).astype(np.float64),
    )
