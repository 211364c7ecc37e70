"""Contact between the parts of a hand: depth, loosening a pose until they only touch, a thumb that meets a finger."""

from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray

from dor3d.hand.model import (
    SPHERES,
    THUMB0,
    HandShape,
    finger_joints,
    hand_joints,
    hand_spheres,
    thumb_flesh,
    thumb_joints,
)

MAX_DEPTH_MM: Final = 2.0  # the most that loosened parts may overlap: skin gives way
_AIM_MM: Final = 0.8  # where loosening stops, so that sizes between the tested spheres stay under the limit
_STEPS: Final = 7
_RESIDUALS: Final = 15  # of a thumb that comes back: three joints, five angles, contact
_APPROACHES: Final = 9
_STIFF_MM: Final = 8.0  # what a radian away from the wanted angle counts as
_PUSH: Final = 12.0  # what a millimetre of overlap counts as
_SOFT: Final = 1.5  # the same at first: a stiff contact would hold the thumb where it touches first
_FREE: Final = 0.42  # a finger's part nearer to the knuckle belongs to the palm's flesh

_AT = {name: i for i, name in enumerate(SPHERES)}
# the palm as seen by fingers: capsules along its bones and its two cushions
_PALM: Final = np.array(
    [
        (_AT[a], _AT[b])
        for a, b in (
            ("carpal_r", "pad_index"), ("carpal_r", "pad_middle"), ("carpal_u", "pad_middle"),
            ("carpal_u", "pad_ring"), ("carpal_u", "pad_little"), ("hypothenar", "pad_little"),
            ("hypothenar", "pad_ring"), ("pad_index", "pad_middle"), ("pad_middle", "pad_ring"),
            ("pad_ring", "pad_little"), ("carpal_r", "carpal_u"), ("palm_i1", "pad_middle"),
            ("carpal_r", "palm_i1"), ("carpal_u", "hypothenar"),
        )
    ],
    np.int64,
)  # fmt: skip
_THENAR: Final = np.array([(_AT["thumb_cmc"], _AT["thenar"]), (_AT["thenar"], _AT["thumb_mcp"])], np.int64)


@njit(cache=True)
def capsule_depth(a: ndarray, b: ndarray, c: ndarray, d: ndarray, start: float) -> float:
    """How deep (mm) the tapered capsules a-b (from its fraction `start` on) and c-d overlap; negative: their distance.

    Each argument is a sphere (x, y, z, r). The overlap is that of the spheres at the two axes' nearest points. For
    parts far from each other it is a bound of that distance only.
    """
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = d[0] - c[0], d[1] - c[1], d[2] - c[2]
    wx, wy, wz = a[0] - c[0], a[1] - c[1], a[2] - c[2]
    mx, my, mz = wx + 0.5 * (ux - vx), wy + 0.5 * (uy - vy), wz + 0.5 * (uz - vz)
    apart = np.sqrt(mx * mx + my * my + mz * mz)
    apart -= 0.5 * (np.sqrt(ux * ux + uy * uy + uz * uz) + np.sqrt(vx * vx + vy * vy + vz * vz))
    best = max(a[3], b[3]) + max(c[3], d[3]) - apart
    if best < -1.0:
        return best
    best = -1e9
    uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
    uw, vw = ux * wx + uy * wy + uz * wz, vx * wx + vy * wy + vz * wz
    det = uu * vv - uv * uv
    inner = (uv * vw - vv * uw) / det if det > 1e-9 else start
    for trial in range(3):  # the inner solution and both ends: enough, as the parts are short and nearly round
        s = inner if trial == 0 else (start if trial == 1 else 1.0)
        s = min(max(s, start), 1.0)
        t = min(max((vw + s * uv) / vv, 0.0), 1.0)
        s = min(max((t * uv - uw) / uu, start), 1.0)
        t = min(max((vw + s * uv) / vv, 0.0), 1.0)
        x, y, z = wx + s * ux - t * vx, wy + s * uy - t * vy, wz + s * uz - t * vz
        depth = a[3] + s * (b[3] - a[3]) + c[3] + t * (d[3] - c[3]) - np.sqrt(x * x + y * y + z * z)
        best = max(best, depth)
    return best


