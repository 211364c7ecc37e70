"""The canonical hand: the order that files, weights and other people's code rely on."""

import numpy as np
import pytest

from dor3d import skeleton

# As in MediaPipe's hand landmarks, 0 to 20 (theirs say pinky where ours say little).
MEDIAPIPE = [
    "wrist",
    "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip",
    "index_mcp", "index_pip", "index_dip", "index_tip",
    "middle_mcp", "middle_pip", "middle_dip", "middle_tip",
    "ring_mcp", "ring_pip", "ring_dip", "ring_tip",
    "little_mcp", "little_pip", "little_dip", "little_tip",
]  # fmt: skip


def test_convention_the_joints_are_in_mediapipes_order() -> None:
    assert list(skeleton.JOINTS) == MEDIAPIPE
    assert skeleton.JOINT_COUNT == 21


def test_bones_join_each_joint_to_the_one_before_it_and_roots_to_the_wrist() -> None:
    names = [(skeleton.JOINTS[a], skeleton.JOINTS[b]) for a, b in skeleton.BONES]
    assert len(names) == 20
    assert ("wrist", "thumb_cmc") in names
    assert ("wrist", "little_mcp") in names
    assert ("index_dip", "index_tip") in names
    assert ("thumb_tip", "index_mcp") not in names


def test_parents_come_before_children_and_lead_to_the_wrist() -> None:
    assert skeleton.PARENT[skeleton.WRIST] == -1
    for joint in range(1, skeleton.JOINT_COUNT):
        assert 0 <= skeleton.PARENT[joint] < joint


def test_fingers_hold_every_joint_but_the_wrist_once() -> None:
    held = [joint for joints in skeleton.FINGER_JOINTS.values() for joint in joints]
    assert held == list(range(1, 21))
    for finger, joints in skeleton.FINGER_JOINTS.items():
        assert all(skeleton.JOINTS[j].startswith(finger) for j in joints)


def test_tips_and_palm() -> None:
    assert [skeleton.JOINTS[j] for j in skeleton.TIPS] == [f"{finger}_tip" for finger in skeleton.FINGERS]
    assert [skeleton.JOINTS[j] for j in skeleton.PALM_JOINTS] == [
        "wrist", "thumb_cmc", "index_mcp", "middle_mcp", "ring_mcp", "little_mcp",
    ]  # fmt: skip


def test_convention_joints_of_the_benchmarks() -> None:
    """Their order is that of files that others wrote."""
    joints = skeleton.BENCHMARK_JOINTS
    assert {name: len(names) for name, names in joints.items()} == {"nyu": 14, "icvl": 16, "msra": 21, "hands17": 21}
    assert joints["nyu"][:4] == ("little_tip", "little_pip", "ring_tip", "ring_pip")
    assert joints["nyu"][8:] == ("thumb_tip", "thumb_ip", "thumb_root", "wrist_back", "wrist_front", "palm")
    assert joints["icvl"][:5] == ("palm", "thumb_root", "thumb_mid", "thumb_tip", "index_root")
    assert joints["msra"][0] == "wrist" and joints["msra"][-4:] == tuple(MEDIAPIPE[1:5])
    assert joints["hands17"][1:6] == ("thumb_cmc", "index_mcp", "middle_mcp", "ring_mcp", "little_mcp")
    assert joints["hands17"][6:9] == ("thumb_mcp", "thumb_ip", "thumb_tip")
    assert joints["hands17"][-3:] == ("little_pip", "little_dip", "little_tip")
    assert set(joints["msra"]) == set(joints["hands17"]) == set(MEDIAPIPE)


def test_canonical_points_keep_their_place_by_name() -> None:
    names = skeleton.BENCHMARK_JOINTS["msra"]
    points = np.arange(21.0)[:, None] * np.ones(3)
    canonical = skeleton.to_canonical(points, names)
    assert [names[int(i)] for i in canonical[:, 0]] == MEDIAPIPE
    some = skeleton.to_canonical(points[None, :2], ("index_tip", "palm"))
    assert some.shape == (1, 21, 3) and np.isfinite(some).all(2).sum() == 1 and some[0, 8, 0] == 0


def test_bones_of_the_canonical_hand_are_its_own() -> None:
    assert set(skeleton.bones_between(skeleton.JOINTS)) == set(skeleton.BONES)


@pytest.mark.parametrize(("name", "count"), [("nyu", 11), ("icvl", 15), ("msra", 20), ("hands17", 20)])
def test_bones_of_a_benchmark_join_each_finger_to_the_base(name: str, count: int) -> None:
    joints = skeleton.BENCHMARK_JOINTS[name]
    bones = skeleton.bones_between(joints)
    assert len(bones) == count
    assert all(skeleton.finger_of(joints[b]) is not None for _, b in bones)
    assert all(skeleton.finger_of(joints[a]) in (None, skeleton.finger_of(joints[b])) for a, b in bones)
