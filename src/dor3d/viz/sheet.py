"""A sheet of crops with the true and the predicted hand over each: what a network sees, and what it makes of it."""

import math
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.viz.overlay import draw_skeleton

_TILE: Final = 288  # px
_ACROSS: Final = 4  # tiles in a row
_GAP: Final = 6
_STRIP: Final = 30  # height of a caption
_GREYS: Final = (170.0, 60.0)  # of the cube's front and of its back: white lines stand out on both
_TRUE: Final = (255, 255, 255)
_BACK: Final = (24, 26, 28)
_TEXT: Final = (225, 228, 231)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


def crop_errors_mm(
    true_points: Float[ndarray, "n a 3"], predicted_points: Float[ndarray, "n a 3"], mm_per_pixel: float
) -> Float[ndarray, "n"]:
    """The mean distance (mm) over each crop's joints, with pixels taken at the cube's scale.

    Args:
        true_points: crop points (px, px, mm).
        predicted_points: likewise.
        mm_per_pixel: the cube's side over the crop's.
    """
    apart = predicted_points.astype(np.float64) - true_points
    return np.linalg.norm(apart * (mm_per_pixel, mm_per_pixel, 1.0), axis=-1).mean(-1)


def sample_sheet(
    crops: Float[ndarray, "n s s"],
    true_points: Float[ndarray, "n a 3"],
    predicted_points: Float[ndarray, "n a 3"],
    joints: Sequence[str],
    *,
    mm_per_pixel: float,
    title: str = "",
    mean: bool = True,
) -> UInt8[ndarray, "h w 3"]:
    """A picture (RGB): up to four crops a row, enlarged, each with its mean error; true hands are thin and white.

    Args:
        crops: the network's input, depth normalised to [-1, 1]; 1 (the back, or no reading) is black.
        true_points: crop points (px, px, mm).
        predicted_points: likewise; drawn in the fingers' colours, or not at all where they are not finite.
        joints: their names, which decide on bones and colours.
        mm_per_pixel: the cube's side over the crop's.
        title: the sheet's first words.
        mean: say the crops' mean error, too.

    Raises InputError when there is no crop.
    """
    if not len(crops):
        raise InputError("A sheet of samples needs at least one crop", got=0)
    errors = crop_errors_mm(true_points, predicted_points, mm_per_pixel)
    hands = zip(crops, true_points, predicted_points, errors, strict=True)
    tiles = [_tile(crop, true, predicted, joints, float(mm)) for crop, true, predicted, mm in hands]
    across = math.ceil(len(tiles) / math.ceil(len(tiles) / _ACROSS))  # rows are of one length, nearly
    sheet = _grid(tiles, across)
    words = [*([title] if title else []), *([f"mean error {_mm(float(errors.mean()))}"] if mean else [])]
    _write(sheet, "   ".join(words), _GAP)
    if across > 2:  # a narrow sheet has no room for it
        _write_right(sheet, "white: true   coloured: predicted")
    return sheet


def _tile(crop: ndarray, true: ndarray, predicted: ndarray, joints: Sequence[str], mm: float) -> ndarray:
    """A crop with both hands, and its caption below."""
    grey = np.interp(crop, (-1.0, 1.0), _GREYS) * (crop < 1)
    # nearest: the network's own pixels are to be seen
    grey = cv2.resize(grey.astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST_EXACT)
    picture = np.ascontiguousarray(np.repeat(grey[..., None], 3, 2))
    zoom = _TILE / crop.shape[-1]
    for points, colour in ((predicted, None), (true, _TRUE)):
        draw_skeleton(picture, (points[:, :2].astype(np.float64) + 0.5) * zoom - 0.5, joints, colour=colour)
    tile = np.empty((_TILE + _STRIP, _TILE, 3), np.uint8)
    tile[:], tile[:_TILE] = _BACK, picture
    cv2.putText(tile, _mm(mm), (4, _TILE + 21), _FONT, 0.6, _TEXT, 1, cv2.LINE_AA)
    return tile


def _grid(tiles: Sequence[ndarray], across: int) -> ndarray:
    """Tiles in rows, below an empty strip."""
    rows = math.ceil(len(tiles) / across)
    height, width = tiles[0].shape[0] + _GAP, tiles[0].shape[1] + _GAP
    sheet = np.empty((_STRIP + _GAP + rows * height, _GAP + across * width, 3), np.uint8)
    sheet[:] = _BACK
    for i, tile in enumerate(tiles):
        top, left = _STRIP + _GAP + i // across * height, _GAP + i % across * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def _write(sheet: ndarray, text: str, left: int) -> None:
    cv2.putText(sheet, text, (left, 24), _FONT, 0.6, _TEXT, 1, cv2.LINE_AA)


def _write_right(sheet: ndarray, text: str) -> None:
    (width, _), _ = cv2.getTextSize(text, _FONT, 0.6, 1)
    _write(sheet, text, sheet.shape[1] - width - _GAP)


def _mm(value: float) -> str:
    return f"{value:.1f} mm" if math.isfinite(value) else "no number"
