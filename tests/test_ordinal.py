"""The ordinal codec: what a coordinate becomes and what comes back."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dor3d.errors import InputError
from dor3d.ordinal import Discretisation, decode, encode, variance

NORMAL = Discretisation.normal(300.0, 75)
UNIFORM = Discretisation.uniform(224.0, 112)
DISCRETISATIONS = [NORMAL, UNIFORM, Discretisation.normal(300.0, 75, levels=3), Discretisation.uniform(128.0, 64)]
EACH = pytest.mark.parametrize("disc", DISCRETISATIONS, ids=["normal4", "uniform112", "normal3", "uniform64"])

shares = st.floats(0.0, 1.0)
anywhere = st.floats(-1e6, 1e6)
discretisations = st.one_of(
    st.builds(Discretisation.uniform, st.floats(1.0, 1000.0), st.integers(1, 200)),
    st.builds(Discretisation.normal, st.floats(1.0, 1000.0), st.integers(1, 200), st.integers(1, 6)),
)


def own_width(disc: Discretisation, c: np.ndarray) -> np.ndarray:
    """The width of each coordinate's interval, by search."""
    inside = np.searchsorted(disc.starts, c, side="right") - 1
    return disc.widths[np.clip(inside, 0, disc.k - 1)]


@pytest.mark.parametrize(("levels", "smallest", "largest"), [(4, 1.875, 15.0), (3, 7 / 3, 28 / 3)])
def test_normal_discretisation_has_the_papers_density(levels: int, smallest: float, largest: float) -> None:
    disc = Discretisation.normal(300.0, 75, levels)
    assert disc.widths.min() == pytest.approx(smallest, abs=1e-4)
    assert disc.widths.max() == pytest.approx(largest, abs=1e-4)
    assert disc.thresholds == pytest.approx([300 - t for t in reversed(disc.thresholds)])


@given(discretisations)
def test_intervals_cover_the_range(disc: Discretisation) -> None:
    assert disc.thresholds[0] == 0
    assert disc.widths.min() > 0
    assert disc.widths.sum(dtype=np.float64) == pytest.approx(disc.extent, rel=1e-6)


@EACH
@given(share=shares)
def test_exact_labels_decode_to_the_coordinate(disc: Discretisation, share: float) -> None:
    c = np.float32(share * disc.extent)
    assert abs(float(decode(encode(c, disc), disc)) - float(c)) < 1e-4


@EACH
def test_exact_labels_decode_at_thresholds_and_ends(disc: Discretisation) -> None:
    c = np.asarray(disc.thresholds, np.float32)
    c = np.concatenate([c, np.nextafter(c, np.float32(-1)), np.nextafter(c, np.float32(1e9))])
    inside = np.clip(c, 0, disc.extent)
    assert np.abs(decode(encode(c, disc), disc) - inside).max() < 1e-4


@EACH
@given(share=shares)
def test_hard_labels_decode_within_one_interval_above(disc: Discretisation, share: float) -> None:
    c = np.float32(min(share * disc.extent, np.nextafter(disc.extent, 0)))
    error = float(decode(encode(c, disc, "hard"), disc)) - float(c)
    assert -1e-4 <= error <= float(own_width(disc, c)) + 1e-4


@EACH
def test_hard_labels_are_half_an_interval_high_on_average(disc: Discretisation) -> None:
    c = np.linspace(0, disc.extent, 200_001, dtype=np.float32)[:-1]
    error = decode(encode(c, disc, "hard"), disc) - c
    assert error.mean() == pytest.approx((own_width(disc, c) / 2).mean(), rel=1e-2)


@given(discretisations, anywhere, st.sampled_from(["hard", "exact"]))
def test_probabilities_never_rise_along_thresholds(disc: Discretisation, c: float, labels: str) -> None:
    prob = encode(np.float32(c), disc, labels)
    assert (np.diff(prob) <= 0).all()
    assert prob.min() >= 0
    assert prob.max() <= 1


@given(discretisations, st.floats(0.0, 1e6), st.sampled_from(["hard", "exact"]))
def test_values_outside_saturate(disc: Discretisation, beyond: float, labels: str) -> None:
    low, high = encode(np.array([-beyond, disc.extent + beyond]), disc, labels)
    assert (low == encode(np.array(0.0), disc, labels)).all()
    assert high == pytest.approx(np.ones(disc.k), abs=1e-4)


@given(discretisations, st.lists(anywhere, min_size=1, max_size=5), st.sampled_from(["hard", "exact"]))
def test_numpy_and_torch_agree(disc: Discretisation, values: list[float], labels: str) -> None:
    c = np.array(values, np.float32)
    prob, tensor = encode(c, disc, labels), encode(torch.from_numpy(c), disc, labels)
    np.testing.assert_array_equal(prob, tensor.numpy())
    np.testing.assert_allclose(decode(prob, disc), decode(tensor, disc).numpy(), atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(variance(prob, disc), variance(tensor, disc).numpy(), atol=1e-5 * disc.extent**2)


@EACH
@given(share=shares)
def test_a_perfect_map_has_no_more_variance_than_its_interval(disc: Discretisation, share: float) -> None:
    c = np.float32(share * disc.extent)
    limit = float(own_width(disc, c)) ** 2 / 12
    assert 0 <= float(variance(encode(c, disc), disc)) <= limit + 0.01


def test_variance_of_a_wide_curve_is_that_of_its_distribution() -> None:
    samples = np.random.default_rng(0).normal(150, 30, 20_000).astype(np.float32)
    for disc in (NORMAL, Discretisation.uniform(300.0, 75)):
        survival = encode(samples, disc).mean(0)
        assert np.sqrt(variance(survival, disc)) == pytest.approx(30, abs=0.5)


def test_half_precision_is_decoded_in_float32() -> None:
    prob = encode(torch.tensor([111.3]), UNIFORM).to(torch.bfloat16)
    assert decode(prob, UNIFORM).dtype == torch.float32


def test_double_precision_stays() -> None:
    c = np.linspace(0, 300, 1001)
    assert np.abs(decode(encode(c, NORMAL), NORMAL) - c).max() < 1e-5


@pytest.mark.parametrize(
    "thresholds", [(), (0.0,), (1.0, 2.0), (0.0, 2.0, 2.0), (0.0, float("nan")), (0.0, float("inf"))]
)
def test_unusable_thresholds_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="finite numbers that rise from 0"):
        Discretisation(thresholds)


def test_unusable_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="range must be positive"):
        Discretisation.uniform(-1.0, 4)
    with pytest.raises(InputError, match="at least 1"):
        Discretisation.normal(300.0, 0)
    with pytest.raises(InputError, match="Levels"):
        Discretisation.normal(300.0, 75, 0)
    with pytest.raises(InputError, match="hard or exact"):
        inspect.unwrap(encode)(np.float32(1), NORMAL, "soft")  # as a user meets it: without the suite's type checks
