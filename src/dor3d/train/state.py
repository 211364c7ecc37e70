"""The state of a run: what a resumed run needs to go on as if it had never stopped, and its averaged weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from dor3d.errors import InputError, ModelError
from dor3d.files import write_whole
from dor3d.model.base import Network
from dor3d.model.checkpoint import (
    CONFIG,
    WEIGHTS,
    copy_matching,
    copy_weights,
    read_config,
    read_tensors,
    weights_file,
    write_json,
    write_tensors,
)
from dor3d.train.checkpoints import Checkpoints, State
from dor3d.train.config import TrainConfig
from dor3d.train.record import run_record

if TYPE_CHECKING:
    from dor3d.train.run import Run

_EPOCHS: Final = 28  # of a run on one of the benchmarks, by their recipes
RECORD: Final = "record.json"
METRICS: Final = "metrics.jsonl"
_SECONDS: Final = "seconds"  # a state's note
# what may change between a run and its resumption
_FREE: Final = {
    *("workers", "threads", "device", "log_every", "checkpoint_every", "validate_every", "validation"),
    *("keep", "tensorboard", "wandb", "accumulate", "compile"),
}


class Average:
    """An exponential moving average of a network's weights and statistics.

    The decay grows from 0.1 towards its value, (1 + n) / (10 + n) after n steps, so that early weights are forgotten.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.tensors = {name: t.detach().clone() for name, t in net.state_dict().items()}
        self._lists: tuple[list[Tensor], ...] | None = None

    def to(self, device: torch.device) -> None:
        """Move it to where the network trains."""
        self.tensors, self._lists = {name: t.to(device) for name, t in self.tensors.items()}, None

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the weights of one more step."""
        self.steps += 1
        share = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        if self._lists is None:  # the network's tensors are changed in place, so they are looked up once
            now = net.state_dict()
            floats = [name for name, t in now.items() if t.is_floating_point()]
            counts = [name for name in now if name not in set(floats)]
            self._lists = tuple([of[n] for n in names] for names in (floats, counts) for of in (self.tensors, now))
        averages, values, counters, counted = self._lists
        torch._foreach_lerp_(averages, values, share)  # pyright: ignore[reportPrivateImportUsage]
        if counters:
            torch._foreach_copy_(counters, counted)  # pyright: ignore[reportPrivateImportUsage]


def learning_rate(config: TrainConfig, step: int, spent: float = 0.0) -> float:
    """Return the rate of a step.

    Args:
        config: of the run.
        step: 0 is the first.
        spent: share of the run's time that is used up, in [0, 1]; 0 for a run that may take any. Cosine and line go by
            time or by steps, whichever is farther; the paper's schedule takes the time for `_EPOCHS` epochs.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "paper":
        epochs = int(_EPOCHS * spent) if config.minutes else step * config.batch // config.epoch
        return config.lr * warm * 0.2 ** (epochs // 7)
    if config.schedule == "constant":
        return config.lr * warm
    done = spent
    if config.total_steps is not None:
        rest = max(1, config.total_steps - config.warmup)
        done = min(1.0, max(0.0, (step - config.warmup) / rest, spent))
    if config.schedule == "linear":
        return config.lr * warm * (1 - done)
    return config.lr * warm * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done)).item())


def save(run: "Run", store: Checkpoints, step: int, seconds: float = 0.0) -> None:
    """Write the model and then the state: a run that has its last state is finished, so that comes last.

    Args:
        run: that is on its way.
        store: of its states.
        step: steps done.
        seconds: time that they took.
    """
    net, average = run.net, run.average
    tensors = {f"net.{name}": t for name, t in net.state_dict().items()}
    if average:
        tensors |= {f"average.{name}": t for name, t in average.tensors.items()}
    for i, values in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in values.items()}
    precision = json.dumps(run.fabric.strategy.precision.state_dict())  # the scale of fp16's gradients
    write_tensors(store.folder / WEIGHTS, run.weights(), durable=True)
    notes = {"config": json.dumps(run.config.to_json()), "precision": precision, _SECONDS: repr(seconds)}
    store.save(step, tensors, notes)


