"""The network: every backbone with every head keeps the same contract; saving and loading."""

import inspect
import json
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from variants import HEADS, ORDINAL

from dor3d.errors import ModelError
from dor3d.model.backbone import ALIASES, Trunk
from dor3d.model.checkpoint import WEIGHTS, load_model, load_weights, save_model, write_tensors
from dor3d.model.inputs import Relief, uv_maps
from dor3d.model.network import HandNet, ModelConfig, parameter_count
from dor3d.train.losses import hand_loss

TWO_MAPS = ["lcnet_035", "regnetx_002", "edgenext_xx_small", "starnet_s050"]
ONE_MAP = ["mobilenetv4_conv_small_035", "mobilenetv3_small_050"]
LARGE_TWO_MAPS = ["resnet18", "swin-t", "fasternet_t0", "convnext_atto"]
LARGE_ONE_MAP = ["compact", "efficientnet_lite0", "mobileone_s0", "hgnetv2_b0"]
FAST = TWO_MAPS + ONE_MAP
ALL = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE_TWO_MAPS + LARGE_ONE_MAP)]
QUICK = ("lcnet_035", "mobilenetv4_conv_small_035")  # with every head; the others with the first two
each_backbone = pytest.mark.parametrize("backbone", ALL)
each_head = pytest.mark.parametrize("head", HEADS)
each_pair = pytest.mark.parametrize(
    ("backbone", "head"),
    [
        pytest.param(b, h, marks=[] if b in QUICK or (b in FAST and h in ("ordinal", "offset")) else [pytest.mark.slow])
        for b in [*FAST, *LARGE_TWO_MAPS, *LARGE_ONE_MAP]
        for h in HEADS
    ],
)


def small(backbone: str, **changes: object) -> ModelConfig:
    return ModelConfig(**{"backbone": backbone, "size": 64, **changes})  # type: ignore[arg-type]


@each_pair
def test_forward_and_backward(backbone: str, head: str) -> None:
    config = small(backbone, **HEADS[head])
    net = HandNet(config)
    prediction = net(torch.rand(2, 1, 64, 64) * 2 - 1)
    assert prediction.points.shape == prediction.sigma.shape == (2, 21, 3)
    positions = {"coordinate": (1, 1, 1), "ordinal on the neck": (8, 8, 64)}.get(head, (2, 2, 4))
    shapes = [(2, 21, n, k) for n, k in zip(positions, (32, 32, 75), strict=True)]
    taught = head in (*ORDINAL, "coordinate")
    assert [tuple(axis.shape) for axis in prediction.logits] == (shapes if taught else [])
    assert torch.isfinite(prediction.points).all()
    assert (prediction.sigma >= 0).all()
    hand_loss(prediction, torch.rand(2, 21, 3) * 64, config.discretisations()).total.backward()
    used = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in used.values())
    assert len(used) == len(list(net.parameters()))


@each_pair
def test_save_and_load_keep_the_outputs(backbone: str, head: str, tmp_path: Path) -> None:
    net = HandNet(small(backbone, **HEADS[head], relief=head == "offset")).eval()
    save_model(tmp_path, net)
    again = load_model(tmp_path)
    crop = torch.rand(1, 1, 64, 64)
    assert again.config == net.config
    assert torch.equal(net(crop).points, again(crop).points)


@each_pair
def test_folding_changes_nothing(backbone: str, head: str) -> None:
    torch.manual_seed(0)
    net = HandNet(small(backbone, **HEADS[head])).double()  # an untrained network magnifies rounding
    for norm in (m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.momentum = None  # plain means: statistics of the data alone, so that merged branches can be got wrong
    for _ in range(2):
        net(torch.rand(4, 1, 64, 64, dtype=torch.float64))
    crop = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    before, after = net.eval()(crop), net.folded()(crop)
    torch.testing.assert_close(after.points, before.points, atol=1e-3, rtol=0)
    torch.testing.assert_close(after.sigma, before.sigma, atol=1e-2, rtol=0)
    if head in ORDINAL:
        assert parameter_count(net.folded()) < parameter_count(net)


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in ("resnet18", "swin-t"))])
def test_trunk_ends_where_timm_does(name: str) -> None:
    options = {"img_size": 64} if name.startswith("swin") else {}
    torch.manual_seed(3)
    trunk = Trunk(name, 64).eval()
    torch.manual_seed(3)
    net = timm.create_model(ALIASES.get(name, name), num_classes=0, **options).eval()
    x = torch.rand(1, 3, 64, 64)
    expected = net.forward_features(x)
    expected = expected.permute(0, 3, 1, 2) if name.startswith("swin") else expected
    torch.testing.assert_close(trunk(x)[1], expected)


