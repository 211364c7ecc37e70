"""The losses of an ordinal network.

Source: DOR3D-Net, section 3.3: L = lambda_1 * joint loss + lambda_2 * DOR loss, with 3 and 2. The DOR loss (Eq. 4, 5)
is the binary cross entropy of every threshold, summed over thresholds; we read its 1 / (H A) as a mean over a map's
positions and over joints. The two weights are options. Two more for the joint loss (smooth L1 of px, px and mm):

- `paper` sums it over the joints, as written: its gradient then outweighs the ordinal one about 30 to 1;
- `balanced` takes its mean over the joints.

`metric` is ours, for heads that are taught no thresholds (and for any other): smooth L1 in mm along all three axes,
turning at 5 mm, a mean over the joints, with the ordinal loss as in `balanced` where there are thresholds.

Two more teach what other heads say all over their maps; their weights are 0 unless given:

- `dense`, of heads with votes, asks every place that has a say for the joint itself, as JGR-P2O's offset loss does
  (Fang et al., ECCV 2020): smooth L1 of px, px and mm, a mean over places and joints. Of heatmaps, it is the cross
  entropy to a Gaussian about the joint, one cell wide (Xiao et al., ECCV 2018, take squares of unnormalised ones).
- `anchor`, of heads with votes, draws the weights towards places near the joint, as A2J's loss of anchors does (Xiong
  et al., ICCV 2019): smooth L1 of the weighted mean of the places themselves, px and px, a mean over joints.

`kind`, of networks that tell what a crop shows (ours), is the cross entropy of hand or none, and of right or left where
there is a hand. Crops without a right hand teach nothing else: a left one is mirrored before its joints are looked for.

`error`, of networks that tell how far off they are (ours), is the negative log-likelihood of their coordinates' errors
under Laplace distributions of the sizes that they tell. It teaches nothing else: neither joints nor maps feel it.

`bone` (after RTMW3D, Jiang et al., 2024) is the mean difference of bone lengths in mm, for the 21 joints alone; its
weight is 0 unless given.

All are means over the batch. Targets outside the crop are clamped to it for heads that cannot say what lies there.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from dor3d.data.batch import KINDS, right_hands
from dor3d.errors import InputError
from dor3d.model.prediction import Heat, LocalCurves, Prediction, Votes
from dor3d.ordinal import Constants, Discretisation, Labels, encode
from dor3d.skeleton import BONES

LossName = Literal["paper", "balanced", "metric"]
_METRIC_TURN_MM: Final = 5.0
_LEAST_LENGTH: Final = 1e-4  # mm squared: a root has a slope everywhere
_LEAST_SHARE: Final = 1e-4  # of an interval: labels nearer to 0 or 1 have no slope


class Weights(NamedTuple):
    """Of the parts; the first two are the paper's. (3, 0) trains without the DOR loss (Table 6)."""

    joint: float = 3.0
    ordinal: float = 2.0
    dense: float = 0.0
    anchor: float = 0.0
    kind: float = 5.0
    error: float = 1.0
    bone: float = 0.0


class LossParts(NamedTuple):
    """The loss to minimise and its parts, unweighted, to log."""

    total: Float[Tensor, ""]
    joint: Float[Tensor, ""]
    ordinal: Float[Tensor, ""]
    dense: Float[Tensor, ""]
    anchor: Float[Tensor, ""]
    kind: Float[Tensor, ""]
    error: Float[Tensor, ""]
    bone: Float[Tensor, ""]


