"""The local ordinal head against slow, literal versions of what its docstring says."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dor3d.errors import InputError, ModelError
from dor3d.model.checkpoint import save_model, write_tensors
from dor3d.model.heads.local_ordinal import LocalOrdinalHead, LocalOrdinalOptions
from dor3d.model.heads.offset import OffsetHead
from dor3d.model.heads.ordinal import AxisCodec
from dor3d.model.heads.surface import depth_origins
from dor3d.model.network import HandNet, ModelConfig
from dor3d.model.prediction import LocalCurves, Maps, Prediction
from dor3d.ordinal import encode
from dor3d.skeleton import BONES
from dor3d.train.config import TrainConfig
from dor3d.train.losses import Weights, bone_loss, hand_loss, local_loss
from dor3d.train.recipes import get_recipe, override
from dor3d.train.state import start_weights

JOINTS, GRID, SIZE, CHANNELS, DEPTH = 3, 4, 32, 5, 300.0
MODES = ("pooled", "dense")


def made(mode: str = "pooled", depth_origin: str = "surface", **options: object) -> LocalOrdinalHead:
    torch.manual_seed(0)
    how = LocalOrdinalOptions(mode, xy_bins=8, z_bins=6, levels=2, **options)  # type: ignore[arg-type]
    head = LocalOrdinalHead(CHANNELS, GRID, JOINTS, SIZE, DEPTH, depth_origin=depth_origin, options=how)  # type: ignore[arg-type]
    for conv in (head.curves_xy, head.curves_z, head.weights):
        torch.nn.init.normal_(conv.weight, std=0.3)
        assert conv.bias is not None
        torch.nn.init.normal_(conv.bias, std=0.5)
    return head


def maps(batch: int = 2) -> Maps:
    torch.manual_seed(1)
    crop = torch.rand(batch, 1, SIZE, SIZE) * 1.6 - 1
    crop[:, :, :8, :8] = 1.0  # a cell without a reading
    crop[:, :, 8:16, :8] = -1.0  # and one that sees what lies before the cube
    features = torch.randn(batch, CHANNELS, GRID, GRID)
    return Maps(features, features, crop)


def literal(head: LocalOrdinalHead, read: Maps) -> Tensor:
    """Joints [B, A, 3], cell by cell and threshold by threshold."""
    features, cell, points = read.z, SIZE / GRID, torch.zeros(len(read.z), JOINTS, 3)
    codecs = (head.codec_xy, head.codec_xy, head.codec_z)
    for b in range(len(features)):
        for a in range(JOINTS):
            for axis, codec in enumerate(codecs):
                conv, channel = (head.curves_xy, axis * JOINTS + a) if axis < 2 else (head.curves_z, a)
                weigher = a if axis < 2 else JOINTS + a
                scores, origins, curves = [], [], []
                for i in range(GRID):
                    for j in range(GRID):
                        f = features[b, :, i, j]
                        scores.append(head.weights.weight[weigher, :, 0, 0] @ f + head.weights.bias[weigher])
                        rows = slice(channel * codec.k, (channel + 1) * codec.k)
                        curves.append(conv.weight[rows, :, 0, 0] @ f + conv.bias[rows])
                        patch = read.crop[b, 0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8]
                        patch = patch[(patch > -0.99) & (patch < 0.99)]
                        depth = (patch.min() + 1) * DEPTH / 2 if len(patch) else DEPTH / 2
                        origins.append([(j + 0.5) * cell, (i + 0.5) * cell, depth][axis])
                w = torch.stack(scores).softmax(0)
                each, start = torch.stack(curves), torch.tensor(origins)
                middle = 0.5 * codec.widths.sum()
                if head.options.mode == "pooled":
                    points[b, a, axis] = w @ start + (codec.widths * (w @ each).sigmoid()).sum() - middle
                else:
                    points[b, a, axis] = w @ (start + each.sigmoid() @ codec.widths - middle)
    return points


@pytest.mark.parametrize("mode", MODES)
def test_convention_joints_are_those_of_the_definition(mode: str) -> None:
    head, read = made(mode), maps()
    with torch.no_grad():
        torch.testing.assert_close(head(read).points, literal(head, read), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_what_moves_a_cell_moves_the_joint_a_cell(mode: str) -> None:
    """Thresholds are relative: the same evidence one column on is the same joint 8 px on, at the same depth."""
    head = made(mode, "cube")
    head.weights.weight.data[:, 0] = 5.0
    features = torch.zeros(1, CHANNELS, GRID, GRID)
    features[0, :, 1, 1] = torch.tensor([9.0, 1.0, -1.0, 0.5, 2.0])
    crop = torch.zeros(1, 1, SIZE, SIZE)
    here = head(Maps(features, features, crop)).points
    moved = features.roll(1, 3)
    there = head(Maps(moved, moved, crop)).points
    torch.testing.assert_close(there - here, torch.tensor([8.0, 0.0, 0.0]).expand(1, JOINTS, 3), atol=1e-2, rtol=0)


def test_depths_start_from_the_nearest_reading_of_a_cell() -> None:
    crop = torch.ones(2, 1, 32, 32)
    crop[0, 0, 8:16, 20:28] = -0.5
    crop[0, 0, 9, 21] = -0.8
    crop[0, 0, 10, 22] = -1.0  # something before the cube, in the same cell ...
    crop[0, 0, 24:, :8] = -1.0  # ... and all over another
    assert depth_origins(crop, 4, 300.0, "cube") is None
    surface = depth_origins(crop, 4, 300.0, "surface")
    assert surface is not None
    expected = torch.full((2, 16), 150.0)
    expected[0, 6], expected[0, 7] = 30.0, 75.0
    torch.testing.assert_close(surface, expected)
    filled = depth_origins(crop, 4, 300.0, "surface-filled")
    assert filled is not None
    torch.testing.assert_close(filled[0], torch.where(expected[0] == 150.0, 52.5, expected[0]))
    torch.testing.assert_close(filled[1], torch.full((16,), 150.0))  # nothing anywhere: finite


def test_offsets_can_start_from_the_surface_too() -> None:
    """With two anchors along a side of a cell, all of which see their cell's surface."""
    head = OffsetHead(1, 4, 2, 32, 300.0, anchors=2, depth_origin="surface")
    for conv in (head.weights, head.answers):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    crop = torch.full((1, 1, 32, 32), -0.5)
    features = torch.zeros(1, 1, 4, 4)
    assert head(Maps(features, features, crop)).points[0, 0, 2].item() == pytest.approx(75.0)


