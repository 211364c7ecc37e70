"""Pinhole cameras: projection, lens distortion, named presets of common depth cameras."""

import dataclasses
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import CameraError
from dor3d.text import parse_json

_DISTORTION_LENGTHS = (0, 4, 5, 8, 12, 14)  # what OpenCV's calib3d accepts; 0: none
_UNDISTORTION_STEPS = 50  # a mild lens needs three
_UNDISTORTED = 1e-12  # of x / z
_SLOPE_STEP = 1e-5  # of x / z: half the width over which a slope is taken
_FOLDED = 1e-3  # share of an image's area that is left where it folds
_LONGEST_STEP = 0.5  # of x / z
_FLOATS = ("fx", "fy", "cx", "cy", "depth_unit_mm")
_INTEGERS = ("width", "height")


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera with optional lens distortion.

    Attributes:
        fx, fy: focal lengths in pixels.
        cx, cy: principal point in pixels; an integer is a pixel's centre.
        width, height: image size in pixels, or None when unknown.
        depth_unit_mm: millimetres per unit of an integer depth image.
        distortion: OpenCV's coefficients (k1, k2, p1, p2[, k3[, ...]]), or empty.
        name: a preset's name, or empty.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int | None = None
    height: int | None = None
    depth_unit_mm: float = 1.0
    distortion: tuple[float, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, self.depth_unit_mm, *self.distortion)
        if not all(math.isfinite(n) for n in numbers):
            raise CameraError("Camera has a number that is not finite", got=numbers)
        if self.fx <= 0 or self.fy <= 0:
            raise CameraError(
                "Focal lengths must be positive",
                got=f"fx={self.fx:g}, fy={self.fy:g}",
                fix="A negative fy marks data with y up: use its absolute value, dor3d's y points down.",
            )
        if self.depth_unit_mm <= 0:
            raise CameraError("The depth unit must be positive", got=f"{self.depth_unit_mm:g} mm")
        if len(self.distortion) not in _DISTORTION_LENGTHS:
            raise CameraError(
                "Wrong number of distortion coefficients", got=len(self.distortion), expected=_DISTORTION_LENGTHS
            )

    def project(self, points_mm: Float[ndarray, "*n 3"]) -> Float[ndarray, "*n 2"]:
        """Camera-frame points (mm) to image points (pixels), through the lens distortion if there is one."""
        points = np.asarray(points_mm)
        x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
        if self.distortion:
            x, y = np.moveaxis(self._bent(np.stack([x, y], -1)), -1, 0)
        return np.stack([self.fx * x + self.cx, self.fy * y + self.cy], -1)

    def unproject(self, uv: Float[ndarray, "*n 2"], z_mm: Float[ndarray, "*n"]) -> Float[ndarray, "*n 3"]:
        """Image points (pixels) at depth z (mm) to camera-frame points (mm); the inverse of `project`."""
        xy = self.rays(uv)
        z = np.asarray(z_mm)
        return np.stack([xy[..., 0] * z, xy[..., 1] * z, z], -1)

    def rays(self, uv: Float[ndarray, "*n 2"]) -> Float[ndarray, "*n 2"]:
        """Image points (pixels) to undistorted (x / z, y / z)."""
        uv = np.asarray(uv)
        xy = np.stack([(uv[..., 0] - self.cx) / self.fx, (uv[..., 1] - self.cy) / self.fy], -1)
        return self._straight(xy) if self.distortion else xy

    def _bent(self, xy: Float[ndarray, "*n 2"]) -> Float[ndarray, "*n 2"]:
        """Where the lens puts rays (x / z, y / z), before focal lengths."""
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], -1).reshape(-1, 3).astype(np.float64)
        bent, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), np.eye(3), np.array(self.distortion, np.float64))
        return bent.reshape(xy.shape).astype(xy.dtype)

    def _straight(self, bent: Float[ndarray, "*n 2"]) -> Float[ndarray, "*n 2"]:
        """The inverse of `_bent`, to float precision within the lens's field of view, by Newton's method.

        OpenCV's own undistortion stops up to a tenth of a pixel short, and how to ask for more varies by version. Like
        it, steps without a slope converge ever slower towards the edge of a strong lens, where the image folds.
        """
        target, guess = bent.astype(np.float64), bent.astype(np.float64)
        for _ in range(_UNDISTORTION_STEPS):
            missing = target - self._bent(guess)
            if np.abs(missing).max(initial=0) < _UNDISTORTED:
                break
            guess = guess + self._newton_step(guess, missing)
        return guess.astype(bent.dtype)

    def _newton_step(self, at: Float[ndarray, "*n 2"], missing: Float[ndarray, "*n 2"]) -> Float[ndarray, "*n 2"]:
        """How far to go from `at` for `_bent` to change by `missing`; the plain difference where the image folds."""
        across, down = np.array([_SLOPE_STEP, 0.0]), np.array([0.0, _SLOPE_STEP])
        a, c = np.moveaxis(self._bent(at + across) - self._bent(at - across), -1, 0) / (2 * _SLOPE_STEP)
        b, d = np.moveaxis(self._bent(at + down) - self._bent(at - down), -1, 0) / (2 * _SLOPE_STEP)
        area, (x, y) = a * d - b * c, np.moveaxis(missing, -1, 0)
        folded = np.abs(area) < _FOLDED
        safe = np.where(folded, 1.0, area)
        step = np.stack([(d * x - b * y) / safe, (a * y - c * x) / safe], -1)
        return np.where(folded[..., None], missing, step).clip(-_LONGEST_STEP, _LONGEST_STEP)

    def resized(self, width: int, height: int) -> "Pinhole":
        """The same lens read out at another resolution of the same field of view."""
        if self.width is None or self.height is None:
            raise CameraError("Camera without an image size cannot be resized", fix="Set width and height.")
        sx, sy = width / self.width, height / self.height
        # (c + 0.5) * s - 0.5: pixel centres stay centres
        return replace(
            self,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            width=width,
            height=height,
        )

    def check_frame(self, shape: tuple[int, ...]) -> None:
        """Raise CameraError unless a frame of this [height, width] can come from this camera."""
        height, width = shape[:2]
        if self.width is not None and self.height is not None:
            if (width, height) != (self.width, self.height):
                raise CameraError(
                    f"Frame size does not fit camera {self.name or 'given'}",
                    got=f"{width}x{height}",
                    expected=f"{self.width}x{self.height}",
                    fix="Name the camera's intrinsics at this resolution: --camera FX,FY,CX,CY.",
                )
        elif not (0 <= self.cx < width and 0 <= self.cy < height):
            raise CameraError(
                "The camera's principal point lies outside the frame",
                got=f"cx={self.cx:g}, cy={self.cy:g} for a frame of {width}x{height}",
                fix="The intrinsics are probably those of another resolution.",
            )

    @classmethod
    def preset(cls, name: str) -> "Pinhole":
        """A camera by name; raises CameraError with the known names."""
        key = name.strip().lower().replace("_", "-")
        if key not in PRESETS:
            raise CameraError(
                "Unknown camera",
                got=name,
                expected=f"one of {', '.join(PRESETS)}",
                fix="Or give the intrinsics: FX,FY,CX,CY.",
            )
        return PRESETS[key]

    @classmethod
    def parse(cls, text: str, depth_unit_mm: float | None = None) -> "Pinhole":
        """A camera from a preset's name, ``FX,FY,CX,CY`` in pixels, or a JSON file with this class's fields.

        Args:
            text: what it is.
            depth_unit_mm: of its frames, if it is not the camera's own.
        """
        if "," in text:
            camera = cls._from_numbers(text)
        else:
            camera = cls.load(Path(text)) if text.lower().endswith(".json") else cls.preset(text)
        return camera if depth_unit_mm is None else replace(camera, depth_unit_mm=depth_unit_mm)

    @classmethod
    def _from_numbers(cls, text: str) -> "Pinhole":
        try:
            fx, fy, cx, cy = (float(t) for t in text.split(","))
        except ValueError:
            raise CameraError("Intrinsics cannot be read", got=text, expected="four numbers FX,FY,CX,CY") from None
        return cls(fx, fy, cx, cy)

    @classmethod
    def load(cls, path: Path) -> "Pinhole":
        """A camera from a JSON object with this class's fields; fx, fy, cx and cy are required."""
        try:
            text = Path(path).read_text()
        except (OSError, ValueError) as error:
            raise CameraError(f"Camera file {path} cannot be used", got=error, expected="a JSON object") from None
        return cls.from_json(text, f"Camera file {path}")

    def to_json(self) -> str:
        """A JSON object with this class's fields, without those that say nothing; `from_json` reads it."""
        return json.dumps({k: v for k, v in dataclasses.asdict(self).items() if v not in ((), None)})

    @classmethod
    def from_json(cls, text: str, source: str = "The camera") -> "Pinhole":
        """A camera from such an object; raises CameraError, which names the source."""
        try:
            raw = parse_json(text)
            fields = {**raw, "distortion": tuple(float(k) for k in raw.get("distortion", ()))}
            fields |= {name: float(raw[name]) for name in _FLOATS if name in raw}
            fields |= {name: int(raw[name]) for name in _INTEGERS if raw.get(name) is not None}
            return cls(**fields)
        except CameraError:
            raise
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise CameraError(
                f"{source} cannot be used",
                got=error,
                expected="a JSON object with fx, fy, cx, cy and optionally width, height, depth_unit_mm, distortion",
            ) from None