def hand_loss(
    prediction: Prediction,
    target: Float[Tensor, "b a 3"],
    discretisations: Sequence[Discretisation],
    *,
    kind: LossName = "balanced",
    labels: Labels = "exact",
    mm_per_pixel: float = 1.0,
    weights: Weights = Weights(),  # noqa: B008 (a tuple)
    shown: Int[Tensor, "b"] | None = None,
    right: Int[Tensor, "r"] | None = None,
) -> LossParts:
    """The loss of a batch.

    Args:
        prediction: with logits, [B, A, positions, K] per axis; without any, the ordinal loss is 0.
        target: true crop points (px, px, mm).
        discretisations: of x, y and z.
        mm_per_pixel: of the crop, for `metric`.
        weights: of the parts.
        shown: what each crop shows, as an index into `dor3d.data.batch.KINDS`; none given: right hands alone.
        right: indices of the crops of right hands, as `shown` has it; looked for where they are not given.

    Raises InputError for another `kind`.
    """
    if kind not in get_args(LossName):
        raise InputError("Unknown loss", got=kind, expected=" or ".join(get_args(LossName)))
    told = target.new_zeros(()) if prediction.kind is None else kind_loss(prediction.kind, shown)
    share = 1.0
    if shown is not None:
        right = right_hands(shown) if right is None else right
        share, target, prediction = len(right) / len(shown), target[right], prediction.of(right)
        if not len(right):
            none = told * 0
            return LossParts(weights.kind * told, none, none, none, none, told, none, none)
    if prediction.votes is None and prediction.local is None:
        target = clamp_to_crop(target, discretisations)
    scale = constant([mm_per_pixel, mm_per_pixel, 1.0], target)
    if kind == "metric":
        joint = joint_loss(prediction.points * scale, target * scale, "mean", _METRIC_TURN_MM)
    else:
        joint = joint_loss(prediction.points, target, "sum" if kind == "paper" else "mean")
    ordinal = dense = anchor = error = bone = target.new_zeros(())
    if prediction.error is not None:
        error = error_loss(prediction.error, prediction.points, target)
    if prediction.logits:
        ordinal = ordinal_loss(prediction.logits, target, discretisations, labels)
    if prediction.local is not None and weights.ordinal:
        ordinal = local_loss(prediction.local, target, labels)
    if prediction.votes is not None and weights.dense:
        dense = dense_loss(prediction.votes, target)
    if prediction.heat is not None and weights.dense:
        dense = heat_loss(prediction.heat, target)
    if prediction.votes is not None and weights.anchor:
        anchor = anchor_loss(prediction.votes, target)
    if weights.bone:
        bone = bone_loss(prediction.points * scale, target * scale)
    total = weights.joint * joint + weights.ordinal * ordinal + weights.dense * dense + weights.anchor * anchor
    total = total + weights.error * error + weights.bone * bone
    return LossParts(share * total + weights.kind * told, joint, ordinal, dense, anchor, told, error, bone)


def error_loss(
    size: Float[Tensor, "b a 3"], points: Float[Tensor, "b a 3"], target: Float[Tensor, "b a 3"]
) -> Float[Tensor, ""]:
    """|e| / b + log b for errors e, which it does not change, and what was said of them, b: a mean over coordinates."""
    apart = (points.detach().float() - target.float()).abs()
    return (apart / size + size.log()).mean()


def bone_loss(points_mm: Float[Tensor, "b a 3"], target_mm: Float[Tensor, "b a 3"]) -> Float[Tensor, ""]:
    """Mean absolute difference of bone lengths (mm), over the bones of the 21 joints and the batch."""
    parents, children = (list(ends) for ends in zip(*BONES, strict=True))
    lengths = [(of[:, children] - of[:, parents]).float().square().sum(-1) for of in (points_mm, target_mm)]
    predicted, true = ((squared + _LEAST_LENGTH).sqrt() for squared in lengths)
    return (predicted - true).abs().mean()


def kind_loss(kind: Float[Tensor, "b 2"], shown: Int[Tensor, "b"] | None) -> Float[Tensor, ""]:
    """Cross entropy of hand or none, a mean over the batch, and of right or left, over hands; both means added."""
    if shown is None:
        shown = kind.new_full((len(kind),), KINDS.index("right"), dtype=torch.long)
    hand = (shown != KINDS.index("none")).float()
    right = (shown == KINDS.index("right")).float()
    is_hand = F.binary_cross_entropy_with_logits(kind[:, 0], hand)
    side = F.binary_cross_entropy_with_logits(kind[:, 1], right, weight=hand, reduction="sum")
    return is_hand + side / len(kind)


def clamp_to_crop(target: Float[Tensor, "b a 3"], discretisations: Sequence[Discretisation]) -> Float[Tensor, "b a 3"]:
    """Crop points moved onto the nearest point of the crop."""
    limits = constant([d.extent for d in discretisations], target)
    return target.clamp(min=0).minimum(limits)


def constant(values: Sequence[float], like: Tensor) -> Tensor:
    """Return values as a tensor of another's type on its device, without making the processor wait for a GPU."""
    return like.new_tensor(values, device="cpu").to(like.device, non_blocking=True)


def joint_loss(
    points: Float[Tensor, "b a c"],
    target: Float[Tensor, "b a c"],
    over_joints: Literal["sum", "mean"],
    turn: float = 1.0,
) -> Float[Tensor, ""]:
    """Smooth L1 (square below `turn`): a sum over coordinates, a sum or mean over joints, a mean over the batch."""
    each = F.smooth_l1_loss(points.float(), target.float(), reduction="none", beta=turn).sum(-1)
    return (each.sum(-1) if over_joints == "sum" else each.mean(-1)).mean()


def dense_loss(votes: Votes, target: Float[Tensor, "b a 3"]) -> Float[Tensor, ""]:
    """Smooth L1 of what each place says: a sum over coordinates, a mean over places that have a say, joints, batch."""
    said = torch.cat([votes.plane, votes.depth], 1).float()
    wanted = target.float().transpose(1, 2)[..., None].expand_as(said)
    each = F.smooth_l1_loss(said, wanted, reduction="none").sum(1).mean(1)  # [batch, places]
    if votes.seen is None:
        return each.mean()
    return ((each * votes.seen).sum(-1) / votes.seen.sum(-1).clamp(min=1)).mean()


