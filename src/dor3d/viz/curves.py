"""Curves of a training run: loss, error, speed and learning rate over its steps."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy import ndarray

from dor3d.viz.figures import BEST_COLOUR, figure_png, new_figure

Row = Mapping[str, float]

_SIZE: Final = (5.3, 3.2)  # inches; shown at half a page's width, text has the size of the page's
_SMOOTH_FROM: Final = 60  # lines of metrics; fewer are drawn as they are
_SMOOTH_SHARE: Final = 40  # a running mean spans this part of all


def run_curves(rows: Sequence[Row]) -> dict[str, bytes]:
    """Title -> PNG, of those curves that the rows have numbers for.

    Args:
        rows: each has `step` and any of loss, joint, ordinal, dense, error_mm, validation_mm (mm), samples_per_s,
            waiting (share of time, 0 to 1), lr.
    """
    draw = {"Loss": _loss, "Error": _error, "Speed": _speed, "Learning rate": _rate}
    pictures: dict[str, bytes] = {}
    for title, make in draw.items():
        figure, axes = new_figure(*_SIZE)
        if make(axes, rows):
            pictures[title] = _png(figure, axes)
    return pictures


def _loss(axes: Axes, rows: Sequence[Row]) -> bool:
    axes.set_ylabel("loss")
    drawn = _line(axes, rows, "loss", "loss", "black")
    if not drawn:
        return False
    # heads differ in what they have
    parts = [name for name in ("joint", "ordinal", "dense") if _series(rows, name)[1].any()]
    for name in parts:
        _smooth_line(axes, rows, name, f"{name} part", "0.35", "--" if name == "joint" else ":")
    _log_scale(axes, np.concatenate([_series(rows, name)[1] for name in ("loss", *parts)]))
    return True


def _error(axes: Axes, rows: Sequence[Row]) -> bool:
    axes.set_ylabel("mean error (mm)")
    training = _line(axes, rows, "error_mm", "training", "black")
    steps, held_out = _series(rows, "validation_mm")
    if len(steps):
        marker = "o" if len(steps) <= 100 else ""
        axes.plot(steps, held_out, marker=marker, color=BEST_COLOUR, markersize=4.5, label="held out", zorder=3)
    if training or len(steps):
        _log_scale(axes, np.concatenate([_series(rows, "error_mm")[1], held_out]))
    return training or len(steps) > 0


def _speed(axes: Axes, rows: Sequence[Row]) -> bool:
    axes.set_ylabel("samples/s")
    drawn = _line(axes, rows, "samples_per_s", "samples/s", "black")
    steps, share = _series(rows, "waiting")
    if drawn and len(steps):
        style = {"marker": _marker(steps), "linestyle": ":", "color": BEST_COLOUR, "linewidth": 1.4}
        other = axes.twinx()
        other.plot(steps, 100 * share, **style)
        other.set_ylabel("time waiting for data (%)", color=BEST_COLOUR)
        other.set_ylim(0, 100)
        axes.plot([], [], label="waiting for data", **style)  # for the one legend
    if drawn:
        axes.set_ylim(0, None)
    return drawn


def _rate(axes: Axes, rows: Sequence[Row]) -> bool:
    axes.set_ylabel("learning rate")
    steps, rates = _series(rows, "lr")
    axes.plot(steps, rates, marker=_marker(steps), color="black", linewidth=1.5)
    axes.set_ylim(0, None)
    return len(steps) > 0


def _series(rows: Sequence[Row], name: str) -> tuple[Float[ndarray, "t"], Float[ndarray, "t"]]:
    """Steps and values of the rows that have this number."""
    pairs = np.array([(row["step"], row[name]) for row in rows if name in row], np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _line(axes: Axes, rows: Sequence[Row], name: str, label: str, colour: str) -> bool:
    """A number as it is, in pale grey, below its running mean; whether there was any."""
    steps, values = _series(rows, name)
    if len(steps) >= _SMOOTH_FROM:
        axes.plot(steps, values, color="0.78", linewidth=0.8)
    return _smooth_line(axes, rows, name, label, colour, "-")


def _smooth_line(axes: Axes, rows: Sequence[Row], name: str, label: str, colour: str, dash: str) -> bool:
    steps, values = _series(rows, name)
    if not len(steps):
        return False  # nor in the legend
    style = {"marker": _marker(steps), "linestyle": dash, "color": colour, "linewidth": 1.5}
    axes.plot(steps, _running_mean(values), label=label, **style)
    return True


def _marker(steps: Float[ndarray, "t"]) -> str:
    """A line of one point shows nothing without one."""
    return "." if len(steps) == 1 else ""


def _running_mean(values: Float[ndarray, "t"]) -> Float[ndarray, "t"]:
    """The mean over a window around each value, cut off at both ends; short series stay as they are."""
    if len(values) < _SMOOTH_FROM:
        return values
    half = max(1, len(values) // _SMOOTH_SHARE // 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def _log_scale(axes: Axes, values: Float[ndarray, "t"]) -> None:
    """A logarithmic axis for numbers that fall by factors; a short one has marks between the powers of ten too."""
    if not len(values) or values.min() <= 0 or values.max() < 4 * values.min():
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    few = values.max() < 100 * values.min()
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda y, _: f"{y:g}" if few and _leads(y, "25") else ""))


def _leads(value: float, digits: str) -> bool:
    return f"{value:.0e}"[0] in digits


def _png(figure: Figure, axes: Axes) -> bytes:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.grid(alpha=0.3)
    if len(axes.get_legend_handles_labels()[1]) > 1:
        # above: inside, it would lie over the curves of a second axis
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=9, borderaxespad=0.2)
    return figure_png(figure)
