"""Runs as users start them: killed at any instant, in several processes, on every set, from the command line."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import write_sets
from test_train import Balls, run, same, state, tiny

from dor3d.cli import main
from dor3d.data.sources import CropShape, open_sources
from dor3d.data.synthetic import render_set
from dor3d.errors import InputError, ModelError
from dor3d.model.checkpoint import WEIGHTS, load_model, read_tensors, write_tensors
from dor3d.skeleton import JOINTS
from dor3d.train.checkpoints import Checkpoints, state_path
from dor3d.train.fabric import processes
from dor3d.train.recipes import PRESETS, override
from dor3d.train.stream import Order, Sources, WorkerError, shares

SMALL = [
    *("--size", "64", "--head", "ordinal", "--optimizer", "adamw", "--loss", "balanced", "--ema", "0.9"),
    *("--warmup", "2", "--batch", "4", "--threads", "1", "--tensorboard", "false", "--pretrained", "false"),
    *("--device", "cpu", "--log-every", "2"),
]


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames, and the cache of its windows, which a first short run makes."""
    root = tmp_path_factory.mktemp("mine")
    render_set(26, "sr305", 3, root / "frames")
    subprocess.run(command(root, root / "first", "--steps", "1", "--workers", "0"), check=True, capture_output=True)
    return root


def command(root: Path, out: Path, *more: str, backbone: str = "lcnet_035") -> list[str]:
    own = ["--root", str(root / "frames"), "--cache", str(root / "cache"), "--held-out", "0.1", "--backbone", backbone]
    return [sys.executable, "-m", "dor3d", "train", "folder", "--out", str(out), *own, *SMALL, *more]


