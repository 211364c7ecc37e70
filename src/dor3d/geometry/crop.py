"""CropBox: one object that maps an image and its points into a square crop around a hand, and back."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.geometry.camera import Pinhole


@dataclass(frozen=True)
class CropBox:
    """A cube in front of a camera, seen as a square crop of size x size pixels.

    The square is the cube's section at the depth of its centre. Augmentation is another CropBox (`augmented`), so an
    image is resampled once, from raw pixels. See `dor3d.geometry` for the conventions of (p, q, r).

    Attributes:
        camera: the camera whose frames are cropped.
        center_mm: the cube's centre in the camera frame (mm).
        cube_mm: full side of the cube in the image plane, and along the depth axis (mm).
        size: side S of the crop in pixels.
        rotation: turns the content by this angle (radians) in the image plane, from x (right) towards y (down).
        mirrored: flips p; how a left hand becomes a right one.
    """

    camera: Pinhole
    center_mm: tuple[float, float, float]
    cube_mm: tuple[float, float] = (300.0, 300.0)
    size: int = 224
    rotation: float = 0.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        if not all(math.isfinite(c) for c in self.center_mm) or self.center_mm[2] <= 0:
            raise InputError(
                "The crop's centre must lie before the camera", got=self.center_mm, expected="finite x, y, z with z > 0"
            )
        if not all(math.isfinite(s) and s > 0 for s in self.cube_mm):
            raise InputError("The cube's sides must be positive", got=self.cube_mm, expected="mm, say 300")
        if self.size < 1:
            raise InputError("The crop's size must be positive", got=self.size, expected="pixels, say 224")

    @property
    def near_mm(self) -> float:
        """Depth of the cube's near face, where r = 0."""
        return self.center_mm[2] - self.cube_mm[1] / 2

    @property
    def mm_per_pixel(self) -> float:
        """Side of a crop pixel at the depth of the centre."""
        return self.cube_mm[0] / self.size

    @cached_property
    def _center_uv(self) -> tuple[float, float]:
        u, v = self.camera.project(np.array(self.center_mm, np.float64))
        return float(u), float(v)

    @cached_property
    def _linear(self) -> tuple[ndarray, ndarray]:
        """The 2x2 map from (u, v) offsets to (p, q) offsets, and its inverse."""
        kx = self.center_mm[2] / (self.camera.fx * self.mm_per_pixel)  # crop pixels per image pixel
        ky = self.center_mm[2] / (self.camera.fy * self.mm_per_pixel)
        c, s, flip = math.cos(self.rotation), math.sin(self.rotation), -1.0 if self.mirrored else 1.0
        forward = np.array([[flip * c * kx, -flip * s * ky], [s * kx, c * ky]])
        inverse = np.array([[flip * c / kx, s / kx], [-flip * s / ky, c / ky]])
        return forward, inverse

    def uv_to_pq(self, uv: Float[ndarray, "*n 2"]) -> Float[ndarray, "*n 2"]:
        """Image points (pixels) to crop coordinates (p, q)."""
        return (uv - np.array(self._center_uv)) @ self._linear[0].T + self.size / 2

    def pq_to_uv(self, pq: Float[ndarray, "*n 2"]) -> Float[ndarray, "*n 2"]:
        """Crop coordinates (p, q) to image points (pixels); the inverse of `uv_to_pq`."""
        return (pq - self.size / 2) @ self._linear[1].T + np.array(self._center_uv)

    def to_crop(self, points_mm: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        """Camera-frame points (mm) to crop points (p px, q px, r mm)."""
        points = np.asarray(points_mm, np.float64)
        pqr = points - self.near_mm
        pqr[..., :2] = self.uv_to_pq(self.camera.project(points))
        return pqr

    def to_camera(self, pqr: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 3"]:
        """Crop points (p px, q px, r mm) to camera-frame points (mm); the inverse of `to_crop`."""
        pqr = np.asarray(pqr, np.float64)
        return self.camera.unproject(self.pq_to_uv(pqr[..., :2]), pqr[..., 2] + self.near_mm)

    def lookup(self) -> tuple[Int[ndarray, "s s"], Int[ndarray, "s s"]]:
        """Column u and row v of the image pixel nearest to each crop pixel's centre; they may lie outside the image."""
        if self.rotation == 0:
            u, v = self.lookup_axes()
            return np.broadcast_to(u, (self.size, self.size)), np.broadcast_to(v[:, None], (self.size, self.size))
        steps = np.arange(0.5 - self.size / 2, self.size / 2)
        u, v, up, uq, vp, vq = self.lookup_steps()
        columns = (u + up * steps) + (uq * steps)[:, None]
        rows = (v + vp * steps) + (vq * steps)[:, None]
        return np.floor(columns).astype(np.int64), np.floor(rows).astype(np.int64)

    def lookup_steps(self) -> tuple[float, float, float, float, float, float]:
        """The crop's middle in the image, u and v, and a crop pixel's steps there: of u along p and q, of v along both.

        Continuous: pixel column j covers [j, j + 1).
        """
        (u, v), ((up, uq), (vp, vq)) = self._center_uv, self._linear[1].tolist()
        return u + 0.5, v + 0.5, up, uq, vp, vq

    def lookup_axes(self) -> tuple[Int[ndarray, "s"], Int[ndarray, "s"]]:
        """For a crop that is not rotated: the image column of each crop column and the image row of each crop row."""
        if self.rotation != 0:
            raise InputError("A rotated crop has no separable lookup", got=f"rotation {self.rotation:g}")
        (u, v), inverse = self._center_uv, self._linear[1]
        steps = np.arange(0.5 - self.size / 2, self.size / 2)
        columns, rows = u + 0.5 + inverse.item(0, 0) * steps, v + 0.5 + inverse.item(1, 1) * steps
        return np.floor(columns).astype(np.int64), np.floor(rows).astype(np.int64)

    def crop(self, depth: Num[ndarray, "h w"], unit_mm: float = 1.0) -> Float[ndarray, "s s"]:
        """The raw depth (mm; 0: no reading or outside the image) at the nearest pixel of each crop pixel.

        Only the pixels that the crop shows are converted.

        Args:
            depth: a frame in any unit.
            unit_mm: mm per unit.
        """
        height, width = depth.shape
        if self.rotation == 0:  # rows and columns alone decide
            u, v = self.lookup_axes()
            values = depth[np.clip(v, 0, height - 1)][:, np.clip(u, 0, width - 1)].astype(np.float32)
            values[(v < 0) | (v >= height)] = 0
            values[:, (u < 0) | (u >= width)] = 0
        else:
            u, v = self.lookup()
            outside = (u < 0) | (u >= width) | (v < 0) | (v >= height)
            place = v * width + u
            place[outside] = 0
            values = depth.take(place).astype(np.float32)
            values[outside] = 0
        if unit_mm != 1:
            values *= np.float32(unit_mm)
        return values

    def normalise(self, crop_mm: Float[ndarray, "*s"]) -> Float[ndarray, "*s"]:
        """Raw crop depth (mm) to the network's input in [-1, 1]."""
        scaled = (crop_mm - np.float32(self.center_mm[2])) * np.float32(2 / self.cube_mm[1])
        np.putmask(scaled, crop_mm <= 0, np.float32(1))
        return np.clip(scaled, -1, 1, out=scaled).astype(np.float32, copy=False)

    def image(self, depth: Num[ndarray, "h w"], unit_mm: float = 1.0) -> Float[ndarray, "s s"]:
        """Crop a frame (in any unit; `unit_mm`: mm per unit) and normalise it: the network's input."""
        return self.normalise(self.crop(depth, unit_mm))

    def augmented(
        self, *, rotation: float = 0.0, scale: float = 1.0, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> "CropBox":
        """This box turned (radians), its cube scaled in the plane, and its centre shifted (mm, camera frame)."""
        x, y, z = (c + s for c, s in zip(self.center_mm, shift_mm, strict=True))
        side, depth = self.cube_mm
        return replace(self, center_mm=(x, y, z), cube_mm=(side * scale, depth), rotation=self.rotation + rotation)


def center_of_joints(joints_mm: Float[ndarray, "*n a 3"]) -> Float[ndarray, "*n 3"]:
    """Where a hand's crop is centred: the middle of its joints' bounding box along the camera's axes (mm).

    Unlike the joints' mean it leaves as much room beyond the fingertips as behind the wrist.
    """
    return (joints_mm.min(-2) + joints_mm.max(-2)) / 2
