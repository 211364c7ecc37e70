"""The predictor: a depth frame in, hands in millimetres out. NumPy in, NumPy out; no files, no drawing."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float, Num
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.frames import check_frame, point_in_frame
from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.predict.locate import locate
from dor3d.runtime.onnx import CropModel, CropOutput, OnnxModel

Side = Literal["auto", "left", "right"]
_HALF_SURE_MM: Final = 15.0  # mean standard deviation at which the confidence is one half
_NEAREST_MM: Final = 20.0  # no joint and no crop's centre is nearer to the camera
_LEAST_SURFACE: Final = 0.005  # share of a crop that must show something inside the cube


@dataclass(frozen=True)
class Hand:
    """One hand.

    Attributes:
        handedness: "left" or "right".
        confidence: 0 to 1, falling with the mean of `std_mm` (not calibrated).
        center_mm: centre of the crop that the joints were read from (3), camera frame.
        joints_mm: [A, 3] in the camera frame, in the order of the model's joints.
        joints_px: [A, 2] where these project in the frame.
        std_mm: [A] root mean square over x, y and z of each joint's standard deviation.
    """

    handedness: Literal["left", "right"]
    confidence: float
    center_mm: Float[ndarray, "3"]
    joints_mm: Float[ndarray, "a 3"]
    joints_px: Float[ndarray, "a 2"]
    std_mm: Float[ndarray, "a"]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, rounded to 0.001 mm and pixels."""
        return {
            "handedness": self.handedness,
            "confidence": round(self.confidence, 4),
            "center_mm": np.round(self.center_mm, 3).tolist(),
            "joints_mm": np.round(self.joints_mm, 3).tolist(),
            "joints_px": np.round(self.joints_px, 3).tolist(),
            "std_mm": np.round(self.std_mm, 3).tolist(),
        }


class Predictor:
    """Finds the hand in depth frames of one camera.

    Args:
        model: a shipped name, an ONNX file, or any `CropModel`.
        camera: a preset's name, "FX,FY,CX,CY", a JSON file, or a Pinhole.
        hand: "right", "left", or "auto": both are tried, and the one that the network is surer of stays.
        cube_mm: in-plane side and depth of the crop's cube, if not the model's own; the joints cannot leave it.
        passes: how often the network looks; each look after the first is centred on the joints of the one before.
        threads: of the network; None: one a core.

    Raises ModelError, CameraError or InputError.
    """

    def __init__(
        self,
        model: str | Path | CropModel = "compact",
        camera: str | Pinhole = "d435",
        *,
        hand: Side = "auto",
        cube_mm: float | tuple[float, float] | None = None,
        passes: int = 2,
        threads: int | None = None,
    ) -> None:
        if hand not in get_args(Side):
            raise InputError("Unknown hand", got=hand, expected=" or ".join(get_args(Side)))
        if passes < 1:
            raise InputError("There must be at least one pass", got=passes)
        self.camera = camera if isinstance(camera, Pinhole) else Pinhole.parse(camera)
        self.model: CropModel = OnnxModel(model, threads) if isinstance(model, (str, Path)) else model
        self.hand: Side = hand
        self.passes = passes
        self.cube_mm = _cube(cube_mm, self.model.card.cube_mm)
        self.network_s = 0.0  # time spent in the network so far

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints, in the order of the output."""
        return self.model.card.joints

    def __call__(
        self, depth: Num[ndarray, "h w"], center_mm: Sequence[float] | Float[ndarray, "3"] | None = None
    ) -> list[Hand]:
        """The hands in a frame; an empty list when there is none.

        Args:
            depth: integers in the camera's depth unit or floating-point values in mm; 0 means no reading.
            center_mm: where the first crop is centred (x, y, z in mm); without it the hand is looked for. Later
                passes follow the joints either way.

        Raises FrameError for what is no depth frame, CameraError for one of another camera's size, and InputError for a
        centre off the image.
        """
        check_frame(depth, self.camera)
        unit = 1.0 if depth.dtype.kind == "f" else self.camera.depth_unit_mm
        if center_mm is not None:
            point_in_frame(center_mm, self.camera, depth.shape)
            starts = [(float(center_mm[0]), float(center_mm[1]), float(center_mm[2]))]
        else:
            starts = [place.center_mm for place in locate(depth, self.camera, unit)]
        hands = [self._hand(depth, unit, start) for start in starts]
        return [hand for hand in hands if hand is not None]

    def _hand(self, depth: Num[ndarray, "h w"], unit_mm: float, center: tuple[float, float, float]) -> Hand | None:
        """Look `passes` times, from this centre on; None when the crop shows nothing."""
        sides = (False, True) if self.hand == "auto" else (self.hand == "left",)
        box = self._box(center, mirrored=sides[0])
        crop = box.image(depth, unit_mm)
        if (crop < 1).mean() < _LEAST_SURFACE:
            return None
        # a mirrored crop is the crop, mirrored: p -> S - p sends column j to column S - 1 - j
        crops = np.stack([crop, crop[:, ::-1]] if len(sides) == 2 else [crop])
        output = self._run(crops)
        best = int(output.sigma.mean((1, 2)).argmin())
        box = self._box(center, mirrored=sides[best])
        points, sigma = output.points[best], output.sigma[best]
        for _ in range(self.passes - 1):
            x, y, z = center_of_joints(box.to_camera(points)).tolist()
            box = self._box((x, y, max(z, _NEAREST_MM)), mirrored=box.mirrored)
            output = self._run(box.image(depth, unit_mm)[None])
            points, sigma = output.points[0], output.sigma[0]
        return self._read(box, points, sigma)

    def _box(self, center: tuple[float, float, float], *, mirrored: bool) -> CropBox:
        return CropBox(self.camera, center, self.cube_mm, self.model.card.size, mirrored=mirrored)

    def _run(self, crops: Float[ndarray, "b s s"]) -> CropOutput:
        begin = time.perf_counter()
        output = self.model(crops[:, None])
        self.network_s += time.perf_counter() - begin
        return output

    def _read(self, box: CropBox, points: Float[ndarray, "a 3"], sigma: Float[ndarray, "a 3"]) -> Hand:
        front = np.array([-np.inf, -np.inf, _NEAREST_MM - box.near_mm])
        joints = box.to_camera(np.maximum(points, front))  # a cube may reach behind the camera, a hand does not
        # a pixel of the crop is worth more mm behind the centre than before it: rays spread
        plane = box.mm_per_pixel * joints[:, 2:] / box.center_mm[2]
        std = np.sqrt((np.square(sigma[:, :2] * plane).sum(-1) + np.square(sigma[:, 2])) / 3)
        return Hand(
            "left" if box.mirrored else "right",
            confidence(float(std.mean())),
            np.array(box.center_mm),
            joints,
            self.camera.project(joints),
            std,
        )


def confidence(std_mm: float) -> float:
    """Between 1 (no spread) and 0, falling with the mean standard deviation (mm): 1 / (1 + (std / 15)^2)."""
    return 1.0 / (1.0 + (std_mm / _HALF_SURE_MM) ** 2)


def _cube(given: float | tuple[float, float] | None, own: tuple[float, float]) -> tuple[float, float]:
    if given is None:
        return own
    cube = (float(given), float(given)) if isinstance(given, (int, float)) else (float(given[0]), float(given[1]))
    if not all(np.isfinite(side) and 50 <= side <= 2000 for side in cube):
        raise InputError("The cube cannot hold a hand", got=cube, expected="sides of 50 to 2000 mm")
    return cube
