"""Large text files, a line at a time: opening one finds where its lines begin and reads no number."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from dor3d.errors import InputError

_CHUNK: Final = 1 << 24
_NEWLINE: Final = ord("\n")
_BLANK: Final = 8  # bytes; shorter lines are looked at, whether there is anything in them


class LineFile:
    """The lines of a text file that are not blank, in order, each read when it is asked for.

    HANDS2017's labels are 957,032 lines in 600 MB: this keeps 16 bytes of each.

    Raises InputError when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            ends = _line_ends(self.path)
        except OSError as error:
            raise InputError(f"{path} cannot be read", got=error.strerror or error) from None
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        kept = np.flatnonzero(ends - starts >= _BLANK).tolist()
        short = np.flatnonzero(ends - starts < _BLANK)
        kept += [i for i in short.tolist() if self._bytes(int(starts[i]), int(ends[i])).strip()]
        self._kept = np.sort(np.array(kept, np.int64))
        self._starts, self._ends = starts[self._kept], ends[self._kept]

    def __len__(self) -> int:
        return len(self._kept)

    def number(self, index: int) -> int:
        """The line's number in the file, from 1, blank ones counted."""
        return int(self._kept[index]) + 1

    def place(self, index: int) -> str:
        """The file and the line's number, as messages name them."""
        return f"{self.path}, line {self.number(index)}"

    def words(self, index: int) -> list[str]:
        """A line's words, separated by white space or commas."""
        raw = self._bytes(int(self._starts[index]), int(self._ends[index]))
        try:
            return raw.decode("utf-8").replace(",", " ").split()
        except UnicodeDecodeError:
            raise self.error(index, "not text", "words and numbers") from None

    def first_word(self, index: int, longest: int = 256) -> str:
        """A line's first word, without a look at the rest; empty when it is longer than so many bytes or no text."""
        start, end = int(self._starts[index]), int(self._ends[index])
        words = self._bytes(start, min(end, start + longest)).replace(b",", b" ").split(None, 1)
        try:
            return words[0].decode("utf-8") if words and (len(words) > 1 or end - start <= longest) else ""
        except UnicodeDecodeError:
            return ""

    def numbers(self, index: int, count: int, *, skip: int = 0) -> Float[ndarray, "n"]:
        """The numbers of a line after `skip` words; raises InputError unless there are `count`, all finite."""
        words = self.words(index)[skip:]
        try:
            values = np.array(words, np.float64)
        except ValueError:
            raise self.error(index, "something that is no number", f"{count} numbers") from None
        if len(values) != count:
            raise self.error(index, f"{len(values)} numbers", f"{count}")
        if not np.isfinite(values).all():
            raise self.error(index, "a number that is not finite", f"{count} numbers")
        return values

    def error(self, index: int, got: object, expected: object) -> InputError:
        """What to raise for a line that is wrong; it names the file and the line."""
        return InputError(self.place(index), got=got, expected=expected)

    def _bytes(self, start: int, end: int) -> bytes:
        # opened anew each time: nothing to share between worker processes, and MSRA alone has 153 of these files
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            return file.read(end - start)


def _line_ends(path: Path) -> Int[ndarray, "n"]:
    """Where each line ends, its newline counted; the last may have none."""
    parts, place = [], 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            parts.append(np.flatnonzero(np.frombuffer(chunk, np.uint8) == _NEWLINE) + place + 1)
            place += len(chunk)
    ends = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return ends if place == 0 or (len(ends) and ends[-1] == place) else np.append(ends, place)