def literal_loss(prediction: Prediction, target: Tensor, labels: str) -> float:
    curves, total = prediction.local, 0.0
    assert curves is not None
    for axis, codec in enumerate(curves.codecs):
        log_odds, starts = curves.log_odds[axis], codec.starts.tolist()
        b, joints, positions, k = log_odds.shape
        for n in range(b):
            for a in range(joints):
                for p in range(positions):
                    origin = curves.origins[axis].expand(b, joints, positions)[n, a, p].item()
                    c = min(max(target[n, a, axis].item() - origin + codec.extent / 2, 0.0), codec.extent)
                    weight = 1 / positions if curves.weights[axis] is None else curves.weights[axis][n, a, p].item()  # type: ignore[index]
                    for i in range(k):
                        width = codec.widths[i].item()
                        t = min(max((c - starts[i]) / width, 0.0), 1.0) if labels == "exact" else float(c >= starts[i])
                        prob = 1 / (1 + math.exp(-log_odds[n, a, p, i].item()))
                        total -= weight * (t * math.log(prob) + (1 - t) * math.log(1 - prob)) / (b * joints)
    return total


@pytest.mark.parametrize("labels", ["exact", "hard"])
@pytest.mark.parametrize("mode", MODES)
def test_the_dor_loss_is_the_papers_with_relative_labels(mode: str, labels: str) -> None:
    prediction, target = made(mode)(maps()), torch.rand(2, JOINTS, 3) * torch.tensor([32.0, 32.0, 300.0])
    assert prediction.local is not None
    got = local_loss(prediction.local, target, labels)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(literal_loss(prediction, target, labels), rel=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_the_dor_loss_moves_positions_where_asked_alone(mode: str) -> None:
    for moves in (False, True):
        head = made(mode, dor_moves_positions=moves)
        prediction = head(maps())
        assert prediction.local is not None
        local_loss(prediction.local, torch.full((2, JOINTS, 3), 14.0), "exact").backward()
        grad = head.weights.weight.grad
        assert grad is None or grad.isfinite().all()
        # of pooled curves the evidence is weighted as well: that path is always open
        assert (grad is not None and bool(grad.abs().sum() > 1e-6)) == (moves or mode == "pooled")


def test_perfect_curves_have_a_joint_and_next_to_no_sigma() -> None:
    head, read = made(), maps()
    torch.nn.init.zeros_(head.weights.weight)
    head.weights.weight.data[:, 0] = 100.0  # one cell alone counts
    prediction = head(read)
    assert prediction.local is not None
    axes = zip(prediction.local.origins, prediction.local.codecs, strict=True)
    target = torch.stack([origin[..., 0] + 3.0 for origin, _ in axes], -1)
    for i, codec in enumerate(prediction.local.codecs):
        relative = torch.tensor(3.0 + codec.extent / 2)
        conv = head.curves_xy if i < 2 else head.curves_z
        assert conv.bias is not None
        logits = encode(relative, codec, "exact").clamp(1e-7, 1 - 1e-7).logit()
        rows = slice(i * JOINTS * codec.k, (i + 1) * JOINTS * codec.k) if i < 2 else slice(None)
        conv.bias.data[rows] = logits.repeat(JOINTS)
        conv.weight.data.zero_()
    again = head(read)
    torch.testing.assert_close(again.points, target, atol=1e-2, rtol=0)
    widest = torch.tensor([codec.widths.min().item() for codec in prediction.local.codecs])
    assert (again.sigma < widest).all()


def test_sigma_counts_how_far_positions_are_apart() -> None:
    """Two columns of cells, 8 px apart, that count the same: a quarter of 16 px squared is added to the curve's."""
    head = made(depth_origin="cube")
    torch.nn.init.zeros_(head.weights.weight)
    torch.nn.init.zeros_(head.curves_xy.weight)
    head.weights.weight.data[:, 0] = 50.0
    features = torch.zeros(1, CHANNELS, GRID, GRID)
    features[0, 0, 1, 1] = 1.0
    crop = torch.zeros(1, 1, SIZE, SIZE)
    one = head(Maps(features, features, crop)).sigma
    features[0, 0, 1, 2] = 1.0
    two = head(Maps(features, features, crop)).sigma
    torch.testing.assert_close((two**2 - one**2)[0, :, 0], torch.full((JOINTS,), 4.0), atol=1e-2, rtol=0)
    torch.testing.assert_close(two[0, :, 1], one[0, :, 1], atol=1e-3, rtol=0)


def test_a_shift_moves_the_position_that_the_curve_refines() -> None:
    head, read = made(shift=True), maps()
    assert head.shift is not None and head.shift.bias is not None
    torch.nn.init.zeros_(head.shift.weight)
    torch.nn.init.zeros_(head.shift.bias)
    before = head(read).points
    head.shift.bias.data[JOINTS : 2 * JOINTS] = 0.5  # of a cell, along y
    moved = head(read).points - before
    torch.testing.assert_close(moved, torch.tensor([0.0, 4.0, 0.0]).expand_as(moved), atol=1e-4, rtol=0)


def test_curves_fall_by_construction_where_asked() -> None:
    for mode in MODES:
        prediction = made(mode, monotone=True)(maps())
        assert prediction.local is not None
        assert all((axis.diff(dim=-1) <= 1e-5).all() for axis in prediction.local.log_odds)


def test_it_learns_what_lies_beyond_the_crop() -> None:
    """Targets are not clamped: a joint over the crop's edge is a relative coordinate like any other."""
    net = HandNet(ModelConfig("lcnet_035", size=64, head="local-ordinal", depth_origin="surface"))
    prediction = net(torch.rand(2, 1, 64, 64))
    target = torch.full((2, 21, 3), -6.0)
    discs, weights = net.config.discretisations(), Weights(1.0, 0.0)
    beyond = hand_loss(prediction, target, discs, kind="metric", weights=weights)
    inside = hand_loss(prediction, target.clamp(min=0), discs, kind="metric", weights=weights)
    assert beyond.joint > inside.joint + 1 and beyond.ordinal == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"xy_bins": 0}, r"local_ordinal.xy_bins must be at least 1; got 0"),
        ({"reach": 1.5}, r"local_ordinal.reach is a share of the crop's side; got 1.5; expected in \(0, 1\]"),
        ({"shift": True, "mode": "dense"}, r"local_ordinal.shift belongs to the pooled mode"),
    ],
)
def test_options_that_make_no_head_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LocalOrdinalOptions(**options)  # type: ignore[arg-type]