@njit(cache=True)
def _finger_against(s: ndarray, finger: int, others: ndarray) -> float:
    """Depth of a finger's last two bones in capsules given by sphere indices [N, 2]."""
    depth = -1e9
    base = 5 + 4 * finger
    for bone in range(1, 3):
        for k in range(others.shape[0]):
            depth = max(depth, capsule_depth(s[base + bone], s[base + bone + 1], s[others[k, 0]], s[others[k, 1]], 0.0))
    return depth


@njit(cache=True)
def _fingers_depth(s: ndarray, first: int, second: int) -> float:
    """Depth of two fingers in each other, beyond the webs."""
    depth = -1e9
    for i in range(3):
        for j in range(3):
            if i == 0 and j == 0:
                start = _FREE
                a, b = s[5 + 4 * first], s[6 + 4 * first]
                c, d = s[5 + 4 * second].copy(), s[6 + 4 * second]
                c[:] = c + _FREE * (d - c)
                depth = max(depth, capsule_depth(a, b, c, d, start))
            else:
                a, b = s[5 + 4 * first + i], s[6 + 4 * first + i]
                c, d = s[5 + 4 * second + j], s[6 + 4 * second + j]
                depth = max(depth, capsule_depth(a, b, c, d, _FREE if i == 0 else 0.0))
    return depth


@njit(cache=True)
def _thumb_depth(s: ndarray) -> float:
    """Depth of the thumb's last two bones in the fingers and the palm, and of its ball in the fingers' ends."""
    depth = -1e9
    for bone in range(2, 4):
        a, b = s[bone], s[bone + 1]
        start = 0.35 if bone == 2 else 0.0
        for finger in range(4):
            for k in range(3):
                c, d = s[5 + 4 * finger + k], s[6 + 4 * finger + k]
                depth = max(depth, capsule_depth(a, b, c, d, start))
        for k in range(_PALM.shape[0]):
            depth = max(depth, capsule_depth(a, b, s[_PALM[k, 0]], s[_PALM[k, 1]], start))
    for finger in range(4):
        depth = max(depth, _finger_against(s, finger, _THENAR))
    return depth


@njit(cache=True)
def self_penetration(shape: HandShape, pose: ndarray) -> float:
    """The deepest overlap (mm) between parts of the hand that do not belong together; negative: the smallest gap."""
    s = hand_spheres(shape, pose, hand_joints(shape, pose))
    depth = _thumb_depth(s)
    for finger in range(4):
        depth = max(depth, _finger_depth(s, finger))
    return depth


@njit(cache=True)
def _finger_depth(s: ndarray, finger: int) -> float:
    """Depth of a finger in the palm and in the fingers before it."""
    depth = _finger_against(s, finger, _PALM)
    for other in range(finger):
        depth = max(depth, _fingers_depth(s, other, finger))
    return depth


