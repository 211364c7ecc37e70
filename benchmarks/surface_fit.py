"""Fit the rendered hand to the surface in a depth frame: its pose and its sizes.

Levenberg-Marquardt from the joints that a network predicts. What is minimised, each term robust or one-sided:
- distance of the hand's readings to the nearest surface that faces the camera (Geman-McClure);
- spheres that reach over the hand's outline in the image, or stand before its readings;
- distance to the network's joints, by their predicted standard deviation;
- deviation from what the generator draws: angles (mean, covariance, limits) and sizes.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.geometry import Pinhole
from dor3d.hand.model import (
    ANGLE_COUNT,
    ARM_SPHERES,
    EDGES,
    SPHERE_COUNT,
    WEDGES,
    average_shape,
    hand_joints,
    hand_spheres,
    matmul3,
    sample_shape,
    shape_from,
)
from dor3d.hand.pose import LIMITS, sample_pose
from dor3d.hand.render import tangent_normals
from dor3d.skeleton import FINGER_JOINTS, JOINT_COUNT, PALM_JOINTS

# unknowns of a frame: rotation vector, translation, angles; logarithms of size, breadth, thickness, fingers' length
ANGLES_AT: Final = 6
SIZES_AT: Final = ANGLES_AT + ANGLE_COUNT
UNKNOWNS: Final = SIZES_AT + 8
# a correction of the average hand is [SPHERE_COUNT, 4]: x, y, z (mm) of the flesh, logarithm of the radius
CORRECTION: Final = (SPHERE_COUNT, 4)
NOWHERE: Final = 1e9  # distance of a point to no surface at all
SCALE_MM: Final = 6.0  # of the robust distance to the surface at the end

_SIZES_MEAN: Final = np.array([0.0, 0.0, -0.03, 0.0, 0.0, 0.0, 0.0, 0.0])
_SIZES_SD: Final = np.array([0.075, 0.06, 0.10, 0.03, 0.03, 0.03, 0.03, 0.035])
_READING_SD, _READINGS = 3.0, 250.0  # mm; as many count, however many there are
_OUTLINE_SD, _OUTLINE_SCALE, _OUTLINE_WEIGHT = 3.0, 10.0, 0.3
_JOINT_SCALE, _JOINT_FLOOR = 3.0, 3.0  # standard deviations; mm
_DEEPEST, _GRAZING = -20.0, 0.05  # mm, a reading deeper in a part belongs to another; cosine
_STAGES: Final = ((None, 20), (15.0, 10), (SCALE_MM, 12))  # scale of the distance and steps; first the joints alone
_INNER: Final = [(i, j) for i, j in EDGES.tolist() if not {i, j} & set(ARM_SPHERES)]
_SAMPLES: Final = np.array([(i, j, t) for i, j in _INNER for t in (0.0, 0.5, 1.0)])


class Observation(NamedTuple):
    """What is known of the hand in one frame.

    Attributes:
        points: [N, 3] readings of the hand (mm, camera frame).
        joints: [21, 3] from the network.
        std: [21] their standard deviations (mm).
        depth: [H, W] the frame (mm).
        inside: [H, W] signed distance (pixels) to the hand's outline, positive inside.
    """

    name: str
    points: ndarray
    joints: ndarray
    std: ndarray
    depth: ndarray
    inside: ndarray
    camera: Pinhole


class Fit(NamedTuple):
    """A fitted hand.

    Attributes:
        unknowns: [UNKNOWNS], whose rotation vector is spent: it stands in `rotation`.
        rotation: [3, 3] from the hand frame to the camera's.
        spheres: [SPHERE_COUNT, 4] in the camera frame (mm).
    """

    unknowns: ndarray
    rotation: ndarray
    spheres: ndarray


# ---- the hand's spheres and their derivatives -----------------------------------------------------------------------
@njit(cache=True)
def rotation_of(vector: ndarray) -> ndarray:
    """Rotation [3, 3] of a rotation vector (Rodrigues)."""
    angle2 = (vector * vector).sum()
    angle = np.sqrt(angle2)
    cross = np.array([[0.0, -vector[2], vector[1]], [vector[2], 0.0, -vector[0]], [-vector[1], vector[0], 0.0]])
    s = 1.0 - angle2 / 6 if angle < 1e-4 else np.sin(angle) / angle
    c = 0.5 - angle2 / 24 if angle < 1e-4 else (1.0 - np.cos(angle)) / angle2
    return np.eye(3) + s * cross + c * matmul3(cross, cross)


@njit(cache=True)
def spheres_of(version: int, unknowns: ndarray, rotation: ndarray, correction: ndarray) -> ndarray:
    """Spheres [SPHERE_COUNT, 4] in the camera frame; a correction moves no joint."""
    factors = np.exp(unknowns[SIZES_AT:])
    fingers = np.ones((4, 3)) * factors[3:7].copy().reshape((4, 1))
    shape = shape_from(
        version, factors[0], factors[1], factors[2], fingers, np.ones(3) * factors[7], np.ones(SPHERE_COUNT),
        np.zeros((5, 3)), correction[:, :3].copy(),
    )  # fmt: skip
    pose = unknowns[ANGLES_AT:SIZES_AT].copy()
    own = hand_spheres(shape, pose, hand_joints(shape, pose))
    turn = matmul3(rotation, rotation_of(unknowns[:3].copy()))
    out = np.empty_like(own)
    for k in range(SPHERE_COUNT):
        for i in range(3):
            out[k, i] = unknowns[3 + i]
            for j in range(3):
                out[k, i] += turn[i, j] * own[k, j]
        out[k, 3] = own[k, 3] * np.exp(correction[k, 3])
    return out


@njit(cache=True)
def sphere_derivatives(
    version: int, unknowns: ndarray, rotation: ndarray, correction: ndarray, which: ndarray
) -> ndarray:
    """[UNKNOWNS + len(which), SPHERE_COUNT, 4] forward differences; `which` indexes the flat correction."""
    base = spheres_of(version, unknowns, rotation, correction)
    every, step = np.concatenate((unknowns, correction.copy().reshape(-1))), 1e-4
    moved = np.concatenate((np.arange(UNKNOWNS), UNKNOWNS + which))
    out = np.empty((moved.size, SPHERE_COUNT, 4))
    for k in range(moved.size):
        x = every.copy()
        x[moved[k]] += step
        out[k] = spheres_of(version, x[:UNKNOWNS], rotation, x[UNKNOWNS:].reshape((SPHERE_COUNT, 4))) - base
    return out / step


# ---- the nearest surface --------------------------------------------------------------------------------------------
class Nearest(NamedTuple):
    """Where points lie with respect to the hand's surface.

    Attributes:
        distance: [N] signed (mm), positive outside.
        spheres: [N, 3] that carry the surface there.
        weights: [N, 3] of these.
        normals: [N, 3] of the surface.
    """

    distance: ndarray
    spheres: ndarray
    weights: ndarray
    normals: ndarray


def nearest(points: ndarray, spheres: ndarray) -> Nearest:
    """Find the nearest point of the hand's surface that faces the camera.

    The hand is the union of tapered capsules and wedges. A point within several of them belongs to the one in which it
    lies deepest: surfaces inside the hand do not count.

    Args:
        points: [N, 3] in the camera frame (mm).
        spheres: [SPHERE_COUNT, 4] in the camera frame (mm).
    """
    found = _nearest(points, spheres)
    return Nearest(found[:, 0], found[:, 1:4].astype(np.int64), found[:, 4:7], found[:, 7:])


@njit(cache=True)
def _nearest(points: ndarray, spheres: ndarray) -> ndarray:
    """[N, 10]: distance, spheres, weights, normal."""
    count = points.shape[0]
    found = np.zeros((count, 10))
    found[:, 0] = NOWHERE
    for n in range(count):
        view = points[n] / np.sqrt((points[n] * points[n]).sum())
        for e in range(EDGES.shape[0]):
            _capsule(points[n], view, spheres, EDGES[e], found[n])
    planes = np.empty((2, 3))
    for w in range(WEDGES.shape[0]):
        i, j, k = WEDGES[w]
        if tangent_normals(spheres[i], spheres[j], spheres[k], planes):
            for n in range(count):
                _triangle(points[n], spheres, WEDGES[w], planes[0], found[n])
                _triangle(points[n], spheres, WEDGES[w], planes[1], found[n])
    return found


@njit(cache=True)
def _capsule(p: ndarray, view: ndarray, s: ndarray, edge: ndarray, found: ndarray) -> None:
    a, b = s[edge[0]], s[edge[1]]
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    dx, dy, dz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    length = max(np.sqrt(ux * ux + uy * uy + uz * uz), 1e-9)
    taper = (a[3] - b[3]) / length
    along = (dx * ux + dy * uy + dz * uz) / length
    across = np.sqrt(max(dx * dx + dy * dy + dz * dz - along * along, 0.0))
    if abs(taper) >= 1.0:
        t = 0.0 if taper > 0 else 1.0
    else:
        t = min(max((along - across * taper / np.sqrt(1.0 - taper * taper)) / length, 0.0), 1.0)
    x, y, z = dx - t * ux, dy - t * uy, dz - t * uz
    apart = np.sqrt(x * x + y * y + z * z)
    gap = apart - (1.0 - t) * a[3] - t * b[3]
    if gap >= found[0] or gap < _DEEPEST or apart < 1e-9:
        return
    if x * view[0] + y * view[1] + z * view[2] > _GRAZING * apart:
        return
    found[0] = gap
    found[1], found[2], found[3] = edge[0], edge[1], edge[1]
    found[4], found[5], found[6] = 1.0 - t, t, 0.0
    found[7], found[8], found[9] = x / apart, y / apart, z / apart


@njit(cache=True)
def _triangle(p: ndarray, s: ndarray, wedge: ndarray, normal: ndarray, found: ndarray) -> None:
    if (p * normal).sum() > _GRAZING * np.sqrt((p * p).sum()):
        return
    a = s[wedge[0], :3] + s[wedge[0], 3] * normal
    gap = ((p - a) * normal).sum()
    if gap >= found[0] or gap < _DEEPEST:
        return
    u = s[wedge[1], :3] + s[wedge[1], 3] * normal - a
    v = s[wedge[2], :3] + s[wedge[2], 3] * normal - a
    f = p - gap * normal - a
    uu, uv, vv, fu, fv = (u * u).sum(), (u * v).sum(), (v * v).sum(), (f * u).sum(), (f * v).sum()
    area = uu * vv - uv * uv
    if area < 1e-9:
        return
    w1, w2 = (fu * vv - fv * uv) / area, (fv * uu - fu * uv) / area
    if w1 < 0.0 or w2 < 0.0 or w1 + w2 > 1.0:
        return
    found[0] = gap
    found[1:4] = wedge
    found[4], found[5], found[6] = 1.0 - w1 - w2, w1, w2
    found[7:] = normal


# ---- residuals ------------------------------------------------------------------------------------------------------
class Rows(NamedTuple):
    """Weighted residuals [R] and their derivatives [R, P]; weights [R] are held fixed within a step."""

    residual: ndarray
    derivative: ndarray
    weight: ndarray
    energy: float


def _robust(residual: ndarray, derivative: ndarray, scale: float, weight: ndarray | float) -> Rows:
    """Geman and McClure's weights of residuals whose square counts half at `scale`."""
    ratio = scale**2 / (scale**2 + residual**2)
    return Rows(residual, derivative, weight * ratio**2, float((weight * ratio * residual**2).sum()))