def _preset(name: str, fx: float, fy: float, cx: float, cy: float, size: tuple[int, int], unit: float = 1.0) -> Pinhole:
    return Pinhole(fx, fy, cx, cy, size[0], size[1], unit, (), name)


# Benchmarks: intrinsics of the data sets as their users share them. Live cameras: typical factory values or those that
# follow from the data sheet's field of view; units differ by a per cent or two, so read your own where you can.
PRESETS: Final[dict[str, Pinhole]] = {
    camera.name: camera
    for camera in (
        # NYU Hand Pose (PrimeSense Carmine 1.09): the data set's own conversion code
        _preset("nyu", 588.03, 587.07, 320.0, 240.0, (640, 480)),
        # ICVL (Creative Interactive Gesture Camera), as A2J and TriHorn-Net evaluate it
        _preset("icvl", 240.99, 240.96, 160.0, 120.0, (320, 240)),
        # MSRA (Creative Interactive Gesture Camera), the data set's read-me
        _preset("msra", 241.42, 241.42, 160.0, 120.0, (320, 240)),
        # HANDS2017 (Intel RealSense SR300), the challenge's page
        _preset("hands17", 475.065948, 475.065857, 315.944855, 245.287079, (640, 480)),
        # Intel RealSense SR305, VGA depth stream: a unit's factory calibration; 0.125 mm a count
        _preset("sr305", 476.007, 476.007, 313.683, 242.755, (640, 480), 0.125),
        # Intel RealSense SR300, VGA depth stream, as the HANDS2017 unit; 0.125 mm a count
        _preset("sr300", 475.07, 475.07, 315.94, 245.29, (640, 480), 0.125),
        # Intel RealSense D435/D435i data sheet: depth field of view 87 x 58 degrees at 16:9
        _preset("d435", 644.7, 644.7, 639.5, 359.5, (1280, 720)),
        # The same camera's 848x480 and 640x480 modes (the latter a crop of the former, by librealsense's tables)
        _preset("d435-848", 427.1, 427.1, 423.5, 239.5, (848, 480)),
        _preset("d435-640", 385.5, 385.5, 319.5, 239.5, (640, 480)),
        # Intel RealSense D415 data sheet: depth field of view 65 x 40 degrees at 16:9
        _preset("d415", 904.6, 904.6, 639.5, 359.5, (1280, 720)),
        # Intel RealSense D405 data sheet: 87 x 58 degrees; made for 7 to 50 cm; 0.1 mm a count
        _preset("d405", 644.7, 644.7, 639.5, 359.5, (1280, 720), 0.1),
        # Intel RealSense L515 data sheet: 70 x 55 degrees at XGA; 0.25 mm a count
        _preset("l515", 731.3, 737.6, 511.5, 383.5, (1024, 768), 0.25),
        # Microsoft Kinect v1 (also PrimeSense Carmine, Asus Xtion): OpenNI's default focal length at VGA
        _preset("kinect1", 575.8, 575.8, 319.5, 239.5, (640, 480)),
        # Microsoft Kinect v2, as libfreenect2 reports for a typical unit
        _preset("kinect2", 365.5, 365.5, 255.0, 211.0, (512, 424)),
        # Azure Kinect DK, narrow field of view unbinned (NFOV, 75 x 65 degrees): typical factory calibration
        _preset("azure-kinect", 504.0, 504.0, 320.0, 330.0, (640, 576)),
        # Azure Kinect DK, wide field of view, 2x2 binned (WFOV, 120 x 120 degrees): half of the unbinned values
        _preset("azure-kinect-wfov", 252.0, 252.0, 256.0, 256.0, (512, 512)),
        # Luxonis OAK-D data sheet: mono cameras (OV9282) with 72 degrees horizontally, at 1280x800 and 640x400
        _preset("oak-d", 880.9, 880.9, 639.5, 399.5, (1280, 800)),
        _preset("oak-d-400p", 440.2, 440.2, 319.5, 199.5, (640, 400)),
        # Orbbec Astra data sheet: 60 x 49.5 degrees at VGA
        _preset("astra", 554.3, 520.6, 319.5, 239.5, (640, 480)),
        # PMD CamBoard pico flexx data sheet: 62 x 45 degrees at 224x171
        _preset("pico-flexx", 186.4, 206.4, 111.5, 85.0, (224, 171)),
    )
}
