"""Backbones: any timm network as a trunk that yields the two maps F_xy and F_z. The only module that imports timm.

Source: DOR3D-Net, section 3.1: two feature maps of the last stage, with no extra parameters (Table 5 lists equal sizes
with one map and with two). Our reading: the outputs of the last stage's last two blocks, the deeper one for z, both
through the backbone's final norm where it has one (a Swin block's raw residual stream is not normalised). timm's
`features_only` returns stages and not blocks, so the trunk walks the last stage itself.
"""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import timm
import torch
from huggingface_hub import constants, get_session
from jaxtyping import Float
from safetensors import safe_open
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from dor3d.errors import ModelError

log = logging.getLogger(__name__)

ALIASES: Final[dict[str, str]] = {
    "compact": "mobilenetv4_conv_small",
    "swin-b": "swin_base_patch4_window7_224",
    "swin-s": "swin_small_patch4_window7_224",
    "swin-t": "swin_tiny_patch4_window7_224",
    "resnet-50": "resnet50",
    "resnet-18": "resnet18",
}

# Where timm networks keep their stages: a container of stages, or a member that is the last stage itself.
_CONTAINERS: Final = ("blocks", "stages", "layers")
_LAST_STAGES: Final = ("layer4", "s4")
_NORMS: Final = ("norm", "norm_pre")
_PATIENCE_S: Final = 5.0  # for the first answer of the hub of weights


