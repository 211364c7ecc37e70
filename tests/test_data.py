"""The embedded data set: frozen sets stay what they are, recipes' data entries are checked, sets are written whole."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dor3d.data.rooms import Rooms
from dor3d.data.sources import CropShape, open_sources
from dor3d.data.synthetic import SyntheticConfig, SyntheticHands, render_set
from dor3d.data.testsets import (
    CLEAR_2_FINGERPRINT,
    CLEAR_FINGERPRINT,
    HARD,
    HARD_2_FINGERPRINT,
    HARD_FINGERPRINT,
    ROOMS_2_FINGERPRINT,
    ROOMS_FINGERPRINT,
    TRACKED_2_FINGERPRINT,
    TRACKED_FINGERPRINT,
    clear,
    clear_config,
    fingerprint,
    hard,
    rooms,
    tracked,
)
from dor3d.errors import InputError
from dor3d.geometry import Pinhole
from dor3d.hand.room import RoomConfig
from dor3d.hand.scene import hidden_joints
from dor3d.hand.stage import WIDE
from dor3d.skeleton import JOINTS
from dor3d.train.config import TrainConfig
from dor3d.train.recipes import RECIPES, get_recipe, override

SHAPE = CropShape(64, (280.0, 300.0), JOINTS)


def test_clear_is_the_set_that_was_frozen():
    assert fingerprint(clear()) == CLEAR_FINGERPRINT


def test_clear_is_the_same_scenes_for_every_network():
    small, large = clear(64, (280.0, 300.0)).draw(3), clear(224, (250.0, 300.0)).draw(3)
    assert np.array_equal(small[1].joints_mm, large[1].joints_mm)
    assert small[2].center_mm == large[2].center_mm


def test_clear_depth_is_as_when_it_was_frozen():
    """Depth may differ between machines by rounding at silhouettes, not in what it shows."""
    images = np.stack([clear()[i][0] for i in range(32)])
    assert np.mean(images) == pytest.approx(0.78432, abs=0.001)
    assert np.mean(images < 1) == pytest.approx(0.16529, abs=0.001)


def test_hard_is_the_set_that_was_frozen():
    assert fingerprint(hard()) == HARD_FINGERPRINT
    images = np.stack([hard()[i][0] for i in range(32)])
    assert np.mean(images) == pytest.approx(0.74082, abs=0.001)
    assert np.mean(images < 1) == pytest.approx(0.28009, abs=0.001)


def test_rooms_is_the_set_that_was_frozen():
    assert fingerprint(rooms()) == ROOMS_FINGERPRINT


def test_clear_hides_at_least_three_joints_in_ten():
    assert np.mean([hidden_joints(clear().draw(i)[1]) for i in range(60)]) > 0.3


def test_tracked_is_the_set_that_was_frozen(shared):
    source = tracked(shared / "poses" / "animbank.pose")
    assert len(source) == 2336
    assert fingerprint(source) == TRACKED_FINGERPRINT


def test_version_2_is_the_sets_that_were_frozen():
    assert fingerprint(clear(version=2)) == CLEAR_2_FINGERPRINT
    assert fingerprint(hard(version=2)) == HARD_2_FINGERPRINT
    assert fingerprint(rooms(2)) == ROOMS_2_FINGERPRINT


def test_version_2_of_tracked_is_the_set_that_was_frozen(shared):
    source = tracked(shared / "poses" / "tracked", version=2)
    assert len(source) == 2374 and source.config.scene.hand == 2
    assert fingerprint(source) == TRACKED_2_FINGERPRINT


def test_versions_of_a_set_differ_in_hand_and_seed_alone():
    for of in (clear, hard):
        first, second = of(64), of(64, version=2)
        assert second.config == replace(first.config, scene=replace(first.config.scene, hand=2))
        assert first.seed != second.seed and min(first.seed, second.seed) > 2**31
    first, second = rooms(), rooms(2)
    assert second.config == replace(first.config, scene=replace(first.config.scene, hand=2))
    assert first.seed != second.seed
    for wrong in (lambda: clear(version=3), lambda: hard(version=3), lambda: rooms(3)):
        with pytest.raises(InputError, match="Unknown version of the hand; got 3; expected 1 or 2"):
            wrong()


def test_recipe_data_reaches_scene_and_stream():
    train, held_out = open_sources({"kind": "synthetic", "body": 1.0, "center_sd_mm": 3.0}, SHAPE, 5)
    assert isinstance(train, SyntheticHands) and isinstance(held_out, SyntheticHands)
    assert train.config.scene.body == 1.0 and train.config.center_sd_mm == 3.0 and train.seed == 5
    assert held_out.config == clear_config(64, (280.0, 300.0))
    assert held_out.seed not in (train.seed, clear().seed)


def test_the_hand_is_version_1_unless_said():
    """As in runs that were stored before there was another; what is measured on follows the run."""
    for data, version in (({"kind": "synthetic"}, 1), ({"hand": "2"}, 2), ({"scenes": "wide", "hand": 2}, 2)):
        train, held_out = open_sources(data, SHAPE, 5)
        assert isinstance(train, SyntheticHands) and isinstance(held_out, SyntheticHands)
        assert train.config.scene.hand == held_out.config.scene.hand == version
    learnt, _ = open_sources({"kind": "rooms", "hand": 2}, SHAPE, 5)
    assert isinstance(learnt, Rooms) and learnt.config.scene.hand == 2
    assert SyntheticConfig().scene.hand == WIDE.hand == HARD.hand == RoomConfig().scene.hand == 1


def test_recipes_name_their_hand_and_runs_keep_it():
    assert [name for name in RECIPES if get_recipe(name).data.get("hand", 1) != 1] == ["synth-wide"]
    config = TrainConfig.from_json(json.loads(json.dumps(get_recipe("synth-wide").to_json())))
    assert config.data["hand"] == 2
    assert override(config, {"data.hand": "1"}).data["hand"] == override(config, {"hand": "1"}).data["hand"] == 1
    old = {name: value for name, value in config.data.items() if name != "hand"}
    learnt, _ = open_sources(TrainConfig.from_json({**config.to_json(), "data": old}).data, SHAPE, 0)
    assert isinstance(learnt, SyntheticHands) and learnt.config.scene == WIDE


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"kind": "nyu2"}, "Unknown kind of training data.*nyu2"),
        ({"bodi": 1}, "Unknown key.*bodi.*body"),
        ({"hand": 3}, "Unknown version of the hand; got 3; expected 1 or 2"),
    ],
)
def test_recipe_data_with_mistakes_is_refused(data, text):
    with pytest.raises(ValueError, match=text):
        open_sources(data, SHAPE, 0)


def test_a_rendered_set_reads_back(tmp_path):
    """Frames are 16-bit images in the camera's unit; labels hold the joints; the camera's file fits them."""
    render_set(3, "sr305", 1, tmp_path / "set")
    labels = json.loads((tmp_path / "set" / "labels.json").read_text())
    camera = Pinhole.load(tmp_path / "set" / "camera.json")
    assert camera == Pinhole.preset("sr305")
    assert len(labels["joints"]) == 3
    for name, joints in labels["joints"].items():
        image = cv2.imread(str(tmp_path / "set" / name), cv2.IMREAD_UNCHANGED)
        assert image.dtype == np.uint16 and image.shape == (480, 640)
        joints = np.array(joints)
        assert joints.shape == (21, 3)
        u, v = np.round(camera.project(joints[9])).astype(int)
        near = image[v - 25 : v + 25, u - 25 : u + 25].astype(float) * camera.depth_unit_mm
        assert near[near > 0].min() < joints[9, 2]  # skin before the knuckle


def test_a_rendered_set_is_the_same_again(tmp_path):
    for name in ("a", "b"):
        render_set(1, "icvl", 7, tmp_path / name)
    frames = [(tmp_path / name / "000000.png").read_bytes() for name in ("a", "b")]
    assert frames[0] == frames[1]


def test_rendering_does_not_overwrite_another_folder(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        render_set(1, "icvl", 7, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
