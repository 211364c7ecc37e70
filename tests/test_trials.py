"""Trials of a comparison: what may be asked, how they are done side by side, what is kept of them."""

import json
import multiprocessing.util
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_trials import FRAMES, plan, store
from work import work
from write_sets import render, write

from dor3d.errors import InputError, ModelError, StoppedError
from dor3d.evaluate import training
from dor3d.evaluate.jobs import JobError, side_by_side, stopping
from dor3d.evaluate.results import read_result, result_path
from dor3d.evaluate.tables import make_tables, trial, tuning_trials
from dor3d.evaluate.training import run_trial
from dor3d.train.run import NonFiniteLossError


def test_results_of_another_plan_are_refused(tmp_path: Path) -> None:
    own = plan(tmp_path)
    t = trial(own, "compact", "ordinal", 1.0, 0)
    assert read_result(t) is None
    store(t, np.ones(FRAMES))
    found = read_result(t)
    assert found is not None and found.error_mm is not None and len(found.error_mm) == FRAMES
    assert read_result(replace(t, plan=replace(own, jobs=2))) is not None  # how the machine is shared changes nothing
    with pytest.raises(InputError, match=r"is of another plan; got batch=64; expected batch=8\. Choose another folder"):
        read_result(replace(t, plan=replace(own, changes={"batch": 8})))
    with pytest.raises(InputError, match=r"got computed_in=32-true, .*; expected computed_in=bf16-mixed"):
        read_result(replace(t, plan=replace(own, changes={"precision": "bf16"})))
    path = result_path(t)
    with np.load(path) as file:
        about, arrays = json.loads(str(file["about"])), {name: file[name] for name in file if name != "about"}
    del about["trial"]["anchor_weight"], about["trial"]["model"]["monotone"], about["trial"]["computed_in"]
    np.savez(path, about=np.array(json.dumps(about)), **arrays)  # as a version wrote it that knew none of these
    assert read_result(t) is not None
    with pytest.raises(InputError, match=r"got anchor_weight=0.0, .*; expected anchor_weight=0.5, "):
        read_result(replace(t, plan=replace(own, changes={"head": "offset", "anchor_weight": 0.5})))
    on_set = replace(own, dataset="msra", root=tmp_path)
    t = trial(on_set, "compact", "ordinal", 1.0, 0)
    store(t, np.ones(FRAMES))
    with pytest.raises(InputError, match=r"got centers=mass; expected centers=truth"):
        read_result(replace(t, plan=replace(on_set, centers="truth")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": "offset"}, "The comparison itself decides some fields of the recipe; got --head. Leave them out"),
        ({"model.labels": "exact", "lr": 1e-3}, "got --model.labels"),
        ({"preset": "best", "seed": 3}, "got --preset, --seed"),
        ({"validate-every": 3}, "got --validate-every"),
    ],
)
def test_fields_that_rows_differ_in_cannot_be_set_for_all(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make_tables(["2", "4"], plan(tmp_path, changes=changes))
    assert not (tmp_path / "runs").exists()


def test_other_fields_are_set_for_all(tmp_path: Path) -> None:
    changes = {"schedule": "paper", "warmup": "3", "ema": "0", "relief": "true", "lr": "1e-3", "labels": "exact"}
    own = plan(tmp_path, changes=changes)
    own.check(["offset", "ordinal"])  # neither has labels of its own
    config = trial(own, "compact", "offset", 0.5, 0).config()
    assert (config.schedule, config.warmup, config.ema, config.lr) == ("paper", 3, 0.0, 5e-4)
    assert config.model.relief and config.model.labels == "exact"


def test_what_is_measured_on_is_looked_at_before_anything_is_trained(tmp_path: Path) -> None:
    write("msra", tmp_path / "set", render("msra", 4))
    for changes, said in (
        ({"centers": str(tmp_path / "none.txt")}, "none.txt"),
        ({"root": tmp_path / "nothing"}, "nothing"),
    ):
        with pytest.raises(InputError, match=said):
            make_tables(["3"], plan(tmp_path / "out", **{"dataset": "msra", "root": tmp_path / "set", **changes}))
    assert not (tmp_path / "out" / "runs").exists()
    frames, _ = plan(tmp_path, dataset="msra", root=tmp_path, test=tmp_path / "set").open_test()
    assert frames.root == tmp_path / "set"
    with pytest.raises(ModelError, match="Unknown backbone; got nope"):
        make_tables(["3"], plan(tmp_path / "out", backbone="nope"))
    assert not list((tmp_path / "out").glob("r*"))
    for name in ("P0", "P1"):
        changes = {"split": f"without-{name}"}
        assert plan(tmp_path, dataset="msra", root=tmp_path / "set", changes=changes).open_test()[0].split == name


def test_a_training_that_comes_to_no_number_has_that_for_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object, **__: object) -> None:
        raise NonFiniteLossError("The loss is no longer a number at step 3")

    monkeypatch.setattr(training, "train", train)
    t = trial(plan(tmp_path), "compact", "ordinal", 1.0, 0)
    assert run_trial(t)
    found = read_result(t)
    assert found is not None and np.isinf(found.validation_mm) and found.error_mm is None
    assert found.made["device"] and found.made["libraries"]["torch"]
    assert "no longer a number" in (t.folder / "train.log").read_text()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 0}, "--seeds must be at least 1; got 0"),
        ({"frames": -1}, "--frames must not be negative; got -1"),
        ({"dataset": "mano"}, "Unknown data set; got mano; expected synthetic, nyu"),
        ({"dataset": "nyu"}, "It is not said where nyu lies"),
        ({"dataset": "folder", "root": Path("mine")}, "no test of their own. Name a second folder"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(tmp_path, **changes)


@pytest.mark.parametrize("name", ["nyu", "msra"])
def test_a_trial_on_a_set_is_measured_on_the_frames_that_are_scored(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    frames = render(name, 6)
    write(name, tmp_path / "set", frames)
    if name == "nyu":
        write(name, tmp_path / "set", frames, "train")
    changes = {"held_out": 0.3, "batch": 2, "size": 32, "tensorboard": False}
    # as many jobs as make each a single process
    own = plan(tmp_path / "out", dataset=name, root=tmp_path / "set", steps=2, jobs=1000, changes=changes)
    t = trial(own, "mobilenetv4_conv_small_035", "offset", 1.0, 0)
    assert run_trial(t)
    found = read_result(t)
    assert found is not None and found.error_mm is not None and found.axes_mm is not None
    assert len(found.error_mm) == (6 if name == "nyu" else 3)  # MSRA: of the subject that was not learnt
    assert found.axes_mm.shape == (len(found.error_mm), 3) and found.validation_mm > 0
    assert (found.error_mm >= found.axes_mm.max(1) - 0.1).all()
    tuning = tuning_trials(own, "mobilenetv4_conv_small_035", "offset")[0]
    assert run_trial(tuning)
    only = read_result(tuning)
    assert only is not None and only.error_mm is None and only.validation_mm > 0


def test_items_are_done_by_processes_of_their_own(tmp_path: Path) -> None:
    items, done = [(tmp_path / str(i), "touch") for i in range(3)], []
    side_by_side(items, work, 2, done.append)
    assert sorted(done) == items and all(path.exists() for path, _ in items)


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("fail", JobError, "This cannot be done; got 3"),
        ("die", JobError, "A process died; got exit code -9"),
        ("unfinished", StoppedError, "Stopped; what is done is kept"),
    ],
)
def test_a_failure_stops_the_rest(tmp_path: Path, what: str, error: type[Exception], said: str) -> None:
    items = [(tmp_path / "first", what), *((tmp_path / str(i), "touch") for i in range(20))]
    with pytest.raises(error, match=said):
        side_by_side(items, work, 2)
    assert not (tmp_path / "19").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_a_block_with_one_error(number: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with pytest.raises(StoppedError, match="The same command goes on"), stopping():
            signal.raise_signal(number)
    finally:
        signal.signal(signal.SIGINT, ours)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_does_not_cut_the_start_of_a_process_in_two(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    spawn, children = multiprocessing.util.spawnv_passfds, []

    def stopped_at_once(*args: Any) -> int:
        children.append(spawn(*args))
        if "resource_tracker" not in str(args):
            signal.raise_signal(number)  # before the new process is told what to do
        return children[-1]

    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", stopped_at_once)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(StoppedError), stopping():
            side_by_side([(tmp_path / str(i), "touch") for i in range(3)], work, 2)
    finally:
        signal.signal(signal.SIGINT, ours)
    with pytest.raises(ChildProcessError):  # all have ended and none was forgotten
        os.waitpid(children[-1], 0)
    assert capfd.readouterr().err == ""


def test_items_that_are_done_one_at_a_time_are_done_here(tmp_path: Path) -> None:
    side_by_side([(tmp_path / "first", os.getpid())], lambda item: os.getpid() == item[1], 1)
    with pytest.raises(InputError, match="This cannot be done"):
        side_by_side([(tmp_path / "first", "fail")], work, 1)
    with pytest.raises(StoppedError):
        side_by_side([(tmp_path / "first", "unfinished"), (tmp_path / "second", "touch")], work, 1)
    assert not (tmp_path / "second").exists()
