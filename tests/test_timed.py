"""Runs that are given a time, and steps that leave a GPU alone."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from test_train import Balls, Spoilt, files, metrics, run, same, tiny
from torch.utils._python_dispatch import TorchDispatchMode

from dor3d.data.batch import stack
from dor3d.data.testsets import clear
from dor3d.evaluate.crops import found_in_stream
from dor3d.model.checkpoint import WEIGHTS, read_tensors
from dor3d.runtime.onnx import OnnxModel
from dor3d.train.checkpoints import Checkpoints
from dor3d.train.fabric import make_fabric
from dor3d.train.loop import TrainResult
from dor3d.train.run import NonFiniteLossError, Run
from dor3d.train.state import learning_rate
from dor3d.train.stream import Share


def test_rates_follow_the_time_where_a_run_has_some() -> None:
    cosine = tiny(steps=1000, warmup=10, lr=1.0, minutes=1.0)
    rates = [learning_rate(cosine, 20, spent) for spent in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[2] == pytest.approx(0.5) and rates[-1] == pytest.approx(0.0)
    assert learning_rate(cosine, 990, 0.1) < 0.001  # its steps come to their end first
    paper = tiny(schedule="paper", warmup=0, lr=1.0, minutes=1.0)
    found = [learning_rate(paper, 5, spent) for spent in (0.2, 0.3, 0.6, 0.9)]
    assert found == pytest.approx([1.0, 0.2, 0.04, 0.008])


def test_a_run_ends_when_its_time_is_up_and_is_then_finished(tmp_path: Path) -> None:
    seen: list[int] = []
    config = tiny(steps=10**6, minutes=2 / 60, validation=4)
    result = run(
        config, tmp_path, on_log=lambda step, weights: seen.append(step) or weights["head.conv_z.weight"].sum()
    )
    assert result.finished and 0 < result.step < 10**6 and result.validation_mm is not None
    logged = [line for line in metrics(tmp_path) if "lr" in line]
    assert logged[-1]["step"] == result.step and logged[-1]["lr"] == pytest.approx(0.0, abs=1e-6)
    assert seen == [line["step"] for line in logged]
    before = files(tmp_path)
    assert run(config, tmp_path, resume=True) == TrainResult(result.step, finished=True)
    assert files(tmp_path) == before


def test_a_run_that_was_stopped_has_the_rest_of_its_time_left(tmp_path: Path) -> None:
    stop = [os.getpid()]

    def on(index: int) -> None:
        if index == 13 and stop:
            os.kill(stop.pop(), signal.SIGTERM)

    config = tiny(steps=10**6, minutes=1.0)
    assert not run(config, tmp_path, Balls(0, on=on)).finished
    (path,) = (tmp_path / "checkpoints").glob("*.safetensors")
    assert 0 < float(read_tensors(path)[1]["seconds"]) < 60


def asking_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs as on a GPU: whether a loss was a number is not looked at after each step."""
    begin = Run.__init__

    def init(self: Run, *args: object, **options: object) -> None:
        begin(self, *args, **options)  # type: ignore[arg-type]
        self.asks_later = True

    monkeypatch.setattr(Run, "__init__", init)


def test_a_loss_that_is_no_number_is_found_before_anything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tiny(), tmp_path / "asked")
    asking_later(monkeypatch)
    run(tiny(), tmp_path / "later")
    same(tmp_path / "asked", tmp_path / "later")
    for changes in ({"log_every": 100, "checkpoint_every": 5}, {"log_every": 5}, {"log_every": 100}):
        out = tmp_path / "-".join(changes) / str(len(changes))
        with pytest.raises(NonFiniteLossError, match="no longer a number at step 3"):
            run(tiny(**changes), out, Spoilt(0))
        assert not Checkpoints(out).steps() and not (out / WEIGHTS).exists()
        kept, _ = read_tensors(out / "bad-step-3-of-0.safetensors")
        assert not torch.isfinite(kept["points"]).all()


class Asked(TorchDispatchMode):
    """Notes operations that make the processor wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_asks_a_gpu_for_nothing(optimizer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking_later(monkeypatch)
    monkeypatch.setattr("dor3d.train.run.learning_rate", lambda *_: 1e-3)  # the processor's own
    config = tiny(optimizer=optimizer, clip=1.0)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, kinds=True, errors=True))
    trained = Run(config, make_fabric(config), tmp_path, None, resumed=False)
    balls = [Balls(0)[i] for i in range(4)]
    share = Share(stack(balls, ["right", "left", "none", "right"]), 4)
    with Asked() as asked:
        trained.step(0, share, 4)
    assert asked.found == []


def test_processes_that_render_change_nothing() -> None:
    model = OnnxModel("compact")
    source = clear(model.card.size, model.card.cube_mm)
    alone, shared = (found_in_stream(model, source, 70, 2, workers) for workers in (0, 2))
    assert all((one == other).all() for one, other in zip(alone, shared, strict=True))