def in_two(words: list[str]) -> list[str]:
    """The same command, shared by two processes."""
    return [words[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words[1:]]


def alone() -> dict[str, str]:
    """The environment, for processes of one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed_at_any_instant_a_run_goes_on_bit_for_bit(mine: Path, tmp_path: Path) -> None:
    more = ["--epochs", "8", "--workers", "1", "--checkpoint-every", "3"]
    subprocess.run(command(mine, tmp_path / "whole", *more), check=True, capture_output=True, env=alone())
    rng, words = np.random.default_rng(), command(mine, tmp_path / "parts", *more, "--resume")
    for seconds in rng.uniform(4.0, 12.0, 2):
        process = subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL, env=alone())
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(words, check=True, capture_output=True, env=alone())
    same(tmp_path / "whole", tmp_path / "parts", step=48)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "more"),
    [("convnext_atto", ()), ("lcnet_035", ("--freeze-norms", "true"))],
    ids=["layer norm", "frozen"],
)
def test_two_processes_train_as_one(backbone: str, more: tuple[str, ...], mine: Path, tmp_path: Path) -> None:
    """The last batch of an epoch has three samples, two and one for each process."""
    more = (*more, "--epochs", "2", "--workers", "0", "--drop-path", "0")
    one, two = (command(mine, tmp_path / name, *more, backbone=backbone) for name in ("one", "two"))
    subprocess.run(one, check=True, capture_output=True, env=alone())
    done = subprocess.run(in_two(two), check=True, capture_output=True, text=True, env=alone(), timeout=300)
    assert done.stdout.count("step 12") == 1  # one of them speaks
    first, second = (read_tensors(tmp_path / name / WEIGHTS)[0] for name in ("one", "two"))
    for name, tensor in first.items():
        # a constant before a softmax changes nothing: its gradient is rounding alone, which Adam makes a step of
        if name != "errors.weights.bias":
            torch.testing.assert_close(second[name], tensor, rtol=1e-5, atol=1e-5)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().count("\n") for name in ("one", "two")]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_a_run_of_two_stops_together_and_goes_on_alone(mine: Path, tmp_path: Path) -> None:
    more = ("--epochs", "30", "--workers", "0", "--drop-path", "0")
    words = command(mine, tmp_path / "run", *more, backbone="convnext_atto")
    process = subprocess.Popen(in_two(words), start_new_session=True, stderr=subprocess.DEVNULL, env=alone())
    log = tmp_path / "run" / "metrics.jsonl"
    while not log.exists() or not log.read_text():
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    (stopped,) = Checkpoints(tmp_path / "run").steps()
    assert 0 < stopped < 180
    more = (*more, "--steps", str(180))
    subprocess.run([*words, "--resume"], check=True, capture_output=True, env=alone())
    assert Checkpoints(tmp_path / "run").steps()[-1] == 180


# ---- every set -----------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "joints"), [("nyu", 14), ("icvl", 16), ("msra", 21), ("hands17", 21)])
def test_a_benchmarks_recipe_from_its_files_to_predictions(recipe: str, joints: int, tmp_path: Path) -> None:
    frames = write_sets.render(recipe, 12, seed=6)
    write_sets.write(recipe, tmp_path / "set", frames)
    if recipe in ("nyu", "icvl"):  # what was written first is the test
        write_sets.write(recipe, tmp_path / "set", frames, "train")
    words = ["--root", str(tmp_path / "set"), "--cache", str(tmp_path / "cache"), "--readers", "0", "--held-out", "0.2"]
    words += [*SMALL, "--backbone", "lcnet_035", "--epochs", "2", "--workers", "0", "--out", str(tmp_path / "run")]
    main(["train", recipe, *words])
    net = load_model(tmp_path / "run")
    assert len(net.config.joints) == joints
    assert (tmp_path / "run" / "report.html").exists() and list((tmp_path / "run" / "samples").iterdir())
    split = ["--split", "all"] if recipe == "hands17" else []
    words = ["--dataset", recipe, "--root", str(tmp_path / "set"), "--centers", "truth", *split]
    main(["evaluate", str(tmp_path / "run"), *words, "--out", str(tmp_path / "result")])
    assert (tmp_path / "result" / "score.json").exists()


# ---- what goes wrong -----------------------------------------------------------------------------------------------
def test_a_corrupt_newest_state_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tiny(checkpoint_every=2), tmp_path / "whole")
    stop = Balls(0, on=lambda i: os.kill(os.getpid(), signal.SIGTERM) if i == 20 else None)
    run(tiny(checkpoint_every=2), tmp_path / "parts", stop)
    path = state_path(tmp_path / "parts", Checkpoints(tmp_path / "parts").steps()[-1])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert run(tiny(checkpoint_every=2), tmp_path / "parts", resume=True).finished
    same(tmp_path / "whole", tmp_path / "parts")
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [f'{{"step": {step}' for step in (2, 4, 6, 8)]


def test_a_worker_that_dies_is_told(tmp_path: Path) -> None:
    main_process = os.getpid()

    def die(i: int) -> None:
        if i == 13 and os.getpid() != main_process:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerError, match="A process that makes samples is gone; got "):
        run(tiny(workers=1, checkpoint_every=1), tmp_path, Balls(0, on=die))
    assert run(tiny(checkpoint_every=1), tmp_path, resume=True).finished


def test_what_a_worker_throws_is_not_its_death(tmp_path: Path) -> None:
    def fail(i: int) -> None:
        if i == 13:
            raise RuntimeError("the sample's own fault")

    with pytest.raises(RuntimeError, match="the sample's own fault") as caught:
        run(tiny(workers=1), tmp_path, Balls(0, on=fail))
    assert not isinstance(caught.value, WorkerError)
    deadline = time.monotonic() + 60  # they only get what time others leave
    while active_children() and time.monotonic() < deadline:  # the error at hand keeps none of them
        time.sleep(0.01)
    assert not active_children()


def test_a_dead_worker_is_told_where_its_share_is_awaited_alone() -> None:
    """A signal's handler would throw amid a step, or while a file is closed."""
    before = signal.getsignal(signal.SIGCHLD)
    stream = shares(Balls(0), Order(None, 4), range(2), workers=1)
    next(stream)
    assert signal.getsignal(signal.SIGCHLD) == before
    stream.close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"The run folder .* cannot be written"):
        run(tiny(), tmp_path / "file" / "run")


