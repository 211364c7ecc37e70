"""The networks that the paper's tables compare, and ours beside them.

Every variant is the paper's network with some fields changed: ordinal head on the last stage's maps, hard labels,
normal discretisation of z, UV maps, F_xy and F_z where the backbone has two maps, and the DOR loss with the joint loss
as a mean over joints (`balanced`: as a sum the DOR loss would weigh next to nothing, docs/paper.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

TableName = Literal["2", "3", "4", "5", "6", "ours", "local"]

BASE: Final[dict[str, Any]] = {
    "head": "ordinal",
    "labels": "hard",
    "z_discretisation": "normal",
    "uv_maps": True,
    "relief": False,
    "features": "xy_z",
    "loss": "balanced",
}

_OFFSET: Final[dict[str, Any]] = {"head": "offset", "depth_origin": "surface"}
_CURVES: Final[dict[str, Any]] = {"head": "local-ordinal", "labels": "exact", "depth_origin": "surface"}
_LOCAL: Final[dict[str, Any]] = {**_CURVES, "loss": "metric"}
_MONOTONE: Final[dict[str, Any]] = {"local_ordinal.monotone": True}
# every cell answers: as many thresholds as memory allows
_FEWER: Final[dict[str, Any]] = {"local_ordinal.xy_bins": 20, "local_ordinal.z_bins": 24}

VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "ordinal": {},
    # at the beginning its gradient is to the joint loss' what the DOR loss' is
    "heatmap": {"head": "heatmap", "dense_weight": 20.0},
    "offset": {"head": "offset", "level": "last", "anchors": 4, "anchor_weight": 1.0},  # a third of the joint's, as A2J
    "uniform": {"z_discretisation": "uniform"},
    "exact": {"labels": "exact"},
    "uniform-exact": {"z_discretisation": "uniform", "labels": "exact"},
    "no-uv": {"uv_maps": False},
    "one-map": {"features": "xyz"},
    "no-dor": {"ordinal_weight": 0.0},
    "paper-loss": {"loss": "paper"},
    "learned": {"positions": "learned"},
    "monotone": {"monotone": True},
    "metric": {"loss": "metric"},
    "coordinate": {"head": "coordinate"},
    "pixel-offset": {"head": "pixel-offset", "dense_weight": 0.17},  # beside the joint's 3 what JGR-P2O has
    "offset-neck": {"head": "offset"},
    "neck": {"level": "neck", "positions": "learned"},
    # controls of the local ordinal head: offsets with the same reference for depths, and with the same loss
    "offset-metric": {"head": "offset", "loss": "metric"},
    "offset-surface": _OFFSET,
    "offset-surface-metric": {**_OFFSET, "loss": "metric"},
    "local-balanced": _CURVES,
    "local": _LOCAL,
    # each ingredient of it alone
    "local-no-dor": {**_LOCAL, "ordinal_weight": 0.0},
    "local-half-dor": {**_LOCAL, "ordinal_weight": 1.0},
    "local-levels4": {**_LOCAL, "local_ordinal.levels": 4},
    "local-uniform": {**_LOCAL, "local_ordinal.spacing": "uniform"},
    "local-cube": {**_LOCAL, "depth_origin": "cube"},
    "local-filled": {**_LOCAL, "depth_origin": "surface-filled"},
    "local-monotone": {**_LOCAL, "local_ordinal.monotone": True},
    "local-shift": {**_LOCAL, "local_ordinal.shift": True},
    "local-moving": {**_LOCAL, "local_ordinal.dor_moves_positions": True},
    "local-short": {**_LOCAL, "local_ordinal.reach": 0.33},
    "local-two-bin": {**_LOCAL, **_MONOTONE, "local_ordinal.curve_loss": "two-bin", "ordinal_weight": 0.2},
    "local-mixture": {**_LOCAL, **_MONOTONE, "local_ordinal.curve_loss": "mixture", "ordinal_weight": 1.0},
    "local-bone": {**_LOCAL, "bone_weight": 1.0},
    "local-few": {**_LOCAL, "local_ordinal.xy_bins": 16, "local_ordinal.z_bins": 24},
    "local-dense": {**_LOCAL, "local_ordinal.mode": "dense", **_FEWER},
}


_ERRORS: Final = ("x", "y", "z", "all")


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        label: what it is called.
        variant: of `VARIANTS`.
        against: the variant that it is compared with, on the same samples; none for the one that others are compared
            with.
        paper: the paper's numbers: any of x, y, z, all (mm), parameters (M) and speed (frames/s, a V100).
        module: the group that it stands in.
        partner: whether it is trained on the table's second backbone.
        kinds: the paper's numbers by the beginning of the backbone's name, for rows that compare backbones.
    """

    label: str
    variant: str
    against: str | None = None
    paper: Mapping[str, float] = field(default_factory=dict)
    module: str = ""
    partner: bool = False
    kinds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def paper_for(self, backbone: str) -> Mapping[str, float]:
        """The paper's numbers to set beside a backbone's."""
        return next((numbers for kind, numbers in self.kinds.items() if backbone.startswith(kind)), self.paper)


