"""What every head takes and returns."""

from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Maps(NamedTuple):
    """What a head reads of a batch of crops.

    Attributes:
        xy, z: feature maps for the coordinates in the plane and for the depth; the same one where there is but one.
        crop: the network's input, for heads that look at the pixels again.
    """

    xy: Float[Tensor, "b f h h"]
    z: Float[Tensor, "b f h h"]
    crop: Float[Tensor, "b 1 s s"]


class Votes(NamedTuple):
    """What the places of a map say of every joint.

    Attributes:
        plane_weights, depth_weights: how much each place counts, a softmax over all of them, [B, 1, A, places].
        plane: where it says that the joint is (px), [B, 2, A, places].
        depth: how deep (mm), [B, 1, A, places].
        seen: places that have a say, [B, places]; None: all.
        places: where they are (px), [2, places].
    """

    plane_weights: Float[Tensor, "b 1 a n"]
    plane: Float[Tensor, "b 2 a n"]
    depth_weights: Float[Tensor, "b 1 a n"]
    depth: Float[Tensor, "b 1 a n"]
    seen: Bool[Tensor, "b n"] | None = None
    places: Float[Tensor, "2 n"] | None = None

    def of(self, rows: Int[Tensor, "m"]) -> "Votes":
        """Those of some crops alone."""
        return Votes(
            self.plane_weights[rows],
            self.plane[rows],
            self.depth_weights[rows],
            self.depth[rows],
            None if self.seen is None else self.seen[rows],
            self.places,
        )


class Heat(NamedTuple):
    """Heatmaps.

    Attributes:
        log_prob: of each joint's cell, [B, A, cells].
        places: the cells' middles (px), [2, cells].
        cell: a cell's side (px).
    """

    log_prob: Float[Tensor, "b a n"]
    places: Float[Tensor, "2 n"]
    cell: float


class LocalCurves(NamedTuple):
    """Ordinal curves over where joints lie relative to positions; each field but the last for the axes x, y and z.

    Attributes:
        log_odds: that joint a lies more than t_k beyond position p, [B, A, positions, K].
        origins: the positions (px, px, mm), [B or 1, A or 1, positions]; threshold k lies at origin + t_k - extent / 2.
        weights: how much each position is taught, [B, A, positions]; None: all the same.
        codecs: constants of the discretisations.
        moving: whether what teaches the curves moves the positions too.
        logits: of monotone curves that another loss than the ordinal one teaches: those of their intervals, beside a
            logit of 0 for what lies below the first, [B, A, positions, K].
        scales: of Laplace distributions about the thresholds (px, px, mm), [3, A]; of the `mixture` loss alone.
    """

    log_odds: tuple[Float[Tensor, "b a p _k"], ...]
    origins: tuple[Float[Tensor, "_b _a p"], ...]
    weights: tuple[Float[Tensor, "b a p"] | None, ...]
    codecs: tuple[Any, ...]
    moving: bool = False
    logits: tuple[Float[Tensor, "b a p _k"], ...] = ()
    scales: Float[Tensor, "3 a"] | None = None

    def of(self, rows: Int[Tensor, "m"]) -> "LocalCurves":
        """Those of some crops alone."""
        return self._replace(
            log_odds=tuple(axis[rows] for axis in self.log_odds),
            origins=tuple(axis if len(axis) == 1 else axis[rows] for axis in self.origins),
            weights=tuple(None if axis is None else axis[rows] for axis in self.weights),
            logits=tuple(axis[rows] for axis in self.logits),
        )


class Prediction(NamedTuple):
    """Joints of a batch of crops.

    Attributes:
        points: crop points (p px, q px, r mm).
        sigma: standard deviation of each coordinate, in the same units.
        logits: what an ordinal loss supervises, per axis (x, y, z): the log-odds that joint a lies beyond threshold k,
            seen from each position of the axis' map; empty for heads that have none.
        votes: of heads that take means of what all places say.
        heat: of heads that say where each joint is likely to be.
        kind: log-odds that the crop is centred on a hand, and that a hand in it is a right one, [B, 2]; of networks
            that tell (`ModelConfig.kinds`).
        error: mean absolute error of each coordinate that is expected, in the same units; of networks that tell
            (`ModelConfig.errors`), whose sigma follows from it.
        local: curves relative to positions, of heads that have them.
    """

    points: Float[Tensor, "b a 3"]
    sigma: Float[Tensor, "b a 3"]
    logits: tuple[Float[Tensor, "b a _p _k"], ...] = ()
    votes: Votes | None = None
    heat: Heat | None = None
    kind: Float[Tensor, "b 2"] | None = None
    error: Float[Tensor, "b a 3"] | None = None
    local: LocalCurves | None = None

    def of(self, rows: Int[Tensor, "n"]) -> "Prediction":
        """That of some crops alone."""
        votes, heat = self.votes, self.heat
        return Prediction(
            self.points[rows],
            self.sigma[rows],
            tuple(axis[rows] for axis in self.logits),
            None if votes is None else votes.of(rows),
            None if heat is None else heat._replace(log_prob=heat.log_prob[rows]),
            None if self.kind is None else self.kind[rows],
            None if self.error is None else self.error[rows],
            None if self.local is None else self.local.of(rows),
        )
