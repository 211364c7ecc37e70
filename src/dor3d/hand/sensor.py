"""What a real depth camera makes of exact depth: smoothing, ragged edges, holes, flying pixels, noise, steps.

All faults (`dor3d.hand.faults`) act on a grid of sensor pixels, which may be every k-th one (a crop of a near hand
reads only some). Effects at depth edges are a sensor pixel or two wide, so with wider steps they strike with a lower
probability.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.hand.faults import SensorFaults

_JUMP_MM: Final = 14.0  # neighbouring readings further apart than this belong to two surfaces
_FLIES_MM: Final = 150.0  # a reading mixes two surfaces that are no further apart
_HOLLOW_PX: Final = 10.0  # how far around a hollow its surroundings shine into it
_HOLLOW_MM: Final = 40.0  # standing out more adds no more


def apply_faults(
    depth: ndarray, faults: SensorFaults, stride: tuple[float, float], pixel_rad: float, rng: np.random.Generator
) -> ndarray:
    """Readings [H, W] (mm, 0: none) that a camera with these faults makes of exact depth [H, W] (mm, inf: nothing).

    Args:
        stride: sensor pixels between neighbouring columns and rows of the grid.
        pixel_rad: the angle that one sensor pixel sees (1 / focal length).
    """
    readings = np.zeros(depth.shape)
    top, bottom, left, right = _extent(depth)
    if top == bottom:
        return readings
    part = depth[top:bottom, left:right].copy()
    for _ in range(faults.smoothing):
        part = _smooth(part)
    width = max(stride[0], stride[1], 1.0)
    if faults.bulge > 0.0:
        part = _bulge(part, faults.bulge, max(int(_HOLLOW_PX / width + 0.5), 1))
    if faults.baseline_mm != 0.0:
        shadow = _unseen(part, faults.baseline_mm / (pixel_rad * max(stride[0], 1e-9)))
    else:
        shadow = _shadows(part, max(int(faults.rim_px / width + 0.5), 1))
    for _ in range(_passes(faults.fatten_px / width, rng)):
        part = _fatten(part, rng)
    for _ in range(faults.smear if width < 2.0 else 0):
        part = _smear(part)
    _spoil(part, shadow, faults, width, pixel_rad, rng)
    for _ in range(faults.blobs):
        _blob(part, width, rng)
    readings[top:bottom, left:right] = part
    return readings


@njit(cache=True)
def _extent(depth: ndarray) -> tuple[int, int, int, int]:
    """First and end row and column of what holds a surface, and one pixel around it."""
    height, width = depth.shape
    top, bottom, left, right = height, 0, width, 0
    for i in range(height):
        for j in range(width):
            if depth[i, j] < np.inf:
                top, bottom = min(top, i), i + 1
                left, right = min(left, j), max(right, j + 1)
    if bottom == 0:
        return 0, 0, 0, 0
    return max(top - 1, 0), min(bottom + 1, height), max(left - 1, 0), min(right + 1, width)


@njit(cache=True)
def _smooth(depth: ndarray) -> ndarray:
    """Mean of the 3 x 3 readings on the same surface, done by rows, then by columns."""
    height, width = depth.shape
    out = depth.copy()
    for i in range(height):
        for j in range(1, width - 1):
            a, b, c = depth[i, j - 1], depth[i, j], depth[i, j + 1]
            if b < np.inf and abs(a - b) < _JUMP_MM and abs(c - b) < _JUMP_MM:
                out[i, j] = (a + b + c) / 3.0
    depth = out.copy()
    for i in range(1, height - 1):
        for j in range(width):
            a, b, c = out[i - 1, j], out[i, j], out[i + 1, j]
            if b < np.inf and abs(a - b) < _JUMP_MM and abs(c - b) < _JUMP_MM:
                depth[i, j] = (a + b + c) / 3.0
    return depth


@njit(cache=True)
def _shadows(depth: ndarray, reach: int) -> ndarray:
    """Where a surface lies within `reach` pixels, along a row or column, of one that is nearer by a jump."""
    height, width = depth.shape
    shadow = np.zeros(depth.shape, np.bool_)
    for i in range(height):
        for j in range(width):
            z = depth[i, j] + _JUMP_MM
            if z == np.inf:
                continue
            for k in range(4):
                di, dj = (k == 0) - (k == 1), (k == 2) - (k == 3)
                for step in range(1, reach + 1):
                    y, x = i + step * di, j + step * dj
                    if not (0 <= y < height and 0 <= x < width) or not z < depth[y, x] < np.inf:
                        break
                    shadow[y, x] = True
    return shadow


@njit(cache=True)
def _unseen(depth: ndarray, reach: float) -> ndarray:
    """What a second eye beside the camera does not see for something nearer.

    `reach` is its distance times the focal length in columns of the grid: that eye sees depth z of column j in its
    column j - reach / z, and of two surfaces there the nearer one only.
    """
    height, width = depth.shape
    unseen = np.zeros(depth.shape, np.bool_)
    for i in range(height):
        edge = np.inf
        for k in range(width):
            j = width - 1 - k if reach > 0.0 else k
            if depth[i, j] == np.inf:
                continue
            column = j - reach / depth[i, j]
            column = column if reach > 0.0 else -column
            unseen[i, j] = column > edge + 0.5
            edge = min(edge, column)
    return unseen


def _passes(wanted: float, rng: np.random.Generator) -> int:
    """A whole number whose mean is `wanted`."""
    return int(wanted + rng.random()) if wanted > 0.0 else 0


@njit(cache=True)
def _fatten(depth: ndarray, rng: np.random.Generator) -> ndarray:
    """Nearer surfaces grown by a pixel over farther ones, along about half of their outline."""
    height, width = depth.shape
    out = depth.copy()
    coarse = rng.standard_normal((height // 4 + 2, width // 4 + 2))
    for i in range(height):
        for j in range(width):
            low = np.inf
            for k in range(4):
                y, x = i + (k == 0) - (k == 1), j + (k == 2) - (k == 3)
                if 0 <= y < height and 0 <= x < width:
                    low = min(low, depth[y, x])
            if low < depth[i, j] - _JUMP_MM and _bilinear(coarse, i, j, 4.0) > 0.0:
                out[i, j] = low
    return out


@njit(cache=True)
def _smear(depth: ndarray) -> ndarray:
    """Mean of the 3 x 3 readings, across edges that are not too high."""
    height, width = depth.shape
    out = depth.copy()
    for i in range(height):
        for j in range(width):
            z = depth[i, j]
            if z == np.inf:
                continue
            total, count = 0.0, 0
            for y in range(max(i - 1, 0), min(i + 2, height)):
                for x in range(max(j - 1, 0), min(j + 2, width)):
                    if abs(depth[y, x] - z) < _FLIES_MM:
                        total += depth[y, x]
                        count += 1
            out[i, j] = total / count
    return out


@njit(cache=True)
def _bulge(depth: ndarray, strength: float, reach: int) -> ndarray:
    """Hollows that seem deeper: light that came by way of what stands out around them travelled further."""
    height, width = depth.shape
    out = depth.copy()
    for i in range(height):
        for j in range(width):
            z = depth[i, j]
            if z == np.inf:
                continue
            out_of = 0.0
            for k in range(8):
                angle = k * np.pi / 4
                y, x = i + int(np.rint(reach * np.sin(angle))), j + int(np.rint(reach * np.cos(angle)))
                if 0 <= y < height and 0 <= x < width:
                    out_of += min(max(z - depth[y, x], 0.0), _HOLLOW_MM)
            out[i, j] = z + strength * out_of / 8
    return out


@njit(cache=True)
def _spoil(
    depth: ndarray, shadow: ndarray, faults: SensorFaults, stride: float, pixel_rad: float, rng: np.random.Generator
) -> None:
    height, width = depth.shape
    clean = depth.copy()
    coarse = rng.standard_normal((height // 8 + 2, width // 8 + 2))
    for i in range(height):
        up, down = max(i - 1, 0), min(i + 1, height - 1)
        for j in range(width):
            z = clean[i, j]
            left, right = clean[i, max(j - 1, 0)], clean[i, min(j + 1, width - 1)]
            low = min(min(left, right), min(clean[up, j], clean[down, j]))
            if low == np.inf:  # nothing here (a lone reading amid nothing is lost, too)
                depth[i, j] = 0.0
                continue
            high = max(max(left, right), max(clean[up, j], clean[down, j]))
            if shadow[i, j] and rng.random() < faults.rim:
                depth[i, j] = 0.0
                continue
            if low < z - _JUMP_MM or high > z + _JUMP_MM:
                z = _at_edge(clean, i, j, z, low, high, faults, 1.0 / stride, rng)
            elif max(high - z, z - low) > 4.0 * z * pixel_rad * stride and rng.random() < faults.grazing:
                z = 0.0
            if z == np.inf or z == 0.0 or (faults.speckle > 0.0 and rng.random() < faults.speckle):
                depth[i, j] = 0.0
                continue
            far2 = (z / 500.0) ** 2
            if faults.noise_mm > 0.0:
                z += far2 * faults.noise_mm * rng.standard_normal()
            if faults.wave_mm > 0.0:
                z += far2 * faults.wave_mm * _bilinear(coarse, i, j, 8.0)
            step = faults.step_mm * (far2 if faults.disparity else 1.0)
            depth[i, j] = np.floor(z / step + 0.5) * step if step > 0.0 else z


@njit(cache=True)
def _at_edge(
    clean: ndarray,
    i: int,
    j: int,
    z: float,
    low: float,
    high: float,
    faults: SensorFaults,
    reach: float,
    rng: np.random.Generator,
) -> float:
    """The reading at a depth edge between `low` and `high`; 0 when it is lost.

    `reach` is the share of the edge's own pixels that a grid with this stride meets.
    """
    height, width = clean.shape
    if rng.random() < faults.ragged * reach:  # the neighbour's surface instead
        side = rng.integers(0, 4)
        y = min(max(i + (side == 0) - (side == 1), 0), height - 1)
        x = min(max(j + (side == 2) - (side == 3), 0), width - 1)
        return float(clean[y, x])
    if rng.random() < faults.flying * reach:
        if z == np.inf:
            return z
        other = low if low < z - _JUMP_MM else min(high, z + _FLIES_MM)
        return z + rng.random() * (other - z)
    if high > z + _JUMP_MM and rng.random() < faults.edge * reach:
        return 0.0
    return z


@njit(cache=True)
def _bilinear(coarse: ndarray, i: int, j: int, cell: float) -> float:
    y, x = i / cell, j / cell
    a, b = int(y), int(x)
    fy, fx = y - a, x - b
    top = coarse[a, b] * (1.0 - fx) + coarse[a, b + 1] * fx
    bottom = coarse[a + 1, b] * (1.0 - fx) + coarse[a + 1, b + 1] * fx
    return top * (1.0 - fy) + bottom * fy


@njit(cache=True)
def _blob(depth: ndarray, stride: float, rng: np.random.Generator) -> None:
    """Lose the readings of one small ellipse."""
    height, width = depth.shape
    ci, cj = rng.random() * height, rng.random() * width
    a, b = (1.0 + 5.0 * rng.random()) / stride, (1.0 + 5.0 * rng.random()) / stride
    for i in range(max(int(ci - a), 0), min(int(ci + a) + 2, height)):
        for j in range(max(int(cj - b), 0), min(int(cj + b) + 2, width)):
            if ((i - ci) / a) ** 2 + ((j - cj) / b) ** 2 < 1.0:
                depth[i, j] = 0.0
