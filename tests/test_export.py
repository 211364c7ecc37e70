"""Export: one ONNX file that says what it is and agrees with the network that it came from."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from variants import HEADS

from dor3d.errors import ModelError
from dor3d.model.checkpoint import save_model
from dor3d.model.heads.offset import OffsetHead
from dor3d.model.heads.ordinal import OrdinalHead
from dor3d.model.network import HandNet, Head, ModelConfig
from dor3d.model.prediction import Prediction
from dor3d.model.turns import STEP, Turned, with_turns
from dor3d.runtime import export
from dor3d.runtime.export import export_onnx
from dor3d.runtime.parity import Parity, made_up_crops

FAST = ["lcnet_035", "mobilenetv4_conv_small_035"]
SLOW = ["compact", "resnet18", "swin-t", "regnetx_002", "edgenext_xx_small"]


def trained(backbone: str = "lcnet_035", size: int = 64, head: Head = "ordinal", **options: object) -> HandNet:
    """A network with outputs far from its beginning, and batch statistics of some data."""
    torch.manual_seed(0)
    net = HandNet(ModelConfig(backbone=backbone, size=size, head=head, relief=head == "offset", **options))  # type: ignore[arg-type]
    with torch.no_grad():
        for seed in range(3):
            net(torch.from_numpy(made_up_crops(8, size, seed)))
        logits = net.eval()(torch.from_numpy(made_up_crops(8, size))).logits
    if isinstance(net.head, OffsetHead):
        net.head.weights.weight.data *= 10  # about as sharp as trained ones are
    if not isinstance(net.head, OrdinalHead):
        return net
    for conv, axis in zip((net.head.conv_x, net.head.conv_y, net.head.conv_z), logits, strict=True):
        spread = (axis - axis.mean(0)).std().item()
        conv.weight.data *= min(3 / spread, 10)  # about as far from undecided as trained ones are
    return net


@pytest.mark.parametrize("backbone", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
@pytest.mark.parametrize("head", ["ordinal", "offset"])
@pytest.mark.parametrize("half", [True, False], ids=["half", "full"])
def test_the_file_agrees_with_the_network(backbone: str, half: bool, head: Head, tmp_path: Path) -> None:
    agree(trained(backbone, head=head), tmp_path / "net.onnx", half=half)


def agree(net: HandNet, path: Path, *, half: bool) -> None:
    """The exported file says what the network says, for batches of one and of many."""
    assert export_onnx(net, path, precision="fp16" if half else "fp32").mean_mm <= (0.3 if half else 0.05)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        crops = made_up_crops(count, 64, seed=9)
        points, sigma = (np.asarray(array) for array in session.run(["points", "sigma"], {"crop": crops}))
        with torch.no_grad():
            expected = net(torch.from_numpy(crops))
        assert points.dtype == sigma.dtype == np.float32
        np.testing.assert_allclose(points, expected.points.numpy(), atol=1.0 if half else 0.01)
        np.testing.assert_allclose(sigma, expected.sigma.numpy(), atol=1.0 if half else 0.05)


@pytest.mark.parametrize("name", [name for name in HEADS if name not in ("ordinal", "offset")])
@pytest.mark.parametrize("backbone", ["lcnet_035", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW[:3])])
def test_every_head_is_exported(backbone: str, name: str, tmp_path: Path) -> None:
    half = backbone == "lcnet_035"
    agree(trained(backbone, **HEADS[name]), tmp_path / "net.onnx", half=half)


@pytest.mark.slow
def test_merged_branches_are_exported(tmp_path: Path) -> None:
    # in full precision: merged weights of an untrained network span more than half precision holds
    assert export_onnx(trained("mobileone_s0"), tmp_path / "net.onnx", precision="fp32").mean_mm <= 0.05


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    net = trained()
    export_onnx(net, tmp_path / "mine.onnx", card={"samples": 7})
    proto = onnx.load(str(tmp_path / "mine.onnx"))
    card = json.loads({p.key: p.value for p in proto.metadata_props}["dor3d"])
    assert card["format"] == 1
    assert (card["name"], card["size"], card["cube_mm"]) == ("mine", 64, [280.0, 300.0])
    assert card["joints"] == list(net.config.joints)
    assert card["training"] == {"samples": 7}
    assert proto.opset_import[0].version >= 17


def test_half_precision_halves_the_file_and_the_decode_sums(tmp_path: Path) -> None:
    net = trained()
    export_onnx(net, tmp_path / "half.onnx")
    export_onnx(net, tmp_path / "full.onnx", precision="fp32")
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * (tmp_path / "full.onnx").stat().st_size
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "half.onnx")).graph.node}
    assert "ReduceSum" in kinds
    assert "MatMul" not in kinds


def test_a_run_folder_is_exported(tmp_path: Path) -> None:
    save_model(tmp_path / "run", trained())
    export_onnx(tmp_path / "run", tmp_path / "net.onnx", name="other")
    assert (tmp_path / "net.onnx").is_file()


def test_a_file_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_parity", lambda *_: Parity(float("nan"), 0.0))
    with pytest.raises(ModelError, match=r"does not agree with the trained one.*Nothing was written"):
        export_onnx(trained(), tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_beyond_half_precision_stay_whole(tmp_path: Path) -> None:
    net = trained()
    net.head.conv_z.bias.data[1] = 1e6  # a vector: never halved
    net.head.conv_x.weight.data[1, 0] = 1e6
    export_onnx(net, tmp_path / "net.onnx")
    stored = {i.name: i.data_type for i in onnx.load(str(tmp_path / "net.onnx")).graph.initializer}
    kinds = {name: stored[name] for name in stored if "conv_x" in name or "conv_y" in name or "conv_z" in name}
    wide = {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT and name.endswith("weight")}
    assert wide == {"net.head.conv_x.weight"} and onnx.TensorProto.FLOAT16 in kinds.values()


@pytest.mark.parametrize("turns", [1, 3, 5])
@pytest.mark.parametrize("kinds", [False, True])
def test_a_file_may_look_at_turned_crops(turns: int, kinds: bool, tmp_path: Path) -> None:
    net = trained(head="offset", kinds=kinds)
    assert export_onnx(net, tmp_path / "net.onnx", turns=turns, precision="fp32").mean_mm <= 0.05
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    crops = made_up_crops(3, 64, seed=4)
    points, sigma = (np.asarray(array) for array in session.run(["points", "sigma"], {"crop": crops}))
    with torch.no_grad():
        expected = with_turns(net, turns)(torch.from_numpy(crops))
    np.testing.assert_allclose(points, expected.points.numpy(), atol=0.02)
    np.testing.assert_allclose(sigma, expected.sigma.numpy(), atol=0.02)


def test_convention_turned_crops_are_turned_back() -> None:
    """A disc found in a turned crop is where it was, and what spreads along one axis still does."""

    class Disc(HandNet):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.config, self.seen = ModelConfig(size=64), torch.empty(0)

        def forward(self, crop: torch.Tensor) -> Prediction:
            self.seen = crop
            there = (crop[:, 0] < 0).float()
            steps = torch.arange(64) + 0.5
            p, q = (there * steps).sum((1, 2)), (there * steps[:, None]).sum((1, 2))
            count = there.sum((1, 2))
            points = torch.stack([p / count, q / count, crop.amin((1, 2, 3))], -1)[:, None]
            return Prediction(points, torch.ones_like(points) * torch.tensor([3.0, 3.0, 2.0]))

    steps = torch.arange(64) + 0.5
    crop = torch.where((steps - 40.5).square() + (steps[:, None] - 20.5).square() < 36, -1.0, 0.5)[None, None]
    net = Disc()
    for turns in (3, 5):
        mean = Turned(net, turns)(crop)
        assert (mean.points[0, 0] - torch.tensor([40.5, 20.5, -1.0])).abs().max() < 0.1
        assert (mean.sigma[0, 0] - torch.tensor([3.0, 3.0, 2.0])).abs().max() < 0.05
        middle = turns // 2
        assert torch.equal(net.seen[middle], crop[0]) and (net.seen[0] == 1).any()  # beyond the crop there is nothing
        first, last = net.seen[0, 0] < 0, net.seen[-1, 0] < 0
        angles = [
            torch.atan2((steps[:, None] * m).sum() / m.sum() - 32, (steps * m).sum() / m.sum() - 32)
            for m in (first, last)
        ]
        assert (angles[1] - angles[0]).item() == pytest.approx(STEP * (turns - 1), abs=0.03)  # from x towards y


def test_the_spread_between_turns_is_in_sigma() -> None:
    """Who sees the same in every turned crop is turned back to three places."""

    class Same(HandNet):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.config = ModelConfig(size=64)

        def forward(self, crop: torch.Tensor) -> Prediction:
            points = torch.tensor([50.0, 32.0, 1.0]).expand(len(crop), 1, 3)
            return Prediction(points, torch.ones_like(points))

    said = Turned(Same(), 3)(torch.ones(2, 1, 64, 64))
    along, across = 18 * (1 - math.cos(STEP)), 18 * math.sin(STEP)
    expected = [(1 + 2 / 9 * along**2) ** 0.5, (1 + 2 / 3 * across**2) ** 0.5, 1.0]
    assert said.sigma[1, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert said.points[1, 0].tolist() == pytest.approx([50 - 2 / 3 * along, 32.0, 1.0])


def test_turns_that_there_are_not() -> None:
    with pytest.raises(ModelError, match="cannot be turned so often; got 4; expected 1 or 3 or 5"):
        with_turns(trained(head="offset"), 4)
