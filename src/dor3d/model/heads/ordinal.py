"""The dense ordinal regression head.

Source: DOR3D-Net, section 3.2 and Figure 3. Three 1x1 convolutions; each threshold of each joint has two channels and
a softmax over the two. Layout, for a map of h x w cells, A joints and K thresholds, channels read as [c, a, 2]:

- x: feature column j owns the stripe of thresholds j * (K / w) + c, seen from each of the h rows;
- y: feature row i owns the thresholds i * (K / h) + c, seen from each of the w columns;
- z: every cell sees all thresholds k = c.

A ResNet50 with 21 joints at 224 x 224 then has the 32.7 M parameters that the paper gives.

Ours where the paper is silent: the softmax of a pair is computed as the sigmoid of the difference, which is equal, and
the difference is taken between the weights rather than the outputs, which is equal too and halves the work. Biases
start at a survival curve whose middle is the crop's, so that training starts from the centre with open gradients; its
spread is a quarter of the crop in z, and nearly half in x and y, where a channel's one bias serves many thresholds.
Sigma is the spread that the survival curves describe.

Options that are ours: `monotone` reads the K numbers of a position as a distribution over the intervals, so that its
survival curve falls by construction (the paper supervises the order and nothing keeps it); `learned` position weights
let each joint trust some positions more than others, where Eq. 2 takes their mean.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dor3d.errors import ModelError
from dor3d.model.prediction import Maps, Prediction
from dor3d.ordinal import Discretisation, decode, variance

PRIOR_SPREAD = 0.25  # of the extent: the standard deviation of the initial survival curve
WEIGHT_SCALE = 0.1  # standard deviation of the initial logits around the prior, for features of unit size
_BELOW = math.log(0.5 * math.erfc(1 / (2 * PRIOR_SPREAD) / math.sqrt(2)))  # of the prior: the log mass below 0
_TINY = 1e-6  # a probability; keeps log-odds within 14


class Axes(NamedTuple):
    """One thing for each of the axes x, y and z."""

    x: Any
    y: Any
    z: Any


class AxisCodec(nn.Module):
    """The constants of one discretisation on the network's device, in the form that `dor3d.ordinal` reads."""

    starts: Tensor
    widths: Tensor
    squares: Tensor
    breaks: Tensor
    jumps: Tensor

    def __init__(self, disc: Discretisation) -> None:
        super().__init__()
        self.extent, self.k = disc.extent, disc.k
        for name in ("starts", "widths", "squares", "breaks", "jumps"):
            self.register_buffer(name, torch.from_numpy(getattr(disc, name).copy()), persistent=False)

    def forward(
        self, logits: Float[Tensor, "b a p k"], weights: Float[Tensor, "b a p"] | None = None
    ) -> tuple[Float[Tensor, "b a"], Float[Tensor, "b a"]]:
        """Coordinates (mean over positions, Eq. 2, or a weighted one) and their standard deviations."""
        prob = logits.sigmoid()
        each = decode(prob, self)
        mean = _mean(each, weights)
        within = _mean(variance(prob, self), weights)
        between = _mean((each - mean[..., None]).square(), weights)
        return mean, (within + between).sqrt()


def _mean(each: Tensor, weights: Tensor | None) -> Tensor:
    return each.mean(-1) if weights is None else (weights * each).sum(-1)


def survival_log_odds(logits: Float[Tensor, "*n k"], below: float | None = None) -> Float[Tensor, "*n k"]:
    """The log-odds of c >= t_k under a softmax over the K intervals: never rising in k.

    Args:
        logits: of the intervals.
        below: the logit of lying below t_0 = 0, without which P(c >= t_0) is 1 and no decode ends below the first
            interval's end: hard labels never ask for less, exact ones do.
    """
    if below is not None:
        logits = F.pad(logits, (1, 0), value=below)
    prob = logits.softmax(-1)
    less = prob.cumsum(-1) - prob  # of the intervals below t_k; a product of matrices would lose bits under autocast
    odds = ((1 - less).clamp(min=0) + _TINY).log() - (less + _TINY).log()
    return odds if below is None else odds[..., 1:]


