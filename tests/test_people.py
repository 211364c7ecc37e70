"""People behind hands: heads with faces, and what of them gives no readings."""

from dataclasses import replace

import numpy as np

from dor3d.geometry import Pinhole
from dor3d.hand.faults import SensorFaults
from dor3d.hand.people import sample_person
from dor3d.hand.room import RoomConfig, draw_room
from dor3d.hand.scene import Scene, mirrored, read_frame
from dor3d.hand.stage import WIDE, draw_scene

CAMERA = Pinhole(300.0, 300.0, 160.0, 120.0, 320, 240)


def before_the_camera(seed: int) -> Scene:
    person = sample_person(np.random.default_rng(seed), face=True).moved(np.array([0.0, 250.0, 900.0]))
    return Scene(CAMERA, np.zeros((21, 3)), *person.mesh, np.empty((0, 4)), SensorFaults(), person.dark)


def test_what_is_dark_is_not_read_and_the_rest_is() -> None:
    lost = []
    for seed in range(12):
        scene = before_the_camera(seed)
        bright = read_frame(scene._replace(dark=np.empty((0, 4))), np.random.default_rng(0))
        frame = read_frame(scene, np.random.default_rng(0))
        v, u = np.nonzero(bright)
        points = CAMERA.unproject(np.stack([u, v], 1).astype(float), bright[v, u].astype(float))
        gaps = np.linalg.norm(points[:, None] - scene.dark[None, :, :3], axis=2) / scene.dark[:, 3]
        gone, near = frame[v, u] == 0, gaps.min(1, initial=9.0)
        assert not gone[near > 1.25].any() and gone[near < 0.75].all()  # outlines are ragged between
        assert np.array_equal(frame[v, u][~gone], bright[v, u][~gone])
        lost.append(gone.mean())
    assert 0.01 < np.mean(lost) < 0.4


def test_a_person_is_a_whole_mesh() -> None:
    """The sides of wedges are edges, as the renderer asks; all spheres hang together, with a face or without."""
    for face in (False, True):
        person = sample_person(np.random.default_rng(0), face=face)
        edges = {frozenset(edge) for edge in person.mesh.edges.tolist()}
        for i, j, k in person.mesh.wedges.tolist():
            assert {frozenset((i, j)), frozenset((j, k)), frozenset((i, k))} <= edges
        reached, count = {0}, 0
        while len(reached) > count:
            count = len(reached)
            reached |= {i for edge in edges if edge & reached for i in edge}
        ears = 4 if face else 0  # each is a pair of its own
        assert count == len(person.mesh.spheres) - ears
        assert bool(len(person.dark)) <= face


def test_mirrored_scenes_mirror_what_is_dark() -> None:
    scene = before_the_camera(3)
    assert len(scene.dark)
    back = mirrored(mirrored(scene))
    assert np.array_equal(back.dark, scene.dark) and np.array_equal(mirrored(scene).dark[:, 0], -scene.dark[:, 0])


def test_faces_come_as_often_as_they_are_asked_for_and_stand_clear_of_hands() -> None:
    rng = np.random.default_rng(1)
    config = replace(WIDE, body=1.0, views=(1.0,))
    assert not any(len(draw_scene(rng, replace(config, faces=0.0)).dark) for _ in range(10))
    assert sum(len(draw_scene(rng, replace(config, faces=1.0)).dark) > 0 for _ in range(20)) > 10
    people = RoomConfig(people=1.0, hands=(1.0, 0.0, 0.0), furniture=0, walls=(0.0, 0.0, 0.0))
    rooms = [draw_room(rng, people) for _ in range(20)]
    assert np.mean([len(room.scene.spheres) >= 9 for room in rooms]) > 0.8