def _carried(derivatives: ndarray, index: ndarray, weight: ndarray) -> ndarray:
    """[N, P, 4] derivatives of points that spheres carry."""
    return np.einsum("nk,nkpc->npc", weight, derivatives.transpose(1, 0, 2)[index])


def _readings(seen: Observation, spheres: ndarray, derivatives: ndarray, scale: float) -> Rows:
    distance, index, weight, normal = nearest(seen.points, spheres)
    distance = np.minimum(distance, 1e3)
    carried = _carried(derivatives, index, weight)
    rows = -np.einsum("npc,nc->np", carried[..., :3], normal) - carried[..., 3]
    return _robust(distance, rows, scale, _READINGS / len(seen.points) / _READING_SD**2)


def _outline(seen: Observation, spheres: ndarray, derivatives: ndarray) -> Rows:
    """Samples of the hand that reach over its outline, or stand before what was read there."""
    i, j, t = _SAMPLES[:, 0].astype(int), _SAMPLES[:, 1].astype(int), _SAMPLES[:, 2]
    index, weight = np.stack([i, j], 1), np.stack([1 - t, t], 1)
    at = np.einsum("nk,nkc->nc", weight, spheres[index])
    moved = _carried(derivatives, index, weight)
    height, width = seen.depth.shape
    uv = seen.camera.project(at[:, :3])
    u, v = np.clip(np.round(uv).astype(int), 1, [width - 2, height - 2]).T
    within = (np.abs(uv - np.stack([u, v], 1)) <= 1.0).all(1)
    per_mm = seen.camera.fx / at[:, 2]
    over = at[:, 3] - (seen.inside[v, u] - 1.0) / per_mm
    slope = np.stack([seen.inside[v, u + 1] - seen.inside[v, u - 1], seen.inside[v + 1, u] - seen.inside[v - 1, u]], 1)
    rows = moved[..., 3] - 0.5 * np.einsum("npc,nc->np", moved[..., :2], slope)
    read = seen.depth[v, u]
    before = np.where((seen.inside[v, u] > 2.0) & (read > 0), read - (at[:, 2] - at[:, 3]) - 2.0, -1.0)
    residual = np.concatenate([over, before])
    on = np.concatenate([within & (over > 0), within & (before > 0)])
    derivative = np.concatenate([rows, moved[..., 3] - moved[..., 2]])
    return _robust(residual, derivative, _OUTLINE_SCALE, on * _OUTLINE_WEIGHT / _OUTLINE_SD**2)


