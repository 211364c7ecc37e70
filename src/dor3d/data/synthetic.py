"""The embedded data set: rendered hands, endless or as a frozen test set. Sample i of seed s depends on nothing else."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.geometry import CropBox
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.scene import Scene, SceneConfig, draw_scene, read_crop


@dataclass(frozen=True)
class SyntheticConfig:
    """A stream of rendered crops.

    Attributes:
        scene: what the scenes are drawn from.
        size: side of the crop in pixels.
        cube_mm: side of the cube in the image plane and in depth.
        center_sd_mm: how far the crop's centre lies off the joints' middle (1 sd per axis).
        rough_center: share of crops whose centre is three times as far off, as a first crop without a pose is.
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    size: int = 128
    cube_mm: tuple[float, float] = (280.0, 300.0)
    center_sd_mm: float = 10.0
    rough_center: float = 0.2


class SyntheticSample(NamedTuple):
    """One rendered crop with its truth."""

    image: Float[ndarray, "s s"]  # the network's input
    points: Float[ndarray, "a 3"]  # joints as crop points (p, q px, r mm)
    box: CropBox
    scene: Scene


class SyntheticHands:
    """A map-style data set without end: `source[i]` is (image [S, S], points [21, 3]), both float32."""

    def __init__(self, config: SyntheticConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> tuple[Float[ndarray, "s s"], Float[ndarray, "a 3"]]:
        sample = self.sample(index)
        return sample.image, sample.points

    def sample(self, index: int) -> SyntheticSample:
        """The crop with the scene that it shows."""
        rng, scene, box = self.draw(index)
        image = box.normalise(read_crop(scene, box, rng))
        return SyntheticSample(image, box.to_crop(scene.joints_mm).astype(np.float32), box, scene)

    def draw(self, index: int) -> tuple[np.random.Generator, Scene, CropBox]:
        """A sample's scene and crop, and the generator that its sensor goes on with."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((self.seed, index))))
        scene = self._scene(rng, index)
        return rng, scene, self._box(rng, scene)

    def _scene(self, rng: np.random.Generator, index: int) -> Scene:
        return draw_scene(rng, self.config.scene)

    def _box(self, rng: np.random.Generator, scene: Scene) -> CropBox:
        config = self.config
        sd = config.center_sd_mm * (3.0 if rng.random() < config.rough_center else 1.0)
        x, y, z = center_of_joints(scene.joints_mm) + rng.normal(0.0, sd, 3)
        return CropBox(scene.camera, (float(x), float(y), float(z)), config.cube_mm, config.size)
