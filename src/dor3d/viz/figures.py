"""Figures that papers of the field show: errors by joint, shares of frames within a distance, discretisations."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray

from dor3d.files import write_whole
from dor3d.ordinal import Discretisation

_MARKERS: Final = "osD^vPX*<>hp"
_DASHES: Final = ("-", "--", "-.", ":")
_HATCHES: Final = ("", "//", "\\\\", "xx", "..", "--", "++", "oo")
BEST_COLOUR: Final = "#c1121f"


def error_per_joint(errors_mm: Mapping[str, Mapping[str, float]], out: Path, title: str = "") -> Path:
    """Bars of each method's mean error (mm) for every joint, and over all; the best method's are red.

    Methods differ by grey and hatch, so that the figure can be read without colour.

    Args:
        errors_mm: method -> joint -> mm, with the same joints for all.
        out: the PNG to write.
    """
    joints = [*next(iter(errors_mm.values())), "mean"]
    means = {name: float(np.mean(list(row.values()))) for name, row in errors_mm.items()}
    best, order = min(means, key=means.__getitem__), sorted(means, key=means.__getitem__, reverse=True)
    figure, axes = new_figure(max(8.0, 0.11 * len(joints) * (len(order) + 2)), 4.2)
    width = 0.86 / len(order)
    for i, name in enumerate(order):
        heights = [*errors_mm[name].values(), means[name]]
        places = np.arange(len(joints)) + (i - (len(order) - 1) / 2) * width
        fill = BEST_COLOUR if name == best else str(0.9 - 0.65 * i / max(1, len(order) - 1))
        hatch = "" if name == best else _HATCHES[i % len(_HATCHES)]
        label = f"{name} ({means[name]:.2f} mm)"
        axes.bar(places, heights, width, color=fill, hatch=hatch, edgecolor="black", linewidth=0.4, label=label)
    axes.set_xticks(np.arange(len(joints)), [name.replace("_", " ") for name in joints], rotation=40, ha="right")
    axes.set(ylabel="mean error (mm)", title=title, xlim=(-0.6, len(joints) - 0.4))
    axes.axvline(len(joints) - 1.5, color="0.6", linewidth=0.8)
    axes.grid(axis="y", alpha=0.3)
    _legend_below(axes, len(order))
    return save(figure, out)


def success_curves(
    curves: Mapping[str, Float[ndarray, "t"]],
    thresholds_mm: Float[ndarray, "t"],
    out: Path,
    title: str = "",
    xlabel: str = "largest error of any joint (mm)",
) -> Path:
    """Share of frames within each threshold, a line a method; the one with the largest area is red and thick.

    Lines differ by grey, dash and marker, so that the figure can be read without colour.

    Args:
        curves: method -> shares (0 to 1).
        thresholds_mm: of all curves.
        out: the PNG to write.
    """
    order = sorted(curves, key=lambda name: -float(np.mean(curves[name])))
    figure, axes = new_figure(7.0, 5.0)
    for i, name in enumerate(order):
        best = i == 0
        axes.plot(
            *(thresholds_mm, 100 * curves[name]),
            linestyle=_DASHES[i % len(_DASHES)],
            color=BEST_COLOUR if best else str(0.1 + 0.6 * i / max(1, len(order) - 1)),
            linewidth=2.2 if best else 1.2,
            marker=_MARKERS[i % len(_MARKERS)],
            markevery=(2 * i, max(1, len(thresholds_mm) // 8)),
            markersize=4.5,
            label=name,
            zorder=3 if best else 2,
        )
    axes.set(xlabel=xlabel, ylabel="frames within (%)", title=title, ylim=(0, 100))
    axes.set_xlim(float(thresholds_mm[0]), float(thresholds_mm[-1]))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return save(figure, out)


def discretisations(
    coordinates: Mapping[str, Float[ndarray, "_n"]],
    choices: Mapping[str, Discretisation],
    out: Path,
    axis: str = "z",
    unit: str = "mm",
) -> Path:
    """Figure 4 of DOR3D-Net: where joints lie, and where each choice puts its thresholds.

    Beside each choice stands the mean width of the interval that a joint of each set falls into: what hard labels
    cannot tell apart.

    Args:
        coordinates: set -> its joints' coordinates in the crop, from 0 to the extent.
        choices: name -> discretisation, all of one extent.
        out: the PNG to write.
        axis: its name, for the label.
        unit: of the coordinates.
    """
    figure, (top, bottom) = new_rows(7.5, (3.0, 0.66 * len(choices) + 0.5))
    extent = next(iter(choices.values())).extent
    edges = np.linspace(0, extent, 76)
    for i, (name, values) in enumerate(coordinates.items()):
        shares = np.histogram(values.clip(0, extent), edges)[0] / len(values)
        grey = str(0.6 * i / max(1, len(coordinates) - 1))
        label = f"{name} (sd {values.std():.0f} {unit})"
        top.stairs(100 * shares, edges, label=label, color=grey, ls=_DASHES[i % len(_DASHES)])
    top.set(ylabel="joints (%)", xlim=(0, extent))
    top.legend(fontsize=8)
    for row, (name, disc) in enumerate(choices.items()):
        bottom.eventplot([disc.thresholds], lineoffsets=[-row], linelengths=0.5, linewidths=0.9, colors="black")
        widths = ", ".join(f"{mean_width(disc, values):.2f} ({of})" for of, values in coordinates.items())
        about = f"{name}: K = {disc.k}, intervals of {disc.widths.min():.2f} to {disc.widths.max():.2f} {unit}"
        bottom.text(0, 0.32 - row, f" {about}; at the joints {widths}", fontsize=7.5)
    bottom.set(xlabel=f"{axis} in the crop ({unit})", xlim=(0, extent), ylim=(0.4 - len(choices), 0.72))
    bottom.set_yticks([])
    return save(figure, out)


def mean_width(disc: Discretisation, values: Float[ndarray, "n"]) -> float:
    """Mean width of the intervals that coordinates fall into."""
    place = np.searchsorted(disc.starts, values.clip(0, disc.extent), side="right") - 1
    return float(disc.widths[place.clip(0)].mean())


def calibration(
    curves: Mapping[str, tuple[Float[ndarray, "_b"], Float[ndarray, "_b"]]], out: Path, title: str = ""
) -> Path:
    """What networks say of their errors against what these are; an honest one lies on the line.

    Args:
        curves: name -> standard deviations and root mean square errors (mm) of bins of coordinates.
        out: the PNG to write.
    """
    figure, axes = new_figure(5.6, 5.0)
    top = max(float(max(np.max(said), np.max(found))) for said, found in curves.values()) * 1.05
    axes.plot([0, top], [0, top], color="0.5", linewidth=1, label="honest")
    for i, (name, (said, found)) in enumerate(curves.items()):
        axes.plot(said, found, _DASHES[i % 4], marker=_MARKERS[i % len(_MARKERS)], markersize=4, label=name)
    axes.set(xlabel="standard deviation said (mm)", ylabel="root mean square error (mm)", title=title)
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return save(figure, out)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of its own canvas: pyplot would keep every one alive and look for a display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def new_grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure with axes in rows and columns, each of this size in inches."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def new_rows(width: float, heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """A figure with axes one below the other, of these heights in inches."""
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights))


def _legend_below(axes: Axes, count: int) -> None:
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=min(5, count), fontsize=8, frameon=False)


def figure_png(figure: Figure) -> bytes:
    """A figure as PNG."""
    file = BytesIO()
    figure.savefig(file, dpi=150, format="png")
    return file.getvalue()


def save(figure: Figure, out: Path) -> Path:
    """Write a figure as PNG; returns its path."""
    return write_whole(out, figure_png(figure))
