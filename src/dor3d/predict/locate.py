"""Where a hand may be in a depth frame, by rule: the nearest connected surface, cut at the wrist.

No learning and no state. The steps, all on about 160x120 pixels:

1. pixels that jump away from a nearer neighbour are cut out, so surfaces that only touch in the image come apart;
2. connected surfaces large enough for a hand are taken in the order of their nearest parts;
3. of each, the part within arm's thickness of its nearest point stays (a body behind the arm goes);
4. the arm's root is where that part leaves the image or runs on into the body; the hand is at the other end;
5. the wrist is the narrowest place behind the palm; the hand's bounding box gives the centre.
"""

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Num
from numpy import ndarray

from dor3d.geometry import Pinhole
from dor3d.geometry.grid import coarse_grid

_JUMP_MM: Final = (20.0, 40.0)  # a step in depth between neighbours that parts two surfaces: near by, far away
_SLOPE: Final = 3.0  # steepest surface (depth per width) that counts as connected
_SPECK_MM2: Final = 400.0  # less surface than this is no nearest part but noise
_SMALLEST_MM2: Final = 2200.0  # a small fist seen from its side
_LARGEST_MM2: Final = 26000.0  # a large spread hand and its sleeve
_WIDEST_MM: Final = 250.0
_BAND_MM: Final = 170.0  # how far behind its nearest part a hand with its wrist reaches
_REACH_MM: Final = 280.0  # how far around its nearest part, so that the body beside a hand stays out
_SHORT_MM: Final = 150.0  # a limb that is shorter has no forearm to cut
_BIN_MM: Final = 10.0  # step of the width profile along the limb
_LONGEST: Final = 20  # longest hand, fingertip to wrist, in such steps
_CLEARLY_MM: Final = 60.0  # one end of a limb is farther than the other
_THUMB_MM: Final = 27.0  # thicker than a finger, thinner than a palm or a wrist
_FINGERS: Final = 0.1  # share of finger-thin surface that is a hand without looking further
_PREFERENCE: Final = 0.04  # how much more of it an end must show that is not next to the nearest part
_PER_MM: Final = 0.0005  # the same for each mm that its surface begins behind the nearest one
_SURFACES: Final = 3  # how many surfaces to look at
_FEW: Final = 12  # grid cells
_MARGIN: Final = 2  # grid cells at the image's edge
_SKIN_MM: Final = 8.0  # joints lie about this far behind the surface


_CROSS: Final = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_SQUARE: Final = np.ones((3, 3), np.uint8)


class Located(NamedTuple):
    """A surface that may be a hand.

    Attributes:
        center_mm: where to centre a crop, (x, y, z) in the camera frame (mm).
        area_mm2: how much surface there is, as if it faced the camera.
        points_mm: the surface's points [N, 3] on the coarse grid.
    """

    center_mm: tuple[float, float, float]
    area_mm2: float
    points_mm: ndarray


class _End(NamedTuple):
    """The end of a limb."""

    points: ndarray  # [N, 3] mm
    fingers: float  # share of it that is as thin as a finger


class _Grid(NamedTuple):
    """A frame at every `step`-th pixel."""

    z: Float[ndarray, "h w"]
    ray_x: Float[ndarray, "w"]  # x / z of each column
    ray_y: Float[ndarray, "h"]  # y / z of each row
    pixel_mm2: float  # area of a grid cell at 1 mm distance


def locate(depth: Num[ndarray, "h w"], camera: Pinhole, unit_mm: float = 1.0) -> list[Located]:
    """The surface that is likeliest to be a hand (this rule finds one at most); empty when there is none.

    Args:
        depth: a frame in units of `unit_mm`, 0 where there is no reading.
        camera: its camera; lens distortion is neglected here, the crop's centre needs no such precision.
        unit_mm: millimetres per unit of `depth`.
    """
    grid = _subsample(depth, camera, unit_mm)
    labels, sizes = _surfaces(grid)
    end = _best_end(grid, labels, _candidates(grid, labels, sizes)[:_SURFACES])
    if end is None:
        return []
    hand = _with_fingers(grid, labels, sizes, end.points)
    low, high = np.percentile(hand, (1, 99), axis=0)
    x, y, z = ((low + high) / 2).tolist()
    return [Located((x, y, z + _SKIN_MM), _area(hand, grid.pixel_mm2), hand)]


def _best_end(grid: _Grid, labels: ndarray, candidates: list[tuple[float, int]]) -> _End | None:
    """The end of a limb that shows most of fingers; what is nearer counts for more.

    The end next to a surface's nearest part is taken at once if fingers show there. Where none do (a fist; an arm that
    is nearer than its hand), more of the nearest limb is looked at as well, at both of its ends.
    """
    ends: list[_End] = []
    for z0, label in candidates:
        surface = labels == label
        behind = (z0 - candidates[0][0]) * _PER_MM
        for end in _ends(grid, _limb(grid, surface, z0, _BAND_MM, _REACH_MM), surface, both=False):
            ends.append(end._replace(fingers=end.fingers - behind))
            if ends[-1].fingers >= _FINGERS:
                return ends[-1]
    for z0, label in candidates[:1]:
        surface = labels == label
        longer = _limb(grid, surface, z0, 2 * _BAND_MM, 2 * _REACH_MM)
        ends += [end._replace(fingers=end.fingers - _PREFERENCE) for end in _ends(grid, longer, surface, both=True)]
    return max(ends, key=lambda end: end.fingers, default=None)


