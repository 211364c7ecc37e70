"""Figure 1 of DOR3D-Net: what networks say of one joint all over their maps, beside what they should say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from numpy import ndarray

from dor3d.viz.figures import new_grid, save

_HEADS: Final = ("joint", "x map", "ideal", "y map", "ideal")
_TRUE: Final = "#ffffff"
_SAID: Final = "#c1121f"


class MapRow(NamedTuple):
    """A model's maps of one joint.

    Attributes:
        name: of the model.
        said, true: the joint in the crop (px, px).
        maps: x, its ideal form, y, its ideal form; offsets in px, or probabilities.
        seen: places that have a say; None: all.
        probability: whether the maps are probabilities.
        noise: departure from falling along the scan lines and disagreement of these (%), of this joint here, and on
            average.
    """

    name: str
    said: Float[ndarray, "2"]
    true: Float[ndarray, "2"]
    maps: tuple[Float[ndarray, "_h _w"], Float[ndarray, "_h _w"], Float[ndarray, "_i _j"], Float[ndarray, "_i _j"]]
    seen: Bool[ndarray, "h w"] | None
    probability: bool
    noise: tuple[Float[ndarray, "2"], Float[ndarray, "2"]]


def regression_maps(crop: Float[ndarray, "s s"], rows: Sequence[MapRow], joint: str, out: Path) -> Path:
    """Draw a row for each model: the joint in the crop, the x and y maps, each with its ideal form.

    A black line marks where an offset is 0, or a probability a half: ideally straight, through the joint.

    Args:
        crop: the network's input.
        rows: of the models.
        joint: its name.
        out: the PNG to write.
    """
    figure, grid = new_grid(len(rows), len(_HEADS), 2.15, 2.3)
    for row, line in zip(rows, grid, strict=True):
        _draw_joint(line[0], crop, row)
        reach = 1.0 if row.probability else float(np.abs(row.maps[1]).max())
        for axes, values in zip(line[1:], row.maps, strict=True):
            _draw_map(axes, values, row, reach, len(crop))
        line[0].set_ylabel(row.name.replace(", ", ",\n"), fontsize=9)
        for axes, name, here, mean in zip(line[1::2], ("departure", "disagreement"), *row.noise, strict=True):
            axes.set_xlabel(f"{name} of both maps {here:.2f} %\n(all joints and frames: {mean:.2f} %)", fontsize=8)
        kind = "P(joint beyond)" if row.probability else "offset (px)"
        bar = figure.colorbar(line[4].images[0], ax=line[4], shrink=0.85, label=kind)
        bar.ax.tick_params(labelsize=7)
    for axes, name in zip(grid[0], _HEADS, strict=True):
        axes.set_title(joint.replace("_", " ") if name == "joint" else name, fontsize=9)
    return save(figure, out)


def _draw_joint(axes: Axes, crop: ndarray, row: MapRow) -> None:
    axes.imshow(np.where(crop >= 1, np.nan, -crop), cmap="gray", extent=_whole(len(crop)), vmin=-1.6, vmax=1.0)
    axes.set_facecolor("black")
    axes.plot(*row.true, "+", color=_TRUE, markersize=11, markeredgewidth=1.4)
    axes.plot(*row.said, "o", color=_SAID, markersize=5, markeredgecolor="white", markeredgewidth=0.8)
    _bare(axes)


def _draw_map(axes: Axes, values: ndarray, row: MapRow, reach: float, size: int) -> None:
    low, middle = (0.0, 0.5) if row.probability else (-reach, 0.0)
    shown = values if row.seen is None else np.where(row.seen, values, np.nan)
    # nearest: the map's own cells are to be seen
    axes.imshow(shown, cmap="RdBu_r", extent=_whole(size), vmin=low, vmax=reach, interpolation="nearest", aspect="auto")
    axes.set_facecolor("0.8")
    x, y = ((np.arange(n) + 0.5) * size / n for n in values.shape[::-1])
    if min(values.shape) > 1 and np.nanmin(shown) < middle < np.nanmax(shown):
        axes.contour(x, y, shown, levels=[middle], colors="black", linewidths=1.2)
    axes.plot(*row.true, "+", color="black", markersize=8)
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_box_aspect(1)
    _bare(axes)


def _whole(size: int) -> Any:
    return (0, size, size, 0)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