@dataclass(frozen=True)
class Table:
    """A table of the paper, or ours.

    Attributes:
        title: as the paper has it.
        dataset: what the paper measured on; empty for ours.
        rows: its lines.
        columns: what it shows of a trained network: errors along axes and of joints (mm), parameters, speed, and how
            far its standard deviations can be trusted.
    """

    title: str
    dataset: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...] = _ERRORS


_ALL: Final = {"x": 3.12, "y": 3.19, "z": 4.13, "all": 6.99}
_FULL: Final = {"all": 6.99, "parameters": 86.9, "speed": 47.0}
_BACKBONES: Final = {"swin": _FULL, "resnet": {"all": 7.67, "parameters": 32.7, "speed": 110.0}}
_COST: Final = ("all", "parameters", "speed")
_HONESTY: Final = ("rank", "within")

TABLES: Final[dict[TableName, Table]] = {
    "2": Table(
        "Heatmap and ordinal regression",
        "NYU, ResNet50",
        (
            Row("heatmap regression", "heatmap", "ordinal", {"all": 8.63}),
            Row("ordinal regression", "ordinal", None, {"all": 8.25}),
        ),
    ),
    "3": Table(
        "Offset-based and ordinal regression",
        "HANDS2017, Swin-B",
        (
            Row("offset-based regression", "offset", "ordinal", {"x": 3.31, "y": 3.33, "z": 4.32, "all": 7.34}),
            Row("ordinal regression", "ordinal", None, _ALL),
        ),
    ),
    "4": Table(
        "Uniform and normal discretisation, with hard and exact labels",
        "HANDS2017, Swin-B",
        (
            Row("uniform", "uniform", "ordinal", {"x": 3.14, "y": 3.19, "z": 4.18, "all": 7.06}, "hard labels"),
            Row("normal", "ordinal", None, _ALL, "hard labels"),
            Row("uniform", "uniform-exact", "exact", {}, "exact labels (ours)"),
            Row("normal", "exact", None, {}, "exact labels (ours)"),
        ),
    ),
    "5": Table(
        "Input, backbone and feature maps",
        "HANDS2017, Swin-B",
        (
            Row("without UV maps", "no-uv", "ordinal", {"all": 7.10, "parameters": 86.9, "speed": 50.0}, "input"),
            Row("with UV maps", "ordinal", None, _FULL, "input"),
            Row("second", "ordinal", "ordinal", {}, "backbone", True, _BACKBONES),
            Row("first", "ordinal", None, {}, "backbone", kinds=_BACKBONES),
            Row("F_xyz", "one-map", "ordinal", {"all": 7.04, "parameters": 86.9, "speed": 47.0}, "design"),
            Row("F_xy and F_z", "ordinal", None, _FULL, "design"),
        ),
        _COST,
    ),
    "6": Table(
        "DOR loss",
        "HANDS2017, Swin-B",
        (
            Row("without DOR loss", "no-dor", "ordinal", {"all": 7.31, "parameters": 86.9, "speed": 47.0}),
            Row("with DOR loss", "ordinal", None, _FULL),
            Row("with DOR loss, joint loss as a sum (as written)", "paper-loss", "ordinal"),
        ),
        _COST,
    ),
    "ours": Table(
        "What the paper did not try",
        "",
        (
            Row("the paper's network", "ordinal"),
            Row("exact labels", "exact", "ordinal", module="labels"),
            Row("joint loss as a sum over joints", "paper-loss", "ordinal", module="loss"),
            Row("joint loss in mm", "metric", "ordinal", module="loss"),
            Row("learned position weights", "learned", "ordinal", module="head"),
            Row("curves monotone by construction", "monotone", "ordinal", module="head"),
            Row("coordinate distributions on the neck", "coordinate", "ordinal", module="head"),
            Row("offsets from every pixel, on the neck", "pixel-offset", "ordinal", module="head"),
            Row("offsets on the neck", "offset-neck", "ordinal", module="head"),
            Row("ordinal maps on the neck, learned position weights", "neck", "ordinal", module="head"),
            Row("offsets on the neck from the surface, loss in mm", "offset-surface-metric", "ordinal", module="head"),
            Row("local ordinal curves, loss in mm", "local", "ordinal", module="head"),
        ),
        (*_ERRORS, *_HONESTY),
    ),
    "local": Table(
        "Local ordinal curves beside offsets from the same surface, by the same loss",
        "",
        (
            Row("offsets", "offset-surface-metric"),
            Row("local ordinal curves", "local", "offset-surface-metric"),
        ),
        (*_ERRORS, *_HONESTY),
    ),
}
