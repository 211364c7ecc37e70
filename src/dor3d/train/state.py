"""The state of a run: what a resumed run needs to go on as if it had never stopped, and its averaged weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from dor3d.errors import InputError, ModelError
from dor3d.files import write_whole
from dor3d.model.checkpoint import CONFIG, WEIGHTS, load_weights, read_tensors, write_json, write_tensors
from dor3d.model.network import HandNet
from dor3d.train.recipes import TrainConfig

STATE: Final = "state.safetensors"
METRICS: Final = "metrics.jsonl"
# what may change between a run and its resumption
_FREE: Final = {"workers", "threads", "device", "log_every", "checkpoint_every", "validate_every", "validation"}


class Average:
    """An exponential moving average of a network's weights and statistics.

    The decay grows from 0.1 towards its value, (1 + n) / (10 + n) after n steps, so that early weights are forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.tensors = {name: t.detach().clone() for name, t in net.state_dict().items()}

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights of one more step."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = net.state_dict()
        floats = [name for name, t in now.items() if t.is_floating_point()]
        averages, values = [self.tensors[n] for n in floats], [now[n] for n in floats]
        torch._foreach_lerp_(averages, values, share)  # pyright: ignore[reportPrivateImportUsage]
        for name in now.keys() - set(floats):
            self.tensors[name].copy_(now[name])


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step (0 is the first)."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "paper":
        return config.lr * warm * 0.2 ** (step * config.batch // config.epoch // 7)
    rest = max(1, config.total_steps - config.warmup)
    done = min(1.0, max(0.0, (step - config.warmup) / rest))
    return config.lr * warm * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done)).item())


def save_run(
    folder: Path,
    config: TrainConfig,
    step: int,
    net: HandNet,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
) -> None:
    """Write the state and the model. The state alone is enough to go on, so a stop between the two does no harm."""
    tensors = {f"net.{name}": t for name, t in net.state_dict().items()}
    if average:
        tensors |= {f"average.{name}": t for name, t in average.tensors.items()}
    for i, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in values.items()}
    write_tensors(folder / STATE, tensors, {"step": str(step), "config": json.dumps(config.to_json())})
    write_tensors(folder / WEIGHTS, average.tensors if average else net.state_dict())


def load_run(folder: Path, net: HandNet, optimizer: torch.optim.Optimizer, average: Average | None) -> int:
    """Restore everything that `save_run` wrote, in place; returns the number of steps done."""
    tensors, notes = read_tensors(folder / STATE)
    try:
        net.load_state_dict(_part(tensors, "net."))
        if average:
            average.steps = int(notes["step"])
            for name, tensor in _part(tensors, "average.").items():
                average.tensors[name].copy_(tensor)
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _part(tensors, "optimizer.").items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        _lay_out_as_weights(optimizer)
        return int(notes["step"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder / STATE} is not the state of this run", got=error) from None


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give the moments their weights' strides (channels last): a fused optimizer runs through both in memory order."""
    for weight, values in optimizer.state.items():
        for name, moment in values.items():
            if moment.shape == weight.shape:
                values[name] = torch.empty_like(weight, requires_grad=False).copy_(moment)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def open_run(folder: Path, config: TrainConfig, *, resume: bool) -> bool:
    """Make or check a run folder; returns whether there is a state to resume from.

    Raises InputError when a run would be overwritten, or resumed with another config.
    """
    if (folder / STATE).exists() and not resume:
        raise InputError(f"There is a run in {folder}", fix="Go on with --resume, or choose another folder with --out.")
    if not (folder / STATE).exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / CONFIG, config.to_json())
            (folder / METRICS).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"The run folder {folder} cannot be written", got=error) from None
        return False
    _, notes = read_tensors(folder / STATE)
    _check_same(folder, json.loads(notes.get("config", "{}")), json.loads(json.dumps(config.to_json())))
    _drop_metrics_after(folder / METRICS, int(notes.get("step", 0)))
    return True


def _check_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    changed = sorted(k for k in old.keys() | new.keys() if k not in _FREE and old.get(k) != new.get(k))
    if changed:
        raise InputError(
            f"The run in {folder} has another config",
            got=", ".join(f"{k}={new.get(k)}" for k in changed),
            expected=", ".join(f"{k}={old.get(k)}" for k in changed),
            fix="Resume with the run's own values, or start anew from its weights with --init.",
        )


def _drop_metrics_after(path: Path, step: int) -> None:
    """Lines of steps that will be done again must not stand twice."""
    if not path.exists():
        return
    text = path.read_text()
    kept = "".join(f"{line}\n" for line in text.splitlines() if _step_of(line) <= step)
    if kept != text:
        write_whole(path, kept)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError):
        return float("inf")  # a line cut short by a kill


def start_weights(net: HandNet, init: Path | None) -> None:
    """Load the weights to begin from, if any are given."""
    if init is not None:
        load_weights(net, init)
