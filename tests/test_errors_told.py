"""Networks that tell how far off they are: their joints are what they were, and what they tell is of the right size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from variants import HEADS

from dor3d.cli import main
from dor3d.errors import ModelError
from dor3d.model.checkpoint import load_model, load_weights, save_model
from dor3d.model.heads.errors import ErrorHead
from dor3d.model.network import HandNet, ModelConfig
from dor3d.model.prediction import Maps
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel
from dor3d.runtime.parity import made_up_crops
from dor3d.train.config import TrainConfig
from dor3d.train.losses import Weights, error_loss, hand_loss
from dor3d.train.state import start_weights
from dor3d.train.temperature import HONEST, temperatures


def network(head: str = "offset", **more: object) -> HandNet:
    torch.manual_seed(0)
    return HandNet(ModelConfig(backbone="lcnet_035", size=64, **{"neck": 16, **HEADS[head], **more}))


@pytest.mark.parametrize("head", sorted(HEADS))
def test_every_head_has_the_same_joints(head: str, tmp_path: Path) -> None:
    """And the same gradients: what is told of errors teaches the layers that tell it, and no others."""
    telling, plain = network(head, errors=True), network(head)
    save_model(tmp_path, plain)
    load_weights(telling, tmp_path, may_lack=("errors.",))
    crops, target = torch.from_numpy(made_up_crops(3, 64)), torch.rand(3, 21, 3) * 60
    said, own = telling(crops), plain(crops)
    assert torch.equal(said.points, own.points) and said.error is not None and own.error is None
    assert torch.equal(said.sigma, said.error * 2**0.5)
    for net, prediction in ((telling, said), (plain, own)):
        hand_loss(prediction, target, net.config.discretisations(), kind="metric").total.backward()
    grads = dict(telling.named_parameters())
    for name, weight in plain.named_parameters():
        assert (weight.grad is None) == (grads[name].grad is None)
        assert weight.grad is None or torch.equal(weight.grad, grads[name].grad)
    assert all(weight.grad.abs().sum() > 0 for name, weight in grads.items() if name == "errors.first")


def test_what_is_told_becomes_the_size_of_the_errors() -> None:
    """A map that says how noisy a joint is, at a place of it: sizes are learnt within a fifth, from 1 to 20 mm."""
    rng, head = torch.Generator().manual_seed(0), ErrorHead(8, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    size = torch.zeros(0)
    for _ in range(400):
        maps = torch.zeros(64, 8, 4, 4)
        size = torch.rand(64, generator=rng) * 3  # log
        maps[:, 0, 2, 1], maps[:, 1, 2, 1] = size, 3.0  # the second marks the place
        error = torch.randn(64, 2, 3, generator=rng).abs() * size.exp()[:, None, None] * 1.2533  # mean: size
        loss = error_loss(head(Maps(maps, maps, maps)), torch.zeros(64, 2, 3), error)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ratio = head(Maps(maps, maps, maps)) / size.exp()[:, None, None]
    assert 0.8 < ratio.median() < 1.25 and ratio.quantile(0.05) > 0.6 and ratio.quantile(0.95) < 1.6


def test_the_loss_is_least_where_the_size_is_right() -> None:
    error = torch.tensor([[[2.0, 2.0, 2.0]]])
    losses = {b: error_loss(torch.full((1, 1, 3), b), torch.zeros(1, 1, 3), error).item() for b in (1.0, 2.0, 4.0)}
    assert losses[2.0] == pytest.approx(1 + np.log(2.0), abs=1e-6) and min(losses, key=losses.__getitem__) == 2.0


def test_it_is_kept_exported_and_taken_up_later(tmp_path: Path) -> None:
    net = network(errors=True, kinds=True)
    with torch.no_grad():
        net.errors.sizes.normal_(0, 0.1)
        net(torch.from_numpy(made_up_crops(8, 64, 1)))
    save_model(tmp_path / "run", net.eval())
    crops = made_up_crops(4, 64)
    expected = load_model(tmp_path / "run")(torch.from_numpy(crops))
    export_onnx(tmp_path / "run", tmp_path / "net.onnx", precision="fp32")
    said = OnnxModel(tmp_path / "net.onnx")(crops)
    np.testing.assert_allclose(said.sigma, expected.sigma.detach().numpy(), rtol=1e-3)
    plain = network()
    save_model(tmp_path / "plain", plain)
    later = network(errors=True, kinds=True)
    start_weights(later, tmp_path / "plain")
    assert torch.equal(later.head.answers.weight, plain.head.answers.weight)
    with pytest.raises(ModelError, match="belongs to another network than lcnet_035"):
        load_weights(later, tmp_path / "plain")


def test_its_weight_is_a_field() -> None:
    config = TrainConfig(model=ModelConfig(errors=True), error_weight=0.5)
    assert config.loss_weights == Weights(error=0.5)
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    with pytest.raises(ValueError, match="error_weight must not be negative"):
        TrainConfig(error_weight=-1.0)


@pytest.mark.parametrize(("true", "said"), [(1.0, 1.0), (3.0, 1.0), (1.0, 4.0)])
def test_temperatures_make_honest_sigma_of_any(true: float, said: float) -> None:
    """Of Gaussian errors the shares become what they should be, to a point, and of Laplace's to five."""
    rng = np.random.default_rng(0)
    spread = np.exp(rng.normal(0, 0.5, (2000, 21, 3)))
    scale = np.array([1.0, 1.0, 2.0])  # depth is off by more
    for draw, close in ((rng.normal, 0.01), (rng.laplace, 0.05)):
        error = draw(0.0, 1.0, spread.shape) * spread * true * scale
        found = temperatures(error, said * spread)
        assert found.within == pytest.approx(HONEST, abs=close) and found.samples == 2000
        assert found.factors[0] == found.factors[1] == pytest.approx(found.factors[2] / 2, rel=0.05)


def test_export_fits_what_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--backbone", "lcnet_035", "--size", "32", "--neck", "16", "--batch", "4", "--validation", "4"]
    main(["train", "synth-compact", *small, "--steps", "2", "--workers", "0", "--out", str(tmp_path / "run")])
    main(["export", str(tmp_path / "run"), "--calibrate", "32", "--out", str(tmp_path / "fitted.onnx")])
    assert "of 32 held-out samples' coordinates lie within one and two of them" in capsys.readouterr().out
    main(["export", str(tmp_path / "run"), "--calibrate", "0", "--out", str(tmp_path / "plain.onnx")])
    crops = made_up_crops(2, 32)
    fitted, plain = (OnnxModel(tmp_path / name)(crops) for name in ("fitted.onnx", "plain.onnx"))
    np.testing.assert_allclose(fitted.points, plain.points, atol=1e-4)
    ratio = fitted.sigma / plain.sigma
    assert ratio[..., :2].std() < 1e-3 and ratio[..., 2].std() < 1e-3 and abs(ratio.mean() - 1) > 0.01
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "data": {"kind": "nyu", "root": "nowhere"}}))
    main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "bare.onnx")])
    assert "Standard deviations stay as they are: " in capsys.readouterr().out
