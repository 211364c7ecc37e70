"""Poses of a stream made steady: what rests rests, what moves is not held back, bones keep their lengths."""

import numpy as np
import pytest

from dor3d.hand.model import ANGLE_COUNT, average_shape, hand_joints
from dor3d.hand.pose import gesture_pose
from dor3d.predict.steady import BoneLengths, CalmFilter, with_lengths
from dor3d.skeleton import BONES

FRAME_S = 1 / 30
HAND = hand_joints(average_shape(), np.zeros(ANGLE_COUNT)) + (0.0, 0.0, 500.0)


def _lengths(joints):
    return np.array([np.linalg.norm(joints[b] - joints[a]) for a, b in BONES])


def _filtered(poses):
    steady = CalmFilter()
    return np.array([steady(pose, FRAME_S) for pose in poses])


def test_a_still_hand_is_steady():
    """Noise of 1.5 mm an axis comes out with a third of it."""
    noise = np.random.default_rng(0).normal(0.0, 1.5, (300, 21, 3))
    out = _filtered(HAND + noise)[60:]
    assert out.std(0).mean() < 0.5
    assert np.abs(out.mean(0) - HAND).max() < 0.6


@pytest.mark.parametrize("speed", [10.0, 30.0, 100.0, 200.0, 500.0, 1500.0])
def test_a_moving_hand_is_at_most_a_frame_late_or_as_far_as_noise_leads(speed):
    """Behind by no more than it moves in a frame, or by half a centimetre."""
    way = np.arange(60)[:, None, None] * FRAME_S * speed * np.array([1.0, 0.0, 0.0])
    late = ((HAND + way) - _filtered(HAND + way))[20:, :, 0]
    assert late.max() < max(speed * FRAME_S, 5.0)


def test_a_hand_that_starts_at_once_is_followed_at_once():
    """From rest, in the first frame of a jump."""
    out = _filtered(np.concatenate([np.repeat(HAND[None], 30, 0), HAND[None] + (60.0, 0.0, 0.0)]))
    assert np.abs(out[-1] - HAND - (60.0, 0.0, 0.0)).max() < 3.0


def test_the_first_pose_and_one_at_no_time_come_as_they_are():
    steady = CalmFilter()
    assert np.array_equal(steady(HAND, FRAME_S), HAND)
    for seconds in (0.0, -1.0, float("nan")):
        assert np.array_equal(steady(HAND + 40.0, seconds), HAND + 40.0)
    steady.reset()
    assert np.array_equal(steady(HAND - 40.0, FRAME_S), HAND - 40.0)


def test_speed_has_no_axes():
    """A turned stream gives the turned poses."""
    rng = np.random.default_rng(1)
    poses = HAND + rng.normal(0.0, 3.0, (20, 21, 3)).cumsum(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    assert np.allclose(_filtered(poses @ turn), _filtered(poses) @ turn)


@pytest.mark.parametrize("wrong", [{"still_hz": 0.0}, {"mean_hz": -1.0}, {"per_mm": -0.1}, {"rest_mm": -1.0}])
def test_filters_refuse_what_is_no_cutoff(wrong):
    with pytest.raises(ValueError, match="cutoffs must be positive"):
        CalmFilter(**wrong)


def test_bones_get_their_lengths_back():
    rng = np.random.default_rng(2)
    true = _lengths(HAND)
    noisy = HAND + rng.normal(0.0, 3.0, HAND.shape)
    mended = with_lengths(noisy, true)
    assert np.abs(_lengths(mended) - true).mean() < 0.3 * np.abs(_lengths(noisy) - true).mean()
    assert np.linalg.norm(mended - noisy, axis=1).max() < 6.0
    assert np.linalg.norm(mended - HAND, axis=1).mean() < np.linalg.norm(noisy - HAND, axis=1).mean()
    assert np.allclose(with_lengths(HAND, true), HAND)


def test_lengths_are_learnt_from_what_is_seen():
    rng = np.random.default_rng(3)
    bones, shape = BoneLengths(), average_shape()
    assert bones.mm is None
    poses = [hand_joints(shape, gesture_pose(name, shape)) for name in ("flat", "fist", "ok", "point")]
    out = [bones(poses[i % 4] + rng.normal(0.0, 2.0, (21, 3))) for i in range(200)]
    assert np.abs(bones.mm - _lengths(HAND)).max() < 1.0
    assert np.std([_lengths(pose) for pose in out[50:]], 0).mean() < 1.0  # of 2.8 mm
    bones.reset()
    assert bones.mm is None


def test_unsure_poses_count_for_less():
    sure, unsure = BoneLengths(), BoneLengths()
    for bones, weight in ((sure, 1.0), (unsure, 0.05)):
        for _ in range(20):
            bones(HAND, 1.0)
        bones(1.3 * HAND, weight)
    true = _lengths(HAND)
    assert np.abs(unsure.mm - true).mean() < 0.2 * np.abs(sure.mm - true).mean()
