"""Exact ray casting of a sphere mesh: spheres, tapered capsules and wedges, in closed form.

A wedge is the convex hull of three spheres: its surface is two flat triangles, three tapered capsules and three
spheres, so a mesh is cast as spheres + side cones (edges) + triangles, each inside the pixels that it can cover. Rays
are (x, y, 1) t from the camera, so that t is the depth z in mm.
"""

from typing import Final

import numpy as np
from numba import njit
from numpy import ndarray

FAR: Final = np.inf
_LONG_ROW: Final = 16  # pixels from which on a row's exact ends are worth their own square root
_WIDER: Final = 1.05  # a tapered capsule's outline is a little wider than its ends' in perspective


@njit(cache=True)
def cast(
    spheres: ndarray, edges: ndarray, wedges: ndarray, ray_x: ndarray, ray_y: ndarray, out: ndarray, owner: ndarray
) -> None:
    """Lower `out` to the nearest surface of a sphere mesh.

    Args:
        spheres: [N, 4] centres and radii (mm) in the camera frame, all in front of the camera.
        edges: [E, 2] indices of the spheres that a tapered capsule joins.
        wedges: [T, 3] indices of the spheres of a wedge; its three sides must be among the edges.
        ray_x, ray_y: [W] and [H] ascending x / z of the columns and y / z of the rows.
        out: [H, W] depth (mm), `FAR` where nothing was hit yet; changed in place.
        owner: [H, W] index of the sphere nearest to what was hit; changed in place.
    """
    limit = out.max()
    near = spheres[:, 2] - spheres[:, 3]
    for t in range(wedges.shape[0]):  # first the large surfaces, so that most of what they hide is skipped
        i, j, k = wedges[t]
        if min(near[i], near[j], near[k]) < limit:
            _cast_wedge(spheres, wedges[t], ray_x, ray_y, out, owner)
    for i in range(spheres.shape[0]):
        if near[i] < limit:
            _cast_sphere(spheres[i], i, ray_x, ray_y, out, owner)
    for e in range(edges.shape[0]):
        i, j = edges[e]
        if min(near[i], near[j]) < limit:
            _cast_cone(spheres[i], spheres[j], i, j, ray_x, ray_y, out, owner)


@njit(cache=True)
def _slopes(center: float, z: float, radius: float) -> tuple[float, float]:
    """The tangents' slopes (x / z) at a circle of this centre and radius, seen from the origin."""
    denominator = z * z - radius * radius
    if denominator <= 0.0:
        return -1e9, 1e9  # the camera stands within the sphere's slab: no bound
    root = radius * np.sqrt(center * center + denominator)
    return (center * z - root) / denominator, (center * z + root) / denominator


@njit(cache=True)
def _span(rays: ndarray, low: float, high: float) -> tuple[int, int]:
    """First and end index of the ascending, nearly even rays within [low, high]: a guess, then steps from there."""
    last = rays.size - 1
    scale = last / (rays[last] - rays[0]) if last > 0 else 0.0
    first = int(min(max((low - rays[0]) * scale, 0.0), float(last)))
    while first > 0 and rays[first - 1] >= low:
        first -= 1
    while first <= last and rays[first] < low:
        first += 1
    end = int(min(max((high - rays[0]) * scale, 0.0), float(last))) + 1
    while end <= last and rays[end] <= high:
        end += 1
    while end > 0 and rays[end - 1] > high:
        end -= 1
    return first, end


@njit(cache=True)
def _cast_sphere(s: ndarray, index: int, ray_x: ndarray, ray_y: ndarray, out: ndarray, owner: ndarray) -> None:
    x, y, z, r = s[0], s[1], s[2], s[3]
    if z + r <= 0.0:
        return
    left, right = _slopes(x, z, r)
    top, bottom = _slopes(y, z, r)
    j0, j1 = _span(ray_x, left, right)
    i0, i1 = _span(ray_y, top, bottom)
    c = x * x + y * y + z * z - r * r
    nearest = z - r
    for i in range(i0, i1):
        dy = ray_y[i]
        for j in range(j0, j1):
            if out[i, j] <= nearest:
                continue
            dx = ray_x[j]
            a = dx * dx + dy * dy + 1.0
            b = dx * x + dy * y + z
            disc = b * b - a * c
            if disc >= 0.0:
                t = (b - np.sqrt(disc)) / a
                if 0.0 < t < out[i, j]:
                    out[i, j] = t
                    owner[i, j] = index