def heat_loss(heat: Heat, target: Float[Tensor, "b a 3"]) -> Float[Tensor, ""]:
    """Cross entropy of heatmaps to Gaussians about the joints, one cell wide: a mean over joints and batch."""
    apart = (target[..., :2, None].float() - heat.places).square().sum(2)  # [batch, joints, cells]
    wanted = (apart / (-2 * heat.cell**2)).softmax(-1)
    return -(wanted * heat.log_prob).sum(-1).mean()


def anchor_loss(votes: Votes, target: Float[Tensor, "b a 3"]) -> Float[Tensor, ""]:
    """Smooth L1 of the weighted mean of the places: a sum over px and px, a mean over joints and batch."""
    if votes.places is None:
        raise InputError("These votes do not say where they are cast", fix="Train without the anchors' loss.")
    middle = (votes.plane_weights * votes.places[:, None]).sum(-1).transpose(1, 2)
    return joint_loss(middle, target[..., :2], "mean")


def ordinal_loss(
    logits: Sequence[Float[Tensor, "b a _p _k"]],
    target: Float[Tensor, "b a 3"],
    discretisations: Sequence[Discretisation],
    labels: Labels,
) -> Float[Tensor, ""]:
    """The DOR loss: Eq. 4 for each axis, added (Eq. 5)."""
    terms = [
        axis_loss(axis, encode(target[..., i].float(), disc, labels))
        for i, (axis, disc) in enumerate(zip(logits, discretisations, strict=True))
    ]
    return torch.stack(terms).sum()


def local_loss(curves: LocalCurves, target: Float[Tensor, "b a 3"], labels: Labels) -> Float[Tensor, ""]:
    """The DOR loss of curves relative to positions: Eq. 4 with labels that are relative too, the axes added.

    Args:
        curves: of the local ordinal head.
        target: true crop points (px, px, mm).
        labels: `exact` or `hard`.

    Returns:
        Cross entropy summed over thresholds, a (weighted) mean over positions, a mean over joints and batch. Where
        curves move their positions, less the labels' own entropy, which then depends on the positions. The curves'
        own `curve_loss` takes the cross entropy's place.
    """
    terms = []
    axes = zip(curves.log_odds, curves.origins, curves.weights, curves.codecs, strict=True)
    for i, (log_odds, origin, weights, codec) in enumerate(axes):
        relative = target[:, :, None, i].float() - (origin if curves.moving else origin.detach())
        prob = encode(relative + codec.extent / 2, codec, labels)
        if curves.logits:
            log_mass = F.pad(curves.logits[i].float(), (1, 0)).log_softmax(-1)
            scales = None if curves.scales is None else curves.scales[i]
            summed = _distribution_loss(log_mass, prob, relative + codec.extent / 2, codec, scales)
        else:
            summed = _curve_loss(log_odds, prob, moving=curves.moving)
        terms.append((summed.mean(-1) if weights is None else (weights * summed).sum(-1)).mean())
    return torch.stack(terms).sum()


def _curve_loss(
    log_odds: Float[Tensor, "b a p k"], prob: Float[Tensor, "b a p k"], *, moving: bool
) -> Float[Tensor, "b a p"]:
    each = F.softplus(log_odds) - prob * log_odds
    if moving:
        inside = prob.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        each = each - torch.special.entr(inside) - torch.special.entr(1 - inside)
    return each.sum(-1)


def _distribution_loss(
    log_mass: Float[Tensor, "b a p k1"],
    prob: Float[Tensor, "b a p k"],
    coordinate: Float[Tensor, "b a p"],
    codec: Constants,
    scales: Float[Tensor, "a"] | None,
) -> Float[Tensor, "b a p"]:
    """Rivals of the DOR loss, for curves that are distributions over the K + 1 thresholds t_0 ... t_K.

    With scales the negative log-likelihood of a mixture of Laplace distributions about the thresholds; without, the
    cross entropy to the two thresholds beside the coordinate, each as much as it is near.
    """
    if scales is None:
        # exact labels fall from 1 to 0 within one interval: their differences are the shares of its two ends
        ends = F.pad(F.pad(prob, (1, 0), value=1.0), (0, 1))
        return (ends.diff(dim=-1) * log_mass).sum(-1)
    starts = codec.starts
    points = torch.cat([starts, starts.new_full((1,), codec.extent)])
    size = scales[:, None, None]
    apart = (coordinate[..., None] - points).abs() / size
    return -(log_mass - apart - (2 * size).log()).logsumexp(-1)


def axis_loss(logits: Float[Tensor, "b a p k"], prob: Float[Tensor, "b a k"]) -> Float[Tensor, ""]:
    """Binary cross entropy from logits: summed over thresholds, mean over positions, joints and batch."""
    logits = logits.float()
    # log-odds l and label t: softplus(l) - t * l. The labels are equal at all positions, so the mean goes first.
    each = F.softplus(logits).mean(2) - prob * logits.mean(2)
    return each.sum(-1).mean()
