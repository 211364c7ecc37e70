"""Networks that tell what a crop shows: hand or none, right or left."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dor3d.data.batch import KINDS, Batch
from dor3d.data.kept import keep
from dor3d.data.synthetic import SyntheticConfig, SyntheticHands
from dor3d.data.testsets import HARD, hard
from dor3d.errors import InputError
from dor3d.hand.stage import WIDE
from dor3d.model.checkpoint import load_model
from dor3d.model.network import HandNet, ModelConfig
from dor3d.model.prediction import Prediction
from dor3d.ordinal import Discretisation
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel
from dor3d.train.config import TrainConfig
from dor3d.train.loop import train
from dor3d.train.losses import Weights, hand_loss, kind_loss
from dor3d.train.recipes import get_recipe, override
from dor3d.train.start import make_sources
from dor3d.train.stream import Sources

DISCS = (Discretisation.uniform(32.0, 16),) * 2 + (Discretisation.uniform(300.0, 75),)
TELLS = ModelConfig(backbone="lcnet_035", size=64, head="offset", neck=16, kinds=True)
MIXED = SyntheticConfig(scene=WIDE, size=64, left=0.3, empty=0.3)


def test_a_stream_shows_what_it_is_told_to():
    source = SyntheticHands(MIXED, 1)
    kinds = [source.sample(i).kind for i in range(150)]
    for kind, share in (("left", 0.3), ("none", 0.3), ("right", 0.4)):
        assert kinds.count(kind) / 150 == pytest.approx(share, abs=0.12)


def test_left_hands_are_left():
    """Seen from the palm's side with fingers up, a right hand's thumb is on the image's right: a handedness that
    neither rotation nor perspective changes."""
    source = SyntheticHands(SyntheticConfig(scene=WIDE, size=32, left=0.5), 2)
    for i in range(20):
        sample = source.sample(i)
        wrist, index, little = sample.scene.joints_mm[[0, 5, 17]]
        thumb = sample.scene.joints_mm[2]
        # the thumb lies on the palm's side of the plane through wrist and knuckles, or near it
        palmar = np.cross(index - wrist, little - wrist)
        side = palmar @ (thumb - wrist) / np.linalg.norm(palmar)
        assert (side > -4.0) if sample.kind == "right" else (side < 4.0)


def test_a_batch_says_what_it_shows():
    batch = SyntheticHands(MIXED, 1).batch(0, range(12))
    assert isinstance(batch, Batch) and batch.kind is not None
    assert [KINDS[k] for k in batch.kind] == [SyntheticHands(MIXED, 1).sample(i).kind for i in range(12)]
    assert SyntheticHands(SyntheticConfig(size=32), 1).batch(0, [0]).kind is None


def test_empty_crops_show_no_hand():
    """The hand's middle is far from the crop's, or the hand is not there at all."""
    source = SyntheticHands(SyntheticConfig(scene=WIDE, size=32, empty=1.0), 3)
    there = 0
    for i in range(60):
        sample = source.sample(i)
        gap = np.linalg.norm(sample.scene.joints_mm - np.array(sample.box.center_mm), axis=1).min()
        spheres = sample.scene.spheres[:21, :3]
        hand = len(spheres) == 21 and np.allclose(spheres, sample.scene.joints_mm)
        there += hand
        assert not hand or gap > 20.0
    assert 5 < there < 40


def test_only_right_hands_teach_joints():
    torch.manual_seed(0)
    points, target = torch.rand(4, 21, 3) * 30, torch.rand(4, 21, 3) * 30
    shown = torch.tensor([KINDS.index(k) for k in ("right", "left", "none", "right")])
    prediction = Prediction(points.requires_grad_(), torch.ones(4, 21, 3), kind=torch.randn(4, 2))
    loss = hand_loss(prediction, target, DISCS, shown=shown)
    loss.total.backward()
    moved = points.grad.abs().sum((1, 2)) > 0
    assert moved.tolist() == [True, False, False, True]
    right = Prediction(points[[0, 3]], torch.ones(2, 21, 3))
    assert loss.joint.item() == pytest.approx(hand_loss(right, target[[0, 3]], DISCS).joint.item())
    assert loss.total.item() == pytest.approx((3 * loss.joint / 2 + 5 * loss.kind).item(), rel=1e-5)


def test_a_batch_without_right_hands_teaches_kinds_alone():
    prediction = Prediction(torch.rand(2, 21, 3), torch.ones(2, 21, 3), kind=torch.randn(2, 2))
    loss = hand_loss(prediction, torch.full((2, 21, 3), torch.nan), DISCS, shown=torch.tensor([1, 2]))
    assert loss.joint == 0 and torch.isfinite(loss.total) and loss.total.item() == pytest.approx(5 * loss.kind.item())


def test_kind_loss_is_the_cross_entropy():
    logits = torch.tensor([[2.0, 1.0], [0.5, -1.0], [-1.0, 3.0]])
    shown = torch.tensor([0, 1, 2])  # right, left, none

    def entropy(logit, truth):
        p = 1 / (1 + math.exp(-logit))
        return -math.log(p if truth else 1 - p)

    hand = entropy(2.0, True) + entropy(0.5, True) + entropy(-1.0, False)
    side = entropy(1.0, True) + entropy(-1.0, False)  # of what is no hand, no side is asked
    assert kind_loss(logits, shown).item() == pytest.approx((hand + side) / 3, rel=1e-5)
    assert kind_loss(logits[:1], None).item() == pytest.approx(entropy(2.0, True) + entropy(1.0, True), rel=1e-5)


def test_weights_of_kinds_are_a_field():
    config = TrainConfig(model=TELLS, kind_weight=2.5)
    assert config.loss_weights == Weights(kind=2.5)
    with pytest.raises(ValueError, match="kind_weight"):
        TrainConfig(kind_weight=-1.0)


@pytest.mark.parametrize("half", [False, True])
def test_kinds_are_exported(tmp_path, half):
    torch.manual_seed(0)
    net = HandNet(TELLS).eval()
    export_onnx(net, tmp_path / "net.onnx", precision="fp16" if half else "fp32")
    model = OnnxModel(tmp_path / "net.onnx")
    crops = np.random.default_rng(0).uniform(-1, 1, (3, 1, 64, 64)).astype(np.float32)
    said = model(crops)
    assert said.kind is not None and said.kind.shape == (3, 2)
    with torch.no_grad():
        assert np.allclose(said.kind, net(torch.from_numpy(crops)).kind.numpy(), atol=0.05 if half else 1e-3)


def test_networks_that_do_not_tell_say_nothing(tmp_path):
    net = HandNet(ModelConfig(backbone="lcnet_035", size=64, head="offset", neck=16)).eval()
    export_onnx(net, tmp_path / "net.onnx")
    assert OnnxModel(tmp_path / "net.onnx")(np.zeros((1, 1, 64, 64), np.float32)).kind is None
    assert net(torch.zeros(1, 1, 64, 64)).kind is None


def test_a_run_learns_kinds_beside_joints(tmp_path):
    config = TrainConfig(
        model=TELLS, steps=12, batch=32, accumulate=2, workers=0, threads=1, warmup=2, ema=0.0, lr=3e-3
    )
    source = SyntheticHands(MIXED, 0)
    result = train(config, Sources(source), tmp_path / "run")
    assert result.finished
    net = load_model(tmp_path / "run")
    batch = source.batch(0, range(64))
    with torch.no_grad():
        loss = kind_loss(net(batch.crop).kind, batch.kind)
    assert loss < 1.25  # 0.69 and 0.7 times as much again are a coin's


@pytest.mark.parametrize("wrong", [{"left": -0.1}, {"left": 0.6, "empty": 0.6}])
def test_shares_of_crops_are_checked(wrong):
    with pytest.raises(ValueError, match=r"Shares of crops.*at most 1"):
        SyntheticConfig(**wrong)


def test_what_kinds_show_is_not_kept(tmp_path):
    with pytest.raises(ValueError, match="Only crops of right hands are kept"):
        keep(SyntheticHands(MIXED, 0), 4, tmp_path / "kept")


def test_a_recipe_of_wide_scenes():
    """Its stream is that of real use with left hands and empty crops, its held-out set is drawn as `hard` is."""
    config = get_recipe("synth-wide")
    learnt, held_out = make_sources(override(config, {"data.body": "0.5"}))
    assert isinstance(learnt, SyntheticHands) and isinstance(held_out, SyntheticHands)
    assert learnt.config.scene == replace(WIDE, body=0.5, hand=2)
    assert (learnt.config.left, learnt.config.empty) == (0.15, 0.15)
    assert held_out.config.scene == replace(HARD, hand=2) and not held_out.config.mixed and held_out.seed != hard().seed
    assert config.model.kinds and not get_recipe("synth-compact").model.kinds
    with pytest.raises(InputError, match="Unknown scenes; got outside; expected plain or wide"):
        make_sources(override(config, {"data.scenes": "outside"}))