def _network(seen: Observation, spheres: ndarray, derivatives: ndarray) -> Rows:
    sd = np.repeat(np.hypot(seen.std, _JOINT_FLOOR), 3)
    residual = (spheres[:JOINT_COUNT, :3] - seen.joints).ravel() / sd
    rows = derivatives[:, :JOINT_COUNT, :3].reshape(len(derivatives), -1).T / sd[:, None]
    return _robust(residual, rows, _JOINT_SCALE, 1.0)


class Prior(NamedTuple):
    """Mean [ANGLE_COUNT] and precision [ANGLE_COUNT, ANGLE_COUNT] of the generator's angles."""

    mean: ndarray
    precision: ndarray


def angle_prior(count: int = 3000) -> Prior:
    """Estimate the prior of the angles from drawn poses."""
    rng = np.random.default_rng(5)
    poses = np.array([sample_pose(rng, sample_shape(rng)) for _ in range(count)])
    return Prior(poses.mean(0), np.linalg.inv(np.cov(poses.T)))


def _add_prior(prior: Prior, x: ndarray, a: ndarray, g: ndarray) -> float:
    """Add the priors of angles and sizes to the normal equations; their energy."""
    angles, low, high = x[ANGLES_AT:SIZES_AT], LIMITS[:, 0], LIMITS[:, 1]
    off = angles - prior.mean
    beyond = angles - np.clip(angles, low, high)
    where = slice(ANGLES_AT, SIZES_AT)
    a[where, where] += prior.precision + np.diag(400.0 * (beyond != 0))
    g[where] += prior.precision @ off + 400.0 * beyond
    z = (x[SIZES_AT:] - _SIZES_MEAN) / _SIZES_SD
    sizes = np.arange(SIZES_AT, UNKNOWNS)
    a[sizes, sizes] += 1 / _SIZES_SD**2
    g[sizes] += z / _SIZES_SD
    return float(off @ prior.precision @ off + 400.0 * (beyond**2).sum() + (z**2).sum())


