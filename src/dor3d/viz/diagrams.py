"""Diagrams of how the network and its ordinal head work, drawn with a network's own numbers and maps.

They explain what Figures 2 and 3 of DOR3D-Net do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy import ndarray

from dor3d.viz.figures import save

_INK: Final = "#222222"
_STAGE: Final = "#d7e3f4"
_XY: Final = "#f9dcc4"
_Z: Final = "#d8f3dc"
_SMALL: Final = 8.0


class Stage(NamedTuple):
    """The maps that a stage of a backbone leaves: their side in cells, and channels."""

    side: int
    channels: int


class OrdinalExample(NamedTuple):
    """One joint's probability maps and what is read from them.

    Attributes:
        joint: its name.
        x: P(joint beyond threshold k of x), seen from each row, [rows, K_x].
        y: likewise of y, [K_y, columns].
        z: of z, the thresholds of each cell, [cells, K_z].
        read: for each axis, the coordinate that each position gives.
        said: the joint, the mean of these.
        weighted: whether positions have weights.
        units: of the axes.
    """

    joint: str
    x: Float[ndarray, "h kx"]
    y: Float[ndarray, "ky w"]
    z: Float[ndarray, "p kz"]
    read: tuple[Float[ndarray, "_h"], Float[ndarray, "_w"], Float[ndarray, "_p"]]
    said: Float[ndarray, "3"]
    weighted: bool = False
    units: tuple[str, str, str] = ("px", "px", "mm")


def extractor(crop: Float[ndarray, "s s"], name: str, stages: Sequence[Stage], *, two_maps: bool, out: Path) -> Path:
    """The way from a crop to the two maps (Figure 2).

    Args:
        crop: the network's input.
        name: of the backbone.
        stages: its maps, from the finest.
        two_maps: whether its last two blocks give F_xy and F_z, or one map serves all axes.
        out: the PNG to write.
    """
    board = _Board(11.5, 3.6)
    size = len(crop)
    along = np.broadcast_to(np.arange(size) / size, (size, size))
    for i, (picture, label) in enumerate(((-crop, "depth"), (along, "U = j / W"), (along.T, "V = i / H"))):
        board.picture(picture, 0.3 + 0.12 * i, 2.3 - 1.0 * i, 0.85, 0.85, label if i else f"depth, {size} x {size}")
    board.arrow((1.55, 1.75), (2.05, 1.75))
    left = 2.1
    for i, stage in enumerate(stages):
        height = 2.5 * (0.3 + 0.7 * stage.side / stages[0].side)
        board.box(left, 1.75 - height / 2, 0.95, height, f"stage {i + 1}", _STAGE)
        board.text(left + 0.47, 1.62 - height / 2, f"{stage.side} x {stage.side}\nx {stage.channels}", va="top")
        if not two_maps or stage is not stages[-1]:
            board.arrow((left + 0.97, 1.75), (left + 1.33, 1.75))
        left += 1.37
    last = f"{stages[-1].side} x {stages[-1].side} x {stages[-1].channels}"
    if two_maps:
        board.box(left, 2.15, 1.55, 0.75, f"F_xy: last but one block\n{last}", _XY)
        board.box(left, 0.6, 1.55, 0.75, f"F_z: last block\n{last}", _Z)
        board.arrow((left - 0.4, 1.9), (left - 0.03, 2.4))
        board.arrow((left + 0.77, 2.12), (left + 0.77, 1.38))
    else:
        board.box(left, 1.38, 1.55, 0.75, f"F_xyz: last block\n{last}", _XY)
    heights = ((2.52, _XY, "x, y"), (0.98, _Z, "z")) if two_maps else ((1.75, _XY, "x, y, z"),)
    for y, colour, axes in heights:
        board.arrow((left + 1.57, y), (left + 1.98, y))
        board.box(left + 2.0, y - 0.38, 1.45, 0.75, f"ordinal regression\nof {axes}", colour)
    board.text(0.15, 3.42, f"{name}: from depth and coordinates to maps", ha="left", size=10.0)
    return board.save(out)


def ordinal_head(example: OrdinalExample, out: Path) -> Path:
    """The way from a map to a joint (Figure 3), for each axis, with one joint's own probabilities.

    Args:
        example: the maps.
        out: the PNG to write.
    """
    board = _Board(11.5, 6.4)
    (rows, kx), (ky, columns) = example.x.shape, example.y.shape
    cells, kz = example.z.shape
    board.text(0.15, 6.22, f"From maps to {example.joint.replace('_', ' ')}", ha="left", size=10.0)
    heads = ("map", "1x1 convolution, reshape, softmax of two", "P(joint beyond threshold)", "weighted sum")
    heads = (*heads, "weighted mean" if example.weighted else "mean")
    for x, head in zip((0.95, 3.15, 6.1, 8.75, 10.6), heads, strict=True):
        board.text(x, 5.9, head, size=9.0)
    about = (
        f"each column has {kx // columns} thresholds of x,\nseen from {rows} rows: K = {kx}",
        f"each row has {ky // rows} thresholds of y,\nseen from {columns} columns: K = {ky}",
        f"each of {cells} cells has all\n{kz} thresholds of z",
    )
    maps = (example.x, example.y, example.z)
    for i, (axis, words, values) in enumerate(zip("xyz", about, maps, strict=True)):
        middle = 4.9 - 1.95 * i
        board.cells(0.3, middle - 0.65, 1.3, rows, columns, "xyz".index(axis), _Z if axis == "z" else _XY)
        board.text(0.95, middle - 0.72, "F_z" if axis == "z" else "F_xy", va="top")
        board.arrow((1.7, middle), (2.0, middle))
        board.text(3.15, middle, words, va="center", size=9.0)
        board.arrow((4.4, middle), (4.75, middle))
        wide = axis != "y"
        shape = (4.9, middle - 0.4, 2.4, 0.8) if wide else (5.7, middle - 0.85, 0.8, 1.7)
        board.picture(values, *shape, f"{axis}: {' x '.join(map(str, values.shape))}", map_of_two=True)
        board.arrow((7.4, middle), (7.75, middle))
        read, unit = example.read[i], example.units[i]
        shown = ", ".join(f"{c:.1f}" for c in read[:3]) + (", ..." if len(read) > 3 else "")
        board.text(8.75, middle, f"{shown} {unit}", va="center", size=9.0)
        board.arrow((9.72, middle), (10.02, middle))
        board.box(10.05, middle - 0.3, 1.2, 0.6, f"{axis} = {example.said[i]:.1f} {unit}", "#ffffff")
    return board.save(out)


class _Board:
    """A canvas measured in inches from the lower left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, x: float, y: float, width: float, height: float, label: str, colour: str) -> None:
        shape = FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.08", fc=colour, ec=_INK, lw=0.9)
        self.axes.add_patch(shape)
        self.text(x + width / 2, y + height / 2, label, va="center")

    def cells(self, x: float, y: float, side: float, rows: int, columns: int, axis: int, colour: str) -> None:
        """A grid of cells; the column, row or cell that owns the same thresholds is filled."""
        high, wide = side / rows, side / columns
        for i in range(rows):
            for j in range(columns):
                own = (j == columns // 2, i == rows // 2, True)[axis]
                corner = (x + j * wide, y + side - (i + 1) * high)
                self.axes.add_patch(Rectangle(corner, wide, high, fc=colour if own else "white", ec=_INK, lw=0.7))

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color=_INK, lw=1.0))

    def text(self, x: float, y: float, words: str, *, size: float = _SMALL, va: str = "baseline", **how: Any) -> None:
        self.axes.text(x, y, words, **{"ha": "center", "va": va, "fontsize": size, "color": _INK, **how})

    def picture(
        self, values: ndarray, x: float, y: float, width: float, height: float, label: str, *, map_of_two: bool = False
    ) -> None:
        place = (x / self.width, y / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        low, high = (0.0, 1.0) if map_of_two else (float(values.min()), float(values.max()))
        colours = "RdBu_r" if map_of_two else "gray"
        axes.imshow(values, colours, aspect="auto", interpolation="nearest", vmin=low, vmax=high)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(label, fontsize=_SMALL, labelpad=2)

    def save(self, out: Path) -> Path:
        return save(self.figure, out)
