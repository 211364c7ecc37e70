"""Files are written whole or not at all: to a temporary name beside the target, then renamed."""

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dor3d.errors import InputError


@contextmanager
def whole_file(path: Path | str, mode: str = "wb", *, durable: bool = False) -> Iterator[IO[Any]]:
    """Open a file for writing that takes its name only when the block ends without an error.

    Args:
        path: the target; missing folders are made.
        mode: "wb", or "w" for UTF-8 text.
        durable: a power cut after the return loses nothing, and one before it leaves the older file or the new one.
            Costs a wait for the disk (milliseconds), too much for the many small files of a prediction.

    Raises InputError when the file cannot be written; an error inside the block leaves an older file as it was.
    """
    path = Path(path)
    # a folder that is made is an entry of the one above it, which must reach the disk as well
    above = [folder.parent for folder in path.parents if not os.path.exists(folder)] if durable else []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _cannot(path, error) from None
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())  # before the renaming: a name must never stand for numbers not yet written
        _make_readable(name)
        os.replace(name, path)
        for folder in (path.parent, *above) if durable else ():
            _sync_folder(folder)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError) and not isinstance(error, InputError):
            raise _cannot(path, error) from None
        raise


def write_whole(
    path: Path | str, content: bytes | str | Callable[[IO[bytes]], object], *, durable: bool = False
) -> Path:
    """Write bytes, text (UTF-8) or what a function writes into the open binary file; see `whole_file`."""
    path = Path(path)
    with whole_file(path, durable=durable) as stream:
        if callable(content):
            content(stream)
        else:
            stream.write(content.encode() if isinstance(content, str) else content)
    return path


def _make_readable(name: str) -> None:
    """Give a temporary file, which only its owner may read, the rights that a plain new file has."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(name, 0o666 & ~mask)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where the system can (Windows and some network drives cannot)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _cannot(path: Path, error: OSError) -> InputError:
    got = error.strerror or error
    if isinstance(error, FileExistsError | NotADirectoryError):
        got = "a file where a folder should be"  # of the path above it
    return InputError(f"Cannot write {path}", got=got, fix="Choose another place with --out.")
