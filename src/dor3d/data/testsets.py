"""The frozen test sets of rendered hands.

clear    4,096 crops: hand and forearm alone, the palm's normal uniform on the sphere, any roll, 0.25 to 1 m, real
         cameras' faults, hand sizes and poses that no training stream draws, the crop's centre 10 mm (1 sd) off.
tracked  the 2,336 poses of a tracker's recording (`dor3d.hand.tracked`; its file is not part of dor3d) in the same
         scenes.
hard     4,096 crops of all that real use has: views of people before the camera, of cameras over tables and on heads,
         0.2 to 1.5 m, bodies, walls, tables, things held and things that hide fingers, other hands, hands cut off by
         the image's edge, each camera with the faults of its kind; some joints of each hand are seen. The crop's
         centre is as in `clear`.
rooms    2,048 whole frames of rooms with none, one or two hands, to be found (`dor3d.hand.room`).

Each comes in two versions, of the hand's sizes and poses alone: all else is drawn as before, from seeds of their own.
Version 1 stays what it always was. In version 2 the prior bends wrists and thumbs further (`dor3d.hand.pose`), and
`tracked` holds 2,374 poses of seven other recordings, which nothing but this set looks at (`hand.tracked.HELD_OUT`).

A set is its seed, its version and its fingerprint: scene parameters are equal on every machine, and so is the
fingerprint; depth is equal within 0.01 mm off silhouettes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from dor3d.data.rooms import Rooms
from dor3d.data.synthetic import SyntheticConfig, SyntheticHands, generator
from dor3d.hand.contact import loosen, loosen_nearly
from dor3d.hand.model import sample_shape
from dor3d.hand.pose import joint_limits
from dor3d.hand.room import RoomConfig, draw_room
from dor3d.hand.scene import Scene
from dor3d.hand.stage import WIDE, SceneConfig, draw_camera, place_hand
from dor3d.hand.tracked import load_held_out_poses, load_tracked_poses
from dor3d.hand.views import random_rotation

VERSION: Final = 1
CLEAR_COUNT: Final = 4096
# training streams use seeds below 2**31; these lie beyond, so that no sample is ever shared
_CLEAR_SEED: Final = 2**31 + 1
_TRACKED_SEED: Final = 2**31 + 2
VALIDATION_SEED: Final = 2**31 + 3
_HARD_SEED: Final = 2**31 + 4
HARD_VALIDATION_SEED: Final = 2**31 + 5
HARD_COUNT: Final = 4096
_ROOMS_SEED: Final = 2**31 + 6
ROOMS_COUNT: Final = 2048
# version 2; `VALIDATION_SEED` and `HARD_VALIDATION_SEED` draw other scenes where the hand is another
_CLEAR_2_SEED: Final = 2**31 + 11
_TRACKED_2_SEED: Final = 2**31 + 12
_HARD_2_SEED: Final = 2**31 + 14
_ROOMS_2_SEED: Final = 2**31 + 16
# of the first 256 samples: `fingerprint(clear())` and so on
CLEAR_FINGERPRINT: Final = "726ff2062c8b3efa568896eb60c26efb50b58dc5c68650a3706ef28643b853a7"
HARD_FINGERPRINT: Final = "53c9445a2d30c949cc8e8c460a15da0ea23c8aec4e5ae7306e3f81119d9e0ca5"
ROOMS_FINGERPRINT: Final = "ed7d4083bf178771d44e59b6628bfefb494e30db01679087d17d35d580c184c1"
TRACKED_FINGERPRINT: Final = "74b77ed4b2d8fa7af41e670528bc03e2d6450f75969d3d5e5d3f97ea23fbfa9e"
# of version 2, written down on 2026-12-01, before any training on it; `scripts/fingerprints.py` prints all eight
CLEAR_2_FINGERPRINT: Final = "6157279d891faae692aa7ad78a92b036592c9e2afe28077882ed5bed159be75e"
HARD_2_FINGERPRINT: Final = "dbd8d6dfdb35d55036989ab2b81883253a15fae550c0586b494dc55dbe49d215"
ROOMS_2_FINGERPRINT: Final = "5121533b4f4f1ae4be0ffaa2518840afcf555038be7e15aa1f664991e8dce581"
TRACKED_2_FINGERPRINT: Final = "a24e49ffefd4f0f2f6c6d6cd141a42776aa9924b73ad70c9f8da1f2676576762"

_CONFIG: Final = SyntheticConfig(
    scene=SceneConfig(distance_mm=(250.0, 1000.0), body=0.0, plane=0.0), center_sd_mm=10.0, rough_center=0.0
)
# a little more of everything than the streams that networks learn from have
_MORE: Final = {"body": 0.3, "plane": 0.3, "held": 0.3, "other": 0.2, "before": 0.1, "beside": 0.3, "cut": 0.1}
HARD: Final = replace(WIDE, **_MORE, own_faults=0.75, faces=0.0)
ROOMS: Final = RoomConfig(scene=replace(RoomConfig().scene, faces=0.0), people=0.0)


class TrackedHands(SyntheticHands):
    """Recorded poses, each once, in drawn hands and scenes."""

    def __init__(self, config: SyntheticConfig, seed: int, poses: ndarray) -> None:
        super().__init__(config, seed)
        self.poses = poses

    def __len__(self) -> int:
        return len(self.poses)

    def _scene(self, rng: np.random.Generator, index: int) -> Scene:
        version = self.config.scene.hand
        shape = sample_shape(rng, version)
        pose = self.poses[index].copy()
        if version == 1:
            loosen(shape, pose)
        else:
            loosen_nearly(shape, pose, joint_limits(version))
        return place_hand(
            rng, self.config.scene, shape, pose, random_rotation(rng), draw_camera(rng, self.config.scene)
        )


def clear_config(size: int, cube_mm: tuple[float, float], version: int = 1) -> SyntheticConfig:
    """Return what `clear` is drawn from, seen by a network of this input; see `clear`."""
    return replace(_CONFIG, scene=replace(_CONFIG.scene, hand=version), size=size, cube_mm=cube_mm)


def clear(size: int = 128, cube_mm: tuple[float, float] = (280.0, 300.0), version: int = 1) -> SyntheticHands:
    """Return the test set `clear` for a network of this input; its first `CLEAR_COUNT` samples are the set.

    Args:
        size: side of the crop in pixels.
        cube_mm: side of the cube in the image plane and in depth.
        version: of the set, 1 or 2.

    Raises:
        InputError: an unknown version.
    """
    return SyntheticHands(clear_config(size, cube_mm, version), _CLEAR_SEED if version == 1 else _CLEAR_2_SEED)


def tracked(
    poses: Path, size: int = 128, cube_mm: tuple[float, float] = (280.0, 300.0), version: int = 1
) -> TrackedHands:
    """Return the test set `tracked` for a network of this input, see `clear`.

    Args:
        poses: version 1: the recording's file, animbank.pose; version 2: the folder with the files of `HELD_OUT`.
        size, cube_mm, version: as of `clear`.

    Raises:
        InputError: an unknown version; recordings that are missing or are none.
    """
    config = clear_config(size, cube_mm, version)
    if version == 1:
        return TrackedHands(config, _TRACKED_SEED, load_tracked_poses(poses))
    return TrackedHands(config, _TRACKED_2_SEED, load_held_out_poses(poses))


def hard(size: int = 128, cube_mm: tuple[float, float] = (280.0, 300.0), version: int = 1) -> SyntheticHands:
    """Return the test set `hard` for a network of this input, see `clear`; its first `HARD_COUNT` samples are it."""
    return SyntheticHands(hard_config(size, cube_mm, version), _HARD_SEED if version == 1 else _HARD_2_SEED)


def hard_config(size: int, cube_mm: tuple[float, float], version: int = 1) -> SyntheticConfig:
    """Return what `hard` is drawn from, seen by a network of this input; see `clear`."""
    scene = replace(HARD, hand=version)
    return SyntheticConfig(scene=scene, center_sd_mm=10.0, rough_center=0.0, size=size, cube_mm=cube_mm)


def rooms(version: int = 1) -> Rooms:
    """Return the test set `rooms` of version 1 or 2; its first `ROOMS_COUNT` samples are the set."""
    config = replace(ROOMS, scene=replace(ROOMS.scene, hand=version))
    return Rooms(config, _ROOMS_SEED if version == 1 else _ROOMS_2_SEED)


def fingerprint(source: SyntheticHands | Rooms, count: int = 256) -> str:
    """SHA-256 over the first scenes: camera, surfaces, joints, crop centre, to a hundredth of a millimetre."""
    digest = hashlib.sha256()
    for numbers in _room_numbers(source, count) if isinstance(source, Rooms) else _scene_numbers(source, count):
        digest.update(np.round(numbers * 100).astype(np.int64).tobytes())
    return digest.hexdigest()


def _scene_numbers(source: SyntheticHands, count: int) -> Iterator[ndarray]:
    for index in range(count):
        _, scene, box = source.draw(index)
        camera = scene.camera
        yield np.array([camera.fx, camera.fy, *box.center_mm, *scene.joints_mm.ravel(), *scene.spheres.ravel()])


def _room_numbers(source: Rooms, count: int) -> Iterator[ndarray]:
    for index in range(count):
        room = draw_room(generator(source.seed, index), source.config)
        camera, hands = room.scene.camera, [hand.joints_mm.ravel() for hand in room.hands]
        sides = [float(hand.is_right) for hand in room.hands]
        yield np.concatenate([[camera.fx, camera.fy, *sides], *hands, room.scene.spheres.ravel()])
