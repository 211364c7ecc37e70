"""Rendered rooms without end, on the coarse grid, with where hands are in them: what a locator learns from."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from dor3d.data.synthetic import generator
from dor3d.geometry.crop import center_of_joints
from dor3d.geometry.grid import COARSE, Grid, coarse_grid
from dor3d.hand.room import Room, RoomConfig, draw_room
from dor3d.hand.scene import image_size, read_sensor

LEAST_SEEN: Final = 5  # joints in sight of a hand that has to be found (half are hidden by the hand itself)
MOST_HANDS: Final = 4


class RoomSample(NamedTuple):
    """A frame on the coarse grid.

    Attributes:
        depth: readings (mm, 0: none), padded with none to the largest grid.
        grid: which pixels they are.
        room: what is there.
    """

    depth: Float[ndarray, "y x"]
    grid: Grid
    room: Room


class RoomBatch(NamedTuple):
    """Frames and the hands in them.

    Attributes:
        depth, pitch: a locator's inputs.
        hands: middles as (column, row of the grid, distance in mm), [B, MOST_HANDS, 3].
        asked: which of them there are; nothing is asked near one that is there and not asked for.
        there: which of them are there at all.
    """

    depth: Float[Tensor, "b 1 y x"]
    pitch: Float[Tensor, "b"]
    hands: Float[Tensor, "b n 3"]
    asked: Bool[Tensor, "b n"]
    there: Bool[Tensor, "b n"]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.depth)

    def on(self, device: torch.device) -> "RoomBatch":
        """The batch on the device that trains."""
        return RoomBatch(*(t.to(device, non_blocking=True) for t in self))

    def tensors(self) -> dict[str, Tensor]:
        """All, by their names."""
        return self._asdict()

    def chunk(self, parts: int) -> "list[RoomBatch]":
        """The batch in parts of nearly one size."""
        return [RoomBatch(*some) for some in zip(*(t.chunk(parts) for t in self), strict=True)]


class Rooms:
    """A map-style data set without end; sample i of a seed is always the same."""

    length: int | None = None

    def __init__(self, config: RoomConfig, seed: int) -> None:
        self.config, self.seed = config, seed

    def sample(self, index: int) -> RoomSample:
        """One frame."""
        rng = generator(self.seed, index)
        room = draw_room(rng, self.config)
        camera = room.scene.camera
        grid = coarse_grid(camera, *image_size(camera))
        depth = np.zeros(COARSE[::-1], np.float32)
        readings = read_sensor(room.scene, grid.columns, grid.rows, rng)
        depth[: len(grid.rows), : len(grid.columns)] = readings
        return RoomSample(depth, grid, room)

    def batch(self, epoch: int, indices: Sequence[int]) -> RoomBatch:
        """Some frames; the epoch is always the first, since there is no end."""
        del epoch
        return stack_rooms([self.sample(i) for i in indices])


def stack_rooms(samples: Sequence[RoomSample]) -> RoomBatch:
    """Frames as a batch."""
    count = len(samples)
    hands = np.zeros((count, MOST_HANDS, 3), np.float32)
    asked, there = (np.zeros((count, MOST_HANDS), bool) for _ in range(2))
    for i, sample in enumerate(samples):
        for k, hand in enumerate(sample.room.hands[:MOST_HANDS]):
            middle = center_of_joints(hand.joints_mm)
            hands[i, k] = (*sample.grid.camera.project(middle), middle[2])
            there[i, k], asked[i, k] = hand.seen > 0, hand.seen >= LEAST_SEEN
    depth = np.stack([sample.depth for sample in samples])[:, None]
    pitch = np.array([1 / sample.grid.camera.fx for sample in samples], np.float32)
    return RoomBatch(*(torch.from_numpy(a) for a in (depth, pitch, hands, asked, there)))