def _subsample(depth: Num[ndarray, "h w"], camera: Pinhole, unit_mm: float) -> _Grid:
    height, width = depth.shape
    coarse = coarse_grid(camera, width, height)
    ray_x, ray_y = (coarse.columns - camera.cx) / camera.fx, (coarse.rows - camera.cy) / camera.fy
    pixel_mm2 = coarse.step**2 / (camera.fx * camera.fy)
    return _Grid(coarse.of(depth, unit_mm), ray_x.astype(np.float32), ray_y.astype(np.float32), pixel_mm2)


def _surfaces(grid: _Grid) -> tuple[ndarray, ndarray]:
    """Labels [h, w] of connected surfaces (0: none) and the area of each (mm^2; 0 for label 0)."""
    valid = grid.z > 0
    far = np.where(valid, grid.z, np.float32(1e6))
    jump = np.clip(grid.z * np.float32(_SLOPE * math.sqrt(grid.pixel_mm2)), *_JUMP_MM)
    # only the farther pixel of a jump goes: the hand, which is before other things, keeps its outline
    whole = (far - cv2.erode(far, _CROSS) <= jump).astype(np.uint8) & valid
    count, labels = cv2.connectedComponents(whole, connectivity=4, ltype=cv2.CV_16U)
    sizes = np.bincount(labels.ravel(), np.square(grid.z).ravel(), minlength=count) * grid.pixel_mm2
    sizes[0] = 0
    return labels, sizes


def _candidates(grid: _Grid, labels: ndarray, sizes: ndarray) -> list[tuple[float, int]]:
    """(depth of its nearest part, label) of each surface that is large enough, nearest first."""
    found = []
    for label in np.flatnonzero(sizes >= _SMALLEST_MM2):
        z = np.sort(grid.z[labels == label])
        grown = np.cumsum(np.square(z)) * grid.pixel_mm2
        found.append((float(z[np.searchsorted(grown, _SPECK_MM2)]), int(label)))
    return sorted(found)


def _ends(grid: _Grid, limb: Bool[ndarray, "h w"], surface: Bool[ndarray, "h w"], both: bool) -> list[_End]:
    """What may be a hand at the end of a limb away from its root, and with `both` also at the other end."""
    points = _points(grid, limb)
    if len(points) < _FEW:
        return []
    exits = _exits(limb, surface)
    roots = [points[exits].mean(0) if exits is not None else _farther_end(grid, points)]
    if both:
        roots.append(points[np.square(points - roots[0]).sum(1).argmax()])
    ends = (_end(grid, limb, points, root) for root in roots)
    return [end for end in ends if end is not None]


def _end(
    grid: _Grid, limb: Bool[ndarray, "h w"], points: Float[ndarray, "n 3"], root: Float[ndarray, "3"]
) -> _End | None:
    """What lies beyond the wrist as seen from this root, if it has a hand's size."""
    away = np.sqrt(np.square(points - root).sum(1))
    mask = np.zeros(limb.shape, np.uint8)
    mask[limb] = _beyond_wrist(away, points[:, 2], grid.pixel_mm2)
    _, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_16U)
    label = labels[limb]
    hand = label == 1 + int(np.bincount(label)[1:].argmax())  # a body's other limbs may be as far away
    chosen = points[hand]
    if not _SMALLEST_MM2 <= _area(chosen, grid.pixel_mm2) <= _LARGEST_MM2 or np.ptp(chosen, 0).max() > _WIDEST_MM:
        return None
    mask[limb] = hand
    return _End(chosen, _finger_share(grid, mask, chosen))