def normal_equations(
    version: int, seen: Observation, fit: Fit, correction: ndarray, prior: Prior, scale: float | None, which: ndarray
) -> tuple[ndarray, ndarray, float]:
    """Matrix [P, P], gradient [P] and energy at a fit; P are the frame's unknowns and the corrections `which`."""
    derivatives = sphere_derivatives(version, fit.unknowns, fit.rotation, correction, which)
    terms = [_network(seen, fit.spheres, derivatives)]
    if scale is not None:
        terms += [_readings(seen, fit.spheres, derivatives, scale), _outline(seen, fit.spheres, derivatives)]
    a, g = np.zeros((len(derivatives),) * 2), np.zeros(len(derivatives))
    for rows in terms:
        weighted = rows.derivative * rows.weight[:, None]
        a += weighted.T @ rows.derivative
        g += weighted.T @ rows.residual
    energy = _add_prior(prior, fit.unknowns, a, g) + sum(rows.energy for rows in terms)
    return a, g, energy


# ---- one frame ------------------------------------------------------------------------------------------------------
def fit_frame(version: int, seen: Observation, correction: ndarray, prior: Prior, begin: Fit | None = None) -> Fit:
    """Fit pose and sizes to one frame, from the network's joints or from a fit before."""
    none = np.zeros(0, np.int64)
    if begin is None:
        fit, stages = _start(version, seen.joints, correction), _STAGES
    else:
        fit, stages = _at(version, begin.unknowns, begin.rotation, correction), _STAGES[-1:]
    for scale, steps in stages:
        damping = 1e-3
        a, g, energy = normal_equations(version, seen, fit, correction, prior, scale, none)
        for _ in range(steps):
            step = np.linalg.solve(a + np.diag(damping * np.diag(a) + 1e-6), g)
            tried = _at(version, fit.unknowns - step, fit.rotation, correction)
            new = normal_equations(version, seen, tried, correction, prior, scale, none)
            if new[2] < energy:
                done = energy - new[2] < 1e-4 * energy
                fit, (a, g, energy), damping = tried, new, max(damping * 0.3, 1e-6)
                if done:
                    break
            else:
                damping *= 6.0
    return fit


