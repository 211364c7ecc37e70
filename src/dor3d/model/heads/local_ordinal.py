"""The local ordinal head: ordinal curves over where a joint lies relative to a position of the map.

Source: DOR3D-Net, section 3.2, asks for "a binary spatial relationship between a position and a joint", aggregated over
positions. Its own head puts thresholds at fixed places of the crop, so that every position must know from afar where in
the crop it stands. Here thresholds are relative: each cell p of the map answers, for every joint and threshold t_k,
"does the joint lie more than t_k beyond this position?", in x and y, with t_k from -reach to +reach, and in z
relative to the middle of the cube or to the surface that the cell sees (`dor3d.model.heads.surface`). Thresholds are
normal about 0, the paper's discretisation, whose assumption that joints lie near the middle now holds by construction.

Cells are weighted per joint by a softmax w_p over the map, one for the plane and one for the depth. Two ways to pool:

- `pooled`: L_k = sum_p w_p l_pk are the log-odds that the joint lies more than t_k beyond the weighted position
  c = sum_p w_p x_p; joint = c + sum_k Delta_k (P_k - 1/2). Cells answer linearly, so the features are pooled first,
  which is equal and costs next to nothing.
- `dense`: joint = sum_p w_p (x_p + sum_k Delta_k (P_pk - 1/2)), and every cell is taught by its own labels, as much as
  it counts.

Sigma is the root of two variances added: that of the ordinal curves, and that between positions. In `dense` the latter
is of the cells' answers; in `pooled` a quarter of that of the weighted positions themselves, which is all that is left
once evidence is pooled (a quarter ranks errors best on held-out samples, docs/log.md).

Departures from the paper: relative thresholds, learned position weights, exact labels, one channel a threshold (a
softmax over a pair of channels is a sigmoid of their difference).
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dor3d.errors import ModelError
from dor3d.model.heads.offset import DEPTH_SCALE, anchor_places
from dor3d.model.heads.ordinal import AxisCodec, survival_log_odds
from dor3d.model.heads.surface import DepthOrigin, depth_origins
from dor3d.model.prediction import LocalCurves, Maps, Prediction
from dor3d.ordinal import Discretisation, decode, variance

Mode = Literal["pooled", "dense"]
Spacing = Literal["normal", "uniform"]
CurveLoss = Literal["ordinal", "two-bin", "mixture"]
_SPREAD_XY = 0.15  # of the range: the standard deviation of the initial survival curves
_SPREAD_Z = 0.1
_WEIGHT_SCALE = 0.1  # standard deviation of the initial logits around them, for features of unit size
_LEAST_VARIANCE = 1e-6
_POSITIONS_SHARE = 0.25  # of the variance of the weighted positions in that of a pooled joint


@dataclass(frozen=True)
class LocalOrdinalOptions:
    """Options of the local ordinal head.

    Attributes:
        mode: `pooled` or `dense`, see above.
        xy_bins, z_bins: thresholds K of x and y, and of z.
        reach: how far curves of x and y reach to each side, as a share of the crop's side.
        spacing: of the thresholds, `normal` about 0, or `uniform`.
        levels: of `normal`: equal sub-intervals of each half, each twice as dense as the one outside it.
        monotone: survival curves that fall by construction (a softmax over intervals, summed up).
        shift: add a linear offset to the position, which the curve then refines.
        dor_moves_positions: let the DOR loss teach the position weights too, and not the curves alone.
        curve_loss: what teaches the curves: `ordinal`, the paper's DOR loss; or, of monotone curves and as rivals to
            it, `two-bin`, the cross entropy to the two nearest thresholds (distribution focal loss: Li et al.,
            "Generalized focal loss", NeurIPS 2020), or `mixture`, the likelihood of a mixture of Laplace distributions
            about the thresholds with a learnt scale (Lu et al., "RTMO", CVPR 2024).

    Raises ModelError for values that make no head.
    """

    mode: Mode = "pooled"
    xy_bins: int = 32
    z_bins: int = 48
    reach: float = 0.5
    spacing: Spacing = "normal"
    levels: int = 6
    monotone: bool = False
    shift: bool = False
    dor_moves_positions: bool = False
    curve_loss: CurveLoss = "ordinal"

    def __post_init__(self) -> None:
        for name, choices in (("mode", Mode), ("spacing", Spacing), ("curve_loss", CurveLoss)):
            if getattr(self, name) not in get_args(choices):
                expected = " or ".join(get_args(choices))
                raise ModelError(f"Unknown local_ordinal.{name}", got=getattr(self, name), expected=expected)
        for name in ("xy_bins", "z_bins", "levels"):
            if getattr(self, name) < 1:
                raise ModelError(f"local_ordinal.{name} must be at least 1", got=getattr(self, name))
        if not 0 < self.reach <= 1:
            raise ModelError("local_ordinal.reach is a share of the crop's side", got=self.reach, expected="in (0, 1]")
        if self.shift and self.mode == "dense":
            raise ModelError("local_ordinal.shift belongs to the pooled mode", fix="Leave one of the two out.")
        if self.curve_loss != "ordinal" and not self.monotone:
            fix = "Add local_ordinal.monotone true."
            raise ModelError(f"local_ordinal.curve_loss {self.curve_loss} needs monotone curves", fix=fix)

    def discretisations(self, size: int, depth_mm: float) -> tuple[Discretisation, Discretisation]:
        """Return those of x and y (px), and of z (mm); 0 of a relative coordinate is the middle of each."""
        extents = ((2 * self.reach * size, self.xy_bins), (depth_mm, self.z_bins))
        if self.spacing == "uniform":
            plane, depth = (Discretisation.uniform(*pair) for pair in extents)
        else:
            plane, depth = (Discretisation.normal(*pair, self.levels) for pair in extents)
        return plane, depth


class LocalOrdinalHead(nn.Module):
    """Maps to joints through relative ordinal curves.

    Args:
        channels, grid: of the map.
        joints: number of joints, A.
        size: side of the crop in pixels.
        depth_mm: the cube's depth D.
        depth_origin: what z is relative to; see `dor3d.model.heads.surface`.
        options: of the head.
    """

    positions: Tensor

    def __init__(
        self,
        channels: int,
        grid: int,
        joints: int,
        size: int,
        depth_mm: float,
        *,
        depth_origin: DepthOrigin = "surface",
        options: LocalOrdinalOptions = LocalOrdinalOptions(),
    ) -> None:
        super().__init__()
        self.joints, self.grid, self.depth_mm, self.cell = joints, grid, depth_mm, size / grid
        self.depth_origin: DepthOrigin = depth_origin
        self.options = options
        plane, depth = options.discretisations(size, depth_mm)
        self.codec_xy, self.codec_z = AxisCodec(plane), AxisCodec(depth)
        self.weights = nn.Conv2d(channels, 2 * joints, 1)
        self.curves_xy = nn.Conv2d(channels, 2 * joints * plane.k, 1)
        self.curves_z = nn.Conv2d(channels, joints * depth.k, 1)
        self.shift = nn.Conv2d(channels, 3 * joints, 1) if options.shift else None
        self.log_scales = nn.Parameter(torch.zeros(3, joints)) if options.curve_loss == "mixture" else None
        self.register_buffer("positions", anchor_places(size, grid, 1), persistent=False)  # [2, n]
        self._start(self.curves_xy, plane, _SPREAD_XY)
        self._start(self.curves_z, depth, _SPREAD_Z)

    def forward(self, maps: Maps) -> Prediction:
        """Return joints (px, px, mm) and the standard deviations of their curves, in float32 always."""
        return self._pooled(maps) if self.options.mode == "pooled" else self._dense(maps)

    def _pooled(self, maps: Maps) -> Prediction:
        a, flat, plane_weights, depth_weights, surface = self._read(maps)
        plane, depth = (weights.to(flat.dtype) @ flat for weights in (plane_weights, depth_weights))  # [B, A, C]
        log_odds_xy = _each_joint(self.curves_xy, plane, (2, a, self.codec_xy.k))  # [B, A, 2, K]
        log_odds_z = _each_joint(self.curves_z, depth, (1, a, self.codec_z.k))[:, :, 0]
        logits = (log_odds_xy[:, :, 0, None], log_odds_xy[:, :, 1, None], log_odds_z[:, :, None])
        log_odds_xy, log_odds_z = self._survival(log_odds_xy), self._survival(log_odds_z)
        # sums over cells, not products of matrices: under autocast and in runtimes those lose bits
        origin, apart = _moments(plane_weights[:, :, None], self.positions)  # [B, A, 2]
        if surface is None:
            surface = origin.new_full((1, 1), self.depth_mm / 2)
        depth_origin, depth_apart = _moments(depth_weights, surface[:, None])
        if self.shift is not None:
            shift = _each_joint(self.shift, torch.stack([plane, plane, depth], 2), (3, a, 1))[..., 0].float()
            origin = origin + shift[..., :2] * self.cell
            depth_origin = depth_origin + shift[..., 2] * (DEPTH_SCALE * self.depth_mm)
        prob_xy, prob_z = log_odds_xy.sigmoid(), log_odds_z.sigmoid()
        xy = origin + decode(prob_xy, self.codec_xy) - self.codec_xy.extent / 2
        z = depth_origin + decode(prob_z, self.codec_z) - self.codec_z.extent / 2
        spread = torch.cat([variance(prob_xy, self.codec_xy), variance(prob_z, self.codec_z)[..., None]], -1)
        spread = spread + _POSITIONS_SHARE * torch.cat([apart, depth_apart[..., None]], -1)
        log_odds = (log_odds_xy[:, :, 0, None], log_odds_xy[:, :, 1, None], log_odds_z[:, :, None])
        origins = (origin[..., 0, None], origin[..., 1, None], depth_origin[..., None])
        return Prediction(
            torch.cat([xy, z[..., None]], -1),
            (spread + _LEAST_VARIANCE).sqrt(),
            local=self._curves(log_odds, origins, (None, None, None), logits),
        )

    def _dense(self, maps: Maps) -> Prediction:
        a, flat, plane_weights, depth_weights, surface = self._read(maps)
        b, n = flat.shape[:2]
        weights = torch.stack([plane_weights, plane_weights, depth_weights], -1)  # [B, A, n, 3]
        logits_xy = _each_cell(self.curves_xy, flat).view(b, n, 2, a, -1).permute(0, 3, 1, 2, 4)
        logits_z = _each_cell(self.curves_z, flat).view(b, n, a, -1).transpose(1, 2)
        log_odds_xy, log_odds_z = self._survival(logits_xy), self._survival(logits_z)
        prob_xy, prob_z = log_odds_xy.sigmoid(), log_odds_z.sigmoid()
        each_xy = decode(prob_xy, self.codec_xy) - self.codec_xy.extent / 2 + self.positions.T
        middle = weights.new_full((1, n), self.depth_mm / 2) if surface is None else surface
        each_z = decode(prob_z, self.codec_z) - self.codec_z.extent / 2 + middle[:, None]
        each = torch.cat([each_xy, each_z[..., None]], -1)  # [B, A, n, 3]
        points = (weights * each).sum(2)
        within = torch.cat([variance(prob_xy, self.codec_xy), variance(prob_z, self.codec_z)[..., None]], -1)
        spread = (weights * (within + (each - points[:, :, None]).square())).sum(2)
        taught = weights if self.options.dor_moves_positions else weights.detach()
        origins = (self.positions[0, None, None], self.positions[1, None, None], middle[:, None])
        curves = self._curves(
            (log_odds_xy[..., 0, :], log_odds_xy[..., 1, :], log_odds_z),
            origins,
            (taught[..., 0], taught[..., 1], taught[..., 2]),
            (logits_xy[..., 0, :], logits_xy[..., 1, :], logits_z),
        )
        return Prediction(points, (spread + _LEAST_VARIANCE).sqrt(), local=curves)

    def cell_answers(self, maps: Maps) -> Float[Tensor, "b 2 a n"]:
        """Return where each cell by itself says that each joint lies in the plane (px)."""
        flat = maps.z.flatten(2).transpose(1, 2)
        log_odds = _each_cell(self.curves_xy, flat).unflatten(2, (2, self.joints, -1)).permute(0, 2, 3, 1, 4)
        each = decode(self._survival(log_odds).sigmoid(), self.codec_xy) - self.codec_xy.extent / 2
        return each + self.positions[:, None]

    def _read(self, maps: Maps) -> tuple[int, Tensor, Tensor, Tensor, Tensor | None]:
        """Joints A, features [B, n, C], weights of the plane and the depth [B, A, n], surface depths [B, n]."""
        weights = self.weights(maps.z).float().flatten(2).softmax(-1)
        flat = maps.z.flatten(2).transpose(1, 2)
        surface = depth_origins(maps.crop, self.grid, self.depth_mm, self.depth_origin)
        return self.joints, flat, weights[:, : self.joints], weights[:, self.joints :], surface

    def _survival(self, logits: Tensor) -> Tensor:
        return survival_log_odds(logits.float(), 0.0) if self.options.monotone else logits.float()

    def _curves(
        self,
        log_odds: tuple[Tensor, ...],
        origins: tuple[Tensor, ...],
        weights: tuple[Tensor | None, ...],
        logits: tuple[Tensor, ...],
    ) -> LocalCurves:
        """What a loss supervises."""
        options = self.options
        return LocalCurves(
            log_odds,
            origins,
            weights,
            (self.codec_xy, self.codec_xy, self.codec_z),
            options.dor_moves_positions,
            logits if options.curve_loss != "ordinal" else (),
            None if self.log_scales is None else self.log_scales.exp(),
        )

    def outputs(self) -> list[nn.Module]:
        """Return the layers that answer: an optimizer of hidden matrices leaves them alone."""
        return [self]

    def fold(self) -> "LocalOrdinalHead":
        """Nothing to merge."""
        return self

    @torch.no_grad()
    def _start(self, conv: nn.Conv2d, disc: Discretisation, spread: float) -> None:
        """Begin at a Gaussian survival curve about 0, with small weights."""
        nn.init.normal_(conv.weight, std=_WEIGHT_SCALE / math.sqrt(conv.in_channels))
        prior = _prior(disc, spread * disc.extent, monotone=self.options.monotone)
        if conv.bias is not None:
            conv.bias.copy_(prior.repeat(conv.out_channels // disc.k))


def _moments(weights: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of positions over the last axis, along which the weights add up to 1."""
    mean = (weights * positions).sum(-1)
    return mean, (weights * (positions - mean[..., None]).square()).sum(-1)


