"""Runs that stop, by a signal or killed at any file, go on as if nothing had been."""

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_train import Balls, files, metrics, run, same, tiny

from dor3d.errors import InputError
from dor3d.model.checkpoint import read_tensors
from dor3d.model.network import HandNet
from dor3d.train.checkpoints import Checkpoints
from dor3d.train.loop import TrainResult
from dor3d.train.state import METRICS, start_weights


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema": 0.0, "schedule": "paper", "clip": 1.0}, {"optimizer": "muon", "precision": "bf16"}],
    ids=["average", "plain", "muon"],
)
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path, changes: dict[str, object]) -> None:
    config = tiny(**changes)
    run(config, tmp_path / "whole")
    stop = Balls(0, on=lambda i: os.kill(os.getpid(), signal.SIGTERM) if i == 13 else None)
    stopped = run(config, tmp_path / "parts", stop)
    assert not stopped.finished
    assert stopped.step == 4  # the step at hand was finished
    resumed = run(config, tmp_path / "parts", resume=True)
    assert resumed.finished
    same(tmp_path / "whole", tmp_path / "parts")
    assert [line["step"] for line in metrics(tmp_path / "parts")] == [2, 4, 6, 8]


class _KilledError(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_file_a_run_goes_on_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """A file takes its name by `os.replace`: the run is killed just before each of these or just after."""
    config = tiny(steps=2, warmup=1, checkpoint_every=1, validation=4, validate_every=1, tensorboard=False)
    replace = os.replace
    run(config, tmp_path / "whole")
    names = files(tmp_path / "whole").keys()
    for n in itertools.count():
        calls = itertools.count()

        def killed(source: str, target: Path, n: int = n, calls: Iterator[int] = calls) -> None:
            mine = next(calls) == n
            if not mine or after:
                replace(source, target)
            if mine:
                raise _KilledError

        out = tmp_path / str(n)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            try:
                run(config, out)
            except _KilledError:
                pass
            else:
                break
        assert run(config, out, resume=True).finished
        same(tmp_path / "whole", out, step=2)
        assert {name.replace("/whole/", f"/{n}/") for name in names} == files(out).keys()
    assert n > 5


def test_metrics_after_the_last_state_are_dropped_on_resume(tmp_path: Path) -> None:
    stop = Balls(0, on=lambda i: os.kill(os.getpid(), signal.SIGINT) if i == 13 else None)
    run(tiny(), tmp_path, stop)
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 6, "loss": 1.0}\n{"step": 7, "lo')
    run(tiny(), tmp_path, resume=True)
    assert [line["step"] for line in metrics(tmp_path)] == [2, 4, 6, 8]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    run(tiny(), tmp_path)
    before = files(tmp_path)
    assert run(tiny(), tmp_path, resume=True) == TrainResult(8, finished=True)
    assert before == files(tmp_path)


def test_resuming_an_empty_folder_starts(tmp_path: Path) -> None:
    assert run(tiny(), tmp_path / "new", resume=True).finished


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run(tiny(), tmp_path)
    with pytest.raises(InputError, match=r"There is a run in .* --resume"):
        run(tiny(), tmp_path)
    with pytest.raises(InputError, match=r"another config; got lr=0.5; expected lr=0.001"):
        run(tiny(lr=0.5), tmp_path, resume=True)


def stopping_at(sample: int) -> Balls:
    return Balls(0, on=lambda i: os.kill(os.getpid(), signal.SIGTERM) if i == sample else None)


def test_a_run_without_an_end_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    endless = tiny(samples=0, steps=0, schedule="constant", checkpoint_every=2)
    stopped = run(endless, tmp_path / "one", stopping_at(29))
    assert (stopped.step, stopped.finished) == (8, False)
    assert run(endless, tmp_path / "parts", stopping_at(13)).step == 4
    assert run(endless, tmp_path / "parts", stopping_at(29), resume=True).step == 8
    same(tmp_path / "one", tmp_path / "parts")
    ended = run(tiny(schedule="constant"), tmp_path / "whole")
    assert ended.finished
    same(tmp_path / "one", tmp_path / "whole")  # up to the step at which it was stopped nothing differs


def test_a_run_that_anneals_begins_from_another_ones_weights(tmp_path: Path) -> None:
    """From a folder they are the averaged ones; from a state, as they were trained."""
    run(tiny(samples=0, steps=0, schedule="constant"), tmp_path / "long", stopping_at(13))
    last = Checkpoints(tmp_path / "long").path(4)
    averaged, trained = HandNet(tiny().model), HandNet(tiny().model)
    start_weights(averaged, tmp_path / "long")
    start_weights(trained, last)
    saved = read_tensors(last)[0]
    for prefix, net in (("average.", averaged), ("net.", trained)):
        assert all(torch.equal(tensor, saved[prefix + name]) for name, tensor in net.state_dict().items())
    assert not torch.equal(next(averaged.parameters()), next(trained.parameters()))
    assert run(tiny(schedule="linear", warmup=0), tmp_path / "annealed", init=last).finished