def _at(version: int, unknowns: ndarray, rotation: ndarray, correction: ndarray) -> Fit:
    """The fit at these unknowns, its rotation vector spent."""
    turned = rotation @ rotation_of(unknowns[:3])
    left = np.concatenate([np.zeros(3), unknowns[3:]])
    return Fit(left, turned, spheres_of(version, left, turned, correction))


def _start(version: int, joints: ndarray, correction: ndarray) -> Fit:
    """The palm laid on the network's palm, angles read off its bones."""
    shape = average_shape(version)
    rest = hand_joints(shape, np.zeros(ANGLE_COUNT))[list(PALM_JOINTS)]
    palm = joints[list(PALM_JOINTS)]
    u, _, vt = np.linalg.svd((rest - rest.mean(0)).T @ (palm - palm.mean(0)))
    turn = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    x = np.concatenate([np.zeros(3), palm.mean(0) - turn @ rest.mean(0), np.zeros(ANGLE_COUNT), _SIZES_MEAN])
    local = (joints - x[3:6]) @ turn
    for finger, name in enumerate(("index", "middle", "ring", "little")):
        bones = np.diff(local[list(FINGER_JOINTS[name])], axis=0)
        flexion = np.arctan2(bones[0, 2], bones[0, 1])
        flexion += 2 * np.pi * (flexion < -2)
        first = ANGLES_AT + 4 * finger
        x[first : first + 4] = flexion, 0.0, _bend(bones[0], bones[1]), _bend(bones[1], bones[2])
    x[ANGLES_AT + 16 : ANGLES_AT + 21] = 0.1, -0.1, 0.1, 0.2, 0.2
    angles = slice(ANGLES_AT, SIZES_AT)
    x[angles] = np.clip(x[angles], LIMITS[:, 0], LIMITS[:, 1])
    return _at(version, x, turn, correction)


def _bend(a: ndarray, b: ndarray) -> float:
    return float(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1.0, 1.0)))
