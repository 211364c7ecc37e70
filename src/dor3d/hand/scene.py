"""A hand before a camera with all that is around it, and what the sensor reads of it."""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.geometry import CropBox, Pinhole
from dor3d.hand.faults import SensorFaults
from dor3d.hand.render import FAR, cast
from dor3d.hand.sensor import apply_faults

_RANGE_MM: Final = 10_000.0  # no depth camera for hands reads farther
_NO_BALLS: Final = np.empty((0, 4))
_RAGGED: Final = 0.2  # how far, of its radius, a dark ball's outline strays
_BEYOND_MM: Final = 20.0  # more than the jump that the sensor's edge faults look for


class Scene(NamedTuple):
    """Everything that a depth image of one hand depends on; lengths in mm, in the camera frame."""

    camera: Pinhole
    joints_mm: ndarray  # [21, 3]
    spheres: ndarray  # [N, 4]
    edges: ndarray  # [E, 2]
    wedges: ndarray  # [T, 3]
    planes: ndarray  # [P, 4] unit normals and offsets of walls, tables and floors (normal . x = offset)
    faults: SensorFaults
    dark: ndarray = _NO_BALLS  # [D, 4] balls within which surfaces give no readings


def image_size(camera: Pinhole) -> tuple[int, int]:
    """Width and height in pixels of a camera's frames; 640 x 480 where it does not say."""
    return camera.width or 640, camera.height or 480


def mirrored(scene: Scene) -> Scene:
    """The same scene with a left hand: mirrored at the camera's y-z plane."""
    flip = np.array([-1.0, 1.0, 1.0])
    return scene._replace(
        joints_mm=scene.joints_mm * flip,
        spheres=np.concatenate([scene.spheres[:, :3] * flip, scene.spheres[:, 3:]], 1),
        planes=scene.planes * np.array([*flip, 1.0]),
        dark=scene.dark * np.array([*flip, 1.0]),
    )


def rolled(scene: Scene, center_mm: ndarray, angle: float) -> Scene:
    """The same scene turned about the ray to a place [3]: what is seen there turns by this angle (x towards y)."""
    x, y, z = center_mm / np.linalg.norm(center_mm)
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    return scene._replace(
        joints_mm=scene.joints_mm @ turn.T,
        spheres=np.concatenate([scene.spheres[:, :3] @ turn.T, scene.spheres[:, 3:]], 1),
        planes=np.concatenate([scene.planes[:, :3] @ turn.T, scene.planes[:, 3:]], 1),
        dark=np.concatenate([scene.dark[:, :3] @ turn.T, scene.dark[:, 3:]], 1),
    )


# ---- readings -------------------------------------------------------------------------------------------------------
def exact_depth(scene: Scene, columns: ndarray, rows: ndarray, limit_mm: float = FAR) -> tuple[ndarray, ndarray]:
    """Exact depth [H, W] (mm, inf: nothing) of ascending sensor columns and rows, and each reading's sphere or -1.

    What lies beyond `limit_mm` counts as nothing: a crop does not show it, and a body far behind costs no time.
    """
    camera = scene.camera
    if camera.distortion:
        raise InputError("The renderer casts undistorted rays", got="a camera with lens distortion")
    ray_x, ray_y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    depth = np.full((len(rows), len(columns)), limit_mm)
    owner = np.full(depth.shape, -1, np.int64)
    cast(scene.spheres, scene.edges, scene.wedges, ray_x, ray_y, depth, owner)
    _cast_planes(scene.planes, ray_x, ray_y, depth, owner)
    if limit_mm < FAR:
        depth[depth >= limit_mm] = FAR
    return depth, owner


@njit(cache=True)
def _cast_planes(planes: ndarray, ray_x: ndarray, ray_y: ndarray, depth: ndarray, owner: ndarray) -> None:
    for k in range(planes.shape[0]):
        a, b, c, offset = planes[k]
        for i in range(ray_y.size):
            for j in range(ray_x.size):
                t = offset / (a * ray_x[j] + b * ray_y[i] + c)
                if 0.0 < t < depth[i, j]:
                    depth[i, j] = t
                    owner[i, j] = -1


