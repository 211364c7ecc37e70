"""Scenes drawn at random: who, which pose, holding what, seen from where, with what around, read by which camera."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy import ndarray

from dor3d.errors import InputError
from dor3d.geometry import Pinhole
from dor3d.hand.around import NEAREST_MM, body_behind, other_hand, thing_before, thing_beside, wall_behind
from dor3d.hand.faults import SensorFaults, SensorKind, sample_faults
from dor3d.hand.grasp import Held, sample_grasp
from dor3d.hand.model import ARM_SPHERES, EDGES, WEDGES, HandShape, posed_hand
from dor3d.hand.pose import check_version, sample_hand
from dor3d.hand.scene import Scene, image_size, seen_joints
from dor3d.hand.solids import Mesh, joined, mesh_of
from dor3d.hand.views import VIEWS, View, sample_view

_CAMERAS = ("sr305", "hands17", "nyu", "icvl", "msra", "d435-640", "kinect1", "kinect2", "azure-kinect", "l515")
_KINDS: Final[dict[str, SensorKind]] = {
    "sr305": "coded",
    "hands17": "coded",
    "nyu": "structured",
    "kinect1": "structured",
    "d435-640": "stereo",
    "icvl": "tof",
    "msra": "tof",
    "kinect2": "tof",
    "azure-kinect": "tof",
    "l515": "tof",
}
_NONE: Final = np.empty((0, 4))  # planes, or balls
# of uses: nearest and farthest hand (mm), and how likely a body or a wall or table is behind it
_USES: Final[dict[View, tuple[float, float, float, float]]] = {
    "front": (250.0, 1500.0, 0.45, 0.2),
    "top": (250.0, 1000.0, 0.05, 0.65),
    "egocentric": (200.0, 650.0, 0.05, 0.4),
}
_TRIES: Final = 10
_CUT_MM: Final = (-30.0, 40.0)  # where a truncated hand's middle lies, from the image's edge inwards


@dataclass(frozen=True)
class SceneConfig:
    """What scenes are drawn from. The chances of what is around default to none, and are those of `clear`'s training.

    Attributes:
        cameras: presets, one drawn per scene; their focal length varies by `focal_jitter` (1 sd, relative).
        distance_mm: nearest and farthest centre of the hand seen from all round; logarithmically uniform between.
        body, plane: chances of a torso with a head, or of a wall or table, behind a hand seen from all round.
        sleeve: chance of a sleeved forearm.
        faults: whether the camera has any.
        views: weights of `dor3d.hand.views.VIEWS`; uses other than all round bring distances and backgrounds of theirs.
        held: chance that the hand holds something.
        other: chance of a second hand that touches it or is near.
        before, beside: chances of things that hide some joints, or lie around.
        cut: chance that the hand reaches over the image's edge.
        own_faults: chance that the camera has the faults of its kind, in place of any mixture.
        least_seen: joints that must be seen, or the scene is drawn anew.
        faces: chance that a body's head has a face, hair, and what else makes readings of heads ragged.
        hand: version of hand sizes and poses, 1 or 2; see `dor3d.hand.pose`.
    """

    cameras: tuple[str, ...] = _CAMERAS
    focal_jitter: float = 0.05
    distance_mm: tuple[float, float] = (200.0, 1200.0)
    body: float = 0.25
    plane: float = 0.2
    sleeve: float = 0.3
    faults: bool = True
    views: tuple[float, ...] = (1.0,)
    held: float = 0.0
    other: float = 0.0
    before: float = 0.0
    beside: float = 0.0
    cut: float = 0.0
    own_faults: float = 0.0
    least_seen: int = 0
    faces: float = 0.0
    hand: int = 1

    def __post_init__(self) -> None:
        check_version(self.hand)
        chances = (self.body, self.plane, self.sleeve, self.held, self.other, self.before, self.beside)
        if not all(0 <= chance <= 1 for chance in (*chances, self.cut, self.own_faults, self.faces)):
            raise InputError("Chances of what scenes hold lie in [0, 1]", got=self)
        if not 0 < len(self.views) <= len(VIEWS) or min(self.views) < 0 or not sum(self.views) > 0:
            raise InputError("Wrong weights of views", got=self.views, expected=f"one for each of {', '.join(VIEWS)}")


# all that real use has; the test set `hard` is drawn from it, with heads that were rounder
WIDE: Final = SceneConfig(
    distance_mm=(200.0, 1500.0),
    views=(0.4, 0.25, 0.15, 0.2),
    held=0.25,
    other=0.15,
    before=0.08,
    beside=0.25,
    cut=0.08,
    own_faults=0.6,
    least_seen=4,
    faces=0.85,
)


def draw_scene(rng: np.random.Generator, config: SceneConfig, camera: Pinhole | None = None) -> Scene:
    """One random scene with a right hand, before the given camera or one of the config's."""
    scene = _draw_scene(rng, config, camera)
    for _ in range(_TRIES if config.least_seen else 0):
        if seen_joints(scene).sum() >= config.least_seen:
            break
        scene = _draw_scene(rng, config, camera)
    return scene


def _draw_scene(rng: np.random.Generator, config: SceneConfig, camera: Pinhole | None) -> Scene:
    shape, pose = sample_hand(rng, config.hand)
    held = sample_grasp(rng, shape, pose) if _happens(rng, config.held) else None
    kind: SensorKind = "any"
    if camera is None:
        preset, camera = _draw_camera(rng, config)
        kind = _KINDS.get(preset, "any") if _happens(rng, config.own_faults) else "any"
    view = _draw_view(rng, config)
    rotation = sample_view(rng, view)
    return place_hand(rng, config, shape, pose, rotation, camera, held=held, view=view, kind=kind)