@pytest.mark.parametrize("name", TWO_MAPS)
def test_two_blocks_give_two_maps(name: str) -> None:
    net = HandNet(small(name)).eval()
    assert net.two_maps
    for parameter in net.parameters():  # some blocks begin as the identity
        torch.nn.init.ones_(parameter) if parameter.ndim == 1 else None
    x = torch.rand(1, 3, 64, 64)
    xy, z = net.trunk(x)
    assert xy.shape == z.shape
    assert not torch.equal(xy, z)
    assert torch.equal(xy, net.trunk.norm(net.trunk.late[0](net.trunk.early(x))))  # nothing changed it in place
    assert not HandNet(small(name, features="xyz")).two_maps


@pytest.mark.parametrize("name", ONE_MAP)
def test_one_block_gives_one_map_and_says_so(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        net = HandNet(small(name))
    assert not net.two_maps
    assert "F_xyz serves x, y and z" in caplog.text
    xy, z = net.trunk(torch.rand(1, 3, 64, 64))
    assert torch.equal(xy, z)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "count"), [("resnet50", 32_716_238), ("swin-b", 91_350_000)])
def test_parameters_are_as_many_as_the_paper_has(backbone: str, count: int) -> None:
    net = HandNet(ModelConfig(backbone=backbone, size=224, cube_mm=(300.0, 300.0)))
    tolerance = 0 if backbone == "resnet50" else 5_000
    assert abs(parameter_count(net) - count) <= tolerance
    assert net.two_maps


def test_swin_maps_go_through_the_final_norm() -> None:
    trunk = Trunk("swin-t", 64)
    torch.nn.init.zeros_(trunk.norm.weight)
    torch.nn.init.constant_(trunk.norm.bias, 7.0)
    assert all((m == 7).all() for m in trunk(torch.rand(1, 3, 64, 64)))


def test_uv_maps_follow_the_paper() -> None:
    maps = uv_maps(torch.full((1, 1, 4, 8), -1.0))
    assert maps[0, 0, 3, 6] == 6 / 8  # U = j / W
    assert maps[0, 1, 3, 6] == 3 / 4  # V = i / H
    assert HandNet(small("lcnet_035")).trunk.in_channels == 3
    assert HandNet(small("lcnet_035", uv_maps=False)).trunk.in_channels == 1


def test_relief_shows_slopes_and_slices() -> None:
    """A plane that falls to the right by 0.02 a pixel: its slope everywhere, none down; every slice crosses 0 once."""
    crop = (torch.arange(65) - 32).float().mul(0.02).expand(1, 1, 65, 65)
    both = Relief()(crop)
    assert both.shape == (1, 1 + Relief.channels, 65, 65)
    torch.testing.assert_close(both[:, :1], crop)
    maps = both[:, 1:]
    torch.testing.assert_close(maps[0, 0, :, 1:-1], torch.full((65, 63), 0.4))
    torch.testing.assert_close(maps[0, 1], torch.zeros(65, 65), atol=1e-5, rtol=0)
    assert maps.abs().max() <= 1
    zeros = maps[0, 2:, 0].abs().argmin(-1)
    assert zeros.tolist() == [2, 12, 22, 32, 42, 52, 62]  # -0.6, -0.4, ... 0.6


def test_relief_is_the_same_in_training_and_after_it() -> None:
    """One convolution in training, in the network's memory format; step by step after it. In float32 always."""
    torch.manual_seed(0)
    crop = torch.rand(2, 1, 32, 32) * 2 - 1
    given = torch.cat([crop, uv_maps(crop)], 1)
    relief = Relief(3).to(memory_format=torch.channels_last)
    trained, later = relief(given), relief.eval()(given)
    torch.testing.assert_close(trained, later, atol=1e-5, rtol=0)
    assert trained.is_contiguous(memory_format=torch.channels_last)
    assert Relief(3)(given).is_contiguous()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(relief(given), later)
        assert torch.equal(relief.train()(given), trained)


def test_an_offset_head_needs_three_strides() -> None:
    trunk = Trunk("lcnet_035", 64)
    trunk.early = trunk.early[:2]
    with pytest.raises(ModelError, match="no map of every stride"):
        trunk.pyramid_channels()


