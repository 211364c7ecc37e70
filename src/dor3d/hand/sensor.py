"""What a real depth camera makes of exact depth: smoothing, ragged edges, holes, flying pixels, noise, steps.

All faults act on a grid of sensor pixels, which may be every k-th one (a crop of a near hand reads only some). Effects
at depth edges are a sensor pixel or two wide, so with wider steps they strike with a lower probability.

Sources: Nguyen, Izadi and Lovell, "Modeling Kinect sensor noise for improved 3D reconstruction and tracking", 3DIMPVT
2012 (axial noise growing with the square of the distance, lateral noise of about a pixel); Sarbolandi, Lefloch and
Kolb, "Kinect range sensing: structured-light versus time-of-flight Kinect", CVIU 2015 (shadows, flying pixels);
Keselman et al., "Intel RealSense stereoscopic depth cameras", CVPR workshops 2017 (disparity steps, filtering).
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

_STEPS_MM: Final = (0.125, 0.5, 1.0, 1.0, 2.0)  # of real cameras; most count millimetres
_JUMP_MM: Final = 14.0  # neighbouring readings further apart than this belong to two surfaces


class SensorFaults(NamedTuple):
    """Strength of each fault of one camera; all zero: a perfect one."""

    smoothing: int = 0  # passes of an edge-preserving mean over 3 x 3 readings
    ragged: float = 0.0  # share of readings taken one pixel aside
    noise_mm: float = 0.0  # axial noise (1 sd) at 0.5 m; grows with the square of the distance
    wave_mm: float = 0.0  # slow noise over patches of about eight pixels (1 sd) at 0.5 m
    rim: float = 0.0  # chance that the shadow beside a nearer surface, up to `rim_px` wide, has no readings
    rim_px: int = 1
    edge: float = 0.0  # chance that a reading at a surface's own edge is missing
    flying: float = 0.0  # chance that a reading at an edge lies between the two surfaces
    grazing: float = 0.0  # chance that a reading on a surface seen at a flat angle is missing
    speckle: float = 0.0  # share of readings missing anywhere
    blobs: int = 0  # patches without readings
    step_mm: float = 0.0  # quantisation at 0.5 m
    disparity: bool = False  # the step grows with the square of the distance


def sample_faults(rng: np.random.Generator) -> SensorFaults:
    """The faults of one camera and scene, from nearly perfect to poor."""
    poor = rng.random() ** 1.5
    structured = rng.random() < 0.6
    rim = rng.random() if structured else 0.3 * rng.random()
    return SensorFaults(
        smoothing=int(rng.integers(0, 5)),
        ragged=0.5 * rng.random(),
        noise_mm=max(2.2 * poor * rng.random() - 0.2, 0.0),  # many cameras filter so well that none is left
        wave_mm=max(2.2 * poor * rng.random() - 0.2, 0.0),
        rim=rim,
        rim_px=1 + int(3 * rim),
        edge=0.5 * poor * rng.random(),
        flying=0.4 * poor * rng.random(),
        grazing=0.8 * rng.random(),
        speckle=0.03 * poor * rng.random() if rng.random() < 0.5 else 0.0,
        blobs=int(rng.integers(1, 5)) if rng.random() < 0.15 * poor else 0,
        step_mm=_STEPS_MM[rng.integers(len(_STEPS_MM))],
        disparity=bool(structured and rng.random() < 0.5),
    )


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
    shadow = _shadows(part, max(int(faults.rim_px / width + 0.5), 1))
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
                z += far2 * faults.wave_mm * _bilinear(coarse, i, j)
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
        other = low if low < z - _JUMP_MM else min(high, z + 150.0)
        return z + rng.random() * (other - z)
    if high > z + _JUMP_MM and rng.random() < faults.edge * reach:
        return 0.0
    return z


@njit(cache=True)
def _bilinear(coarse: ndarray, i: int, j: int) -> float:
    y, x = i / 8.0, j / 8.0
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
