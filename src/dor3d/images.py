"""Depth images in files: 16-bit PNG and TIFF, and PNG that packs depth into two bytes of its colours."""

import struct
import zlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from cv2.utils import logging
from jaxtyping import UInt16
from numpy import ndarray

from dor3d.errors import FrameError

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_IHDR_BYTES: Final = 13
_MOST_PIXELS: Final = 1 << 26  # no sensor has so many; decoding as many takes all memory
_PNG_COLOURS: Final = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}


def read_image(path: Path) -> ndarray:
    """A depth image [H, W] as stored.

    Raises FrameError for a file that is missing, broken, cut off, in colour or of too few bits.
    """
    data = _read(path)
    if path.suffix.lower() == ".png":
        check_png(data, path)
    return _whole(_decode(data), path)


def read_packed_png(path: Path) -> UInt16[ndarray, "h w"]:
    """A depth image whose green byte counts 256 and whose blue byte counts 1: NYU's (mm).

    Raises FrameError for a file that is missing, broken, cut off or not 8-bit RGB.
    """
    data = _read(path)
    check_png(data, path, packed=True)
    bgr = _whole(_decode(data), path)
    blue, green, _ = cv2.split(bgr)
    return cv2.merge([blue, green]).view("<u2")[..., 0]


def read_bytes(path: Path) -> bytes:
    """A file's content; raises FrameError when it cannot be opened."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a NUL in it is a ValueError
        raise FrameError(f"{path} cannot be read", got=getattr(error, "strerror", None) or error) from None


def _read(path: Path) -> bytes:
    data = read_bytes(path)
    if not data:
        raise FrameError(f"{path} is empty", got="0 bytes")
    return data


def _whole(image: ndarray | None, path: Path) -> ndarray:
    if image is None:
        raise FrameError(f"{path} cannot be decoded", got="a broken or truncated image", expected="a whole file")
    return image


def _decode(data: bytes) -> ndarray | None:
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # our one line says it
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        logging.setLogLevel(level)


def check_png(data: bytes, path: Path, *, packed: bool = False) -> None:
    """Raise FrameError for a PNG that is foreign, cut off, damaged or not 16-bit grey (packed: not 8-bit RGB).

    OpenCV would decode what there is of a damaged file, or turn its kind into another one.
    """
    if not data.startswith(_PNG):
        raise FrameError(f"{path} is no PNG file", got=f"a file that begins with {data[:8]!r}")
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise _truncated(path, data)
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise _truncated(path, data)
        if kind == b"IHDR":
            if length != _IHDR_BYTES:
                raise FrameError(f"{path} is damaged", got=f"a header of {length} bytes", expected=_IHDR_BYTES)
            _check_png_kind(data, path, packed=packed)
        if zlib.crc32(data[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise FrameError(f"{path} is damaged", got=f"a wrong checksum in its {kind.decode('latin1')} part")
        place = end


def _truncated(path: Path, data: bytes) -> FrameError:
    return FrameError(f"{path} is truncated", got=f"{len(data)} bytes and no end mark", expected="a whole PNG file")


def _check_png_kind(data: bytes, path: Path, *, packed: bool) -> None:
    width, height = struct.unpack_from(">2I", data, 16)
    if width * height > _MOST_PIXELS:
        raise FrameError(f"{path} is too large for a depth frame", got=f"{width}x{height} pixels")
    bits, colour = data[24], data[25]
    kind = f"{bits}-bit {_PNG_COLOURS.get(colour, f'colour type {colour}')}"
    if packed and (bits, colour) != (8, 2):
        raise FrameError(f"{path} does not pack depth into colours", got=kind, expected="8-bit RGB: 256 green + blue")
    if not packed and colour != 0:
        raise colour_image(str(path), _PNG_COLOURS.get(colour, f"colour type {colour}"))
    if not packed and bits != 16:
        raise eight_bit(str(path), kind)


def colour_image(name: str, got: str) -> FrameError:
    """The error for what has more than one channel."""
    return FrameError(
        f"{name} is a colour image, not a depth frame",
        got=got,
        expected="one 16-bit channel",
        fix="If the depth is packed into colours (NYU: 256 green + blue, in mm), unpack it to 16 bits first.",
    )


def eight_bit(name: str, got: str) -> FrameError:
    """The error for depth that was cut down to a byte."""
    return FrameError(
        f"{name} has too few bits for depth",
        got=got,
        expected="16-bit depth",
        fix="8-bit images are pictures of depth: save the raw frames.",
    )