@njit(cache=True)
def loosen(shape: HandShape, pose: ndarray) -> bool:
    """Open a pose, in place, just so far that its parts touch instead of overlapping; False where that fails.

    Finger by finger: first out of the palm, then beside the fingers before it, last the thumb; each by bisection
    between the wanted and a free position, so that what was pressed together stays in contact.
    """
    s = hand_spheres(shape, pose, hand_joints(shape, pose))
    for finger in range(4):
        first = 4 * finger
        if _finger_against(s, finger, _PALM) > _AIM_MM:
            _bisect(shape, pose, first, 0.6 * pose[first : first + 4], s, True)
        if _finger_depth(s, finger) > _AIM_MM:
            free = 0.6 * pose[first : first + 4]
            if finger > 0:  # parallel to the finger before it, a little apart where a bent knuckle still lets it spread
                free[:] = pose[first - 4 : first]
                free[1] += shape.fan[finger - 1, 0] - shape.fan[finger, 0] + 0.25 * max(np.cos(free[0]), 0.0)
                free[1] = min(max(free[1], -0.35), 0.35)
            _bisect(shape, pose, first, free, s, False)
    if _thumb_depth(s) > _AIM_MM:
        free = pose[THUMB0 : THUMB0 + 5].copy()
        free[1] = -0.66  # before the palm, as it is
        _bisect(shape, pose, THUMB0, free, s, False)
    if _thumb_depth(s) > _AIM_MM:
        free = np.zeros(5)
        free[0], free[1] = -0.3, -0.3  # out to the side
        _bisect(shape, pose, THUMB0, free, s, False)
    return self_penetration(shape, pose) <= MAX_DEPTH_MM


@njit(cache=True)
def loosen_nearly(shape: HandShape, pose: ndarray, limits: ndarray) -> bool:
    """Open a pose, in place, as `loosen` does, but leave the thumb as near as may be to where it was wanted.

    `loosen` swings a thumb that is in the way far out before the palm; from there it comes back here until it touches:
    it lies over a fist or beside a flat hand instead of standing off.
    """
    wanted = pose[THUMB0 : THUMB0 + 5].copy()
    if not loosen(shape, pose):
        s = hand_spheres(shape, pose, hand_joints(shape, pose))
        for finger in range(4):  # what lies beside the finger before it may be in the palm again
            if _finger_depth(s, finger) > 0.5 * (_AIM_MM + MAX_DEPTH_MM):
                _open_finger(shape, pose, finger, s)
    if not np.array_equal(wanted, pose[THUMB0 : THUMB0 + 5]):
        swung = pose[THUMB0 : THUMB0 + 5].copy()
        s = hand_spheres(shape, pose, hand_joints(shape, pose))
        if _thumb_depth(s) <= _AIM_MM + 0.2:
            _approach(shape, pose, wanted, limits, s)
            if self_penetration(shape, pose) > 0.5 * (_AIM_MM + MAX_DEPTH_MM):
                _bisect(shape, pose, THUMB0, swung, s, False)
    return self_penetration(shape, pose) <= MAX_DEPTH_MM


