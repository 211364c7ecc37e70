"""A hand before a camera: who, which pose, seen from where, with what behind it; and what the sensor reads of it."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.geometry import CropBox, Pinhole
from dor3d.hand.model import (
    ARM_SPHERES,
    EDGES,
    SPHERE_COUNT,
    WEDGES,
    HandShape,
    posed_hand,
)
from dor3d.hand.pose import sample_hand
from dor3d.hand.render import FAR, cast
from dor3d.hand.sensor import SensorFaults, apply_faults, sample_faults

_CAMERAS = ("sr305", "hands17", "nyu", "icvl", "msra", "d435-640", "kinect1", "kinect2", "azure-kinect", "l515")
_NO_PLANE = np.zeros(4)
_BEYOND_MM = 20.0  # more than the jump that the sensor's edge faults look for
_NEAREST_MM = 110.0  # nothing of the hand or arm is nearer to the camera than this


@dataclass(frozen=True)
class SceneConfig:
    """What scenes are drawn from.

    Attributes:
        cameras: presets, one drawn per scene; their focal length varies by `focal_jitter` (1 sd, relative).
        distance_mm: nearest and farthest centre of the hand; logarithmically uniform between.
        body, plane: chances of a torso with a head, or of a wall or table, behind the hand.
        sleeve: chance of a sleeved forearm.
        faults: whether the camera has any.
    """

    cameras: tuple[str, ...] = _CAMERAS
    focal_jitter: float = 0.05
    distance_mm: tuple[float, float] = (200.0, 1200.0)
    body: float = 0.25
    plane: float = 0.2
    sleeve: float = 0.3
    faults: bool = True


class Scene(NamedTuple):
    """Everything that a depth image of one hand depends on; lengths in mm, in the camera frame."""

    camera: Pinhole
    joints_mm: ndarray  # [21, 3]
    spheres: ndarray  # [N, 4]
    edges: ndarray  # [E, 2]
    wedges: ndarray  # [T, 3]
    plane: ndarray  # [4] unit normal and offset of a wall (normal . x = offset), or zeros
    faults: SensorFaults


def draw_scene(rng: np.random.Generator, config: SceneConfig, camera: Pinhole | None = None) -> Scene:
    """One random scene with a right hand, before the given camera or one of the config's."""
    shape, pose = sample_hand(rng)
    camera = camera or draw_camera(rng, config)
    return place_hand(rng, config, shape, pose, random_rotation(rng), camera)


def place_hand(
    rng: np.random.Generator, config: SceneConfig, shape: HandShape, pose: ndarray, rotation: ndarray, camera: Pinhole
) -> Scene:
    """A scene with this hand, pose and rotation (hand frame to camera frame) [3, 3]; the rest is drawn."""
    joints, spheres = posed_hand(shape, pose, rotation)
    _sleeve(rng, config, spheres)
    center = _center(rng, config, camera, float((spheres[:, 3] - spheres[:, 2]).max()))
    joints += center
    spheres[:, :3] += center
    edges, wedges, plane = EDGES, WEDGES, _NO_PLANE
    kind = rng.random()
    if kind < config.body:
        spheres, edges, wedges = _with_body(rng, spheres)
    elif kind < config.body + config.plane:
        plane = _wall(rng, spheres)
    faults = sample_faults(rng) if config.faults else SensorFaults()
    return Scene(camera, joints, spheres, edges, wedges, plane, faults)


def mirrored(scene: Scene) -> Scene:
    """The same scene with a left hand: mirrored at the camera's y-z plane."""
    flip = np.array([-1.0, 1.0, 1.0])
    return scene._replace(
        joints_mm=scene.joints_mm * flip,
        spheres=np.concatenate([scene.spheres[:, :3] * flip, scene.spheres[:, 3:]], 1),
        plane=np.concatenate([scene.plane[:3] * flip, scene.plane[3:]]),
    )


def random_rotation(rng: np.random.Generator) -> ndarray:
    """A rotation [3, 3], uniform over all (a unit quaternion, uniform on its sphere)."""
    w, x, y, z = rng.standard_normal(4).tolist()
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def draw_camera(rng: np.random.Generator, config: SceneConfig) -> Pinhole:
    """One of the config's cameras, its focal length varied as between units and modes."""
    camera = Pinhole.preset(config.cameras[int(rng.integers(len(config.cameras)))])
    if config.focal_jitter == 0:
        return camera
    zoom = float(np.exp(rng.normal(0.0, config.focal_jitter)))
    return replace(camera, fx=camera.fx * zoom, fy=camera.fy * zoom, name="")