@njit(cache=True)
def _cast_cone(
    a: ndarray, b: ndarray, ia: int, ib: int, ray_x: ndarray, ray_y: ndarray, out: ndarray, owner: ndarray
) -> None:
    """The side of a tapered capsule: where a point's nearest axis point lies strictly between its two spheres."""
    nx, ny, nz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    length = np.sqrt(nx * nx + ny * ny + nz * nz)
    if length <= abs(a[3] - b[3]) or a[2] + a[3] <= 0.0 or b[2] + b[3] <= 0.0:
        return  # one sphere holds the other: there is no side
    nx, ny, nz = nx / length, ny / length, nz / length
    s = (a[3] - b[3]) / length
    c2 = 1.0 - s * s
    low, high = s * a[3], length + s * b[3]  # axial range of the side
    left_a, right_a = _slopes(a[0], a[2], a[3])
    left_b, right_b = _slopes(b[0], b[2], b[3])
    top_a, bottom_a = _slopes(a[1], a[2], a[3])
    top_b, bottom_b = _slopes(b[1], b[2], b[3])
    i0, i1 = _span(ray_y, min(top_a, top_b), max(bottom_a, bottom_b))
    xa, ya, xb, yb = a[0] / a[2], a[1] / a[2], b[0] / b[2], b[1] / b[2]
    wide = _WIDER * max(max(xa - left_a, right_a - xa), max(xb - left_b, right_b - xb))
    high_a, high_b = max(ya - top_a, bottom_a - ya), max(yb - top_b, bottom_b - yb)
    tall = _WIDER * max(high_a, high_b)
    mm = a[0] * a[0] + a[1] * a[1] + a[2] * a[2]
    my = -(a[0] * nx + a[1] * ny + a[2] * nz)
    qc = c2 * mm - my * my + 2.0 * a[3] * s * my - a[3] * a[3]
    nearest = min(a[2] - a[3], b[2] - b[3])
    slant = a[3] * s - my
    for i in range(i0, i1):
        dy = ray_y[i]
        # along a row, the ray's slope x enters the cone's quadratic qa t^2 + 2 qb t + qc through these
        dd0, dn0 = dy * dy + 1.0, dy * ny + nz
        qb0, qb1 = slant * dn0 - c2 * (a[1] * dy + a[2]), slant * nx - c2 * a[0]
        left, right = _row_of_line(xa, ya, xb, yb, dy, tall)
        j0, j1 = _span(ray_x, left - wide, right + wide)
        if j1 - j0 > _LONG_ROW:
            d2 = qb1 * qb1 - (c2 - nx * nx) * qc
            d1 = qb0 * qb1 + dn0 * nx * qc
            d0 = qb0 * qb0 - (c2 * dd0 - dn0 * dn0) * qc
            low_x, high_x = _row_of_cone(d2, d1, d0)
            j0, j1 = _span(ray_x, max(left - wide, low_x), min(right + wide, high_x))
        for j in range(j0, j1):
            if out[i, j] <= nearest:
                continue
            dx = ray_x[j]
            dn = dn0 + dx * nx
            qa, qb = c2 * (dd0 + dx * dx) - dn * dn, qb0 + dx * qb1
            disc = qb * qb - qa * qc
            if disc < 0.0 or abs(qa) < 1e-12:
                continue
            t = (-qb - np.sqrt(disc)) / qa  # for qa < 0 the later root: a ray that runs along inside the cone's mouth
            axial = my + t * dn
            if low <= axial <= high and 0.0 < t < out[i, j]:
                out[i, j] = t
                owner[i, j] = ia if axial - low < high - axial else ib


@njit(cache=True)
def _row_of_cone(d2: float, d1: float, d0: float) -> tuple[float, float]:
    """Where d2 x^2 + 2 d1 x + d0 >= 0, if that is one interval; else all x."""
    if d2 >= 0.0:
        return -np.inf, np.inf
    inner = d1 * d1 - d2 * d0
    if inner < 0.0:
        return np.inf, -np.inf
    root = np.sqrt(inner)
    return (d1 - root) / -d2 - 1e-9, (d1 + root) / -d2 + 1e-9


@njit(cache=True)
def _row_of_line(xa: float, ya: float, xb: float, yb: float, y: float, tall: float) -> tuple[float, float]:
    """The x range of the part of the line a-b that comes within `tall` of the row y."""
    if abs(yb - ya) < 1e-9:
        return min(xa, xb), max(xa, xb)
    s, t = (y - tall - ya) / (yb - ya), (y + tall - ya) / (yb - ya)
    s, t = min(max(s, 0.0), 1.0), min(max(t, 0.0), 1.0)
    xs, xt = xa + s * (xb - xa), xa + t * (xb - xa)
    return min(xs, xt), max(xs, xt)