def test_a_full_disk_keeps_the_last_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dor3d.train.checkpoints as store

    write = store.write_tensors

    def full(path: Path, *args: object, **options: object) -> None:
        if path.name == "step-00000004.safetensors":
            raise InputError(f"Cannot write {path}", got="No space left on device")
        write(path, *args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(store, "write_tensors", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(tiny(checkpoint_every=2), tmp_path / "parts")
    assert Checkpoints(tmp_path / "parts").steps() == [2]
    monkeypatch.undo()
    run(tiny(), tmp_path / "parts", resume=True)
    run(tiny(), tmp_path / "whole")
    same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_is_the_same_batch(parts: int, tmp_path: Path) -> None:
    """With norms that do not look at the batch."""
    config = dataclasses.replace(tiny(freeze_norms=True), model=dataclasses.replace(tiny().model, drop_path=0.0))
    run(config, tmp_path / "one")
    run(dataclasses.replace(config, accumulate=parts), tmp_path / "parts")
    one, other = (state(tmp_path / name, 8) for name in ("one", "parts"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-5)


def test_frozen_norms_stay_as_they_begin(tmp_path: Path) -> None:
    run(tiny(freeze_norms=True), tmp_path)
    tensors = state(tmp_path, 8)
    means = [t for name, t in tensors.items() if name.startswith("net.") and name.endswith("running_mean")]
    assert means and all((mean == 0).all() for mean in means)


def test_half_precision_on_a_cpu(tmp_path: Path) -> None:
    assert run(tiny(precision="bf16"), tmp_path / "bf16").finished
    with pytest.raises(InputError, match="A CPU does not train in fp16"):
        run(tiny(precision="fp16"), tmp_path / "fp16")


def test_epochs_need_an_end(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Data without an end has no epochs"):
        run(tiny(epochs=2), tmp_path)


def test_sources_may_have_nothing_held_out(tmp_path: Path) -> None:
    from dor3d.train.loop import train

    assert train(tiny(validation=4), Sources(Balls(0)), tmp_path).validation_mm is None


def test_a_cache_is_of_what_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it lies in the user's cache, and frames that come or go make another."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    render_set(4, "sr305", 3, tmp_path / "frames")
    data = {"kind": "folder", "root": str(tmp_path / "frames"), "readers": 0, "held_out": 0.0}
    shape = CropShape(64, (280.0, 300.0), JOINTS)
    said: list[str] = []
    for count in (1, 1, 2):
        if count == 2:
            (tmp_path / "frames" / "000003.png").unlink()
        open_sources(data, shape, 0, said.append)
        assert len(list((tmp_path / "home" / "dor3d").iterdir())) == count
    (made, *_) = (tmp_path / "home" / "dor3d").iterdir()
    with pytest.raises(InputError, match=r"is of another set; got folder, split all; expected nyu, split train"):
        open_sources({"kind": "nyu", "split": "train", "cache": str(made)}, shape, 0)
    with pytest.raises(InputError, match=r"It is not said where nyu lies\. .*--root"):
        open_sources({"kind": "nyu"}, shape, 0)


# ---- what a run begins from ----------------------------------------------------------------------------------------
def test_weights_of_a_backbone_from_a_file(tmp_path: Path) -> None:
    """As timm saves them, for pictures of three colours; ours has three channels too."""
    torch.manual_seed(7)
    whole = timm.create_model("lcnet_035")
    write_tensors(tmp_path / "lcnet.safetensors", whole.state_dict())
    run(tiny(steps=1, lr=1e-12, ema=0.0, backbone_weights=str(tmp_path / "lcnet.safetensors")), tmp_path / "run")
    ours = read_tensors(tmp_path / "run" / WEIGHTS)[0]
    stem = next(name for name in ours if name.startswith("trunk.early.0") and ours[name].ndim == 4)
    torch.testing.assert_close(ours[stem], whole.state_dict()["conv_stem.weight"])
    with pytest.raises(ModelError, match=r"cannot be read; got .*nowhere\.safetensors; expected a \.safetensors file"):
        run(tiny(backbone_weights=str(tmp_path / "nowhere.safetensors")), tmp_path / "other")
    write_tensors(tmp_path / "foreign.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"foreign\.safetensors does not fit backbone lcnet_035"):
        run(tiny(backbone_weights=str(tmp_path / "foreign.safetensors")), tmp_path / "other")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_train(name: str, tmp_path: Path) -> None:
    config = override(tiny(), {"preset": name, "lr": 2e-3, "backbone": "mobilenetv4_conv_small"})
    assert config.lr == 2e-3 and config.loss == PRESETS[name]["loss"] and config.model.head == PRESETS[name]["head"]
    assert run(dataclasses.replace(config, steps=2), tmp_path).finished
    with pytest.raises(InputError, match="Unknown preset; got fast; expected paper or best"):
        override(tiny(), {"preset": "fast"})


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (1, 1)),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2)),
        ({"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}, (8, 2)),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, (1, 1)),
    ],
)
def test_processes_are_counted_as_they_were_started(
    variables: dict[str, str], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert processes() == expected


@pytest.mark.slow
def test_nine_trainings_of_msra(tmp_path: Path) -> None:
    write_sets.write_msra(tmp_path / "set", write_sets.render("msra", 18, seed=2), subjects=9)
    own = ["--root", str(tmp_path / "set"), "--cache", str(tmp_path / "cache"), "--readers", "0", "--split", "each"]
    short = [*SMALL, "--backbone", "lcnet_035", "--epochs", "1", "--workers", "0", "--held-out", "0.1"]
    main(["train", "msra", *own, *short, "--out", str(tmp_path / "runs")])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [f"P{n}" for n in range(9)]
    assert load_model(tmp_path / "runs" / "P8").config.joints[0] == "wrist"