@njit(cache=True)
def _darken(depth: ndarray, dark: ndarray, waves: ndarray, ray_x: ndarray, ray_y: ndarray) -> None:
    """Take away, in place, what lies within dark balls, whose outlines two waves (rad per mm) [D, 2, 3] make ragged."""
    for k in range(dark.shape[0]):
        x, y, z, radius = dark[k]
        most = radius * (1.0 + _RAGGED)
        for i in range(ray_y.size):
            if abs(ray_y[i] * z - y) > 2.0 * most:
                continue
            for j in range(ray_x.size):
                at = depth[i, j]
                if not z - most < at < z + most:
                    continue
                dx, dy, dz = ray_x[j] * at - x, ray_y[i] * at - y, at - z
                one = np.sin(waves[k, 0, 0] * dx + waves[k, 0, 1] * dy + waves[k, 0, 2] * dz)
                two = np.sin(waves[k, 1, 0] * dx + waves[k, 1, 1] * dy + waves[k, 1, 2] * dz)
                own = radius * (1.0 + 0.5 * _RAGGED * (one + two))
                if dx * dx + dy * dy + dz * dz < own * own:
                    depth[i, j] = np.inf


def read_sensor(
    scene: Scene, columns: ndarray, rows: ndarray, rng: np.random.Generator, limit_mm: float = _RANGE_MM
) -> ndarray:
    """What the sensor reads [H, W] (mm, 0: none) at these ascending columns and rows, with its faults."""
    depth, _ = exact_depth(scene, columns, rows, limit_mm)
    if len(scene.dark):
        camera = scene.camera
        ray_x, ray_y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
        _darken(depth, scene.dark, rng.normal(0.0, 0.08, (len(scene.dark), 2, 3)), ray_x, ray_y)
    stride = tuple(float(axis[-1] - axis[0]) / max(len(axis) - 1, 1) for axis in (columns, rows))
    return apply_faults(depth, scene.faults, (stride[0], stride[1]), 1.0 / scene.camera.fx, rng)


def read_frame(scene: Scene, rng: np.random.Generator) -> ndarray:
    """The whole depth frame, float32 [height, width] (mm, 0: no reading)."""
    width, height = image_size(scene.camera)
    return read_sensor(scene, np.arange(width), np.arange(height), rng).astype(np.float32)


def read_crop(scene: Scene, box: CropBox, rng: np.random.Generator) -> ndarray:
    """What a crop of the frame shows, float32 [S, S] (mm), reading only the sensor pixels that it looks up.

    Surfaces more than `_BEYOND_MM` behind the cube are left out: no network input tells them from nothing. A rotated
    crop reads all pixels of the rectangle that it lies in.
    """
    width, height = image_size(scene.camera)
    if box.rotation:
        return _read_rotated(scene, box, rng, width, height)
    u, v = box.lookup_axes()
    columns, at_u = _inside(u, width)
    rows, at_v = _inside(v, height)
    if not len(columns) or not len(rows):
        return np.zeros((box.size, box.size), np.float32)
    readings = read_sensor(scene, columns, rows, rng, box.near_mm + box.cube_mm[1] + _BEYOND_MM)
    return _spread(readings, at_v, at_u)


def _read_rotated(scene: Scene, box: CropBox, rng: np.random.Generator, width: int, height: int) -> ndarray:
    u, v = box.lookup()
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    crop = np.zeros(u.shape, np.float32)
    if inside.any():
        columns, rows = (np.arange(of[inside].min(), of[inside].max() + 1) for of in (u, v))
        readings = read_sensor(scene, columns, rows, rng, box.near_mm + box.cube_mm[1] + _BEYOND_MM)
        crop[inside] = readings[v[inside] - rows[0], u[inside] - columns[0]]
    return crop


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


def hidden_joints(scene: Scene, joints_mm: ndarray | None = None, radii: ndarray | None = None) -> ndarray:
    """Which joints [21] are hidden: the ray to the joint meets something before the joint's own sphere and 2 mm.

    Args:
        joints_mm, radii: of another hand than the scene's own, [21, 3] and [21].
    """
    joints_mm = scene.joints_mm if joints_mm is None else joints_mm
    radii = scene.spheres[: len(joints_mm), 3] if radii is None else radii
    u, v = scene.camera.project(joints_mm).T
    columns, rows = np.argsort(u), np.argsort(v)
    depth, _ = exact_depth(scene, u[columns], v[rows])  # all pairs of them: one cast costs less than one a joint
    first = depth[np.argsort(rows), np.argsort(columns)]
    return first < joints_mm[:, 2] - radii - 2.0


def seen_joints(scene: Scene, joints_mm: ndarray | None = None, radii: ndarray | None = None) -> ndarray:
    """Which joints [21] are in the image and not hidden; see `hidden_joints`."""
    joints_mm = scene.joints_mm if joints_mm is None else joints_mm
    width, height = image_size(scene.camera)
    uv = scene.camera.project(joints_mm)
    inside = (uv > -0.5) & (uv < (width - 0.5, height - 0.5))
    return inside.all(1) & ~hidden_joints(scene, joints_mm, radii)