class Trunk(nn.Module):
    """A timm network without its classifier, cut so that the last two blocks of its last stage can be tapped.

    Args:
        name: an alias of ours or any timm name.
        size: side of the input in pixels.
        in_channels: 3 with the UV maps, else 1.
        pretrained: load ImageNet weights through timm, or from a .safetensors file of it.
        drop_path: stochastic depth; None is timm's default for the network.

    Attributes:
        channels: of both maps, found with a dummy forward (timm's `num_features` can count a classifier's layers).
        grid: side of the maps in cells.
        two_maps: False when both maps are one: a single block in the last stage, or two whose outputs differ in shape.

    Raises ModelError for names that timm does not know, and layouts that this trunk does not.
    """

    def __init__(
        self,
        name: str,
        size: int,
        in_channels: int = 3,
        pretrained: bool | Path = False,
        drop_path: float | None = None,
    ) -> None:
        super().__init__()
        self.size, self.in_channels = size, in_channels
        net = _create(ALIASES.get(name, name), size, in_channels, pretrained, drop_path)
        early, late = _split(net, name)
        self.early, self.late = nn.Sequential(*early), nn.ModuleList(late)
        self.norm = next((getattr(net, n) for n in _NORMS if hasattr(net, n)), nn.Identity())
        self.maps_are_nhwc = getattr(net, "output_fmt", "NCHW") == "NHWC"
        shapes = _probe(
            self, net.eval(), torch.linspace(-1, 1, in_channels * size * size).view(1, -1, size, size), name
        )
        self.two_maps = len(shapes) == 2 and shapes[0] == shapes[1]
        self.channels, self.grid = shapes[-1][0], shapes[-1][1]
        if not self.two_maps:
            log.info("backbone %s: the last stage has a single map to give, so F_xyz serves x, y and z", name)

    def forward(self, x: Float[Tensor, "b c s s"]) -> tuple[Float[Tensor, "b f h h"], Float[Tensor, "b f h h"]]:
        """The maps (F_xy, F_z), through the final norm if there is one; without `two_maps` the same map twice."""
        maps = self.walk(x)
        return (maps[-2] if self.two_maps else maps[-1]), maps[-1]

    def walk(self, x: Float[Tensor, "b c s s"]) -> list[Tensor]:
        """The outputs of the last stage's last blocks (two at most), normalised, NCHW."""
        x = self.early(x)
        maps = []
        for block in self.late:
            x = block(x)
            maps.append(x)
        return [self._finish(m) for m in maps]

    def pyramid(self, x: Float[Tensor, "b c s s"]) -> tuple[Tensor, Tensor, Tensor]:
        """The last maps of strides 8 and 16, and the last of all (stride 32), NCHW.

        Raises ModelError for a backbone without one of the first two.
        """
        maps: dict[int, Tensor] = {}
        side = x.shape[-1]
        for block in self.early:
            x = block(x)
            maps[int(side) // int(x.shape[2])] = x  # rows or columns: maps are square; a tracer's sizes are tensors
        if missing := {8, 16} - maps.keys():
            raise ModelError(
                "The backbone has no map of every stride",
                got=f"none of {sorted(missing)}",
                expected="8, 16, 32",
                fix="Use --head ordinal, or another backbone.",
            )
        for block in self.late:
            x = block(x)
        return self._nchw(maps[8]), self._nchw(maps[16]), self._finish(x)

    @torch.no_grad()
    def pyramid_channels(self) -> tuple[int, int, int]:
        """Channels of the three maps, found with a dummy forward."""
        first = next(self.parameters())
        was_training = self.training
        self.eval()  # batch statistics stay as made
        maps = self.pyramid(first.new_zeros(1, self.in_channels, self.size, self.size))
        self.train(was_training)
        return maps[0].shape[1], maps[1].shape[1], maps[2].shape[1]

    def _nchw(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self.maps_are_nhwc else x

    def _finish(self, x: Tensor) -> Tensor:
        return self._nchw(self.norm(x))


def reparameterised(trunk: nn.Module) -> nn.Module:
    """A copy with parallel training branches merged into single convolutions (RepVGG, MobileOne, ...), for export."""
    return reparameterize_model(trunk, inplace=False)


def _create(name: str, size: int, in_channels: int, pretrained: bool | Path, drop_path: float | None) -> Any:
    options: dict[str, Any] = {"in_chans": in_channels, "pretrained": bool(pretrained), "num_classes": 0}
    if isinstance(pretrained, Path):
        options["pretrained_cfg_overlay"] = {"file": str(_checked(pretrained))}
    if name.startswith("swin"):
        options["img_size"] = size  # the shifted windows' masks are built for one size
    if drop_path is not None:
        options["drop_path_rate"] = drop_path
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, [*ALIASES, *timm.list_models()], n=4, cutoff=0.5)
        raise ModelError("Unknown backbone", got=name, expected=f"a timm name, such as {', '.join(close or ALIASES)}")
    try:
        with _hub() if pretrained is True else nullcontext():
            net = timm.create_model(name, **options)
    except Exception as error:  # what a missing network raises depends on the versions of three libraries
        if pretrained:
            raise _no_weights(name, pretrained, error) from error
        raise ModelError(f"Backbone {name} cannot be built", got=error, fix="Check size and drop_path.") from error
    if isinstance(pretrained, Path):
        _check_names(net, name, pretrained)
    return net


@contextmanager
def _hub() -> Iterator[None]:
    """Where the hub of weights does not answer, take what is on the disk at once: it would be tried for a minute."""
    before = constants.HF_HUB_OFFLINE
    if not before:
        try:
            get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
        except Exception:  # of whichever library sends its requests
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _check_names(net: nn.Module, name: str, weights: Path) -> None:
    """Raise ModelError for weights of another network: timm passes over names that it does not know."""
    with safe_open(str(weights), "pt") as file:
        there = set(file.keys())
    own = set(net.state_dict())
    if len(own & there) < len(own) / 2:
        got = f"{len(own & there)} of its {len(own)} tensors"
        raise ModelError(f"{weights} does not fit backbone {name}", got=got, expected="weights that timm saved for it")


def _checked(weights: Path) -> Path:
    if weights.suffix != ".safetensors" or not weights.is_file():
        raise ModelError(
            "Weights for the backbone cannot be read", got=weights, expected="a .safetensors file; nothing unpickles"
        )
    return weights


def _no_weights(name: str, weights: bool | Path, error: Exception) -> ModelError:
    got = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
    if isinstance(weights, Path):
        return ModelError(f"{weights} does not fit backbone {name}", got=got, expected="weights that timm saved for it")
    return ModelError(
        f"The ImageNet weights of {name} cannot be fetched",
        got=got,
        fix="Without a network: --backbone-weights FILE (.safetensors), or --pretrained false to begin from scratch.",
    )


def _split(net: Any, name: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """A timm network's modules in order up to its last two blocks, and those blocks (one, if the stage has but one)."""
    early: list[nn.Module] = []
    for key, child in net.named_children():
        if key in _LAST_STAGES or key in _CONTAINERS:
            stages = list(child.children()) if key in _CONTAINERS else [child]
            stem, blocks = _open_stage(stages[-1])
            return early + stages[:-1] + stem + blocks[:-2], blocks[-2:]
        early.append(child)
    raise _not_understood(name)


def _open_stage(stage: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """What a stage runs before its blocks (a downsampling, say), and its blocks."""
    parts = dict(stage.named_children())
    blocks = parts.pop("blocks", None)
    if blocks is None:
        return [], list(parts.values())
    return list(parts.values()), list(blocks.children())


@torch.no_grad()
def _probe(trunk: Trunk, net: Any, x: Tensor, name: str) -> list[tuple[int, int, int]]:
    """Shapes [channels, rows, columns] of the tapped maps; raises ModelError if the walk is not what timm computes."""
    trunk.eval()  # batch statistics stay as made
    try:
        maps, whole = trunk.walk(x), net.forward_features(x)
        whole = whole.permute(0, 3, 1, 2) if trunk.maps_are_nhwc else whole
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise _not_understood(name, error) from error
    finally:
        trunk.train()
    # a classifier's convolution after the last stage (EfficientNet) changes the channels: nothing to compare then
    if whole.ndim != 4 or (whole.shape == maps[-1].shape and not torch.allclose(whole, maps[-1], atol=1e-4)):
        raise _not_understood(name)
    if whole.shape[2] != whole.shape[3]:
        raise ModelError("The backbone's maps are not square", got=tuple(whole.shape))
    return [(m.shape[1], m.shape[2], m.shape[3]) for m in maps]


def _not_understood(name: str, error: Exception | None = None) -> ModelError:
    return ModelError(
        f"The layout of backbone {name} is not understood",
        got=error,
        expected=f"stages of convolution maps in one of {', '.join((*_CONTAINERS, *_LAST_STAGES))}",
        fix=f"Use one of {', '.join(ALIASES)}, or extend dor3d/model/backbone.py.",
    )