def seconds_of(state: State | None) -> float:
    """Return the time (s) that the steps up to a state took; 0 where it does not say."""
    return float(state.notes.get(_SECONDS, 0.0)) if state else 0.0


def is_over(config: TrainConfig, step: int, seconds: float) -> bool:
    """Return whether a run has done all its steps or used up its time."""
    return config.is_finished(step) or 0 < 60 * config.minutes <= seconds


def restore(run: "Run", state: State) -> int:
    """Put back everything that `save` wrote, in place; returns the number of steps done. Raises ModelError."""
    try:
        run.net.load_state_dict(_part(state.tensors, "net."))
        if run.average:
            run.average.steps = state.step
            for name, tensor in _part(state.tensors, "average.").items():
                run.average.tensors[name].copy_(tensor)
        values: dict[int, dict[str, Tensor]] = {}
        for key, tensor in _part(state.tensors, "optimizer.").items():
            number, name = key.split(".", 1)
            values.setdefault(int(number), {})[name] = tensor
        run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": values})
        _lay_out_as_weights(run.optimizer)
        run.fabric.strategy.precision.load_state_dict(json.loads(state.notes["precision"]))
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelError("The state is not that of this run", got=error) from None
    return state.step


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give the moments their weights' strides (channels last): a fused optimizer runs through both in memory order."""
    for weight, values in optimizer.state.items():
        for name, moment in values.items():
            if moment.shape == weight.shape:
                values[name] = torch.empty_like(weight, requires_grad=False).copy_(moment)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def open_run(folder: Path, config: TrainConfig, *, resume: bool, processes: int = 1) -> None:
    """Make or check a run folder, and write down what the run is.

    Raises InputError when a run would be overwritten, or resumed with another config.
    """
    steps = Checkpoints(folder, config.keep).steps()
    if steps and not resume:
        raise InputError(f"There is a run in {folder}", fix="Go on with --resume, or choose another folder with --out.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The run folder {folder} cannot be written", got=error) from None
    if steps:
        _check_same(folder, read_config(folder), json.loads(json.dumps(config.to_json())))
        return
    (folder / METRICS).unlink(missing_ok=True)
    write_json(folder / CONFIG, config.to_json())
    write_json(folder / RECORD, run_record(config.to_json(), world_size=processes))


def _check_same(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    old = {**json.loads(json.dumps(TrainConfig().to_json())), **old}  # fields that have come since
    changed = sorted(k for k in old.keys() | new.keys() if k not in _FREE and old.get(k) != new.get(k))
    if changed:
        raise InputError(
            f"The run in {folder} has another config",
            got=", ".join(f"{k}={new.get(k)}" for k in changed),
            expected=", ".join(f"{k}={old.get(k)}" for k in changed),
            fix="Resume with the run's own values, or start anew from its weights with --init.",
        )


def drop_metrics_after(folder: Path, step: int) -> None:
    """Take out the lines of steps that will be done again: they must not stand twice."""
    path = folder / METRICS
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


def start_weights(net: Network, init: Path | None, *, matching: bool = False) -> list[str]:
    """Load the weights to begin from, if any are given; layers that say more of a crop may be new.

    Args:
        net: gets them.
        init: a run folder or a safetensors file. A run folder's weights are averaged ones where the run averages;
            of a state (in its folder `checkpoints`) those that were trained are taken, as they were.
        matching: take what matches by name and shape, for a network of which a part is new.

    Returns:
        Names of tensors that match nothing and begin anew.

    Raises:
        ModelError: for weights of another network.
    """
    if init is None:
        return []
    path = weights_file(init)
    tensors, _ = read_tensors(path)
    tensors = _part(tensors, "net.") or tensors
    if matching:
        return copy_matching(net, tensors, path)
    copy_weights(net, tensors, path, may_lack=("kind.", "errors."))
    return []
