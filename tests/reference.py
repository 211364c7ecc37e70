"""Slow, independent references that the fast code is held against."""

import numpy as np
from numba import njit

_GOLDEN = 0.6180339887498949
_ROUNDS = 40


@njit
def _edge_distance(x, p, q):
    """Distance to the hull of two spheres: min over s of |x - c(s)| - r(s), which is convex in s (golden section)."""
    low, high = 0.0, 1.0
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    fa, fb = _at(x, p, q, a), _at(x, p, q, b)
    for _ in range(_ROUNDS):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - _GOLDEN * (high - low)
            fa = _at(x, p, q, a)
        else:
            low, a, fa = a, b, fb
            b = low + _GOLDEN * (high - low)
            fb = _at(x, p, q, b)
    return min(fa, fb, _at(x, p, q, 0.0), _at(x, p, q, 1.0))


@njit
def _at(x, p, q, s):
    d = 0.0
    for k in range(3):
        d += (x[k] - p[k] - s * (q[k] - p[k])) ** 2
    return np.sqrt(d) - p[3] - s * (q[3] - p[3])


@njit
def _wedge_distance(x, p, q, r):
    """Distance to the hull of three spheres: over the spheres between q and r, each joined to p (convex again)."""
    low, high = 0.0, 1.0
    a, b = high - _GOLDEN, _GOLDEN
    fa, fb = _edge_distance(x, p, q + a * (r - q)), _edge_distance(x, p, q + b * (r - q))
    for _ in range(_ROUNDS):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - _GOLDEN * (high - low)
            fa = _edge_distance(x, p, q + a * (r - q))
        else:
            low, a, fa = a, b, fb
            b = low + _GOLDEN * (high - low)
            fb = _edge_distance(x, p, q + b * (r - q))
    return min(fa, fb, _edge_distance(x, p, q), _edge_distance(x, p, r), _edge_distance(x, q, r))


@njit
def mesh_distance(x, spheres, edges, wedges):
    """Signed distance (exact outside) from x to a sphere mesh: the union of its spheres and the hulls of some."""
    best = 1e9
    for i in range(spheres.shape[0]):
        best = min(best, np.sqrt(((x - spheres[i, :3]) ** 2).sum()) - spheres[i, 3])
    for e in range(edges.shape[0]):
        p, q = spheres[edges[e, 0]], spheres[edges[e, 1]]
        reach = max(p[3], q[3]) + np.sqrt(((q[:3] - p[:3]) ** 2).sum())
        if np.sqrt(((x - p[:3]) ** 2).sum()) - reach < best:
            best = min(best, _edge_distance(x, p, q))
    for t in range(wedges.shape[0]):
        p, q, r = spheres[wedges[t, 0]], spheres[wedges[t, 1]], spheres[wedges[t, 2]]
        side = max(np.sqrt(((q[:3] - p[:3]) ** 2).sum()), np.sqrt(((r[:3] - p[:3]) ** 2).sum()))
        if np.sqrt(((x - p[:3]) ** 2).sum()) - side - max(p[3], q[3], r[3]) < best:
            best = min(best, _wedge_distance(x, p, q, r))
    return best


@njit
def sphere_trace(spheres, edges, wedges, dx, dy, far):
    """Depth along the ray (dx, dy, 1) by sphere tracing, and how near to the surface a ray that misses comes (mm)."""
    length = np.sqrt(dx * dx + dy * dy + 1.0)
    t, nearest = 1.0, 1e9
    for _ in range(2000):
        x = np.array([dx * t, dy * t, t])
        d = mesh_distance(x, spheres, edges, wedges)
        nearest = min(nearest, d)
        if d < 1e-5:
            return t, 0.0
        t += d / length
        if t > far:
            break
    return np.inf, nearest
