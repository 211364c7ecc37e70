"""Training crops from a cache of windows: changed and looked up on the device that trains.

A worker reads windows and draws how each crop is changed; one gather on the device then finds the pixel of every crop
pixel, as `CropBox` would in the whole frame, bit for bit.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int16
from numba import njit
from numpy import ndarray
from torch import Tensor

from dor3d.data.augment import FAR, Augmentation, change_box, generator, lost_pixels
from dor3d.data.batch import Batch
from dor3d.data.cache import Cache, Windows
from dor3d.errors import InputError
from dor3d.geometry import CropBox
from dor3d.skeleton import JOINTS


class WindowBatch(NamedTuple):
    """Windows one after the other, and how crops lie in them.

    Attributes:
        counts: all pixels (16-bit counts, whatever the sign that torch gives them).
        windows: [B, 5] start in `counts`, left, top, width, height.
        lookup: [B, 6] `CropBox.lookup_steps`.
        depth: [B, 3] mm a count, the depth of the cube's centre (mm), and what a mm is in the network's input.
        lost: [B, S, S] pixels that were erased or dropped.
        points: true crop points (px, px, mm).
    """

    counts: Int16[Tensor, "n"]
    windows: Int[Tensor, "b 5"]
    lookup: Float[Tensor, "b 6"]
    depth: Float[Tensor, "b 3"]
    lost: Bool[Tensor, "b s s"]
    points: Float[Tensor, "b a 3"]

    def on(self, device: torch.device) -> Batch:
        """The crops, looked up on the device that trains."""
        moved = WindowBatch(*(tensor.to(device, non_blocking=True) for tensor in self))
        return Batch(moved.crops(), moved.points)

    def crops(self) -> Float[Tensor, "b 1 s s"]:
        """The normalised crops, each pixel from the nearest one of its window."""
        if self.counts.device.type != "cpu":
            return self.gathered()
        crops = np.empty(self.lost.shape, np.float32)
        counts, windows, lookup, depth, lost = (tensor.numpy() for tensor in self[:5])
        _look_up(counts.view(np.uint16), windows, lookup, depth, lost, crops)
        return torch.from_numpy(crops)[:, None]

    def gathered(self) -> Float[Tensor, "b 1 s s"]:
        """The same by whole tensors, as a GPU likes it; on a CPU it takes five times as long."""
        size = self.lost.shape[-1]
        steps = torch.arange(0.5 - size / 2, size / 2, dtype=torch.float64, device=self.lookup.device)
        u, v, up, uq, vp, vq = (values[:, None, None] for values in self.lookup.T)
        start, left, top, width, height = (values[:, None, None] for values in self.windows.T)
        columns = torch.floor((u + up * steps) + uq * steps[:, None]).long() - left
        rows = torch.floor((v + vp * steps) + vq * steps[:, None]).long() - top
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        places = torch.where(inside, start + rows * width + columns, 0)
        counts = self.counts[places].int() & 0xFFFF
        crop = _normalised(counts * inside, *self.depth.T)
        return crop.masked_fill_(self.lost, FAR)[:, None]


def _normalised(
    counts: Int[Tensor, "b s s"], unit: Float[Tensor, "b"], middle: Float[Tensor, "b"], scale: Float[Tensor, "b"]
) -> Float[Tensor, "b s s"]:
    """As `CropBox.normalise`, in the same order of float32 operations."""
    mm = counts.float() * unit[:, None, None]
    scaled = (mm - middle[:, None, None]) * scale[:, None, None]
    return torch.where(mm > 0, scaled, 1.0).clamp_(-1, 1)


@njit(cache=True, nogil=True)
def _look_up(counts: ndarray, windows: ndarray, lookup: ndarray, depth: ndarray, lost: ndarray, crops: ndarray) -> None:
    """Fill `crops` pixel by pixel: the arrays are those of `WindowBatch`."""
    size = crops.shape[1]
    for n in range(len(crops)):
        start, left, top, width, height = windows[n]
        u, v, up, uq, vp, vq = lookup[n]
        unit, middle, scale = depth[n]
        for i in range(size):
            q = i + 0.5 - size / 2
            for j in range(size):
                p = j + 0.5 - size / 2
                column = math.floor((u + up * p) + uq * q) - left
                row = math.floor((v + vp * p) + vq * q) - top
                value = np.float32(FAR)
                if 0 <= column < width and 0 <= row < height and not lost[n, i, j]:
                    mm = np.float32(counts[start + row * width + column]) * unit
                    if mm > 0:
                        value = min(max((mm - middle) * scale, np.float32(-1)), np.float32(1))
                crops[n, i, j] = value


class CachedHands:
    """Crops of a cache's windows.

    Args:
        cache: the windows.
        size: side S of the crops in pixels.
        cube_mm: in-plane side and depth of their cubes.
        how: how they are changed.
        seed: with an epoch and a window's number it decides how that crop is changed.
        names: joints that are learnt, in this order; all by default.
        indices: which windows; all by default.

    Raises InputError for crops that the cache has no room for, or joints that it has not.
    """

    start_method = "spawn"  # of worker processes: Lance runs threads, which a forked process would miss

    def __init__(
        self,
        cache: Cache,
        size: int,
        cube_mm: tuple[float, float],
        how: Augmentation,
        seed: int,
        *,
        names: Sequence[str] = (),
        indices: Sequence[int] | None = None,
    ) -> None:
        _check_room(cache, cube_mm, how)
        self.cache, self.size, self.cube_mm, self.how, self.seed = cache, size, cube_mm, how, seed
        self.indices = range(len(cache)) if indices is None else indices
        self.length: int | None = len(self.indices)
        self._columns = _columns(cache, names)
        if how.upright and (tuple(names) or cache.info.joints) != JOINTS:
            raise InputError(
                "Which way a hand points is told by the 21 joints",
                got=f"{len(self._columns)} joints",
                fix="Train with --data.upright 0.",
            )

    def batch(self, epoch: int, indices: Sequence[int]) -> WindowBatch:
        """Some crops of an epoch. Raises InputError for a window that is damaged."""
        own = [self.indices[i] for i in indices]
        windows = self.cache.read(own)
        boxes, lost = [], []
        for place, index in enumerate(own):
            rng = generator(self.seed, epoch, index)
            boxes.append(change_box(self._box(windows, place), self.how, rng, windows.joints_mm[place, self._columns]))
            lost.append(lost_pixels(self.size, self.how, rng))
        return _pack(windows, boxes, np.stack(lost), windows.joints_mm[:, self._columns])

    def _box(self, windows: Windows, place: int) -> CropBox:
        x, y, z = windows.center_mm[place].tolist()
        mirrored = bool(windows.mirrored[place])
        return CropBox(self.cache.info.camera, (x, y, z), self.cube_mm, self.size, mirrored=mirrored)


def _pack(
    windows: Windows,
    boxes: Sequence[CropBox],
    lost: Bool[ndarray, "b s s"],
    joints_mm: Float[ndarray, "b a 3"],
) -> WindowBatch:
    depth = [(unit, box.center_mm[2], 2 / box.cube_mm[1]) for unit, box in zip(windows.unit_mm, boxes, strict=True)]
    points = np.empty(joints_mm.shape, np.float32)
    points[..., 2] = joints_mm[..., 2] - np.array([box.near_mm for box in boxes])[:, None]
    # `CropBox.to_crop`, with all joints projected at once: a cache is of one camera
    for place, uv in enumerate(boxes[0].camera.project(joints_mm)):
        points[place, :, :2] = boxes[place].uv_to_pq(uv)
    return WindowBatch(
        torch.from_numpy(windows.counts.view(np.int16)),
        torch.from_numpy(np.column_stack([windows.starts, windows.boxes])),
        torch.from_numpy(np.array([box.lookup_steps() for box in boxes])),
        torch.from_numpy(np.array(depth, np.float32)),
        torch.from_numpy(lost),
        torch.from_numpy(points),
    )


def _columns(cache: Cache, names: Sequence[str]) -> list[int]:
    known = cache.info.joints
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"The cache {cache.url} has no joint {missing[0]}", expected=", ".join(known))
    return [known.index(name) for name in names or known]


def _check_room(cache: Cache, cube_mm: tuple[float, float], how: Augmentation) -> None:
    info = cache.info
    fits = cube_mm[0] <= info.cube_mm[0] and cube_mm[1] <= info.cube_mm[1]
    if not fits or not info.room.holds(how.room):
        raise InputError(
            f"The windows of {cache.url} are too small",
            got=f"cubes of {info.cube_mm} mm with {info.room}",
            expected=f"cubes of {cube_mm} mm with {how.room}",
            fix="Delete the cache, or name another place for this one.",
        )