def test_options_of_another_head_are_refused() -> None:
    with pytest.raises(ModelError, match=r"Head heatmap knows no depth_origin\. Use --head local-ordinal or offset"):
        ModelConfig(head="heatmap", depth_origin="surface")
    with pytest.raises(ModelError, match="Head offset knows no local_ordinal"):
        ModelConfig(head="offset", local_ordinal=LocalOrdinalOptions(levels=3))
    for wrong in ({"depth_origin": "floor"}, {"local_ordinal": {"mode": "sparse"}}):
        with pytest.raises(ModelError, match=f"A model's config has a wrong {next(iter(wrong))}"):
            ModelConfig.from_json({"head": "local-ordinal", **wrong})


def test_options_go_through_a_run_s_config() -> None:
    changes = {"head": "local-ordinal", "local-ordinal.levels": "4", "model.local_ordinal.monotone": "true"}
    model = override(get_recipe("synth-compact"), changes).model
    assert model.local_ordinal == LocalOrdinalOptions(levels=4, monotone=True)
    assert ModelConfig.from_json(model.to_json()) == model
    old = {name: value for name, value in model.to_json().items() if name != "local_ordinal"}
    assert ModelConfig.from_json(old).local_ordinal == LocalOrdinalOptions()
    with pytest.raises(InputError, match=r"Unknown key; got local_ordinal.level; expected one of levels"):
        override(get_recipe("synth-compact"), {"head": "local-ordinal", "local_ordinal.level": "4"})
    with pytest.raises(InputError, match=r"Wrong value for local_ordinal.levels; got 'many'"):
        override(get_recipe("synth-compact"), {"head": "local-ordinal", "local_ordinal.levels": "many"})
    with pytest.raises(ModelError, match="A model's config has a wrong local_ordinal"):
        ModelConfig.from_json({"head": "local-ordinal", "local_ordinal": {"teeth": 3}})


