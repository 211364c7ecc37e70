"""The embedded data set: rendered hands without end. Sample i of seed s depends on nothing else."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.geometry import CropBox, Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.geometry.roll import told_turn
from dor3d.hand.empty import draw_empty
from dor3d.hand.scene import Scene, mirrored, read_crop, read_frame, rolled
from dor3d.hand.stage import WIDE, SceneConfig, draw_scene
from dor3d.skeleton import JOINTS

if TYPE_CHECKING:
    from dor3d.data.batch import Batch, Kind


@dataclass(frozen=True)
class SyntheticConfig:
    """A stream of rendered crops.

    Attributes:
        scene: what the scenes are drawn from.
        size: side of the crop in pixels.
        cube_mm: side of the cube in the image plane and in depth.
        center_sd_mm: how far the crop's centre lies off the joints' middle (1 sd per axis).
        rough_center: share of crops whose centre is three times as far off, as a first crop without a pose is.
        left, empty: shares of crops that show a left hand, or none, for networks that tell them apart.
        upright: share of hands that point upwards, about as well as a first look can tell, as later looks show them.
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    size: int = 128
    cube_mm: tuple[float, float] = (280.0, 300.0)
    center_sd_mm: float = 10.0
    rough_center: float = 0.2
    left: float = 0.0
    empty: float = 0.0
    upright: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.upright <= 1:
            raise InputError("A share of hands lies in [0, 1]", got=f"upright {self.upright:g}")
        if min(self.left, self.empty) < 0 or self.left + self.empty > 1:
            got = f"left {self.left:g}, empty {self.empty:g}"
            raise InputError("Shares of crops must not be negative", got=got, expected="at most 1 in all")

    @property
    def mixed(self) -> bool:
        """Whether others than right hands come."""
        return self.left > 0 or self.empty > 0


def generator(seed: int, index: int) -> np.random.Generator:
    """The random numbers of a stream's sample, on which nothing but its seed and number bears."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))


class SyntheticSample(NamedTuple):
    """One rendered crop with its truth."""

    image: Float[ndarray, "s s"]  # the network's input
    points: Float[ndarray, "a 3"]  # joints as crop points (p, q px, r mm); of an empty crop they mean nothing
    box: CropBox
    scene: Scene
    kind: "Kind"


class SyntheticHands:
    """A map-style data set without end: `source[i]` is (image [S, S], points [21, 3]), both float32."""

    length: int | None = None

    def __init__(self, config: SyntheticConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> tuple[Float[ndarray, "s s"], Float[ndarray, "a 3"]]:
        sample = self.sample(index)
        return sample.image, sample.points

    def batch(self, epoch: int, indices: Sequence[int]) -> "Batch":
        """Some samples as a training batch; the epoch is always the first, since there is no end."""
        from dor3d.data.batch import stack  # rendering a folder of frames needs no torch

        del epoch
        samples = [self.sample(i) for i in indices]
        kinds: list[Kind] | None = [s.kind for s in samples] if self.config.mixed else None
        return stack([(s.image, s.points) for s in samples], kinds)

    def sample(self, index: int) -> SyntheticSample:
        """The crop with the scene that it shows."""
        rng, scene, box, kind = self._draw(index)
        image = box.normalise(read_crop(scene, box, rng))
        return SyntheticSample(image, box.to_crop(scene.joints_mm).astype(np.float32), box, scene, kind)

    def draw(self, index: int) -> tuple[np.random.Generator, Scene, CropBox]:
        """A sample's scene and crop, and the generator that its sensor goes on with."""
        return self._draw(index)[:3]

    def _draw(self, index: int) -> tuple[np.random.Generator, Scene, CropBox, "Kind"]:
        rng = generator(self.seed, index)
        config = self.config
        draw = rng.random() if config.mixed else 1.0
        if draw < config.empty:
            scene, center = draw_empty(rng, config.scene)
            if rng.random() < 0.5:
                scene, center = mirrored(scene), center * (-1.0, 1.0, 1.0)
            return rng, scene, self._box(rng, scene, center), "none"
        scene, is_left = self._scene(rng, index), draw < config.empty + config.left
        scene = mirrored(scene) if is_left else scene
        center = center_of_joints(scene.joints_mm)
        if config.upright > 0 and rng.random() < config.upright:
            scene = rolled(scene, center, told_turn(scene.joints_mm, scene.camera, rng))
        box = self._box(rng, scene, center)
        return rng, scene, box, "left" if is_left else "right"

    def _scene(self, rng: np.random.Generator, index: int) -> Scene:
        return draw_scene(rng, self.config.scene)

    def _box(self, rng: np.random.Generator, scene: Scene, center: Float[ndarray, "3"]) -> CropBox:
        config = self.config
        sd = config.center_sd_mm * (3.0 if rng.random() < config.rough_center else 1.0)
        x, y, z = center + rng.normal(0.0, sd, 3)
        return CropBox(scene.camera, (float(x), float(y), float(z)), config.cube_mm, config.size)


# ---- whole frames, as files ----------------------------------------------------------------------------------------
_LARGEST_UINT16 = 65535  # a depth beyond it is cut off there


def render_set(count: int, camera: str, seed: int, out: Path) -> None:
    """Write labelled frames of left and right hands; the folder appears whole or not at all.

    It holds 000000.png ... (16-bit, in the camera's unit), labels.json (joints in mm and handedness by file name) and
    camera.json.

    Args:
        camera: as `Pinhole.parse` takes it; it must have an image size.
        seed: frame i of a seed is always the same.

    Raises:
        InputError: a folder that is not empty; CameraError: an unknown camera, or one without a size.
    """
    pinhole = Pinhole.parse(camera)
    if pinhole.width is None or pinhole.height is None:
        raise InputError("Frames need a camera with an image size", got=camera, fix="Name a preset or a JSON file.")
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("The output folder is not empty", got=out, fix="Choose another with --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_set(count, pinhole, seed, folder)
        folder.chmod(0o755)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_set(count: int, camera: Pinhole, seed: int, folder: Path) -> None:
    labels: dict[str, Any] = {"unit": "mm, camera frame, y down", "names": JOINTS, "joints": {}, "handedness": {}}
    for index in range(count):
        scene, frame = render_frame(camera, seed, index)
        counts = np.clip(np.round(frame / camera.depth_unit_mm), 0, _LARGEST_UINT16).astype(np.uint16)
        name = f"{index:06d}.png"
        cv2.imwrite(str(folder / name), counts)
        labels["joints"][name] = scene.joints_mm.round(3).tolist()
        labels["handedness"][name] = "left" if index % 2 else "right"
    (folder / "labels.json").write_text(json.dumps(labels))
    (folder / "camera.json").write_text(camera.to_json())


def render_frame(camera: Pinhole, seed: int, index: int) -> tuple[Scene, Float[ndarray, "h w"]]:
    """Frame `index` of a seed: its scene, with joints in sight, and its depth (mm); odd ones show left hands."""
    rng = generator(seed, index)
    scene = draw_scene(rng, SceneConfig(focal_jitter=0.0, least_seen=WIDE.least_seen), camera)
    if index % 2:
        scene = mirrored(scene)
    return scene, read_frame(scene, rng)