def place_hand(
    rng: np.random.Generator,
    config: SceneConfig,
    shape: HandShape,
    pose: ndarray,
    rotation: ndarray,
    camera: Pinhole,
    *,
    held: Held | None = None,
    view: View = "around",
    kind: SensorKind = "any",
) -> Scene:
    """A scene with this hand, pose and rotation (hand frame to camera frame) [3, 3]; the rest is drawn.

    Args:
        held: what the hand holds, with a pose of its own.
        view: brings its distances and backgrounds.
        kind: whose faults the camera has.
    """
    joints, spheres = posed_hand(shape, held.pose if held else pose, rotation)
    _sleeve(rng, config, spheres)
    near, far, body, plane = _USES.get(view, (*config.distance_mm, config.body, config.plane))
    if view == "egocentric":
        _shorten_arm(spheres, near)
    hand = Mesh(spheres, EDGES, WEDGES)
    if held:
        hand = joined([hand, mesh_of(held.solid, rotation @ held.rotation, rotation @ held.at + joints[0])])
    reach = float((hand.spheres[:, 3] - hand.spheres[:, 2]).max())
    center = _center(rng, (near, far), camera, reach, cut=_happens(rng, config.cut))
    joints += center
    hand.spheres[:, :3] += center
    mesh, walls, dark = _behind(rng, config, hand, body, plane)
    mesh = joined([mesh, *_around(rng, config, hand, joints)])
    faults = sample_faults(rng, kind) if config.faults else SensorFaults()
    return Scene(camera, joints, *mesh, walls, faults, dark)


def draw_camera(rng: np.random.Generator, config: SceneConfig) -> Pinhole:
    """One of the config's cameras, its focal length varied as between units and modes."""
    return _draw_camera(rng, config)[1]


def _draw_camera(rng: np.random.Generator, config: SceneConfig) -> tuple[str, Pinhole]:
    camera = Pinhole.preset(config.cameras[int(rng.integers(len(config.cameras)))])
    if config.focal_jitter == 0:
        return camera.name, camera
    zoom = float(np.exp(rng.normal(0.0, config.focal_jitter)))
    return camera.name, replace(camera, fx=camera.fx * zoom, fy=camera.fy * zoom, name="")


def _draw_view(rng: np.random.Generator, config: SceneConfig) -> View:
    if len(config.views) == 1:
        return "around"
    return VIEWS[int(np.searchsorted(np.cumsum(config.views), rng.random() * sum(config.views), side="right"))]


def _happens(rng: np.random.Generator, chance: float) -> bool:
    """Draws nothing where the chance is none, so that a config without it gives the scenes that it always gave."""
    return chance > 0 and rng.random() < chance


def _behind(
    rng: np.random.Generator, config: SceneConfig, hand: Mesh, body: float, plane: float
) -> tuple[Mesh, ndarray, ndarray]:
    """The hand with somebody, whose upper arm meets the forearm, or a wall; or alone. Mesh, planes, dark balls."""
    kind = rng.random()
    if kind < body:
        person, shoulder = body_behind(rng, hand.spheres, face=_happens(rng, config.faces))
        both = joined([hand, person.mesh])
        upper_arm = np.array([[ARM_SPHERES[2], len(hand.spheres) + shoulder]])
        return both._replace(edges=np.concatenate([both.edges, upper_arm])), _NONE, person.dark
    return hand, wall_behind(rng, hand.spheres)[None] if kind < body + plane else _NONE, _NONE


def _around(rng: np.random.Generator, config: SceneConfig, hand: Mesh, joints: ndarray) -> list[Mesh]:
    found = [other_hand(rng, hand.spheres, config.hand) if _happens(rng, config.other) else None]
    found.append(thing_before(rng, hand.spheres, joints) if _happens(rng, config.before) else None)
    if _happens(rng, config.beside):
        found += [thing_beside(rng, hand.spheres) for _ in range(int(rng.integers(1, 4)))]
    return [mesh for mesh in found if mesh is not None]


def _center(
    rng: np.random.Generator, distance_mm: tuple[float, float], camera: Pinhole, reach: float, *, cut: bool
) -> tuple[float, float, float]:
    """Where the middle of the hand goes: anywhere in the image whose edge it does not cross by much, or at an edge.

    `reach` is how far the hand and its arm come towards the camera from there.
    """
    near, far = math.log(distance_mm[0]), math.log(distance_mm[1])
    z = max(math.exp(rng.uniform(near, far)), reach + NEAREST_MM)
    width, height = image_size(camera)
    across, down = (width, camera.fx, camera.cx), (height, camera.fy, camera.cy)
    x, y = _place(rng, *across, z), _place(rng, *down, z)
    if cut:
        edge, side = int(rng.integers(2)), int(rng.integers(2))
        size, focal, middle = across if edge else down
        inside = rng.uniform(*_CUT_MM) * focal / z
        at = ((inside if side else size - inside) - middle) / focal * z
        x, y = (at, y) if edge else (x, at)
    return x, y, z


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


def _shorten_arm(spheres: ndarray, near_mm: float) -> None:
    """End the forearm, in place, where it comes near to a camera that the hand is this close to: it is out of sight."""
    ahead = spheres[:, 3] - spheres[:, 2]  # how far each sphere comes towards the camera from the hand's middle
    for inner, outer in zip(ARM_SPHERES[:2], ARM_SPHERES[2:], strict=True):
        most = max(near_mm - NEAREST_MM, ahead[inner])
        if ahead[outer] > most:
            way = (most - ahead[inner]) / (ahead[outer] - ahead[inner])
            spheres[outer] = (1 - way) * spheres[inner] + way * spheres[outer]
