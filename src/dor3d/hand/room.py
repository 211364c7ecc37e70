"""Whole frames: none, one or two hands in a room with people, furniture and things, some of them nearer than hands."""

from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.hand.around import clearance, in_front, sample_solid
from dor3d.hand.empty import without_hand
from dor3d.hand.model import EDGES, HAND_SPHERES, WEDGES, posed_hand
from dor3d.hand.people import Person, sample_person
from dor3d.hand.pose import sample_hand
from dor3d.hand.scene import Scene, image_size, mirrored, seen_joints
from dor3d.hand.solids import Mesh, joined, mesh_of, reach_of
from dor3d.hand.stage import WIDE, SceneConfig, draw_scene
from dor3d.hand.views import random_rotation

_TRIES: Final = 12
_HEIGHT_MM: Final = 900.0  # of a camera over the floor, at least
_ASIDE_MM: Final = 300.0  # of a camera from other walls


class HandTruth(NamedTuple):
    """A hand in a frame.

    Attributes:
        joints_mm: [21, 3] in the camera frame.
        is_right: which hand it is.
        seen: how many joints are in the image and not hidden.
    """

    joints_mm: ndarray
    is_right: bool
    seen: int


class Room(NamedTuple):
    """A scene with all its hands; the scene's own joints are those of the first, or mean nothing."""

    scene: Scene
    hands: tuple[HandTruth, ...]


@dataclass(frozen=True)
class RoomConfig:
    """What rooms are drawn from.

    Attributes:
        scene: the first hand and what is around it.
        hands: weights of none, one and two hands.
        furniture: how many large things there are at most.
        people: chance that somebody else is there.
        walls: chance of each: a wall behind everything, a floor, a wall at the side.
    """

    scene: SceneConfig = field(default_factory=lambda: replace(WIDE, other=0.0, cut=0.04, beside=0.35))
    hands: tuple[float, float, float] = (0.25, 0.45, 0.3)
    furniture: int = 6
    people: float = 0.35
    walls: tuple[float, float, float] = (0.6, 0.35, 0.25)


def draw_room(rng: np.random.Generator, config: RoomConfig, camera: Pinhole | None = None) -> Room:
    """One random room before the given camera or one of the config's."""
    count = int(np.searchsorted(np.cumsum(config.hands), rng.random() * sum(config.hands), side="right"))
    scene = draw_scene(rng, config.scene, camera)
    middle = center_of_joints(scene.joints_mm)
    hands, things = _hands(rng, scene, count, config.scene.hand)
    own = np.concatenate([np.empty((0, 4)), *(hand.mesh.spheres[:HAND_SPHERES] for hand in hands)])
    for _ in range(int(rng.integers(0, config.furniture + 1))):
        if (thing := _furniture(rng, scene.camera, middle, own)) is not None:
            things.append(thing)
    dark = scene.dark
    someone = config.people > 0 and rng.random() < config.people
    if someone and (person := _bystander(rng, scene.camera, own, face=rng.random() < config.scene.faces)) is not None:
        things.append(person.mesh)
        dark = np.concatenate([dark, person.dark])
    mesh = joined([*(hand.mesh for hand in hands), *things])
    planes = np.concatenate([scene.planes, _walls(rng, config, mesh.spheres)])
    scene = scene._replace(spheres=mesh.spheres, edges=mesh.edges, wedges=mesh.wedges, planes=planes, dark=dark)
    room = Room(scene, tuple(_truth(scene, hand) for hand in hands))
    return _flipped(room) if rng.random() < 0.5 else room


class _Placed(NamedTuple):
    """A hand with its mesh, whose spheres begin with those of the joints."""

    joints_mm: ndarray
    is_right: bool
    mesh: Mesh


def _hands(rng: np.random.Generator, scene: Scene, count: int, version: int) -> tuple[list[_Placed], list[Mesh]]:
    """As many hands as wanted, if there is room for them, the first with all that its scene holds; and what is left."""
    if count == 0:
        return [], [without_hand(scene)]
    hands = [_Placed(scene.joints_mm, True, Mesh(scene.spheres, scene.edges, scene.wedges))]
    second = _second_hand(rng, scene, version) if count == 2 else None
    return [*hands, *([] if second is None else [second])], []


def _truth(scene: Scene, hand: _Placed) -> HandTruth:
    radii = hand.mesh.spheres[: len(hand.joints_mm), 3]
    return HandTruth(hand.joints_mm, hand.is_right, int(seen_joints(scene, hand.joints_mm, radii).sum()))