@njit(cache=True)
def tangent_normals(p: ndarray, q: ndarray, r: ndarray, out: ndarray) -> bool:
    """Outer unit normals [2, 3] of the two planes that touch three spheres from outside; False if there are none."""
    e1, e2 = q[:3] - p[:3], r[:3] - p[:3]
    d1, d2 = p[3] - q[3], p[3] - r[3]
    m = np.array([e1[1] * e2[2] - e1[2] * e2[1], e1[2] * e2[0] - e1[0] * e2[2], e1[0] * e2[1] - e1[1] * e2[0]])
    area2 = m[0] * m[0] + m[1] * m[1] + m[2] * m[2]
    if area2 < 1e-6:
        return False
    g11, g12, g22 = (e1 * e1).sum(), (e1 * e2).sum(), (e2 * e2).sum()
    w1, w2 = (d1 * g22 - d2 * g12) / area2, (d2 * g11 - d1 * g12) / area2
    wx, wy, wz = w1 * e1[0] + w2 * e2[0], w1 * e1[1] + w2 * e2[1], w1 * e1[2] + w2 * e2[2]
    rest = 1.0 - (wx * wx + wy * wy + wz * wz)
    if rest <= 0.0:
        return False
    k = np.sqrt(rest / area2)
    out[0, 0], out[0, 1], out[0, 2] = wx + k * m[0], wy + k * m[1], wz + k * m[2]
    out[1, 0], out[1, 1], out[1, 2] = wx - k * m[0], wy - k * m[1], wz - k * m[2]
    return True


@njit(cache=True)
def _cast_wedge(spheres: ndarray, wedge: ndarray, ray_x: ndarray, ray_y: ndarray, out: ndarray, owner: ndarray) -> None:
    normals = np.empty((2, 3))
    if not tangent_normals(spheres[wedge[0]], spheres[wedge[1]], spheres[wedge[2]], normals):
        return
    corners = np.empty((3, 3))
    for side in range(2):
        facing = 0.0
        for k in range(3):
            s = spheres[wedge[k]]
            for axis in range(3):
                corners[k, axis] = s[axis] + s[3] * normals[side, axis]
            facing += (
                corners[k, 0] * normals[side, 0] + corners[k, 1] * normals[side, 1] + corners[k, 2] * normals[side, 2]
            )
        if facing < 0.0:  # the outer side looks towards the camera
            _cast_triangle(corners, normals[side], wedge, ray_x, ray_y, out, owner)


@njit(cache=True)
def _cast_triangle(
    corners: ndarray, n: ndarray, wedge: ndarray, ray_x: ndarray, ray_y: ndarray, out: ndarray, owner: ndarray
) -> None:
    if min(corners[0, 2], corners[1, 2], corners[2, 2]) <= 0.0:
        return
    x, y = corners[:, 0] / corners[:, 2], corners[:, 1] / corners[:, 2]
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    if abs(area) < 1e-18:
        return
    i0, i1 = _span(ray_y, y.min(), y.max())
    h = n[0] * corners[0, 0] + n[1] * corners[0, 1] + n[2] * corners[0, 2]
    for i in range(i0, i1):
        dy = ray_y[i]
        left, right = _row_of_triangle(x, y, dy)
        j0, j1 = _span(ray_x, left, right)
        for j in range(j0, j1):
            dx = ray_x[j]
            w2 = ((x[1] - x[0]) * (dy - y[0]) - (dx - x[0]) * (y[1] - y[0])) / area
            w1 = ((dx - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (dy - y[0])) / area
            if w1 < 0.0 or w2 < 0.0 or w1 + w2 > 1.0:
                continue
            t = h / (n[0] * dx + n[1] * dy + n[2])
            if 0.0 < t < out[i, j]:
                out[i, j] = t
                w0 = 1.0 - w1 - w2
                owner[i, j] = wedge[0] if w0 >= max(w1, w2) else (wedge[1] if w1 >= w2 else wedge[2])


@njit(cache=True)
def _row_of_triangle(x: ndarray, y: ndarray, row: float) -> tuple[float, float]:
    """The x range of a triangle along a row that crosses it."""
    left, right = np.inf, -np.inf
    for k in range(3):
        m = (k + 1) % 3
        if min(y[k], y[m]) <= row <= max(y[k], y[m]):
            s = (row - y[k]) / (y[m] - y[k]) if y[m] != y[k] else 0.0
            at = x[k] + s * (x[m] - x[k])
            left, right = min(left, at), max(right, at)
            if y[m] == y[k]:
                left, right = min(left, x[m]), max(right, x[m])
    slack = 1e-9
    return left - slack, right + slack
