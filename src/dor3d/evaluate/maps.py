"""What a network says of a joint all over its map, beside what an ideal one would: Figure 1 of DOR3D-Net.

An offset head says at each place how far the joint lies away; ideally that falls evenly along the scan line and is the
same on all lines. An ordinal head says at each threshold how likely the joint lies beyond it: ideally a step.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.optimize import isotonic_regression
from torch import Tensor

from dor3d.errors import InputError
from dor3d.model.heads.local_ordinal import LocalOrdinalHead
from dor3d.model.heads.offset import OffsetHead
from dor3d.model.heads.pixel_offset import PixelOffsetHead
from dor3d.model.network import HandNet
from dor3d.ordinal import encode

_SHORTEST: Final = 4  # places on a scan line that can be out of order


class JointMaps(NamedTuple):
    """Maps of every joint for one crop; x falls along columns, y along rows.

    Attributes:
        x, y: what the network says, offsets in px or probabilities, [A, rows, columns].
        ideal_x, ideal_y: what it should say.
        seen: places that have a say; None: all.
        probability: whether they are probabilities.
    """

    x: Float[ndarray, "a h w"]
    y: Float[ndarray, "a i j"]
    ideal_x: Float[ndarray, "a h w"]
    ideal_y: Float[ndarray, "a i j"]
    seen: Bool[ndarray, "h w"] | None
    probability: bool


@torch.no_grad()
def joint_maps(net: HandNet, crop: Float[ndarray, "s s"], true_points: Float[ndarray, "a 3"]) -> JointMaps:
    """A network's maps for one crop. Raises InputError for a head that has neither offsets nor thresholds.

    Args:
        net: in eval mode.
        crop: its input.
        true_points: the joints as crop points (px, px, mm).
    """
    image = torch.from_numpy(crop)[None, None]
    maps = net.maps(image)
    if isinstance(net.head, OffsetHead):
        return _offsets(net.head.places, net.head.votes(maps.xy, maps.z).plane[0], true_points, None)
    if isinstance(net.head, LocalOrdinalHead):
        return _offsets(net.head.positions, net.head.cell_answers(maps)[0], true_points, None)
    if isinstance(net.head, PixelOffsetHead):
        seen = (-torch.nn.functional.max_pool2d(-image, image.shape[-1] // _side(net.head.offsets.places)) < 1)[0, 0]
        return _offsets(net.head.offsets.places, net.head.votes(maps).plane[0], true_points, seen.numpy())
    logits = net.head(maps).logits
    if not logits:
        raise InputError(f"Head {net.config.head} has neither offsets nor thresholds to show", expected="another head")
    discs = net.config.discretisations()
    x, y = logits[0][0].sigmoid().numpy(), logits[1][0].sigmoid().numpy()
    ideal = [encode(true_points[:, i], discs[i], "hard")[:, None] for i in (0, 1)]
    return JointMaps(
        x,
        y.swapaxes(1, 2),
        np.broadcast_to(ideal[0], x.shape),
        np.broadcast_to(ideal[1], y.shape).swapaxes(1, 2),
        None,
        probability=True,
    )


def _side(places: Tensor) -> int:
    return round(places.shape[1] ** 0.5)


def _offsets(anchors: Tensor, answers: Tensor, true_points: ndarray, seen: ndarray | None) -> JointMaps:
    """Answers [2, A, anchors] (px) as offsets from where their anchors lie, row by row."""
    places = anchors.numpy()
    order, side = np.lexsort(places), _side(anchors)  # by y, then by x
    places = places[:, order].reshape(2, 1, side, side)
    said = answers.numpy()[:, :, order].reshape(2, -1, side, side)
    x, y = said - places
    ideal_x, ideal_y = true_points[:, :2].T[:, :, None, None] - places
    return JointMaps(x, y, ideal_x, ideal_y, seen, probability=False)


def departure(maps: JointMaps) -> Float[ndarray, "a"]:
    """How far each joint's maps depart from falling along their scan lines, in per cent of what an ideal line falls by.

    The mean distance between a line and the nearest one that never rises (isotonic regression), over lines of both
    maps: 0 for a map without noise, whatever else is wrong with it.
    """
    return _share_of_reach(maps, _rise)


def disagreement(maps: JointMaps) -> Float[ndarray, "a"]:
    """How far each joint's scan lines are from saying the same, in per cent of what an ideal line falls by.

    The mean distance from what all lines say at the same place: 0 for maps whose lines are equal, noisy or not.
    """
    return _share_of_reach(maps, _apart)


def _share_of_reach(
    maps: JointMaps, measure: Callable[[Float[ndarray, "n k"], Bool[ndarray, "n k"] | None], float]
) -> Float[ndarray, "a"]:
    """A measure of each joint's scan lines, the mean of both maps, in per cent of what an ideal line falls by."""
    columns = zip(maps.x, maps.y.swapaxes(1, 2), strict=True)
    masks = (None, None) if maps.seen is None else (maps.seen, maps.seen.T)
    reach = [1.0, 1.0] if maps.probability else [float(np.ptp(ideal[0])) for ideal in (maps.ideal_x, maps.ideal_y)]
    return np.array(
        [100 * np.mean([measure(m, k) / r for m, k, r in zip(pair, masks, reach, strict=True)]) for pair in columns]
    )


def _apart(lines: Float[ndarray, "n k"], seen: Bool[ndarray, "n k"] | None) -> float:
    """Mean distance of lines from their mean."""
    said = np.ma.array(lines, mask=False if seen is None else ~seen)
    return float(np.ma.filled(np.abs(said - said.mean(0)).mean(), 0.0))


def _rise(lines: Float[ndarray, "n k"], seen: Bool[ndarray, "n k"] | None) -> float:
    """Mean distance of lines from their nearest falling ones."""
    some = lines if seen is None else [line[mask] for line, mask in zip(lines, seen, strict=True)]
    long = [line for line in some if len(line) >= _SHORTEST]
    apart = [np.abs(line - _falling(line)).mean() for line in long]
    return float(np.mean(apart)) if apart else 0.0


def _falling(line: Float[ndarray, "k"]) -> Float[ndarray, "k"]:
    """The nearest line that never rises."""
    return isotonic_regression(line, increasing=False).x
