"""The hand's sizes, kinematics, poses and contact."""

import itertools

import numpy as np
import pytest

from dor3d.errors import InputError
from dor3d.hand.contact import MAX_DEPTH_MM, capsule_depth, loosen, loosen_nearly, self_penetration
from dor3d.hand.model import (
    ANGLE_COUNT,
    ANGLES,
    EDGES,
    SPHERES,
    THUMB0,
    WEDGES,
    WRIST0,
    average_shape,
    hand_joints,
    hand_spheres,
    rot_x,
    rot_z,
    sample_shape,
)
from dor3d.hand.pose import GESTURES, LIMITS, LIMITS_2, gesture_pose, joint_limits, sample_hand, sample_pose
from dor3d.hand.stage import SceneConfig
from dor3d.skeleton import BONES, FINGER_JOINTS, JOINTS, TIPS

SHAPE = average_shape()


def _joint(joints, name):
    return joints[JOINTS.index(name)]


def test_convention_hand_frame():
    """x towards the thumb, y towards the fingers, z out of the palm; bending goes to the palm's side."""
    flat = hand_joints(SHAPE, np.zeros(ANGLE_COUNT))
    assert _joint(flat, "index_mcp")[0] > _joint(flat, "little_mcp")[0]
    assert _joint(flat, "middle_tip")[1] > 150
    bent = hand_joints(SHAPE, GESTURES["fist"])
    assert all(bent[tip, 2] > 10 for tip in TIPS)


def test_convention_abduction_moves_fingers_towards_the_little_one():
    pose = np.zeros(ANGLE_COUNT)
    pose[1] = 0.2
    assert _joint(hand_joints(SHAPE, pose), "index_tip")[0] < _joint(hand_joints(SHAPE, pose * 0), "index_tip")[0]


def test_average_hand_has_the_published_length():
    """Wrist to the middle fingertip's skin: 187 mm in Buryanov and Kotiuk's sample."""
    flat = hand_joints(SHAPE, np.zeros(ANGLE_COUNT))
    tip = _joint(flat, "middle_tip")
    assert tip[1] + SHAPE.radii[JOINTS.index("middle_tip")] == pytest.approx(187, abs=3)


def test_people_vary_as_measured():
    """Hand length and breadth over the knuckles stay within what surveys find for children of eight to large men."""
    rng = np.random.default_rng(0)
    shapes = [sample_shape(rng) for _ in range(400)]
    flat = [hand_joints(s, np.zeros(ANGLE_COUNT)) for s in shapes]
    length = np.array([_joint(j, "middle_tip")[1] + s.radii[12] for j, s in zip(flat, shapes, strict=True)])
    breadth = np.array([s.mcp[0, 0] - s.mcp[3, 0] + s.radii[5] + s.radii[17] for s in shapes])
    assert 178 < length.mean() < 194 and 10 < length.std() < 22
    assert length.min() > 125 and length.max() < 235
    assert 68 < breadth.mean() < 88


def test_bones_keep_their_length_in_every_pose():
    rng = np.random.default_rng(1)
    shape = sample_shape(rng)
    poses = [sample_pose(rng, shape) for _ in range(20)]
    lengths = []
    for pose in poses:
        joints = hand_joints(shape, pose)
        lengths.append([np.linalg.norm(joints[b] - joints[a]) for a, b in BONES])
    assert np.allclose(lengths, lengths[0])


def test_joints_are_the_first_spheres():
    joints = hand_joints(SHAPE, GESTURES["relaxed"])
    spheres = hand_spheres(SHAPE, GESTURES["relaxed"], joints)
    assert SPHERES[: len(JOINTS)] == JOINTS
    assert np.array_equal(spheres[: len(JOINTS), :3], joints)


def test_every_side_of_a_wedge_is_an_edge():
    edges = {tuple(e) for e in EDGES.tolist()}
    assert all(tuple(sorted(pair)) in edges for i, j, k in WEDGES.tolist() for pair in ((i, j), (j, k), (i, k)))


@pytest.mark.parametrize("name", GESTURES)
def test_gestures_fit_hands(name):
    rng = np.random.default_rng(0)
    for shape in (SHAPE, sample_shape(rng), sample_shape(rng)):
        assert self_penetration(shape, gesture_pose(name, shape)) <= MAX_DEPTH_MM + 1.0


