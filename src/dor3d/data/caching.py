"""A set's frames to a cache of windows, cut by several processes."""

import os
import shutil
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from dor3d.data.cache import CODEC, KEY, Cache, CacheInfo, lance_library
from dor3d.data.centers import Centers
from dor3d.data.sample import DepthSet, check_bad
from dor3d.data.window import Room, Window, cut_window
from dor3d.errors import Dor3dError, InputError

_AT_ONCE: Final = 64  # frames that a worker cuts for one answer
Say = Callable[[int, int], None]  # frames done, of how many


def write_cache(
    frames: DepthSet,
    centers: Centers,
    url: str | Path,
    *,
    cube_mm: tuple[float, float],
    room: Room,
    workers: int = 0,
    say: Say = lambda done, total: None,
) -> Cache:
    """Cut the windows of a whole set into a cache; a folder appears whole or not at all.

    Frames that cannot be used are left out and listed in the cache.

    Args:
        frames: the set; its labels must be public.
        centers: where its crops are centred.
        url: a folder that is not there yet, or a URL.
        cube_mm, room: what crops it must have room for.
        workers: processes that read frames; 0: this one.
        say: called now and then with how far it has come.

    Raises InputError when more than one frame of a hundred cannot be used, or nothing can be written.
    """
    if not frames.joints:
        raise InputError(f"{frames.name} has no labels to learn from")
    info = CacheInfo(
        *(frames.name, frames.split, centers.name, centers.uses_truth),
        *(frames.camera, frames.joints, cube_mm, room),
    )
    skipped: list[str] = []
    cutter = _Cutter(frames, centers, cube_mm, room)
    batches = _record_batches(cutter, len(frames), workers, skipped, say)
    with _target(str(url)) as place:
        _write(batches, place, info, skipped)
    return Cache(url)


def _write(batches: Iterator[Any], place: str, info: CacheInfo, skipped: list[str]) -> None:
    lance = lance_library()
    try:
        dataset = lance.write_dataset(batches, place, schema=_schema(len(info.joints)), mode="create")
        if not dataset.count_rows():
            raise InputError(f"No frame of {info.dataset} can be used", got=skipped[0] if skipped else "none")
        about = {KEY.decode(): replace(info, skipped=tuple(skipped)).to_json()}
        dataset.update_schema_metadata(about, replace=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"The cache {place} cannot be written", got=str(error).partition("\n")[0]) from None


@contextmanager
def _target(url: str) -> Iterator[str]:
    """Where to write: beside a local folder, which takes its name at the end; a URL is committed by Lance itself."""
    if "://" in url:
        yield url
        return
    folder = Path(url)
    if folder.exists():
        raise InputError(f"There is a cache at {folder}", fix="Delete it or name another place.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    except OSError as error:
        raise InputError(f"The cache {folder} cannot be written", got=error.strerror or error) from None
    try:
        yield f"{part}/cache"
        _name(Path(part) / "cache", folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _name(part: Path, folder: Path) -> None:
    try:
        os.rename(part, folder)
    except OSError as error:
        if not folder.exists():  # otherwise another machine with the same disk was quicker
            raise InputError(f"The cache {folder} cannot be written", got=error.strerror or error) from None


class _Cutter:
    """Frames to windows, in any process."""

    def __init__(self, frames: DepthSet, centers: Centers, cube_mm: tuple[float, float], room: Room) -> None:
        self.frames, self.centers, self.cube_mm, self.room = frames, centers, cube_mm, room

    def __call__(self, indices: range) -> tuple[list[Window], list[str]]:
        windows, problems = [], []
        for index in indices:
            try:
                sample = self.frames[index]
                center = self.centers.of(index, sample, self.cube_mm)
                windows.append(cut_window(sample, center, self.cube_mm, self.room))
            except Dor3dError as error:
                problems.append(str(error))
        return windows, problems


def _record_batches(cutter: _Cutter, total: int, workers: int, skipped: list[str], say: Say) -> Iterator[Any]:
    done = 0
    for windows, problems in _cut(cutter, total, workers):
        skipped += problems
        done += len(windows) + len(problems)
        if skipped:
            check_bad(len(skipped), total, skipped[-1], f"frames of {cutter.frames.name}")
        if windows:
            yield _record_batch(windows, len(cutter.frames.joints))
        say(done, total)


def _cut(cutter: _Cutter, total: int, workers: int) -> Iterator[tuple[list[Window], list[str]]]:
    spans = [range(start, min(start + _AT_ONCE, total)) for start in range(0, total, _AT_ONCE)]
    if not workers:
        yield from map(cutter, spans)
        return
    # Lance runs threads in this process, which a forked one would miss
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (cutter,)) as pool:
        waiting = deque(pool.submit(_cut_span, span) for span in spans[: 4 * workers])
        for span in [*spans[4 * workers :], *[None] * len(waiting)]:
            yield waiting.popleft().result()
            if span is not None:
                waiting.append(pool.submit(_cut_span, span))


_cutter: _Cutter | None = None


def _start(cutter: _Cutter) -> None:
    global _cutter  # what a worker process works with
    _cutter = cutter


def _cut_span(span: range) -> tuple[list[Window], list[str]]:
    if _cutter is None:
        raise InputError("This process was not set up to cut windows")
    return _cutter(span)


def _schema(joints: int) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("name", pa.string()),
            ("subject", pa.string()),
            ("box", pa.list_(pa.int32(), 4)),
            ("unit_mm", pa.float64()),
            ("mirrored", pa.bool_()),
            ("center_mm", pa.list_(pa.float64(), 3)),
            ("joints_mm", pa.list_(pa.float32(), 3 * joints)),
            ("check", pa.uint32()),
            # it is packed; Lance would pack it again
            pa.field("window", pa.large_binary(), metadata={"lance-encoding:compression": "none"}),
        ]
    )


def _record_batch(windows: Sequence[Window], joints: int) -> Any:
    import pyarrow as pa

    packed = [pa.compress(w.counts.astype("<u2").tobytes(), codec=CODEC, asbytes=True) for w in windows]
    boxes = [[w.left, w.top, *w.counts.shape[::-1]] for w in windows]
    columns = [
        [w.name for w in windows],
        [w.subject for w in windows],
        boxes,
        [w.unit_mm for w in windows],
        [w.mirrored for w in windows],
        [w.center_mm.tolist() for w in windows],
        [w.joints_mm.ravel().tolist() for w in windows],
        [zlib.crc32(data) for data in packed],
        packed,
    ]
    schema = _schema(joints)
    arrays = [pa.array(column, f.type) for column, f in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)
