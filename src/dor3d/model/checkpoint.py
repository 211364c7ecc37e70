"""Saving and loading networks: safetensors for the numbers, JSON for what they are. Nothing here ever unpickles."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dor3d.errors import ModelError
from dor3d.files import write_whole
from dor3d.model.base import Network
from dor3d.model.locator import Locator, LocatorConfig
from dor3d.model.network import HandNet, ModelConfig
from dor3d.text import parse_json

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
FORMAT = 1
Filled = TypeVar("Filled", bound=Network)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    write_whole(path, json.dumps(value, indent=1) + "\n")


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None, *, durable: bool = False
) -> None:
    """A safetensors file, whole or not at all; `durable` as in `dor3d.files.whole_file`."""
    plain = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
    write_whole(path, save(plain, {"format": "pt", **(notes or {})}), durable=durable)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the notes of a safetensors file; raises ModelError for anything else."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"There is no weights file {path}", fix="Name a run folder or a .safetensors file.")
    try:
        with safe_open(str(path), "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is not a whole safetensors file",
            got="a pickle, which dor3d never loads" if _looks_pickled(path) else error,
            expected="weights written by dor3d train",
        ) from None


def save_model(folder: Path, net: HandNet, weights: Mapping[str, Tensor] | None = None) -> None:
    """Write a folder that `load_model` reads: `net`'s config, and its weights or those given (an average, say)."""
    write_json(Path(folder) / CONFIG, {"format": FORMAT, "model": net.config.to_json()})
    write_tensors(Path(folder) / WEIGHTS, weights or net.state_dict())


def read_config(folder: Path) -> dict[str, Any]:
    """A run folder's config.json; raises ModelError when it is missing or foreign."""
    path = Path(folder) / CONFIG
    try:
        raw = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} is no run folder", got=error, expected=f"a folder with {CONFIG}") from None
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or not isinstance(raw.get("model"), dict):
        raise ModelError(f"{path} was not written by this dor3d", expected=f"format {FORMAT} and a model")
    return raw


def load_model(folder: Path) -> HandNet:
    """The network of a run folder (or of the folder that a .safetensors file lies in), on the CPU in eval mode."""
    raw, weights = _open_run(folder)
    if raw.get("task", "pose") != "pose":
        raise ModelError(f"{folder} holds a network that finds hands", expected="one that reads joints off crops")
    return _filled(HandNet(ModelConfig.from_json(raw["model"])), weights)


def load_locator(folder: Path) -> Locator:
    """The locator of a run folder, as `load_model` does it for networks that read joints."""
    raw, weights = _open_run(folder)
    if raw.get("task") != "locate":
        raise ModelError(f"{folder} holds no network that finds hands", fix="Train one: dor3d train locator.")
    return _filled(Locator(LocatorConfig.from_json(raw.get("locator", {}))), weights)


def _open_run(folder: Path) -> tuple[dict[str, Any], Path]:
    """A run's config, and its weights' file; a .safetensors file stands for the folder that it lies in."""
    path = Path(folder)
    weights = path if path.suffix == ".safetensors" else path / WEIGHTS
    return read_config(weights.parent), weights


def _filled(net: Filled, weights: Path) -> Filled:
    load_weights(net, weights)
    return net.eval()


def weights_file(source: Path) -> Path:
    """The file that holds a run folder's weights; a file is returned as it is."""
    return Path(source) / WEIGHTS if Path(source).is_dir() else Path(source)


def load_weights(net: Network, source: Path, may_lack: tuple[str, ...] = ()) -> None:
    """Copy a safetensors file's (or a run folder's) weights into a network of the same shape; raises ModelError.

    Args:
        net: gets them.
        source: the file or folder.
        may_lack: as in `copy_weights`.
    """
    path = weights_file(source)
    copy_weights(net, read_tensors(path)[0], path, may_lack)


def copy_weights(net: Network, tensors: dict[str, Tensor], path: Path, may_lack: tuple[str, ...] = ()) -> None:
    """Copy tensors into a network of the same shape.

    Args:
        net: gets them.
        tensors: by name.
        path: the file that they are from, for errors.
        may_lack: beginnings of names of tensors that may stay as they are, if there are none of them.

    Raises ModelError for tensors of another network, and for numbers that are not finite.
    """
    own = net.state_dict()
    for part in may_lack:
        if not any(name.startswith(part) for name in tensors):
            tensors = tensors | {name: tensor for name, tensor in own.items() if name.startswith(part)}
    missing, foreign = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    if missing or foreign:
        got = f"{len(missing)} missing ({', '.join(missing[:3])}), {len(foreign)} foreign ({', '.join(foreign[:3])})"
        fix = "To begin from what matches, a backbone under another head, add --init-matching." if may_lack else None
        raise ModelError(f"{path} belongs to another network than {net.name}", got=got, fix=fix)
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            got, expected = tuple(tensor.shape), tuple(own[name].shape)
            raise ModelError(f"{path} belongs to another network", got=f"{name} {got}", expected=expected)
    _check_finite(path, tensors)
    net.load_state_dict(tensors)


def copy_matching(net: Network, tensors: Mapping[str, Tensor], path: Path) -> list[str]:
    """Copy those tensors into a network whose names and shapes are the network's own.

    For a network of which a part is new, another head on a trained backbone, say.

    Args:
        net: gets them.
        tensors: by name.
        path: the file that they are from, for errors.

    Returns:
        Names of the network's tensors that stay as they are.

    Raises:
        ModelError: nothing matches, or what does is not finite.
    """
    own = net.state_dict()
    matching = {name: t for name, t in tensors.items() if name in own and t.shape == own[name].shape}
    if not matching:
        raise ModelError(f"Nothing in {path} matches {net.name}", expected="weights of the same backbone")
    _check_finite(path, matching)
    net.load_state_dict({**own, **matching})
    return sorted(set(own) - set(matching))


def _check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if broken := [name for name, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]:
        raise ModelError(f"{path} holds numbers that are not finite", got=", ".join(broken[:3]))


def _looks_pickled(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(2)
    return head == b"PK" or head[:1] == b"\x80"
