"""What a locator is taught: CenterNet's focal loss of the heatmap, and at hands what is known of them."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dor3d.data.rooms import RoomBatch
from dor3d.geometry.grid import CELL, MIDDLE_MM
from dor3d.model.locator import Sights

_BROAD: Final = 0.12  # of a hand's apparent size: the spread of its spot on the heatmap
_HAND_MM: Final = 180.0
_LEAST_CELLS: Final = 0.8  # a spot's spread
_NEAR_IT: Final = 0.05  # of a spot's height: near a hand of which nothing is asked
_AT_HAND: Final = 0.6  # cells that say where it is and how far
_OFFSET, _DEPTH = 0.1, 4.0  # weights beside the heatmap's loss


class LocatorLoss(NamedTuple):
    """The loss to minimise and its parts, unweighted."""

    total: Float[Tensor, ""]
    heat: Float[Tensor, ""]
    offset: Float[Tensor, ""]
    depth: Float[Tensor, ""]


def locator_loss(said: Sights, batch: RoomBatch) -> LocatorLoss:
    """The loss of a batch: each part a mean over its hands, the heatmap's over hands as in CenterNet."""
    spots, apart = _spots(said, batch)
    asked, unasked = (of[:, :, None, None] for of in (batch.asked, batch.there & ~batch.asked))
    truth = (spots * asked).amax(1)
    ignored = (unasked & (spots > _NEAR_IT)).any(1)
    count = batch.asked.sum().clamp(min=1)
    heat = (_focal(said.heat, truth) * ~ignored).sum() / count
    # cells near a hand's middle, of two hands the nearer one's, say what is known of it; each hand counts the same
    at = asked & (spots > _AT_HAND) & (spots == truth[:, None])
    each = at / at.sum((2, 3), keepdim=True).clamp(min=1)
    offset = F.smooth_l1_loss(said.offset[:, None].expand_as(apart), apart, reduction="none").sum(2)
    far = (batch.hands[:, :, 2].clamp(min=1.0) / MIDDLE_MM).log()
    depth = F.smooth_l1_loss(
        said.depth[:, None].expand_as(spots), far[:, :, None, None].expand_as(spots), reduction="none", beta=0.05
    )
    offset, depth = ((part * each).sum() / count for part in (offset, depth))
    return LocatorLoss(heat + _OFFSET * offset + _DEPTH * depth, heat, offset, depth)


def at_hands(said: Sights, batch: RoomBatch) -> Float[Tensor, ""]:
    """The mean distance (mm) between hands that are asked for and what the cells of their middles say of them."""
    spots, apart = _spots(said, batch)
    cell = spots.flatten(2).argmax(2)[:, :, None]  # of each hand
    off = torch.stack(
        [(said.offset[:, None, i] - apart[:, :, i]).flatten(2).gather(2, cell)[..., 0] for i in (0, 1)], 2
    )
    z = batch.hands[:, :, 2].clamp(min=1.0)
    told = MIDDLE_MM * said.depth[:, None].expand_as(spots).flatten(2).gather(2, cell)[..., 0].exp()
    plane = off * (z * batch.pitch[:, None])[..., None]
    error = torch.cat([plane, (told - z)[..., None]], 2).norm(dim=2)
    return (error * batch.asked).sum() / batch.asked.sum().clamp(min=1)


def _spots(said: Sights, batch: RoomBatch) -> tuple[Float[Tensor, "b n h w"], Float[Tensor, "b n 2 h w"]]:
    """A spot about each hand's middle, 1 at its own cell; and how far every cell's middle is from it (grid cells)."""
    height, width = said.heat.shape[1:]
    device = said.heat.device
    x, y = (torch.arange(n, device=device) * CELL + (CELL - 1) / 2 for n in (width, height))
    to_x = batch.hands[:, :, 0, None, None] - x[None, None, None, :]
    to_y = batch.hands[:, :, 1, None, None] - y[None, None, :, None]
    apart = torch.stack(torch.broadcast_tensors(to_x, to_y), 2)
    size = _HAND_MM / (batch.hands[:, :, 2].clamp(min=1.0) * batch.pitch[:, None])  # grid cells
    spread = (_BROAD * size).clamp(min=_LEAST_CELLS * CELL)[:, :, None, None]
    square = apart.square().sum(2)
    least = square.amin((2, 3), keepdim=True)
    return torch.exp(-(square - least) / (2 * spread**2)), apart


def _focal(logits: Float[Tensor, "b h w"], truth: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """CenterNet's penalty-reduced focal loss of each cell."""
    p = logits.sigmoid()
    hit = -F.logsigmoid(logits) * (1 - p).square()
    miss = -F.logsigmoid(-logits) * p.square() * (1 - truth).pow(4)
    return torch.where(truth > 0.999, hit, miss)