class PairConv(nn.Conv2d):
    """A 1x1 convolution to `pairs` pairs of channels (no, yes), evaluated as the difference yes - no."""

    def __init__(self, channels: int, pairs: int) -> None:
        super().__init__(channels, 2 * pairs, 1)

    def forward(self, input: Float[Tensor, "b f h w"]) -> Float[Tensor, "b n h w"]:
        """The log-odds of each pair."""
        weight, bias = self.folded()
        return F.conv2d(input, weight, bias)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the single channel that each pair is worth."""
        if self.bias is None:
            raise ModelError("A pair convolution without a bias cannot be folded")
        # unbound, not sliced: the gradient of a slice is a tensor of zeros for all the rest
        (no, yes), (no_bias, yes_bias) = (p.unflatten(0, (-1, 2)).unbind(1) for p in (self.weight, self.bias))
        return yes - no, yes_bias - no_bias

    @torch.no_grad()
    def start(self, log_odds: Float[Tensor, "n"]) -> None:
        """Small weights, and biases that begin at the given log-odds."""
        # a difference of two weights has twice the variance
        nn.init.normal_(self.weight, std=WEIGHT_SCALE / math.sqrt(2 * self.in_channels))
        if self.bias is not None:
            self.bias[0::2], self.bias[1::2] = -log_odds / 2, log_odds / 2

    def single(self) -> nn.Conv2d:
        """A plain convolution with the same log-odds, for export."""
        weight, bias = self.folded()
        conv = nn.Conv2d(self.in_channels, self.out_channels // 2, 1)
        conv.weight, conv.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
        return conv


class OrdinalHead(nn.Module):
    """Feature maps to joints through dense ordinal regression.

    Args:
        channels, grid: of both feature maps.
        joints: number of joints, A.
        discretisations: of x (px), y (px) and z (mm); K_x and K_y must be multiples of `grid`.
        monotone: make each survival curve fall by construction.
        learned: weigh positions instead of taking their mean.
        below: of `monotone`: leave room for coordinates below the first interval's end, as exact labels ask.

    Raises ModelError when thresholds cannot be dealt out to the map's columns.
    """

    def __init__(
        self,
        channels: int,
        grid: int,
        joints: int,
        discretisations: tuple[Discretisation, Discretisation, Discretisation],
        *,
        monotone: bool = False,
        learned: bool = False,
        below: bool = False,
    ) -> None:
        super().__init__()
        discs = Axes(*discretisations)
        for axis, disc in (("x", discs.x), ("y", discs.y)):
            if disc.k % grid:
                raise ModelError(f"Thresholds of {axis} must fill the map's {grid} cells evenly", got=disc.k)
        self.joints, self.grid, self.monotone = joints, grid, monotone
        self.below = _BELOW if below else None
        self.codec_x, self.codec_y, self.codec_z = (AxisCodec(d) for d in discs)
        self.conv_x: nn.Conv2d = PairConv(channels, joints * discs.x.k // grid)
        self.conv_y: nn.Conv2d = PairConv(channels, joints * discs.y.k // grid)
        self.conv_z: nn.Conv2d = PairConv(channels, joints * discs.z.k)
        self.weights_xy = nn.Conv2d(channels, 2 * joints, 1) if learned else None
        self.weights_z = nn.Conv2d(channels, joints, 1) if learned else None
        self._start(discs)

    def forward(self, maps: Maps) -> Prediction:
        """Decode both maps; in float32 whatever the maps' precision, since a half-precision sum moves in steps."""
        logits, weights = self.logits(maps.xy, maps.z), self.weights(maps.xy, maps.z)
        codecs = (self.codec_x, self.codec_y, self.codec_z)
        pairs = [codec(axis, some) for codec, axis, some in zip(codecs, logits, weights, strict=True)]
        points = torch.stack([mean for mean, _ in pairs], -1)
        sigma = torch.stack([spread for _, spread in pairs], -1)
        return Prediction(points, sigma, tuple(logits))

    def logits(self, xy: Float[Tensor, "b f h h"], z: Float[Tensor, "b f h h"]) -> Axes:
        """Log-odds per axis, float32 [B, A, positions, K]."""
        b, _, h, w = xy.shape
        x = self.conv_x(xy).view(b, -1, self.joints, h, w)  # b c a h w
        y = self.conv_y(xy).view(b, -1, self.joints, h, w)
        depth = self.conv_z(z).view(b, -1, self.joints, h * w)  # b k a p
        axes = Axes(
            x.permute(0, 2, 3, 4, 1).reshape(b, self.joints, h, -1).float(),
            y.permute(0, 2, 4, 3, 1).reshape(b, self.joints, w, -1).float(),
            depth.permute(0, 2, 3, 1).float(),
        )
        return Axes(*(survival_log_odds(axis, self.below) for axis in axes)) if self.monotone else axes

    def weights(self, xy: Float[Tensor, "b f h h"], z: Float[Tensor, "b f h h"]) -> Axes:
        """How much each position counts per axis, [B, A, positions], or None where all count the same."""
        if self.weights_xy is None or self.weights_z is None:
            return Axes(None, None, None)
        plane = self.weights_xy(xy).float().unflatten(1, (2, self.joints))  # b 2 a h w
        return Axes(
            plane[:, 0].mean(-1).softmax(-1),
            plane[:, 1].mean(-2).softmax(-1),
            self.weights_z(z).float().flatten(2).softmax(-1),
        )

    def outputs(self) -> list[nn.Module]:
        """Layers that answer: an optimizer of hidden matrices leaves them alone."""
        return [self]

    def fold(self) -> "OrdinalHead":
        """Turn each pair of channels into the one that it is worth, in place; the outputs stay the same."""
        for name in ("conv_x", "conv_y", "conv_z"):
            conv = getattr(self, name)
            if isinstance(conv, PairConv):  # not folded before
                setattr(self, name, conv.single())
        return self

    def _start(self, discs: Axes) -> None:
        convs, stripes = (self.conv_x, self.conv_y, self.conv_z), (self.grid, self.grid, 1)
        for conv, disc, width in zip(convs, discs, stripes, strict=True):
            if isinstance(conv, PairConv):
                conv.start(_prior(disc, width, self.monotone).repeat_interleave(self.joints))


def _prior(disc: Discretisation, stripes: int, monotone: bool) -> Float[Tensor, "c"]:
    """Log-odds of a Gaussian survival curve around the middle, for the channels of one stripe; or its distribution.

    A stripe's channels serve every column alike, so the bias of channel c is the mean over the stripes; the spread
    between the stripes is for the weights to learn.
    """
    points = torch.tensor(disc.thresholds, dtype=torch.float64)
    if monotone:
        mass = torch.special.ndtr((points - disc.extent / 2) / (PRIOR_SPREAD * disc.extent)).diff()
        return mass.log().view(stripes, -1).mean(0).float()
    middles = ((points[:-1] + points[1:]) / 2 - disc.extent / 2) / (PRIOR_SPREAD * disc.extent)
    survival = torch.special.ndtr(-middles)
    return torch.logit(survival).view(stripes, -1).mean(0).float()