@pytest.mark.parametrize("version", [1, 2])
def test_sampled_poses_keep_limits_and_do_not_pass_through_themselves(version):
    rng, limits = np.random.default_rng(2), joint_limits(version)
    slack = np.radians(2.0)  # loosening may spread a finger a little further
    for _ in range(400):
        shape = sample_shape(rng, version)
        pose = sample_pose(rng, shape, version)
        assert self_penetration(shape, pose) <= MAX_DEPTH_MM
        spread = np.arange(ANGLE_COUNT) % 4 == 1
        within = (pose >= limits[:, 0] - slack) & (pose <= limits[:, 1] + slack)
        assert within[~spread | (np.arange(ANGLE_COUNT) >= THUMB0)].all()


def test_penetration_agrees_with_spheres_sampled_along_the_bones():
    """The capsules' closed form against the overlap of many spheres along every two bones of different fingers."""
    rng = np.random.default_rng(3)
    s = np.linspace(0, 1, 60)[:, None]
    for _ in range(40):
        shape = sample_shape(rng)
        pose = sample_pose(rng, shape)
        spheres = hand_spheres(shape, pose, hand_joints(shape, pose))
        chains = [j[1:] if f != "thumb" else j[2:] for f, j in FINGER_JOINTS.items()]  # beyond the webs
        beads = [
            np.concatenate([(1 - s) * spheres[a] + s * spheres[b] for a, b in itertools.pairwise(c)]) for c in chains
        ]
        for i in range(5):
            for j in range(i):
                gap = np.linalg.norm(beads[i][:, None, :3] - beads[j][None, :, :3], axis=-1)
                overlap = (beads[i][:, None, 3] + beads[j][None, :, 3] - gap).max()
                assert overlap <= MAX_DEPTH_MM + 0.5


def test_capsule_depth_of_known_cases():
    def sphere(x, y, r):
        return np.array([x, y, 0.0, r])

    crossing = capsule_depth(
        sphere(-10, 0, 3), sphere(10, 0, 3), np.array([0, 0, -10.0, 2]), np.array([0, 0, 10.0, 2]), 0.0
    )
    assert crossing == pytest.approx(5)
    beside = capsule_depth(sphere(0, 0, 3), sphere(20, 0, 3), sphere(0, 5.5, 3), sphere(20, 5.5, 3), 0.0)
    assert beside == pytest.approx(0.5)
    assert capsule_depth(sphere(0, 0, 3), sphere(20, 0, 3), sphere(0, 500, 3), sphere(20, 500, 3), 0.0) < -400


def test_loosening_leaves_a_free_pose_as_it_is():
    pose = GESTURES["spread"].copy()
    assert loosen(SHAPE, pose)
    assert np.array_equal(pose, GESTURES["spread"])


def test_thumb_meets_fingertips_in_a_fifth_of_the_poses():
    rng = np.random.default_rng(4)
    touching = 0
    for _ in range(400):
        shape = sample_shape(rng)
        joints = hand_joints(shape, sample_pose(rng, shape))
        gap = np.linalg.norm(joints[list(TIPS[1:])] - joints[TIPS[0]], axis=1).min()
        touching += gap < shape.radii[TIPS[0]] + shape.radii[TIPS[1]] + 1.5
    assert 0.1 < touching / 400 < 0.5


@pytest.mark.parametrize("version", [1, 2])
def test_poses_spread_over_their_ranges(version):
    rng, limits = np.random.default_rng(5), joint_limits(version)
    poses = np.array([sample_pose(rng, SHAPE, version) for _ in range(800)])
    low, high = np.percentile(poses, [1, 99], axis=0)
    used = (high - low) / (limits[:, 1] - limits[:, 0])
    for name, share in zip(ANGLES, used, strict=True):
        assert share > 0.6, name


def test_the_first_version_of_the_hand_is_the_default():
    rngs = [np.random.default_rng(7) for _ in range(3)]
    for _ in range(20):
        plain, first, second = (sample_hand(rng, *version) for rng, version in zip(rngs, ((), (1,), (2,)), strict=True))
        assert np.array_equal(plain[1], first[1]) and np.array_equal(plain[0].radii, first[0].radii)
        assert not np.array_equal(first[1], second[1])


@pytest.mark.parametrize("version", [0, 3])
def test_another_version_of_the_hand_is_refused(version):
    for use in (
        lambda: sample_pose(np.random.default_rng(0), SHAPE, version),
        lambda: joint_limits(version),
        lambda: SceneConfig(hand=version),
    ):
        with pytest.raises(InputError, match=f"Unknown version of the hand; got {version}; expected 1 or 2"):
            use()


