import numpy as np
import pytest

from dor3d.metrics import (
    area_under,
    axis_errors,
    joint_errors,
    means_between,
    pck_curve,
    success_curve,
    view_angles,
    within_sigma,
)
from dor3d.skeleton import JOINTS


def test_errors_are_distances():
    true = np.zeros((2, 3, 3))
    predicted = true.copy()
    predicted[1, 2] = [2, 3, 6]
    assert joint_errors(predicted, true).tolist() == [[0, 0, 0], [0, 0, 7]]


def test_success_counts_frames_by_their_worst_joint_and_includes_the_threshold():
    errors = np.array([[1.0, 5.0], [2.0, 20.0], [3.0, 3.0], [0.0, 50.0]])
    assert success_curve(errors, np.array([0.0, 5.0, 20.0, 49.9, 50.0])).tolist() == [0, 0.5, 0.75, 0.75, 1]


def test_a_normal_error_lies_within_one_and_two_sigma_as_often_as_it_should():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1, 5, 20000)
    error = rng.normal(0, sigma)
    assert within_sigma(error, sigma, 1.0).mean() == pytest.approx(0.683, abs=0.01)
    assert within_sigma(error, sigma, 2.0).mean() == pytest.approx(0.954, abs=0.01)


def test_success_by_the_mean_joint():
    errors = np.array([[1.0, 5.0], [2.0, 20.0], [3.0, 3.0], [0.0, 50.0]])
    assert success_curve(errors, np.array([3.0, 11.0, 25.0]), by="mean").tolist() == [0.5, 0.75, 1]


def test_correct_keypoints_count_joints_and_not_frames():
    errors = np.array([[1.0, 5.0], [2.0, 20.0], [3.0, 3.0], [0.0, 50.0]])
    assert pck_curve(errors, np.array([3.0, 20.0, 50.0])).tolist() == [5 / 8, 7 / 8, 1]


def test_the_area_under_a_perfect_curve_is_one():
    thresholds = np.array([20.0, 30.0, 50.0])
    assert area_under(np.ones(3), thresholds) == 1
    assert area_under(np.array([0.0, 1.0, 1.0]), thresholds) == pytest.approx(25 / 30)


def test_errors_along_the_axes():
    true = np.zeros((2, 2, 3))
    predicted = true.copy()
    predicted[0, 0], predicted[1, 1] = (4, 0, -8), (0, -2, 0)
    assert axis_errors(predicted, true).tolist() == [1.0, 0.5, 2.0]


def palm(yaw: float, pitch: float, flipped: bool) -> np.ndarray:
    """A palm that looks at the camera, turned about the vertical and tilted about the horizontal (degrees)."""
    hand = np.zeros((1, 21, 3))
    side = -1 if flipped else 1
    hand[0, JOINTS.index("index_mcp")] = (side * 30, -80, 0)
    hand[0, JOINTS.index("little_mcp")] = (-side * 30, -80, 0)
    y, p = np.radians([yaw, pitch])
    about_vertical = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_horizontal = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    return hand @ (about_vertical if yaw else about_horizontal).T


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (30, 0), (-50, 0), (0, 40), (0, -70)])
def test_the_view_of_a_palm(yaw: float, pitch: float, flipped: bool):
    assert np.abs(view_angles(palm(yaw, pitch, flipped))[0]) == pytest.approx(np.abs([yaw, pitch]), abs=1e-9)


def test_views_to_either_side_differ_in_sign():
    yaws = [view_angles(palm(yaw, 0, flipped=False))[0, 0] for yaw in (-30, 30)]
    pitches = [view_angles(palm(0, pitch, flipped=False))[0, 1] for pitch in (-30, 30)]
    assert yaws[0] == pytest.approx(-yaws[1]) and pitches[0] == pytest.approx(-pitches[1])


def test_means_between_angles():
    errors = np.array([[1.0, 3.0], [5.0, 5.0], [9.0, 9.0]])
    means = means_between(errors, np.array([-10.0, 10.0, 15.0]), np.array([-20.0, 0.0, 20.0, 40.0]))
    assert means[:2].tolist() == [2.0, 7.0] and np.isnan(means[2])
