"""Which frames of a set have a file, from listings of its folders (a million in seconds, none opened); some of many."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from dor3d.data.sample import DepthSet
from dor3d.errors import Dor3dError

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spread: neighbours in a recording are nearly equal."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in places]


@dataclass
class Listing:
    """What was found.

    Attributes:
        missing: names of frames that have labels and no file.
        unnamed: what was wrong with labels that name no file.
        unlabelled: how many files look like frames of this split and have no label.
    """

    missing: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    unlabelled: int = 0

    @property
    def unusable(self) -> int:
        """How many frames cannot be read for one of these reasons."""
        return len(self.missing) + len(self.unnamed)


def list_files(frames: DepthSet) -> Listing:
    """Compare the frames that a set names with the files that are there."""
    found, there = Listing(), _Folders(frames.root)
    shapes: set[tuple[str, str]] = set()
    labelled = 0
    for index in range(len(frames)):
        try:
            folder, _, file = frames.frame_name(index).rpartition("/")
        except Dor3dError as error:
            found.unnamed.append(str(error))
            continue
        shapes.add((folder, _shape(file)))
        if file in there[folder]:
            labelled += 1
        else:
            found.missing.append(f"{folder}/{file}" if folder else file)
    alike = sum(_shape(file) == shape for folder, shape in shapes for file in there[folder])
    found.unlabelled = max(0, alike - labelled)
    return found


def _shape(file: str) -> str:
    """A name with its last number left open: depth_1_0000007.png and depth_1_0000008.png are alike."""
    return re.sub(r"\d+(\D*)$", r"#\1", file)


class _Folders(dict[str, frozenset[str]]):
    """The names in each folder, listed once."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def __missing__(self, folder: str) -> frozenset[str]:
        try:
            names = frozenset(os.listdir(self.root / folder))
        except (OSError, ValueError):  # a name with a NUL in it is a ValueError
            names = frozenset()
        self[folder] = names
        return names