def _each_joint(conv: nn.Conv2d, features: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Apply a 1x1 convolution with channels [m, A, K] to features that were pooled for each joint.

    Args:
        conv: the convolution.
        features: [B, A, C], or [B, A, m, C] where each of the m reads its own.
        shape: (m, A, K).

    Returns:
        [B, A, m, K].
    """
    m, a, k = shape
    weight, bias = conv.weight.view(m, a, k, -1), conv.bias
    if features.dim() == 4:
        answers = (features.permute(2, 1, 0, 3) @ weight.transpose(2, 3)).permute(2, 1, 0, 3)
    else:
        joined = weight.permute(1, 3, 0, 2).reshape(a, -1, m * k)
        answers = (features.transpose(0, 1) @ joined).transpose(0, 1).unflatten(2, (m, k))
    return answers if bias is None else answers + bias.view(m, a, k).transpose(0, 1)


def _each_cell(conv: nn.Conv2d, flat: Tensor) -> Tensor:
    """Apply a 1x1 convolution to features [B, n, C] that lie cell by cell."""
    return F.linear(flat, conv.weight[:, :, 0, 0], conv.bias)


def _prior(disc: Discretisation, spread: float, *, monotone: bool) -> Float[Tensor, "k"]:
    """Log-odds of a Gaussian survival curve about the middle of the range; or the logits of its intervals."""
    points = torch.tensor(disc.thresholds, dtype=torch.float64)
    scaled = (points - disc.extent / 2) / spread
    if monotone:  # beside a logit of 0 for what lies below the first interval, which has next to no mass
        return (torch.special.ndtr(scaled).diff().log() - math.log(1e-6)).float()
    middles = (scaled[:-1] + scaled[1:]) / 2  # an exact label is the share of its interval below the coordinate
    return torch.logit(torch.special.ndtr(-middles)).float()
