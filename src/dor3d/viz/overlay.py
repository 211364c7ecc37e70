"""Skeletons over depth frames."""

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, Num, UInt8
from numpy import ndarray

from dor3d.skeleton import JOINTS, bones_between, finger_of

# RGB; the order of hues that hand pose papers share, and bright enough on grey
FINGER_COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "thumb": (255, 64, 64),
    "index": (255, 196, 0),
    "middle": (64, 220, 80),
    "ring": (56, 168, 255),
    "little": (200, 96, 255),
}
WRIST_COLOUR: Final = (255, 255, 255)
_OUTLINE: Final = (16, 16, 16)
_FRACTION_BITS: Final = 4  # OpenCV draws at 1 / 16 pixel
_SPREAD: Final = 0.65  # of the grey values, from a hand's nearest part to its farthest
_HAND_MM: Final = 100.0  # from its middle to either
_SMALLEST_SIDE: Final = 480  # smaller frames are enlarged, so that bones do not merge


def grey_depth(depth_mm: Num[ndarray, "h w"], around_mm: float | None = None) -> UInt8[ndarray, "h w"]:
    """A depth frame (mm; 0: no reading) as grey: near is light, no reading is black.

    Args:
        depth_mm: the frame.
        around_mm: depth of the hand, which gets most of the contrast; without it the whole range is spread evenly.
    """
    seen = depth_mm > 0
    if not seen.any():
        return np.zeros(depth_mm.shape, np.uint8)
    low, high = (float(x) for x in np.percentile(depth_mm[seen], (1, 99)))
    if around_mm is None:
        knots, greys = [low, max(high, low + 1)], [235, 60]
    else:
        near, far = around_mm - _HAND_MM, around_mm + _HAND_MM
        knots, greys = [near, far, max(high, far + 1)], [235, 235 * (1 - _SPREAD), 40]
    grey = np.interp(depth_mm, knots, greys)
    return np.where(seen, grey, 0).astype(np.uint8)


def draw_hands(
    depth_mm: Num[ndarray, "h w"],
    hands: Sequence[Float[ndarray, "a 2"]],
    joints: Sequence[str] = JOINTS,
    *,
    around_mm: float | None = None,
) -> UInt8[ndarray, "y x 3"]:
    """A picture (RGB) of a depth frame with skeletons over it; frames below 480 pixels are enlarged.

    Args:
        depth_mm: the frame (mm; 0: no reading).
        hands: joints of each hand in pixels, in the order of `joints`.
        joints: their names, which decide on bones and colours.
        around_mm: depth of the hand, for the contrast.
    """
    grey = grey_depth(depth_mm, around_mm)
    zoom = max(1, math.ceil(_SMALLEST_SIDE / max(grey.shape)))
    grey = np.repeat(np.repeat(grey, zoom, 0), zoom, 1)
    picture = np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
    for joints_px in hands:
        draw_skeleton(picture, (np.asarray(joints_px, np.float64) + 0.5) * zoom - 0.5, joints)
    return picture


def close_up(
    depth_mm: Num[ndarray, "h w"],
    joints_px: Float[ndarray, "a 2"],
    joints: Sequence[str] = JOINTS,
    *,
    around_mm: float | None = None,
) -> UInt8[ndarray, "y x 3"]:
    """A square picture (RGB) of one hand: the part of the frame around its joints, enlarged, with its skeleton."""
    low, high = joints_px.min(0), joints_px.max(0)
    half = max(8, round(0.62 * float((high - low).max())))
    u, v = (int(c) for c in np.round((low + high) / 2))
    padded = np.pad(depth_mm, half)  # a hand at the edge stays in the middle of its picture
    u, v = (min(max(c, 0), size - 1) for c, size in zip((u, v), depth_mm.shape[::-1], strict=True))
    part = padded[v : v + 2 * half + 1, u : u + 2 * half + 1]
    return draw_hands(part, [joints_px - (u - half, v - half)], joints, around_mm=around_mm)


def draw_skeleton(
    picture: UInt8[ndarray, "h w 3"],
    uv: Float[ndarray, "a 2"],
    joints: Sequence[str] = JOINTS,
    *,
    colour: tuple[int, int, int] | None = None,
) -> None:
    """Draw one hand into a picture (RGB), in place; nothing where a joint is not finite.

    Args:
        picture: drawn upon.
        uv: the joints in its pixels, in the order of `joints`.
        joints: their names, which decide on bones and colours.
        colour: of a thin skeleton without an outline, to lie over another; without it each finger has its own.
    """
    if not np.isfinite(uv).all():
        return
    extent = float(np.ptp(uv, axis=0).max())
    width = max(1, round(extent / 70)) if colour is None else 1
    radius = max(1.5, extent / 55) if colour is None else 1.5
    bones = bones_between(joints)
    # an outline keeps colours apart from light skin; on a tiny hand it would be all there is
    outlined = colour is None and extent >= 60
    if outlined:
        for a, b in bones:
            _line(picture, uv[a], uv[b], _OUTLINE, width + 2)
    for a, b in bones:
        _line(picture, uv[a], uv[b], colour or _colour(joints[b]), width)
    for name, point in zip(joints, uv, strict=True):
        if outlined:
            _dot(picture, point, radius + 1, _OUTLINE)
        _dot(picture, point, radius, colour or _colour(name))


def png(picture: UInt8[ndarray, "h w 3"]) -> bytes:
    """An RGB picture as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def _colour(joint: str) -> tuple[int, int, int]:
    finger = finger_of(joint)
    return WRIST_COLOUR if finger is None else FINGER_COLOURS[finger]


def _fixed(point: Float[ndarray, "2"]) -> tuple[int, int]:
    x, y = np.clip(np.round(point * (1 << _FRACTION_BITS)), -(1 << 20), 1 << 20)
    return int(x), int(y)


def _line(picture: ndarray, a: ndarray, b: ndarray, colour: tuple[int, int, int], width: int) -> None:
    cv2.line(picture, _fixed(a), _fixed(b), colour, width, cv2.LINE_AA, _FRACTION_BITS)


def _dot(picture: ndarray, at: ndarray, radius: float, colour: tuple[int, int, int]) -> None:
    cv2.circle(picture, _fixed(at), round(radius * (1 << _FRACTION_BITS)), colour, -1, cv2.LINE_AA, _FRACTION_BITS)