def _center(rng: np.random.Generator, config: SceneConfig, camera: Pinhole, reach: float) -> tuple[float, float, float]:
    """Where the middle of the hand goes: anywhere in the image whose edge it does not cross by much.

    `reach` is how far the hand and its arm come towards the camera from there.
    """
    near, far = math.log(config.distance_mm[0]), math.log(config.distance_mm[1])
    z = max(math.exp(rng.uniform(near, far)), reach + _NEAREST_MM)
    x = _place(rng, camera.width or 640, camera.fx, camera.cx, z)
    return x, _place(rng, camera.height or 480, camera.fy, camera.cy, z), z


def _place(rng: np.random.Generator, size: int, focal: float, middle: float, z: float) -> float:
    """A coordinate (mm) that is seen at least 80 mm inside the image along one axis, if it is that wide."""
    margin = min(80.0 * focal / z, size / 2)
    return (rng.uniform(margin, size - margin) - middle) / focal * z


def _sleeve(rng: np.random.Generator, config: SceneConfig, spheres: ndarray) -> None:
    """Thicken the forearm, now and then from the wrist on."""
    if rng.random() < config.sleeve:
        loose = rng.uniform(1.05, 1.6)
        spheres[list(ARM_SPHERES[2:]), 3] *= loose
        if rng.random() < 0.6:
            spheres[list(ARM_SPHERES[:2]), 3] *= loose


# shoulders, hips, neck and head of an adult, from the middle of the chest: x, y (down), z (away), radius (mm)
_BODY = np.array(
    [
        [-165.0, -170.0, 20.0, 65.0], [165.0, -170.0, 20.0, 65.0], [-110.0, 0.0, 0.0, 105.0], [110.0, 0.0, 0.0, 105.0],
        [-105.0, 260.0, 10.0, 100.0], [105.0, 260.0, 10.0, 100.0], [0.0, -230.0, 30.0, 58.0],
        [0.0, -330.0, 15.0, 85.0], [0.0, -390.0, 30.0, 92.0],
    ]
)  # fmt: skip
_BODY_WEDGES = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [0, 1, 6]])
_BODY_EDGES = np.array(
    [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [2, 4], [3, 4], [3, 5], [4, 5], [0, 6], [1, 6], [6, 7], [7, 8]]
)


