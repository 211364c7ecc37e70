"""The canonical hand: the order that files, weights and other people's code rely on."""

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
