"""Heads: how their channels are read, what their answers mean, and that each can learn a batch by heart."""

import pytest
import torch
from variants import HEADS

from dor3d.data.synthetic import SyntheticHands
from dor3d.data.testsets import clear_config
from dor3d.errors import ModelError
from dor3d.model.heads.heatmap import HeatmapHead
from dor3d.model.heads.offset import OffsetHead
from dor3d.model.heads.ordinal import _BELOW, AxisCodec, OrdinalHead, PairConv, survival_log_odds
from dor3d.model.heads.pixel_offset import PixelOffsetHead
from dor3d.model.network import HandNet, ModelConfig
from dor3d.model.prediction import Maps
from dor3d.ordinal import Discretisation
from dor3d.train.losses import hand_loss

each_head = pytest.mark.parametrize("head", HEADS)


def small(backbone: str, **changes: object) -> ModelConfig:
    return ModelConfig(**{"backbone": backbone, "size": 64, **changes})  # type: ignore[arg-type]


def test_convention_head_layout() -> None:
    """Channel (c, a) of feature column j is threshold j * stripe + c of joint a; rows for y; every cell for z."""
    joints, grid, stripe, depth = 3, 2, 4, 5
    plane, z = Discretisation.uniform(16.0, grid * stripe), Discretisation.uniform(10.0, depth)
    head = OrdinalHead(1, grid, joints, (plane, plane, z))
    for conv in (head.conv_x, head.conv_y, head.conv_z):
        assert isinstance(conv, PairConv)
        torch.nn.init.zeros_(conv.weight)
        conv.weight.data[1::2] = 1  # the "yes" channel of each pair sees the feature ...
        torch.nn.init.zeros_(conv.bias)
        conv.bias.data[1::2] = torch.arange(conv.out_channels // 2).float()  # ... and adds its own number c * A + a
    cells = torch.tensor([[[[0.0, 100.0], [1000.0, 1100.0]]]])  # 1000 a row, 100 a column
    x, y, depths = head.logits(cells, cells)
    for a in range(joints):
        for k in range(grid * stripe):
            cell, c = divmod(k, stripe)
            for position in range(grid):
                assert x[0, a, position, k] == 1000 * position + 100 * cell + c * joints + a
                assert y[0, a, position, k] == 1000 * cell + 100 * position + c * joints + a
        for k in range(depth):
            assert depths[0, a, :, k].tolist() == [v + k * joints + a for v in (0, 100, 1000, 1100)]


def test_a_pair_is_a_softmax_over_two_channels() -> None:
    conv = PairConv(6, 4)
    x = torch.randn(2, 6, 3, 3)
    both = torch.nn.Conv2d.forward(conv, x).view(2, 4, 2, 3, 3)
    torch.testing.assert_close(conv(x).sigmoid(), both.softmax(2)[:, :, 1])


def test_training_begins_at_the_centre_of_the_crop() -> None:
    torch.manual_seed(0)
    prediction = HandNet(small("lcnet_035"))(torch.rand(4, 1, 64, 64))
    centre = torch.tensor([32.0, 32.0, 150.0])
    assert ((prediction.points - centre).abs() < 0.05 * 2 * centre).all()
    assert prediction.sigma[..., 2].mean().item() == pytest.approx(75, rel=0.1)
    assert (prediction.sigma[..., :2].mean((0, 1)) / 64 - 0.43).abs().max() < 0.03  # one bias for many thresholds


def test_decode_of_a_perfect_map() -> None:
    """Logits that say exactly where a joint is come out as that point, with next to no sigma."""
    disc = Discretisation.uniform(64.0, 32)
    head = OrdinalHead(4, 2, 1, (disc, disc, disc))
    logits = torch.where(torch.arange(32) < 10, 50.0, -50.0).expand(1, 1, 2, 32)
    mean, sigma = head.codec_x(logits)
    assert mean.item() == pytest.approx(20.0, abs=1e-4)
    assert sigma.item() <= 2 / 12**0.5 + 1e-3


def test_sigma_counts_disagreement_between_positions() -> None:
    disc = Discretisation.uniform(64.0, 32)
    head = OrdinalHead(4, 2, 1, (disc, disc, disc))
    logits = torch.stack([torch.where(torch.arange(32) < n, 50.0, -50.0) for n in (5, 15)])[None, None]
    mean, sigma = head.codec_x(logits)
    assert mean.item() == pytest.approx(20.0, abs=1e-3)
    assert sigma.item() == pytest.approx(10.0, abs=0.1)


@each_head
def test_decode_stays_in_float32_under_autocast(head: str) -> None:
    net = HandNet(small("lcnet_035", **HEADS[head])).eval()
    crop = torch.rand(2, 1, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(crop)
    assert {t.dtype for t in (low.points, low.sigma, *low.logits)} == {torch.float32}
    assert (low.points - net(crop).points).abs().max() < 1.0


def test_convention_offset_head_layout() -> None:
    """Joint a's cells answer from their own middles; the weights choose between them; depth has weights of its own."""
    joints, grid, size = 3, 4, 32
    head = OffsetHead(1, grid, joints, size, 300.0)
    for conv in (head.weights, head.answers):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    head.weights.weight.data[1] = 1.0  # joint 1 in the plane looks at the cell with the feature ...
    head.weights.weight.data[joints + 2] = 1.0  # ... and joint 2 in depth
    head.answers.bias.data[joints + 1] = 0.25  # joint 1 lies a quarter of a cell below
    head.answers.weight.data[2 * joints + 2] = 0.01  # joint 2 is deep where the feature is
    features = torch.zeros(1, 1, grid, grid)
    features[0, 0, 3, 1] = 100.0
    points, sigma, *_ = head(Maps(features, features, torch.zeros(1, 1, size, size)))
    torch.testing.assert_close(points[0, 0], torch.tensor([16.0, 16.0, 150.0]))  # all cells alike: the middle
    torch.testing.assert_close(points[0, 1], torch.tensor([12.0, 30.0, 150.0]))
    torch.testing.assert_close(points[0, 2], torch.tensor([16.0, 16.0, 210.0]))
    assert sigma[0, 1, 0] < 0.01  # one cell alone speaks
    assert sigma[0, 0, 0].item() == pytest.approx(8 * (15 / 12) ** 0.5, rel=1e-3)  # four even columns, 8 px apart


def test_anchors_lie_evenly_and_read_the_map_of_their_axis() -> None:
    """Two anchors along a side: channel (row, column) of a cell; the plane reads F_xy, the depth F_z."""
    head = OffsetHead(1, 2, 1, 32, 300.0, anchors=2)
    for conv in (head.weights, head.answers):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    head.weights.weight.data[1] = 1.0  # the upper right anchor of a cell looks at F_xy
    head.answers.weight.data[8] = 0.001  # the upper left one is deep where F_z is
    head.weights.bias.data[4] = 50.0  # and speaks for the depth
    xy, z = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 100.0)
    xy[0, 0, 1, 0] = 100.0
    points, *_ = head(Maps(xy, z, torch.zeros(1, 1, 32, 32)))
    torch.testing.assert_close(points[0, 0], torch.tensor([12.0, 20.0, 156.0]))
    assert head.places[:, :4].tolist() == [[4.0, 20.0, 4.0, 20.0], [4.0, 4.0, 20.0, 20.0]]  # the first of each cell


def test_pixels_without_a_reading_say_nothing() -> None:
    """A flat patch of hand: only its pixels answer, from their own places and depth."""
    head = PixelOffsetHead(4, 4, 1, 32, 300.0).eval()
    for conv in (head.offsets.weights, head.offsets.answers):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    crop = torch.ones(2, 1, 32, 32)
    crop[0, 0, 8:16, 20:28] = -0.5
    features = torch.rand(2, 4, 4, 4)
    points, sigma, *_ = head(Maps(features, features, crop))
    torch.testing.assert_close(points[0, 0], torch.tensor([24.0, 12.0, 75.0]))
    torch.testing.assert_close(points[1, 0], torch.tensor([16.0, 16.0, 300.0]))  # an empty crop: finite
    assert sigma[0, 0, 2] < 0.01


def test_a_joint_is_the_mean_of_its_heatmap() -> None:
    head = HeatmapHead(2, 2, 1, 32, 300.0, width=4).eval()
    torch.nn.init.zeros_(head.maps.weight)
    head.maps.bias.data[:] = torch.tensor([0.0, 0.5])
    features = torch.rand(1, 2, 2, 2)
    points, sigma, *_ = head(Maps(features, features, torch.zeros(1, 1, 32, 32)))
    torch.testing.assert_close(points[0, 0], torch.tensor([16.0, 16.0, 180.0]))
    assert sigma[0, 0, 0].item() == pytest.approx(32 / 12**0.5, rel=1e-2)
    heat = head(Maps(features, features, torch.zeros(1, 1, 32, 32))).heat
    assert heat.log_prob.shape == (1, 1, 256) and heat.log_prob.exp().sum().item() == pytest.approx(1.0)
    assert heat.cell == 2.0 and heat.places[:, 17].tolist() == [3.0, 3.0]  # the second cell of the second row


@pytest.mark.parametrize("head", ["monotone", "coordinate"])
def test_some_survival_curves_fall_by_construction(head: str) -> None:
    net = HandNet(small("lcnet_035", **HEADS[head])).eval()
    crop = torch.rand(2, 1, 64, 64) * 2 - 1
    assert all((axis.diff(dim=-1) <= 1e-5).all() for axis in net(crop).logits)
    ordinary = HandNet(small("lcnet_035")).eval()
    assert any((axis.diff(dim=-1) > 1e-3).any() for axis in ordinary(crop).logits)


def test_a_distribution_is_worth_its_survival_curve() -> None:
    """All the mass in interval 3: beyond t_0 ... t_3, not beyond t_4; the decode is the interval's upper end."""
    logits = torch.full((1, 8), -30.0)
    logits[0, 3] = 30.0
    prob = survival_log_odds(logits).sigmoid()
    torch.testing.assert_close(prob[0], (torch.arange(8) <= 3).float(), atol=1e-5, rtol=0)
    spread = survival_log_odds(torch.zeros(1, 8)).sigmoid()
    torch.testing.assert_close(spread[0], 1 - torch.arange(8) / 8, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", ["monotone", "coordinate"])
def test_exact_labels_leave_room_below_the_first_interval(head: str) -> None:
    """Down to 0 and up to the other end; hard labels never ask for less than the first interval's end."""
    for labels, least in (("exact", 0.0), ("hard", 15.0)):
        config = small("lcnet_035", **HEADS[head], labels=labels)
        codec = AxisCodec(config.discretisations()[2])
        k = codec.k
        first, last = (torch.where(torch.arange(k) == i, 40.0, -40.0)[None, None, None] for i in (0, k - 1))
        below = {"monotone": _BELOW, "coordinate": 0.0}[head] if labels == "exact" else None
        net = HandNet(config)
        assert net.head.below == below
        nothing = torch.full((1, 1, 1, k), -40.0)
        found = [codec(survival_log_odds(logits, below))[0].item() for logits in (nothing, first, last)]
        assert found[0] == pytest.approx(least if labels == "exact" else found[0], abs=0.01)
        assert found[1:] == pytest.approx([15.0, 300.0], abs=0.01)


def test_convention_learned_weights_weigh_rows_for_x_and_columns_for_y() -> None:
    """A feature in one row and one column: x is read in that row, y in that column, z in that cell."""
    plane, z = Discretisation.uniform(16.0, 8), Discretisation.uniform(10.0, 5)
    head = OrdinalHead(1, 4, 2, (plane, plane, z), learned=True)
    for conv in (head.weights_xy, head.weights_z):
        assert conv is not None
        torch.nn.init.zeros_(conv.bias)
        torch.nn.init.zeros_(conv.weight)
        conv.weight.data[1::2] = 1.0  # joint 1 alone looks
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 2] = 400.0
    x, y, depth = head.weights(features, features)
    torch.testing.assert_close(x[0], torch.tensor([[0.25] * 4, [0.0, 0.0, 1.0, 0.0]]))
    torch.testing.assert_close(y[0], torch.full((2, 4), 0.25))
    features = features.transpose(2, 3)
    x, y, depth = head.weights(features, features)
    torch.testing.assert_close(x[0], torch.full((2, 4), 0.25))
    torch.testing.assert_close(y[0], torch.tensor([[0.25] * 4, [0.0, 0.0, 1.0, 0.0]]))
    torch.testing.assert_close(depth[0, 1], torch.tensor([0.0, 0.0, 0.25, 0.0] * 4))


def test_learned_weights_choose_positions() -> None:
    """Equal at first thought, one row alone when its weight is large: then the joint is what that row says."""
    disc = Discretisation.uniform(64.0, 32)
    codec = OrdinalHead(4, 2, 1, (disc, disc, disc)).codec_x
    logits = torch.stack([torch.where(torch.arange(32) < n, 50.0, -50.0) for n in (5, 15)])[None, None]
    for weights, expected in (([0.5, 0.5], 20.0), ([1.0, 0.0], 10.0), ([0.25, 0.75], 25.0)):
        mean, sigma = codec(logits, torch.tensor(weights)[None, None])
        assert mean.item() == pytest.approx(expected, abs=1e-3)
    assert sigma.item() == pytest.approx(10 * (0.75 / 1) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "offset", "monotone": True}, r"Head offset knows no monotone\. Use --head ordinal"),
        ({"head": "heatmap", "anchors": 4}, r"Head heatmap knows no anchors"),
        ({"head": "offset", "anchors": 0}, r"A cell needs anchors; got 0; expected 1 or more"),
        ({"head": "offset", "neck": 0}, r"A neck needs channels; got 0; expected 1 or more"),
        ({"drop_path": 2.0}, r"drop_path must lie in \[0, 1\); got 2.0"),
        ({"cube_mm": (float("nan"), 300.0)}, r"The cube needs two positive sides; got \(nan"),
    ],
)
def test_options_that_a_head_has_not_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        small("lcnet_035", **options)


@each_head
@pytest.mark.parametrize(
    "backbone", ["compact", *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet18", "swin-t"))]
)
def test_one_batch_is_learnt_by_heart(backbone: str, head: str) -> None:
    """To a pixel or millimetre: what a head cannot say of four hands it can say of none."""
    torch.manual_seed(0)
    config = small(backbone, **HEADS[head], drop_path=0.0)
    net = HandNet(config)
    crop, points, *_ = SyntheticHands(clear_config(64, config.cube_mm), 5).batch(0, range(4))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3 if backbone != "swin-t" else 3e-4)
    for _ in range(200):
        optimizer.zero_grad()
        prediction = net(crop)
        error = (prediction.points - points).detach()
        if error.abs().mean() < 0.9:
            return
        hand_loss(prediction, points, config.discretisations(), kind="metric").total.backward()
        optimizer.step()
    pytest.fail(f"{error.abs().mean().item():.2f} px or mm after 200 steps")