def test_config_round_trip() -> None:
    config = ModelConfig("resnet18", ("a", "b"), 96, (250.0, 300.0), labels="hard", drop_path=0.1)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_options_change_the_network() -> None:
    config = small("lcnet_035", uv_maps=False, z_discretisation="uniform", z_bins=30, xy_bins=16, joints=("a", "b"))
    prediction = HandNet(config)(torch.rand(1, 1, 64, 64))
    assert prediction.points.shape == (1, 2, 3)
    assert [axis.shape[-1] for axis in prediction.logits] == [16, 16, 30]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 100}, "multiple of 32"),
        ({"joints": ("a", "a")}, "each once"),
        ({"cube_mm": (300.0, -1.0)}, "two positive sides"),
        ({"backbone": "resnet81"}, "Unknown backbone; got resnet81; expected a timm name, such as resnet"),
        ({"backbone": "vit_tiny_patch16_224"}, "layout of backbone vit_tiny_patch16_224 is not understood"),
        ({"xy_bins": 33}, "evenly"),
    ],
)
def test_configs_that_make_no_network(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        HandNet(small(**{"backbone": "lcnet_035", **changes}))  # type: ignore[arg-type]


def test_unknown_option_values_are_named() -> None:
    check = inspect.unwrap(ModelConfig.__post_init__)
    config = small("lcnet_035")
    object.__setattr__(config, "labels", "soft")
    with pytest.raises(ModelError, match="Unknown labels; got soft; expected hard or exact"):
        check(config)


def test_unknown_config_fields_are_refused() -> None:
    with pytest.raises(ModelError, match=r"Unknown fields .* got \['color'\]"):
        ModelConfig.from_json({"color": 1})


def test_values_of_a_config_are_read_as_their_kinds() -> None:
    assert ModelConfig.from_json({"monotone": "false", "anchors": 1.0, "cube_mm": [250, "300"]}) == ModelConfig(
        monotone=False, anchors=1, cube_mm=(250.0, 300.0)
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"neck": -3}, "A neck needs channels; got -3"),
        ({"anchors": 2.5}, "A model's config has a wrong anchors; got 2.5"),
        ({"cube_mm": [280, float("nan")]}, "The cube needs two positive sides"),
        ({"monotone": "maybe"}, "a wrong monotone; got 'maybe'"),
        ({"size": None}, "a wrong size; got None"),
        ({"head": "best"}, "a wrong head; got 'best'"),
    ],
)
def test_wrong_values_of_a_config_are_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        ModelConfig.from_json(wrong)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    save_model(tmp_path, HandNet(small("lcnet_035")))
    (tmp_path / WEIGHTS).write_bytes(b"\x80\x04}\x94.")  # an empty dictionary, pickled
    with pytest.raises(ModelError, match="a pickle, which dor3d never loads"):
        load_model(tmp_path)


def test_broken_and_foreign_files_are_refused(tmp_path: Path) -> None:
    net = HandNet(small("lcnet_035"))
    save_model(tmp_path, net)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(tmp_path)
    write_tensors(tmp_path / WEIGHTS, {"other": torch.zeros(1)})
    with pytest.raises(ModelError, match="belongs to another network"):
        load_model(tmp_path)
    write_tensors(tmp_path / WEIGHTS, {n: t * float("nan") if t.ndim == 4 else t for n, t in net.state_dict().items()})
    with pytest.raises(ModelError, match="not finite"):
        load_weights(net, tmp_path)
    with pytest.raises(ModelError, match="no weights file"):
        load_weights(net, tmp_path / "none.safetensors")


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9, "model": {}}', '{"format": 1}'])
def test_foreign_configs_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"no run folder|not written by this dor3d"):
        load_model(tmp_path)


# ---- first weights -------------------------------------------------------------------------------------------------
def test_without_a_network_weights_come_from_the_disk_or_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"ImageNet weights of lcnet_050 cannot be fetched; .*--backbone-weights FILE"):
        Trunk("lcnet_050", 64, 3, pretrained=True)
    whole, commit = timm.create_model("lcnet_050"), 40 * "0"
    stored = tmp_path / f"models--{timm.get_pretrained_cfg('lcnet_050').hf_hub_id.replace('/', '--')}"
    for folder in ("refs", f"snapshots/{commit}"):
        (stored / folder).mkdir(parents=True)
    (stored / "refs" / "main").write_text(commit)
    write_tensors(stored / "snapshots" / commit / "model.safetensors", whole.state_dict())
    trunk = Trunk("lcnet_050", 64, 3, pretrained=True)
    assert torch.equal(trunk.early[0].weight, whole.conv_stem.weight)
    assert not constants.HF_HUB_OFFLINE