def _finger_share(grid: _Grid, mask: ndarray, points: Float[ndarray, "n 3"]) -> float:
    """How much of a mask is thinner than a thumb: fingers are, palms and arms are not."""
    pitch = float(points[:, 2].mean()) * math.sqrt(grid.pixel_mm2)
    side = max(3, 2 * round((_THUMB_MM / pitch - 1) / 2) + 1)
    x, y, width, height = cv2.boundingRect(mask)
    part = np.pad(mask[y : y + height, x : x + width], side)
    opened = cv2.morphologyEx(part, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return 1.0 - float(opened.sum()) / len(points)


def _limb(
    grid: _Grid, surface: Bool[ndarray, "h w"], z0: float, band_mm: float, reach_mm: float
) -> Bool[ndarray, "h w"]:
    """What hangs together around the nearest part of a surface: no deeper than a band, no farther than a reach.

    Distance is measured along the surface, in steps from cell to cell: a bent arm passes close by its own shoulder.
    """
    steps = int(reach_mm / (1.2 * z0 * math.sqrt(grid.pixel_mm2)))  # octagons: 1.2 cells a step over all directions
    return _grown(surface & (grid.z <= z0), surface & (grid.z < z0 + band_mm), steps)


def _grown(seed: Bool[ndarray, "h w"], inside: Bool[ndarray, "h w"], steps: int) -> Bool[ndarray, "h w"]:
    """A mask grown inside another, by crosses and squares in turn.

    The masks are packed into one long integer each: a shift moves a whole image, ten times as fast as cv2.dilate.
    """
    height, width = seed.shape
    row = 8 * (width // 8 + 1)  # at least one column stays empty, so that rows do not run into each other
    grown, free = _packed(seed), _packed(inside)
    for step in range(steps):
        wide = grown | grown << 1 | grown >> 1
        tall = wide if step % 2 else grown
        grown = (wide | tall << row | tall >> row) & free
    packed = np.frombuffer(grown.to_bytes(height * row // 8), np.uint8).reshape(height, row // 8)
    return np.unpackbits(packed, axis=1, count=width).astype(bool)


def _packed(mask: Bool[ndarray, "h w"]) -> int:
    height, width = mask.shape
    bits = np.zeros((height, 8 * (width // 8 + 1)), bool)
    bits[:, :width] = mask
    return int.from_bytes(np.packbits(bits).tobytes())


def _points(grid: _Grid, mask: Bool[ndarray, "h w"]) -> Float[ndarray, "n 3"]:
    rows, columns = np.nonzero(mask)
    z = grid.z[rows, columns]
    return np.stack([grid.ray_x[columns] * z, grid.ray_y[rows] * z, z], 1)


def _exits(limb: Bool[ndarray, "h w"], surface: Bool[ndarray, "h w"]) -> Bool[ndarray, "n"] | None:
    """Which of the limb's points are where it leaves the image or runs on: the largest such place, if there is one."""
    on = cv2.dilate((surface & ~limb).astype(np.uint8), _SQUARE)
    for edge in (on[:_MARGIN], on[-_MARGIN:], on[:, :_MARGIN], on[:, -_MARGIN:]):
        edge[:] = 1
    on &= limb
    count, labels = cv2.connectedComponents(cv2.dilate(on, _SQUARE), connectivity=8, ltype=cv2.CV_16U)
    if count < 2:
        return None
    sizes = np.bincount(labels[on > 0], minlength=count)
    return (labels[limb] == int(sizes.argmax())) & (on[limb] > 0)


def _farther_end(grid: _Grid, points: Float[ndarray, "n 3"]) -> Float[ndarray, "3"]:
    """Of a limb that ends inside the image: the end that is clearly farther away, or else nearer to the edge."""
    middle = points - points.mean(0)
    along = middle @ np.linalg.svd(middle.T @ middle)[0][:, 0]
    low, high = np.percentile(along, (5, 95))
    ends = np.stack([points[along <= low].mean(0), points[along >= high].mean(0)])
    if abs(ends[0, 2] - ends[1, 2]) > _CLEARLY_MM:
        return ends[int(ends[:, 2].argmax())]
    x, y = ends[:, 0] / ends[:, 2], ends[:, 1] / ends[:, 2]
    gaps = (x - grid.ray_x[0], grid.ray_x[-1] - x, y - grid.ray_y[0], grid.ray_y[-1] - y)
    return ends[int(np.min(gaps, 0).argmin())]


def _beyond_wrist(away: Float[ndarray, "n"], z: Float[ndarray, "n"], pixel_mm2: float) -> Bool[ndarray, "n"]:
    """Which of a limb's points, `away` mm from its root, are beyond the narrowest place between palm and root."""
    tip = float(np.partition(away, -3)[-3])  # the last but two: a stray pixel is no fingertip
    if tip < _SHORT_MM:
        return np.ones(len(away), bool)
    back = np.maximum(tip - away, 0)  # mm behind the fingertips
    width = np.bincount((back / _BIN_MM).astype(np.intp), np.square(z)) * (pixel_mm2 / _BIN_MM)
    width = np.convolve(np.pad(width[: _LONGEST + 1], 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    palm = 2 + int(width[2:14].argmax())
    behind = width[palm + 2 : min(palm + 11, _LONGEST)]
    wrist = palm + 2 + int(behind.argmin()) + 0.5 if len(behind) else _LONGEST
    return back <= wrist * _BIN_MM


def _with_fingers(grid: _Grid, labels: ndarray, sizes: ndarray, hand: Float[ndarray, "n 3"]) -> Float[ndarray, "m 3"]:
    """The hand with the fingers that a jump in depth parted from it: small surfaces beside or before it."""
    low, high = hand.min(0) - (30, 30, 80), hand.max(0) + (30, 30, 20)
    small = _points(grid, (sizes < _SMALLEST_MM2)[labels] & (labels > 0))
    return np.concatenate([hand, small[((small >= low) & (small <= high)).all(1)]])


def _area(points: Float[ndarray, "n 3"], pixel_mm2: float) -> float:
    """Surface (mm^2) as if it faced the camera."""
    return float(np.square(points[:, 2]).sum() * pixel_mm2)
