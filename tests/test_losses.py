"""The losses against a slow, literal version of the paper's equations."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from dor3d.errors import InputError
from dor3d.model.prediction import Heat, Prediction, Votes
from dor3d.ordinal import Discretisation, encode
from dor3d.train.losses import Weights, anchor_loss, clamp_to_crop, dense_loss, hand_loss, heat_loss

DISCS = (Discretisation.uniform(16.0, 8), Discretisation.uniform(16.0, 8), Discretisation.normal(30.0, 7, 2))


def made_up(joints: int = 3, batch: int = 2) -> tuple[Prediction, Tensor]:
    torch.manual_seed(0)
    logits = tuple(torch.randn(batch, joints, p, d.k) for p, d in zip((2, 2, 4), DISCS, strict=True))
    points = torch.rand(batch, joints, 3) * torch.tensor([16.0, 16.0, 30.0])
    target = torch.rand(batch, joints, 3) * torch.tensor([16.0, 16.0, 30.0])
    return Prediction(points, torch.ones_like(points), logits), target


def literal_ordinal(logits: Tensor, c: Tensor, disc: Discretisation) -> float:
    """Eq. 3 and 4, number by number, for one sample: [A, positions, K] and [A]."""
    joints, positions, k = logits.shape
    total = 0.0
    for a in range(joints):
        for i in range(positions):
            for n in range(k):
                prob = 1 / (1 + math.exp(-logits[a, i, n].item()))
                truth = 1.0 if c[a].item() >= disc.thresholds[n] else 0.0
                total += truth * math.log(prob) + (1 - truth) * math.log(1 - prob)
    return -total / (positions * joints)


def literal_smooth(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


@pytest.mark.parametrize("kind", ["paper", "balanced"])
def test_loss_is_that_of_the_equations(kind: str) -> None:
    prediction, target = made_up()
    got = hand_loss(prediction, target, DISCS, kind=kind, labels="hard")
    ordinal = joint = 0.0
    for b in range(2):
        for axis in range(3):
            ordinal += literal_ordinal(prediction.logits[axis][b], target[b, :, axis], DISCS[axis]) / 2
        each = [literal_smooth(d) for d in (prediction.points[b] - target[b]).flatten().tolist()]
        joint += sum(each) / 2 / (1 if kind == "paper" else 3)
    assert got.ordinal.item() == pytest.approx(ordinal, rel=1e-4)
    assert got.joint.item() == pytest.approx(joint, rel=1e-4)
    assert got.total.item() == pytest.approx(3 * joint + 2 * ordinal, rel=1e-4)


def test_exact_labels_reach_their_floor_at_the_truth() -> None:
    prediction, target = made_up()
    prob = [encode(target[..., i], d, "exact").clamp(1e-6, 1 - 1e-6) for i, d in enumerate(DISCS)]
    best = tuple(
        torch.logit(p)[:, :, None].expand_as(axis).clone().requires_grad_()
        for p, axis in zip(prob, prediction.logits, strict=True)
    )
    loss = hand_loss(prediction._replace(logits=best), target, DISCS).ordinal
    loss.backward()
    assert 0 < loss.item() < 3
    assert all(axis.grad is not None and axis.grad.abs().max() < 1e-5 for axis in best)


def test_metric_loss_is_in_mm_along_every_axis() -> None:
    prediction, target = made_up(joints=1, batch=1)
    points = target + torch.tensor([2.0, 0.5, 12.0])
    none = Prediction(points.clamp(max=30.0), torch.ones_like(points))
    target = none.points - torch.tensor([2.0, 0.5, 12.0])
    inside = clamp_to_crop(target, DISCS)
    got = hand_loss(none, target, DISCS, kind="metric", mm_per_pixel=3.0)
    expected = 0.0
    for scale, difference in zip((3.0, 3.0, 1.0), (none.points - inside).flatten().tolist(), strict=True):
        mm = abs(difference) * scale
        expected += mm**2 / 10 if mm < 5 else mm - 2.5
    assert got.joint.item() == pytest.approx(expected, rel=1e-4)
    assert got.ordinal == 0
    assert hand_loss(prediction, target, DISCS, kind="metric").ordinal > 0


def test_either_part_of_the_loss_can_be_left_out() -> None:
    prediction, target = made_up()
    whole = hand_loss(prediction, target, DISCS)
    assert hand_loss(prediction, target, DISCS, weights=Weights(3.0, 0.0)).total == 3 * whole.joint
    assert hand_loss(prediction, target, DISCS, weights=Weights(0.0, 2.0)).total == 2 * whole.ordinal


def test_every_place_that_has_a_say_is_asked_for_the_joint() -> None:
    target = torch.tensor([[[4.0, 6.0, 10.0], [1.0, 1.0, 1.0]]])
    plane, depth = target.mT[:, :2, :, None].repeat(1, 1, 1, 3), target.mT[:, 2:, :, None].repeat(1, 1, 1, 3)
    plane[0, 0, 1, 2] += 3.0  # one place errs by 3 px along x for the second joint
    weights = torch.full((1, 1, 2, 3), 1 / 3)
    votes = Votes(weights, plane, weights, depth)
    assert dense_loss(votes, target).item() == pytest.approx(2.5 / 2 / 3)
    assert dense_loss(votes._replace(seen=torch.tensor([[True, True, False]])), target) == 0
    assert dense_loss(votes._replace(seen=torch.tensor([[True, False, True]])), target).item() == pytest.approx(2.5 / 4)
    assert dense_loss(votes._replace(seen=torch.zeros(1, 3, dtype=torch.bool)), target) == 0
    prediction = Prediction(target, torch.ones_like(target), votes=votes)
    assert hand_loss(prediction, target, DISCS).total == 0  # unless asked for
    assert hand_loss(prediction, target, DISCS, weights=Weights(dense=2.0)).total.item() == pytest.approx(2.5 / 3)


def test_anchors_are_drawn_to_the_joint() -> None:
    """Smooth L1 of the weighted mean of the places, in the plane alone."""
    target = torch.tensor([[[4.0, 6.0, 10.0]]])
    places = torch.tensor([[0.0, 8.0, 4.0], [0.0, 0.0, 12.0]])
    weights = torch.tensor([[[[0.25, 0.25, 0.5]]]])
    votes = Votes(weights, torch.zeros(1, 2, 1, 3), weights, torch.zeros(1, 1, 1, 3), places=places)
    assert anchor_loss(votes, target).item() == 0  # the mean is (4, 6)
    assert anchor_loss(votes, target + 3).item() == pytest.approx(2 * 2.5)
    prediction = Prediction(target, torch.ones_like(target), votes=votes)
    assert hand_loss(prediction, target + 3, DISCS, weights=Weights(0.0, 0.0, 0.0, 2.0)).total.item() == 2 * 5.0
    with pytest.raises(InputError, match="do not say where they are cast"):
        anchor_loss(votes._replace(places=None), target)


def test_heatmaps_are_taught_a_gaussian_of_a_cell() -> None:
    places = torch.tensor([[1.0, 3.0, 5.0, 7.0], [1.0, 1.0, 1.0, 1.0]])
    target = torch.tensor([[[3.0, 1.0, 10.0]]])
    bell = [math.exp(-(((x - 3) / 2) ** 2) / 2) for x in (1, 3, 5, 7)]
    wanted = torch.tensor(bell) / sum(bell)
    best = heat_loss(Heat(wanted.log()[None, None], places, 2.0), target).item()
    assert best == pytest.approx(-sum(p * math.log(p) for p in wanted.tolist()))  # its entropy
    flat = Heat(torch.full((1, 1, 4), math.log(0.25)), places, 2.0)
    assert heat_loss(flat, target).item() == pytest.approx(math.log(4))
    prediction = Prediction(target, torch.ones_like(target), heat=flat)
    assert hand_loss(prediction, target, DISCS).total == 0  # unless asked for
    assert hand_loss(prediction, target, DISCS, weights=Weights(dense=2.0)).total.item() == pytest.approx(
        2 * math.log(4)
    )


def test_heads_that_can_leave_the_crop_are_taught_to() -> None:
    outside = torch.tensor([[[-5.0, 99.0, 400.0]]])
    weights = torch.ones(1, 1, 1, 1)
    votes = Votes(weights, outside.mT[:, :2, :, None], weights, outside.mT[:, 2:, :, None])
    there = Prediction(outside, torch.ones_like(outside), votes=votes)
    assert hand_loss(there, outside, DISCS, weights=Weights(dense=1.0)).total == 0
    assert hand_loss(there._replace(votes=None), outside, DISCS).total > 0


def test_targets_outside_the_crop_are_clamped() -> None:
    prediction, _ = made_up()
    outside = torch.tensor([[-5.0, 99.0, 400.0], [3.0, -1.0, -2.0], [20.0, 4.0, 5.0]]).expand(2, 3, 3)
    inside = clamp_to_crop(outside, DISCS)
    assert inside[0, 0].tolist() == [0, 16, 30]
    assert inside[0, 1].tolist() == [3, 0, 0]
    assert hand_loss(prediction, outside, DISCS).total == hand_loss(prediction, inside, DISCS).total


def test_half_precision_logits_are_summed_in_float32() -> None:
    prediction, target = made_up()
    half = prediction._replace(logits=tuple(axis.bfloat16() for axis in prediction.logits))
    assert hand_loss(half, target, DISCS).total.dtype == torch.float32


def test_large_logits_give_a_finite_loss() -> None:
    prediction, target = made_up()
    huge = prediction._replace(logits=tuple(axis * 1e6 for axis in prediction.logits))
    assert torch.isfinite(hand_loss(huge, target, DISCS).total)


def test_unknown_losses_are_refused() -> None:
    prediction, target = made_up()
    with pytest.raises(InputError, match="Unknown loss; got l2; expected paper or balanced"):
        inspect.unwrap(hand_loss)(prediction, target, DISCS, kind="l2")