def _with_body(rng: np.random.Generator, spheres: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Add a torso and a head behind the hand, and the upper arm that joins them to the forearm."""
    body = _BODY * rng.uniform(0.85, 1.15)
    turn, tilt = rng.normal(0.0, 0.4), rng.normal(0.0, 0.25)
    c, s = np.cos(turn), np.sin(turn)
    x, z = c * body[:, 0] + s * body[:, 2], c * body[:, 2] - s * body[:, 0]
    y, z = np.cos(tilt) * body[:, 1] - np.sin(tilt) * z, np.cos(tilt) * z + np.sin(tilt) * body[:, 1]
    hand = spheres[: SPHERE_COUNT - len(ARM_SPHERES)]
    back = float((hand[:, 2] + hand[:, 3]).max()) + rng.uniform(5.0, 260.0)
    front = float((z - body[:, 3]).min())
    middle = hand[:, :3].mean(0)
    body = np.stack([x, y, z, body[:, 3]], 1)
    body[:, :3] += (middle[0] + rng.normal(0.0, 160.0), middle[1] + rng.normal(0.0, 200.0), back - front)
    first = len(spheres)
    upper_arm = np.array([[ARM_SPHERES[2], first + int(rng.integers(2))]])
    return (
        np.concatenate([spheres, body]),
        np.concatenate([EDGES, _BODY_EDGES + first, upper_arm]),
        np.concatenate([WEDGES, _BODY_WEDGES + first]),
    )


def _wall(rng: np.random.Generator, spheres: ndarray) -> ndarray:
    """A plane behind the hand (and, as a table, behind the arm), touching it at the nearest."""
    tilt, around = np.abs(rng.normal(0.0, 0.5)), rng.uniform(0.0, 2 * np.pi)
    normal = np.array([np.sin(tilt) * np.cos(around), np.sin(tilt) * np.sin(around), np.cos(tilt)])
    count = SPHERE_COUNT if rng.random() < 0.7 else SPHERE_COUNT - len(ARM_SPHERES)
    farthest = float((spheres[:count, :3] @ normal + spheres[:count, 3]).max())
    return np.array([*normal, farthest + rng.uniform(0.0, 120.0)])


# ---- readings -------------------------------------------------------------------------------------------------------
def exact_depth(scene: Scene, columns: ndarray, rows: ndarray, limit_mm: float = FAR) -> tuple[ndarray, ndarray]:
    """Exact depth [H, W] (mm, inf: nothing) of these ascending sensor columns and rows, and each reading's sphere.

    What lies beyond `limit_mm` counts as nothing: a crop does not show it, and a body far behind costs no time.
    """
    camera = scene.camera
    if camera.distortion:
        raise InputError("The renderer casts undistorted rays", got="a camera with lens distortion")
    ray_x, ray_y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    depth = np.full((len(rows), len(columns)), limit_mm)
    owner = np.full(depth.shape, -1, np.int64)
    cast(scene.spheres, scene.edges, scene.wedges, ray_x, ray_y, depth, owner)
    _cast_plane(scene.plane, ray_x, ray_y, depth)
    if limit_mm < FAR:
        depth[depth >= limit_mm] = FAR
    return depth, owner


@njit(cache=True)
def _cast_plane(plane: ndarray, ray_x: ndarray, ray_y: ndarray, depth: ndarray) -> None:
    if plane[3] == 0.0:
        return
    for i in range(ray_y.size):
        for j in range(ray_x.size):
            t = plane[3] / (plane[0] * ray_x[j] + plane[1] * ray_y[i] + plane[2])
            if 0.0 < t < depth[i, j]:
                depth[i, j] = t


def read_sensor(
    scene: Scene, columns: ndarray, rows: ndarray, rng: np.random.Generator, limit_mm: float = FAR
) -> ndarray:
    """What the sensor reads [H, W] (mm, 0: none) at these ascending columns and rows, with its faults."""
    depth, _ = exact_depth(scene, columns, rows, limit_mm)
    stride = tuple(float(axis[-1] - axis[0]) / max(len(axis) - 1, 1) for axis in (columns, rows))
    return apply_faults(depth, scene.faults, (stride[0], stride[1]), 1.0 / scene.camera.fx, rng)


def read_frame(scene: Scene, rng: np.random.Generator) -> ndarray:
    """The whole depth frame, float32 [height, width] (mm, 0: no reading)."""
    width, height = scene.camera.width or 640, scene.camera.height or 480
    return read_sensor(scene, np.arange(width), np.arange(height), rng).astype(np.float32)


def read_crop(scene: Scene, box: CropBox, rng: np.random.Generator) -> ndarray:
    """What a crop of the frame shows, float32 [S, S] (mm), reading only the sensor pixels that it looks up.

    Surfaces more than `_BEYOND_MM` behind the cube are left out: no network input tells them from nothing.
    """
    u, v = box.lookup_axes()
    width, height = scene.camera.width or 640, scene.camera.height or 480
    columns, at_u = _inside(u, width)
    rows, at_v = _inside(v, height)
    if not len(columns) or not len(rows):
        return np.zeros((box.size, box.size), np.float32)
    readings = read_sensor(scene, columns, rows, rng, box.near_mm + box.cube_mm[1] + _BEYOND_MM)
    return _spread(readings, at_v, at_u)


@njit(cache=True)
def _spread(readings: ndarray, at_v: ndarray, at_u: ndarray) -> ndarray:
    """The crop that looks up these rows and columns of the readings; 0 where an index is -1."""
    crop = np.zeros((at_v.size, at_u.size), np.float32)
    for i in range(at_v.size):
        if at_v[i] >= 0:
            for j in range(at_u.size):
                if at_u[j] >= 0:
                    crop[i, j] = readings[at_v[i], at_u[j]]
    return crop


@njit(cache=True)
def _inside(lookup: ndarray, size: int) -> tuple[ndarray, ndarray]:
    """The distinct indices of an ascending lookup that lie in the image, and each entry's place among them or -1."""
    distinct, where = np.empty(lookup.size, np.int64), np.full(lookup.size, -1)
    count = 0
    for k in range(lookup.size):
        index = lookup[k]
        if 0 <= index < size:
            if count == 0 or distinct[count - 1] != index:
                distinct[count] = index
                count += 1
            where[k] = count - 1
    return distinct[:count], where


def hidden_joints(scene: Scene) -> ndarray:
    """Which joints [21] the hand itself hides: the ray to the joint meets another part of it first (or its own arm)."""
    uv = scene.camera.project(scene.joints_mm)
    hidden = np.zeros(len(scene.joints_mm), bool)
    for k, (u, v) in enumerate(uv):
        depth, _ = exact_depth(scene, np.array([u]), np.array([v]))
        hidden[k] = depth[0, 0] < scene.joints_mm[k, 2] - scene.spheres[k, 3] - 2.0
    return hidden
