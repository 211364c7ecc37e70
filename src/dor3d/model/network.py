"""The network: a crop in, crop points and their standard deviations out.

Source: DOR3D-Net (Figures 2 and 3). The in-plane coordinate maps U = j / W and V = i / H are made inside the forward
and concatenated to the depth (section 3.1), so a caller hands over a one-channel crop. Heads on a neck, and the relief
channels, are not the paper's: a small network learns from fewer samples with them (docs/log.md).
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.errors import ModelError
from dor3d.model.backbone import Trunk, reparameterised
from dor3d.model.base import Network, config_from_json, config_to_json
from dor3d.model.heads.coordinate import CoordinateHead
from dor3d.model.heads.errors import ErrorHead
from dor3d.model.heads.heatmap import HeatmapHead
from dor3d.model.heads.local_ordinal import LocalOrdinalHead, LocalOrdinalOptions
from dor3d.model.heads.offset import OffsetHead
from dor3d.model.heads.ordinal import OrdinalHead
from dor3d.model.heads.pixel_offset import PixelOffsetHead
from dor3d.model.heads.surface import DepthOrigin
from dor3d.model.inputs import Relief, uv_maps
from dor3d.model.neck import Neck
from dor3d.model.prediction import Maps, Prediction
from dor3d.ordinal import Discretisation, Labels
from dor3d.skeleton import JOINTS

Spacing = Literal["normal", "uniform"]
Features = Literal["xy_z", "xyz"]
Head = Literal["local-ordinal", "ordinal", "offset", "pixel-offset", "heatmap", "coordinate"]
Level = Literal["own", "last", "neck"]
Positions = Literal["equal", "learned"]
OwnDepthOrigin = Literal["own", DepthOrigin]
_ON_NECK = (
    "local-ordinal",
    "offset",
    "pixel-offset",
    "coordinate",
)  # heads that stand on the neck unless told otherwise
_CHOICES = {
    "head": Head,
    "level": Level,
    "depth_origin": OwnDepthOrigin,
    "positions": Positions,
    "z_discretisation": Spacing,
    "labels": Labels,
    "features": Features,
}
_OF_HEADS = {  # options that some heads alone have
    "anchors": ("offset",),
    "monotone": ("ordinal",),
    "positions": ("ordinal",),
    "depth_origin": ("local-ordinal", "offset"),
    "local_ordinal": ("local-ordinal",),
}
_LAPLACE = math.sqrt(2)  # standard deviation over mean absolute error, of the distribution that errors are taught by
CELL = 32  # backbones reduce by this much; a crop's side is a multiple of it


@dataclass(frozen=True)
class ModelConfig:
    """Everything that says what a network is; its weights aside.

    Attributes:
        backbone: an alias (`compact`, `swin-b`, `resnet50`, ...) or a timm name.
        joints: names of the joints, in the order of the output.
        size: side S of the crop in pixels, a multiple of 32.
        cube_mm: what a crop holds: in-plane side and depth D, in mm.
        head: `ordinal` (the paper), `local-ordinal` (the paper's idea, ours), `offset`, `pixel-offset`, `heatmap` or
            `coordinate`; see model/heads.
        level: which maps it stands on: the `last` stage's, or the `neck`'s of stride 8; `own`: the last for `ordinal`
            and `heatmap`, the neck for the others.
        local_ordinal: options of `local-ordinal`.
        depth_origin: of `local-ordinal` and `offset`: depths are relative to the middle of the `cube`, or to the
            `surface` that a cell sees (`surface-filled`: where it sees none, to the mean of those that do); `own`: the
            surface for `local-ordinal`, the cube for `offset`.
        neck: channels of the neck.
        anchors: of `offset`, along each side of a cell.
        monotone: of `ordinal`: survival curves that fall by construction.
        positions: of `ordinal`: the mean over positions, `equal` (the paper), or `learned` weights.
        xy_bins: thresholds of x and of y; 0: S / 2 (the paper).
        z_bins: thresholds of z; 0: D / 4 (the paper).
        z_discretisation, z_levels: `normal` with that many levels, or `uniform`.
        labels: what the thresholds are taught: `hard` (the paper) or `exact`.
        uv_maps: concatenate U and V to the depth.
        relief: concatenate slopes and slices of the depth, too.
        features: `xy_z`, two maps where the backbone has them, or `xyz`, its last one for all.
        drop_path: stochastic depth of the backbone; None: timm's default for it.
        kinds: say also whether there is a hand, and whether it is a right one (ours), by a linear layer on the mean of
            the last stage's map.
        errors: say how far off each coordinate is by layers of their own (ours), not by the head's spread.
        upright: it knows hands best that point upwards (`upright` of the synthetic data), and later looks show them so.

    Raises ModelError for values that make no network.
    """

    backbone: str = "compact"
    joints: tuple[str, ...] = JOINTS
    size: int = 128
    cube_mm: tuple[float, float] = (280.0, 300.0)
    head: Head = "ordinal"
    level: Level = "own"
    neck: int = 128
    anchors: int = 1
    monotone: bool = False
    positions: Positions = "equal"
    xy_bins: int = 0
    z_bins: int = 0
    z_discretisation: Spacing = "normal"
    z_levels: int = 4
    labels: Labels = "exact"
    uv_maps: bool = True
    relief: bool = False
    features: Features = "xy_z"
    drop_path: float | None = None
    kinds: bool = False
    errors: bool = False
    upright: bool = False
    depth_origin: OwnDepthOrigin = "own"
    local_ordinal: LocalOrdinalOptions = LocalOrdinalOptions()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if self.size < CELL or self.size % CELL:
            raise ModelError("The crop's side suits no backbone", got=self.size, expected=f"a multiple of {CELL}")
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ModelError("Joints must be named, each once", got=self.joints)
        if len(self.cube_mm) != 2 or not all(math.isfinite(side) and side > 0 for side in self.cube_mm):
            raise ModelError("The cube needs two positive sides", got=self.cube_mm, expected="(in-plane, depth) in mm")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ModelError(f"Unknown {name}", got=getattr(self, name), expected=" or ".join(get_args(kind)))
        if self.upright and self.joints != JOINTS:
            raise ModelError(
                "Which way a hand points is told by the 21 joints",
                got=f"{len(self.joints)} joints",
                fix="Train with --model.upright false.",
            )
        if self.anchors < 1:
            raise ModelError("A cell needs anchors", got=self.anchors, expected="1 or more along each side")
        if self.neck < 1:
            raise ModelError("A neck needs channels", got=self.neck, expected="1 or more")
        if self.drop_path is not None and not 0 <= self.drop_path < 1:
            raise ModelError("drop_path must lie in [0, 1)", got=self.drop_path)
        for name, heads in _OF_HEADS.items():
            if self.head not in heads and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                fix = f"Use --head {' or '.join(heads)}, or leave {name} out."
                raise ModelError(f"Head {self.head} knows no {name}", fix=fix)

    @property
    def on_neck(self) -> bool:
        """Whether the head stands on the neck's map."""
        return self.level == "neck" or (self.level == "own" and self.head in _ON_NECK)

    @property
    def own_depth_origin(self) -> DepthOrigin:
        """What depths are relative to."""
        if self.depth_origin == "own":
            return "surface" if self.head == "local-ordinal" else "cube"
        return self.depth_origin

    def discretisations(self) -> tuple[Discretisation, Discretisation, Discretisation]:
        """Of x and y (px) and z (mm)."""
        plane = Discretisation.uniform(float(self.size), self.xy_bins or self.size // 2)
        depth, k = self.cube_mm[1], self.z_bins or round(self.cube_mm[1] / 4)
        if self.z_discretisation == "uniform":
            return plane, plane, Discretisation.uniform(depth, k)
        return plane, plane, Discretisation.normal(depth, k, self.z_levels)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` gives the same config back."""
        return config_to_json(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "ModelConfig":
        """Raises ModelError for fields that are unknown or of the wrong kind."""
        return config_from_json(cls, raw)


class HandNet(Network):
    """Backbone, coordinate maps, head and decode.

    Args:
        config: what to build.
        pretrained: start the backbone from ImageNet weights, through timm or from a .safetensors file.

    Raises ModelError for a backbone that the head cannot stand on.
    """

    def __init__(self, config: ModelConfig, pretrained: bool | Path = False) -> None:
        super().__init__()
        self.config = config
        channels = 1 + 2 * config.uv_maps
        self.relief = Relief(channels) if config.relief else None
        channels += Relief.channels if config.relief else 0
        self.trunk = Trunk(config.backbone, config.size, channels, pretrained, config.drop_path)
        self.two_maps = self.trunk.two_maps and config.features == "xy_z" and not config.on_neck
        self.neck: Neck | None = None
        channels, grid = self.trunk.channels, self.trunk.grid
        if config.on_neck:
            self.neck = Neck(self.trunk.pyramid_channels(), config.neck)
            channels, grid = config.neck, config.size // 8
        self.head = _head(config, channels, grid)
        self.kind = nn.Linear(self.trunk.channels, 2) if config.kinds else None
        self.errors = ErrorHead(channels, len(config.joints)) if config.errors else None

    def forward(self, crop: Float[Tensor, "b 1 s s"]) -> Prediction:
        """Normalised depth in [-1, 1] to crop points (p px, q px, r mm) and their sigma, both [B, A, 3]."""
        maps, last = self._read(crop)
        prediction = self.head(maps)
        if self.errors is not None:
            error = self.errors(maps)
            prediction = prediction._replace(error=error, sigma=error * _LAPLACE)
        if self.kind is not None:
            prediction = prediction._replace(kind=self.kind(last.mean((2, 3))).float())
        return prediction

    @property
    def name(self) -> str:
        """Its backbone's."""
        return self.config.backbone

    def outputs(self) -> list[nn.Module]:
        """The head's layers that answer, and those that say how far off it is."""
        return [*self.head.outputs(), *([] if self.errors is None else [self.errors])]

    def maps(self, crop: Float[Tensor, "b 1 s s"]) -> Maps:
        """What the head reads."""
        return self._read(crop)[0]

    def _read(self, crop: Float[Tensor, "b 1 s s"]) -> tuple[Maps, Tensor]:
        """What the head reads, and the last stage's map."""
        x = self._channels(crop)
        if self.neck is not None:
            levels = self.trunk.pyramid(x)
            merged = self.neck(*levels)
            return Maps(merged, merged, crop), levels[-1]
        xy, z = self.trunk(x)
        return Maps(xy if self.two_maps else z, z, crop), z

    def _channels(self, crop: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b c s s"]:
        x = torch.cat([crop, uv_maps(crop)], 1) if self.config.uv_maps else crop
        return x if self.relief is None else self.relief(x)

    def folded(self) -> "HandNet":
        """A copy in eval mode for inference: pairs and parallel branches merged, the same outputs."""
        net = deepcopy(self).eval()
        net.trunk = reparameterised(net.trunk)
        net.head.fold()
        return net


AnyHead = LocalOrdinalHead | OrdinalHead | OffsetHead | PixelOffsetHead | HeatmapHead | CoordinateHead


def _head(config: ModelConfig, channels: int, grid: int) -> AnyHead:
    joints, size, depth_mm = len(config.joints), config.size, config.cube_mm[1]
    below = config.labels == "exact"  # hard labels never decode below the first interval's end
    match config.head:
        case "ordinal":
            learned = config.positions == "learned"
            discs = config.discretisations()
            return OrdinalHead(channels, grid, joints, discs, monotone=config.monotone, learned=learned, below=below)
        case "offset":
            how = {"anchors": config.anchors, "depth_origin": config.own_depth_origin}
            return OffsetHead(channels, grid, joints, size, depth_mm, **how)
        case "local-ordinal":
            how = {"depth_origin": config.own_depth_origin, "options": config.local_ordinal}
            return LocalOrdinalHead(channels, grid, joints, size, depth_mm, **how)
        case "pixel-offset":
            return PixelOffsetHead(channels, grid, joints, size, depth_mm)
        case "heatmap":
            return HeatmapHead(channels, grid, joints, size, depth_mm)
        case "coordinate":
            return CoordinateHead(channels, grid, joints, config.discretisations(), below=below)


def parameter_count(net: nn.Module) -> int:
    """The number of parameters."""
    return sum(p.numel() for p in net.parameters())