def test_wrists_of_version_2_bend_as_far_as_measured():
    """At least one hand in a hundred each way beyond what version 1 has, and all of the published ranges within."""
    assert (LIMITS_2[:, 0] <= LIMITS[:, 0]).all() and (LIMITS_2[:, 1] >= LIMITS[:, 1]).all()
    rng = np.random.default_rng(8)
    flexion, deviation = np.degrees([sample_pose(rng, SHAPE, 2)[WRIST0:] for _ in range(1500)]).T
    assert np.percentile(flexion, 1) < -68 and np.percentile(flexion, 99) > 78
    assert np.percentile(deviation, 1) < -22 and np.percentile(deviation, 99) > 30
    bent = np.abs(flexion) > 55
    assert bent.mean() > 0.12 and np.ptp(deviation[bent]) > 35


def test_a_thumb_in_the_way_stays_near():
    """It touches in place of standing off, where it is wanted in the palm, beside it, or in a fist."""
    beside, over = (14, 32, -15, 0, 0), (20, 16, -10, 15, 60)
    for name, thumb in (("flat", beside), ("fist", over), ("relaxed", beside)):
        wanted = GESTURES[name].copy()
        wanted[THUMB0:WRIST0] = np.radians(thumb)
        swung, near = wanted.copy(), wanted.copy()
        assert loosen(SHAPE, swung) and loosen_nearly(SHAPE, near, LIMITS_2)
        tips = [_joint(hand_joints(SHAPE, pose), "thumb_tip") for pose in (wanted, swung, near)]
        assert np.linalg.norm(tips[2] - tips[0]) < 0.8 * np.linalg.norm(tips[1] - tips[0])
        assert (near >= LIMITS_2[:, 0] - 1e-9)[THUMB0:].all() and (near <= LIMITS_2[:, 1] + 1e-9)[THUMB0:].all()
    free = GESTURES["spread"].copy()
    assert loosen_nearly(SHAPE, free, LIMITS_2) and np.array_equal(free, GESTURES["spread"])


def test_convention_recorded_wrists_bend_as_the_forearm_does(tmp_path):
    """Flexion and deviation are those that turn the forearm back, whatever their size."""
    from scipy.spatial.transform import Rotation

    from dor3d.hand.tracked import tracked_angles

    axes = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # the tracker's, as ours
    bones = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (17, 1))
    palm = axes.T @ rot_z(np.radians(-25.0)) @ rot_x(np.radians(60.0)) @ axes
    bones[1:, 3:] = Rotation.from_matrix(palm).as_quat()
    np.savetxt(tmp_path / "bent.pose", bones.reshape(1, -1))
    assert np.degrees(tracked_angles(tmp_path / "bent.pose", 2)[0, WRIST0:]) == pytest.approx([60.0, -25.0], abs=1e-6)


def test_version_2_of_the_limits_holds_what_was_recorded(shared):
    from dor3d.hand.tracked import HELD_OUT, PRIOR_SEQUENCES, tracked_angles

    assert len({*HELD_OUT, *PRIOR_SEQUENCES}) == 13
    recorded = [tracked_angles(shared / "poses" / "tracked" / f"{name}.pose", 2) for name in PRIOR_SEQUENCES]
    poses = np.concatenate(recorded)
    outside = (poses < LIMITS_2[:, 0]) | (poses > LIMITS_2[:, 1])
    assert len(poses) == 2107 and outside.mean() < 1e-3


def test_tracked_poses_are_read(shared):
    from dor3d.hand.tracked import load_tracked_poses

    poses = load_tracked_poses(shared / "poses" / "animbank.pose")
    assert poses.shape == (2336, ANGLE_COUNT)
    assert (poses >= LIMITS[:, 0]).all() and (poses <= LIMITS[:, 1]).all()


def test_tracked_poses_refuse_other_files(tmp_path):
    from dor3d.hand.tracked import load_tracked_poses

    wrong = tmp_path / "wrong.pose"
    wrong.write_text("1 2 3\n")
    with pytest.raises(ValueError, match="119"):
        load_tracked_poses(wrong)
    wrong.write_text("a b c\n")
    with pytest.raises(ValueError, match="cannot be read"):
        load_tracked_poses(wrong)
