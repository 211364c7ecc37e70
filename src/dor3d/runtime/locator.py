"""Locators through onnxruntime: a frame on the coarse grid in, what every cell says out."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import ModelError
from dor3d.geometry.grid import COARSE
from dor3d.runtime.base import first_line
from dor3d.runtime.card import FORMAT, METADATA_KEY, WEIGHTS
from dor3d.runtime.onnx import open_session
from dor3d.text import parse_json

OUTPUTS: Final = ("heat", "offset", "distance")
SHIPPED: Final = WEIGHTS / "find" / "locator.onnx"


class CellsSaid(NamedTuple):
    """What a locator says of each cell of one frame; see `dor3d.model.locator.Sights`."""

    heat: Float[ndarray, "h w"]
    offset: Float[ndarray, "2 h w"]
    distance: Float[ndarray, "h w"]


class OnnxLocator:
    """A locator in onnxruntime on the CPU.

    Args:
        path: of the ONNX file.
        threads: of the network; None: onnxruntime's choice, one a core.

    Raises ModelError for a file that is missing, broken, or no locator.
    """

    def __init__(self, path: Path = SHIPPED, threads: int | None = None) -> None:
        self._session = open_session(path, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        _check(text, {i.name for i in self._session.get_inputs()}, path)

    def __call__(self, depth: Float[ndarray, "y x"], pitch: float) -> CellsSaid:
        """Look at readings (mm, 0: none) on a grid of at most 160 x 120 cells; raises ModelError if the network fails.

        Args:
            depth: a frame on its coarse grid.
            pitch: angle between neighbouring cells (rad).
        """
        whole = np.zeros((1, 1, COARSE[1], COARSE[0]), np.float32)
        whole[0, 0, : depth.shape[0], : depth.shape[1]] = depth
        try:
            said = self._session.run(list(OUTPUTS), {"depth": whole, "pitch": np.array([pitch], np.float32)})
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelError("The locator failed", got=first_line(error)) from None
        return CellsSaid(*(part[0] for part in said))


def _check(text: str | None, inputs: set[str], path: Path) -> None:
    try:
        raw = parse_json(text or "{}")
        form, task = raw.get("format"), raw.get("task")
    except (ValueError, AttributeError):
        form = task = None
    if form != FORMAT or task != "locate" or inputs != {"depth", "pitch"}:
        raise ModelError(
            f"{path} is no locator", expected="a file that `dor3d export` wrote from a run of the recipe locator"
        )
