import numpy as np
import pytest

from dor3d.metrics import joint_errors, success_curve, within_sigma


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
