"""The sets by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from dor3d.data.folder import Folder
from dor3d.data.hands17 import Hands17
from dor3d.data.icvl import Icvl
from dor3d.data.msra import Msra
from dor3d.data.nyu import Nyu
from dor3d.data.sample import DepthSet
from dor3d.errors import InputError

SETS: Final[dict[str, Callable[..., DepthSet]]] = {
    "nyu": Nyu,
    "icvl": Icvl,
    "msra": Msra,
    "hands17": Hands17,
    "folder": Folder,
}


def check_source(dataset: str, root: Path | None) -> None:
    """Raises InputError unless it is said where samples come from: "synthetic", or a set and its folder."""
    if dataset == "synthetic":
        return
    if dataset not in SETS:
        raise InputError("Unknown data set", got=dataset, expected=f"synthetic, {', '.join(SETS)}")
    if root is None:
        raise InputError(f"It is not said where {dataset} lies", fix="Name its folder with --root.")


def open_set(name: str, root: Path, split: str | None = None) -> DepthSet:
    """Open a set.

    Args:
        name: one of `SETS`.
        root: the folder that its download was unpacked into.
        split: one of the set's own; by default the one that is scored.

    Raises InputError for an unknown name or split, or a folder that does not hold the set.
    """
    if name not in SETS:
        raise InputError("Unknown data set", got=name, expected=f"one of {', '.join(SETS)}")
    return SETS[name](root) if split is None else SETS[name](root, split)
