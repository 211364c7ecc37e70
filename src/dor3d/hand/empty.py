"""Crops that show no hand: arms, bodies, things and walls, which a network must not take for one."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy import ndarray

from dor3d.geometry.crop import center_of_joints
from dor3d.hand.around import in_front, sample_solid, thing_beside
from dor3d.hand.model import SPHERE_COUNT
from dor3d.hand.scene import Scene
from dor3d.hand.solids import Mesh, joined, mesh_of, rod
from dor3d.hand.stage import SceneConfig, draw_scene
from dor3d.hand.views import random_rotation

_FAR_MM: Final = 135.0  # from the hand's middle: a crop there shows the hand's edge at most
_BUNDLES: Final = 0.35  # share of the others that hold something with fingers that is no hand
_PEOPLE: Final = 0.5  # chance of somebody behind, where people have faces
_ARM_ALONE: Final = 0.3  # share of scenes with a hand, looked at elsewhere


def draw_empty(rng: np.random.Generator, config: SceneConfig) -> tuple[Scene, ndarray]:
    """A scene, and a place [3] (mm, camera frame) in it that is no hand's.

    Either the hand is there, and the place is on its arm, on a body or on a thing around; or there is no hand, and the
    place is on what is left, or on things put there. The scene's joints mean nothing in the second case.
    """
    body = max(config.body, _PEOPLE) if config.faces else config.body
    scene = draw_scene(rng, replace(config, body=body, other=0.0, least_seen=0))  # a second hand may be anywhere
    middle = center_of_joints(scene.joints_mm)
    if rng.random() < _ARM_ALONE:
        far = np.linalg.norm(scene.spheres[:, :3] - middle, axis=1) > _FAR_MM
        if far.any():
            return scene, _on(rng, scene.spheres[far])
    left = without_hand(scene)
    found = [thing_beside(rng, scene.spheres[:SPHERE_COUNT]) for _ in range(int(rng.integers(0, 3)))]
    if rng.random() < _BUNDLES:
        found.append(_bundle(rng, middle))
    things = joined([mesh for mesh in (left, *found) if mesh is not None])
    scene = scene._replace(spheres=things.spheres, edges=things.edges, wedges=things.wedges)
    if not len(things.spheres) or rng.random() < 0.1:
        return scene, middle  # nothing, or a wall
    return scene, _on(rng, things.spheres)


def _bundle(rng: np.random.Generator, at: ndarray) -> Mesh | None:
    """A lump with some rods that stick out of it: as many fingers as a hand may have, but none that is one's."""
    size = rng.uniform(30.0, 100.0)
    meshes = [mesh_of(sample_solid(rng, size, 1.2 * size), random_rotation(rng), at)]
    width = rng.uniform(4.0, 14.0)
    for _ in range(int(rng.integers(1, 7))):
        way, length = random_rotation(rng), rng.uniform(30.0, 130.0)
        start = at + way[:, 2] * rng.uniform(0.0, 0.5) * size + way[:, 0] * rng.normal(0.0, 0.2 * size)
        meshes.append(mesh_of(rod(width * rng.uniform(0.7, 1.3), length), way, start + way[:, 2] * length / 2))
    return in_front(joined(meshes))


def without_hand(scene: Scene) -> Mesh:
    """What is left of a scene's mesh without hand and forearm."""
    edges = scene.edges[(scene.edges >= SPHERE_COUNT).all(1)] - SPHERE_COUNT
    wedges = scene.wedges[(scene.wedges >= SPHERE_COUNT).all(1)] - SPHERE_COUNT
    return Mesh(scene.spheres[SPHERE_COUNT:], edges, wedges)


def _on(rng: np.random.Generator, spheres: ndarray) -> ndarray:
    """A place on one of these spheres' sides that look at the camera, or near it."""
    sphere = spheres[int(rng.integers(len(spheres)))]
    place = sphere[:3] * (1 - 0.6 * sphere[3] / np.linalg.norm(sphere[:3])) + rng.normal(0.0, 15.0, 3)
    return np.array([place[0], place[1], max(place[2], 60.0)])