@njit(cache=True)
def _open_finger(shape: HandShape, pose: ndarray, finger: int, s: ndarray) -> None:
    """Open one finger, in place, on the way that moves its tip the least of those that free it."""
    first, tip = 4 * finger, 8 + 4 * finger
    wanted, kept, start = pose[first : first + 4].copy(), pose[first : first + 4].copy(), s[tip].copy()
    least = np.inf
    for way in range(4):
        free = wanted.copy()
        free[2:] *= 0.6
        if way % 2:
            free[0] *= 0.6
        free[1] += 0.1 * (way // 2)
        pose[first : first + 4] = wanted
        _bisect(shape, pose, first, free, s, way < 2)
        moved = 0.0
        for i in range(3):
            moved += (s[tip, i] - start[i]) ** 2
        if _finger_depth(s, finger) > 0.5 * (_AIM_MM + MAX_DEPTH_MM):
            moved += 1e4
        if moved < least:
            least = moved
            kept[:] = pose[first : first + 4]
    pose[first : first + 4] = kept
    finger_joints(shape, pose, finger, s[5 + first : 9 + first, :3])


@njit(cache=True)
def _thumb_residuals(
    shape: HandShape, pose: ndarray, wanted: ndarray, s: ndarray, places: ndarray, push: float, out: ndarray
) -> None:
    """Write how far a thumb is from its wanted joints `places` [3, 3] (mm), from its wanted angles, and in others."""
    thumb_joints(shape, pose, s[1:5, :3])
    thumb_flesh(shape, s)
    for k in range(3):
        for i in range(3):
            out[3 * k + i] = s[2 + k, i] - places[k, i]
    for k in range(5):
        out[9 + k] = _STIFF_MM * (pose[THUMB0 + k] - wanted[k])
    out[14] = push * max(_thumb_depth(s) - 0.5 * _AIM_MM, 0.0)


@njit(cache=True)
def _approach(shape: HandShape, pose: ndarray, wanted: ndarray, limits: ndarray, s: ndarray) -> None:
    """Move a free thumb, in place, towards its wanted angles [5]: damped least squares that contact pushes back."""
    places, best, trial = np.empty((3, 3)), np.empty(_RESIDUALS), np.empty(_RESIDUALS)
    jacobian, normal, step = np.empty((_RESIDUALS, 5)), np.empty((5, 5)), np.empty(5)
    free = pose[THUMB0 : THUMB0 + 5].copy()
    pose[THUMB0 : THUMB0 + 5] = wanted
    thumb_joints(shape, pose, s[1:5, :3])
    places[:] = s[2:5, :3]
    pose[THUMB0 : THUMB0 + 5] = free
    damping, push = 300.0, _SOFT
    for _ in range(_APPROACHES):
        push = min(push * 1.6, _PUSH)
        _thumb_residuals(shape, pose, wanted, s, places, push, best)
        for k in range(5):
            keep = pose[THUMB0 + k]
            pose[THUMB0 + k] = keep + 1e-3
            _thumb_residuals(shape, pose, wanted, s, places, push, trial)
            pose[THUMB0 + k] = keep
            for i in range(_RESIDUALS):
                jacobian[i, k] = (trial[i] - best[i]) / 1e-3
        free[:] = pose[THUMB0 : THUMB0 + 5]
        before = (best * best).sum()
        for _ in range(3):
            for j in range(5):
                step[j] = -(jacobian[:, j] * best).sum()
                for k in range(5):
                    normal[j, k] = (jacobian[:, j] * jacobian[:, k]).sum()
                normal[j, j] += damping
            _solve5(normal, step)
            for k in range(5):
                i = THUMB0 + k
                pose[i] = min(max(free[k] + min(max(step[k], -0.25), 0.25), limits[i, 0]), limits[i, 1])
            _thumb_residuals(shape, pose, wanted, s, places, push, trial)
            if (trial * trial).sum() < before:
                best[:] = trial
                damping *= 0.4
                break
            pose[THUMB0 : THUMB0 + 5] = free
            damping *= 6.0


@njit(cache=True)
def _solve5(a: ndarray, b: ndarray) -> None:
    """Solve, in place, a symmetric positive system by elimination; by hand, as BLAS' sums depend on the machine."""
    size = b.size
    for k in range(size):
        for i in range(k + 1, size):
            factor = a[i, k] / a[k, k]
            for j in range(k, size):
                a[i, j] -= factor * a[k, j]
            b[i] -= factor * b[k]
    for i in range(size - 1, -1, -1):
        for j in range(i + 1, size):
            b[i] -= a[i, j] * b[j]
        b[i] /= a[i, i]


@njit(cache=True)
def _bisect(shape: HandShape, pose: ndarray, first: int, free: ndarray, s: ndarray, palm_only: bool) -> None:
    """Move one finger's angles (from `first` on) towards `free` until it touches nothing deeper than the aim."""
    wanted = pose[first : first + free.size].copy()
    low, high = 0.0, 1.0
    for step in range(_STEPS + 1):
        way = 0.5 * (low + high) if step < _STEPS else high
        pose[first : first + free.size] = (1.0 - way) * wanted + way * free
        if first == THUMB0:
            thumb_joints(shape, pose, s[1:5, :3])
            thumb_flesh(shape, s)
            depth = _thumb_depth(s)
        else:
            finger = first // 4
            finger_joints(shape, pose, finger, s[5 + first : 9 + first, :3])
            depth = _finger_against(s, finger, _PALM) if palm_only else _finger_depth(s, finger)
        if depth > _AIM_MM:
            low = way
        else:
            high = way


@njit(cache=True)
def _gap(shape: HandShape, pose: ndarray, finger: int, points: ndarray, out: ndarray) -> None:
    """The vector between the thumb's and a finger's tip, short of both radii."""
    thumb_joints(shape, pose, points[:4])
    finger_joints(shape, pose, finger, points[4:])
    reach = shape.radii[4] + shape.radii[8 + 4 * finger] - 1.0
    distance = 0.0
    for k in range(3):
        out[k] = points[7, k] - points[3, k]
        distance += out[k] * out[k]
    scale = 1.0 - reach / max(np.sqrt(distance), 1e-6)
    for k in range(3):
        out[k] *= scale


@njit(cache=True)
def touch_thumb(rng: np.random.Generator, shape: HandShape, pose: ndarray, limits: ndarray) -> None:
    """Bend, in place, the thumb and one finger until their tips meet (damped least squares within the limits)."""
    finger = min(int(rng.exponential(0.9)), 3)  # the index finger most often
    active = np.array([16, 17, 18, 19, 20, 4 * finger, 4 * finger + 2])
    pose[4 * finger] = rng.uniform(0.5, 1.2)
    pose[4 * finger + 2] = rng.uniform(0.4, 1.2)
    pose[4 * finger + 3] = 0.55 * pose[4 * finger + 2] + rng.normal(0.0, 0.1)
    points, gap, moved = np.empty((8, 3)), np.empty(3), np.empty(3)
    jacobian = np.empty((3, 7))
    for _ in range(12):
        _gap(shape, pose, finger, points, gap)
        if gap[0] * gap[0] + gap[1] * gap[1] + gap[2] * gap[2] < 0.25:
            return
        for k in range(7):
            keep = pose[active[k]]
            pose[active[k]] = keep + 1e-4
            _gap(shape, pose, finger, points, moved)
            pose[active[k]] = keep
            for axis in range(3):
                jacobian[axis, k] = (moved[axis] - gap[axis]) / 1e-4
        _damped_step(jacobian, gap, active, limits, pose)


@njit(cache=True)
def _damped_step(jacobian: ndarray, gap: ndarray, active: ndarray, limits: ndarray, pose: ndarray) -> None:
    normal = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            normal[i, j] = (jacobian[i] * jacobian[j]).sum()
        normal[i, i] += 60.0  # mm^2 / rad^2: keeps steps short near stretched chains
    force = _solve3(normal, gap)
    for k in range(active.shape[0]):
        step = jacobian[0, k] * force[0] + jacobian[1, k] * force[1] + jacobian[2, k] * force[2]
        i = active[k]
        pose[i] = min(max(pose[i] - min(max(step, -0.4), 0.4), limits[i, 0]), limits[i, 1])


@njit(cache=True)
def _solve3(a: ndarray, b: ndarray) -> ndarray:
    """Cramer's rule for a symmetric positive 3x3 system."""
    c0 = a[1, 1] * a[2, 2] - a[1, 2] * a[2, 1]
    c1 = a[1, 2] * a[2, 0] - a[1, 0] * a[2, 2]
    c2 = a[1, 0] * a[2, 1] - a[1, 1] * a[2, 0]
    det = a[0, 0] * c0 + a[0, 1] * c1 + a[0, 2] * c2
    out = np.empty(3)
    out[0] = b[0] * c0 + b[1] * (a[0, 2] * a[2, 1] - a[0, 1] * a[2, 2]) + b[2] * (a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1])
    out[1] = b[0] * c1 + b[1] * (a[0, 0] * a[2, 2] - a[0, 2] * a[2, 0]) + b[2] * (a[0, 2] * a[1, 0] - a[0, 0] * a[1, 2])
    out[2] = b[0] * c2 + b[1] * (a[0, 1] * a[2, 0] - a[0, 0] * a[2, 1]) + b[2] * (a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])
    return out / det