def test_another_head_begins_from_a_trained_backbone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = HandNet(ModelConfig("lcnet_035", size=64, head="offset"))
    save_model(tmp_path, trained)
    net = HandNet(ModelConfig("lcnet_035", size=64, head="local-ordinal"))
    with pytest.raises(ModelError, match=r"belongs to another network.*add --init-matching"):
        start_weights(net, tmp_path)
    new = start_weights(net, tmp_path, matching=True)
    assert new == [f"head.curves_{axis}.{what}" for axis in ("xy", "z") for what in ("bias", "weight")]
    for name, tensor in trained.trunk.state_dict().items():
        assert torch.equal(net.trunk.state_dict()[name], tensor)
    write_tensors(tmp_path / "foreign.safetensors", {"other": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"Nothing in .* matches lcnet_035; expected weights of the same backbone"):
        start_weights(net, tmp_path / "foreign.safetensors", matching=True)


def rival(curve_loss: str, target: float) -> tuple[Tensor, LocalCurves, int]:
    """The loss of one joint at `target` (px from its position), and the curves."""
    head = made(monotone=True, curve_loss=curve_loss)
    prediction = head(maps(1))
    curves = prediction.local
    assert curves is not None and len(curves.logits) == 3
    axes = zip(curves.origins, curves.codecs, strict=True)
    points = torch.stack([origin[..., 0] + target for origin, _ in axes], -1).detach()
    return local_loss(curves, points, "exact"), curves, head.codec_xy.k


def masses(curves: LocalCurves, axis: int) -> list[Tensor]:
    """Of each joint: how likely it lies at each of the K + 1 thresholds."""
    return [torch.cat([torch.zeros(1), curves.logits[axis][0, a, 0]]).softmax(0) for a in range(JOINTS)]


def thresholds(codec: AxisCodec) -> list[float]:
    return [*(t - codec.extent / 2 for t in codec.starts.tolist()), codec.extent / 2]


def test_two_bins_beside_the_joint_are_taught_as_much_as_they_are_near() -> None:
    got, curves, _ = rival("two-bin", 3.0)
    expected = 0.0
    for axis, codec in enumerate(curves.codecs):
        points = thresholds(codec)
        right = next(i for i, t in enumerate(points) if t > 3.0)
        near = (3.0 - points[right - 1]) / (points[right] - points[right - 1])
        for mass in masses(curves, axis):
            expected -= ((1 - near) * mass[right - 1].log().item() + near * mass[right].log().item()) / JOINTS
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_a_mixture_of_laplace_distributions_stands_at_the_thresholds() -> None:
    got, curves, _ = rival("mixture", -2.0)
    expected = 0.0
    for axis, codec in enumerate(curves.codecs):
        for mass in masses(curves, axis):  # scales begin at 1
            density = sum(
                m.item() * 0.5 * math.exp(-abs(-2.0 - t)) for m, t in zip(mass, thresholds(codec), strict=True)
            )
            expected -= math.log(density) / JOINTS
    assert got.item() == pytest.approx(expected, rel=1e-3)
    assert curves.scales is not None
    got.backward()


def test_a_distribution_over_thresholds_has_the_decoded_mean() -> None:
    """What the rivals teach is what the decode reads: the mean of the masses at the thresholds."""
    _, curves, _ = rival("two-bin", 0.0)
    prob = curves.log_odds[0][0, :, 0].sigmoid()
    points = torch.tensor(thresholds(curves.codecs[0]))
    means = torch.stack([mass @ points for mass in masses(curves, 0)])
    read = (prob * curves.codecs[0].widths).sum(-1) - curves.codecs[0].extent / 2
    torch.testing.assert_close(read, means, atol=1e-3, rtol=1e-4)


def test_rivals_need_monotone_curves() -> None:
    with pytest.raises(ModelError, match=r"curve_loss mixture needs monotone curves\. Add local_ordinal.monotone true"):
        LocalOrdinalOptions(curve_loss="mixture")


def test_the_bone_loss_is_the_mean_difference_of_lengths() -> None:
    points, target = torch.randn(2, 21, 3) * 30, torch.randn(2, 21, 3) * 30
    each = []
    for parent, child in BONES:
        lengths = [(of[:, child] - of[:, parent]).norm(dim=-1) for of in (points, target)]
        each.append((lengths[0] - lengths[1]).abs().mean().item())
    assert bone_loss(points, target).item() == pytest.approx(sum(each) / 20, rel=1e-4)
    with pytest.raises(InputError, match="Bones are known between the 21 joints alone; got 2 joints"):
        TrainConfig(model=ModelConfig(joints=("a", "b")), bone_weight=1.0)