def _flipped(room: Room) -> Room:
    flip = np.array([-1.0, 1.0, 1.0])
    hands = (HandTruth(hand.joints_mm * flip, not hand.is_right, hand.seen) for hand in room.hands)
    return Room(mirrored(room.scene), tuple(hands))


def _second_hand(rng: np.random.Generator, scene: Scene, version: int) -> _Placed | None:
    """Another hand with its forearm, usually the left one, near the first or anywhere at about its distance."""
    shape, pose = sample_hand(rng, version)
    is_right = rng.random() < 0.15
    joints, spheres = posed_hand(shape, pose, random_rotation(rng))
    if not is_right:
        joints, spheres = joints * (-1.0, 1.0, 1.0), spheres * (-1.0, 1.0, 1.0, 1.0)
    first = center_of_joints(scene.joints_mm)
    reach = 400.0 if rng.random() < 0.5 else 150.0
    for _ in range(_TRIES):
        at = first + rng.normal(0.0, (reach, 0.6 * reach, 0.5 * reach))
        if at[2] < 200.0 or not _in_image(scene.camera, at):
            continue
        if clearance(scene.spheres[:HAND_SPHERES], spheres[:HAND_SPHERES], at) < -3.0:
            continue
        placed = np.concatenate([spheres[:, :3] + at, spheres[:, 3:]], 1)
        if (mesh := in_front(Mesh(placed, EDGES, WEDGES))) is not None:
            return _Placed(joints + at, is_right, mesh)
    return None


def _furniture(rng: np.random.Generator, camera: Pinhole, middle: ndarray, hands: ndarray) -> Mesh | None:
    """Something of up to a metre, anywhere in sight, that no hand is in."""
    solid, rotation = sample_solid(rng, 60.0, 1000.0), random_rotation(rng)
    if rng.random() < 0.6:  # most things stand upright
        turn = rng.uniform(0.0, 2 * np.pi)
        rotation = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    uv = rng.uniform((0, 0), image_size(camera))
    anywhere = float(np.exp(rng.uniform(np.log(300.0), np.log(3500.0))))
    z = anywhere if rng.random() < 0.7 else float(middle[2]) * rng.uniform(0.7, 1.3)
    at = np.array([(uv[0] - camera.cx) / camera.fx * z, (uv[1] - camera.cy) / camera.fy * z, z])
    mesh = in_front(mesh_of(solid, rotation, at))
    if mesh is None or not len(hands):
        return mesh
    gaps = np.linalg.norm(hands[:, :3] - at, axis=1) - hands[:, 3] - reach_of(solid)
    return mesh if gaps.min() > 0 else None


def _bystander(rng: np.random.Generator, camera: Pinhole, hands: ndarray, *, face: bool) -> Person | None:
    """Somebody whose head is in sight, and no hand within."""
    person = sample_person(rng, face=face)
    z = float(np.exp(rng.uniform(np.log(450.0), np.log(3000.0))))
    uv = rng.uniform((0, 0), image_size(camera))
    head = np.array([(uv[0] - camera.cx) / camera.fx * z, (uv[1] - camera.cy) / camera.fy * z, z])
    person = person.moved(head - person.mesh.spheres[-1, :3])
    if in_front(person.mesh) is None or (len(hands) and clearance(hands, person.mesh.spheres, np.zeros(3)) < 0):
        return None
    return person


def _walls(rng: np.random.Generator, config: RoomConfig, spheres: ndarray) -> ndarray:
    """A wall behind everything, a floor under it, a wall beside it; each may be missing."""
    planes = []
    for chance, normal in zip(config.walls, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)), strict=True):
        if rng.random() >= chance:
            continue
        n = np.array(normal) * (rng.choice((-1.0, 1.0)) if normal[0] else 1.0) + rng.normal(0.0, 0.12, 3)
        n /= np.linalg.norm(n)
        beyond = float((spheres[:, :3] @ n + spheres[:, 3]).max(initial=0.0))
        planes.append([*n, max(beyond + rng.exponential(500.0), _HEIGHT_MM if normal[1] else _ASIDE_MM)])
    return np.array(planes).reshape(-1, 4)


def _in_image(camera: Pinhole, at: ndarray) -> bool:
    uv = camera.project(at)
    return bool((uv >= 0).all() and (uv < image_size(camera)).all())
