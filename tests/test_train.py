"""The loop: it learns, it resumes exactly, it stops cleanly; recipes and their overrides."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from dor3d.data.batch import Batch, stack
from dor3d.errors import InputError, ModelError
from dor3d.model.checkpoint import CONFIG, WEIGHTS, load_model, read_tensors
from dor3d.model.network import HandNet, ModelConfig
from dor3d.train.checkpoints import Checkpoints
from dor3d.train.config import TrainConfig
from dor3d.train.fabric import make_fabric
from dor3d.train.loop import TrainResult, train
from dor3d.train.losses import hand_loss
from dor3d.train.measure import validate
from dor3d.train.optimizer import make_optimizer, matrices, orthogonalised
from dor3d.train.pose import PoseTask
from dor3d.train.run import NonFiniteLossError, Run, memory_layout
from dor3d.train.state import METRICS, learning_rate
from dor3d.train.stream import Order, Share, Sources, shares

SIZE = 64


class Balls:
    """Crops with one ball; the joints stand in a row from its centre. `on` is called with each index asked for."""

    length: int | None = None

    def __init__(self, seed: int, on: Callable[[int], None] = lambda i: None) -> None:
        self.seed, self.on = seed, on

    def __getitem__(self, i: int, /) -> tuple[np.ndarray, np.ndarray]:
        self.on(i)
        p, q, r = np.random.default_rng((self.seed, i)).uniform([20, 20, 80], [44, 44, 220])
        rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
        ball = (columns - p) ** 2 + (rows - q) ** 2 < 64
        points = np.array([p, q, r]) + np.arange(21)[:, None] * np.array([0.3, -0.3, 1.0])
        return np.where(ball, (r - 150) / 150, 1).astype(np.float32), points.astype(np.float32)

    def batch(self, epoch: int, indices: Sequence[int]) -> Batch:
        return stack([self[i] for i in indices])


class Spoilt(Balls):
    """Balls whose truth is lost from sample 12 on."""

    def __getitem__(self, i: int, /) -> tuple[np.ndarray, np.ndarray]:
        image, points = super().__getitem__(i)
        return image, points * (np.nan if i >= 12 else 1)


def tiny(**changes: object) -> TrainConfig:
    model = ModelConfig(backbone="lcnet_035", size=SIZE, cube_mm=(280.0, 300.0))
    config = TrainConfig(
        model, steps=8, batch=4, warmup=2, workers=0, log_every=2, checkpoint_every=100, ema=0.9, device="cpu"
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def run(config: TrainConfig, out: Path, source: Balls | None = None, **options: object) -> TrainResult:
    quiet = Console(quiet=True)
    return train(config, Sources(source or Balls(0), Balls(1)), out, console=quiet, **options)  # type: ignore[arg-type]


def state(out: Path, step: int) -> dict[str, torch.Tensor]:
    """The tensors of a saved state."""
    return read_tensors(Checkpoints(out).path(step))[0]


def same(one: Path, other: Path, step: int = 8) -> None:
    """Two runs left the same model and state, bit for bit."""
    for whole, parts in (
        (state(one, step), state(other, step)),
        (read_tensors(one / WEIGHTS)[0], read_tensors(other / WEIGHTS)[0]),
    ):
        assert whole.keys() == parts.keys()
        assert [key for key in whole if not torch.equal(whole[key], parts[key])] == []


def files(out: Path) -> dict[str, tuple[bytes, int]]:
    """Everything in a run's folder, and when it was written."""
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}


def metrics(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / METRICS).read_text().splitlines()]


def test_a_run_leaves_model_config_and_metrics(tmp_path: Path) -> None:
    config = tiny(validation=6, validate_every=4)
    result = run(config, tmp_path)
    assert result.finished
    assert result.step == 8
    assert load_model(tmp_path).config == config.model
    assert TrainConfig.from_json(json.loads((tmp_path / CONFIG).read_text())) == config
    assert [line["step"] for line in metrics(tmp_path)] == [2, 4, 4, 6, 8, 8]
    assert {"loss", "error_mm", "samples_per_s", "lr", "waiting"} <= metrics(tmp_path)[0].keys()
    found = validate(PoseTask(config), load_model(tmp_path), Balls(1), 6, batch=4)
    assert found.error_mm == pytest.approx(result.validation_mm)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("head", "loss"), [("ordinal", "balanced"), ("offset", "metric")])
def test_one_batch_is_learnt_by_heart(head: str, loss: str) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(tiny().model, head=head)  # type: ignore[arg-type]
    net = HandNet(config)
    crop, points, *_ = Balls(0).batch(0, range(8))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(150):
        prediction = net(crop)
        optimizer.zero_grad()
        hand_loss(prediction, points, config.discretisations(), kind=loss).total.backward()  # type: ignore[arg-type]
        optimizer.step()
    assert (net(crop).points - points).abs().mean() < 1.5


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((16, 48), (48, 16), (64, 64)):
        matrix = torch.randn(shape) @ torch.diag(torch.logspace(-1, 1, shape[1]))
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        found = orthogonalised(matrix)
        values = torch.linalg.svdvals(found)
        assert values.max() < 1.3 and values.quantile(0.1) > 0.3  # the smallest of a square one stay small
        assert (found * (u @ v)).sum() / found.norm() / (u @ v).norm() > 0.95  # towards the nearest orthogonal one


HIDDEN_OF_HEAD = {"ordinal": 0, "offset": 0, "heatmap": 3, "pixel-offset": 2, "coordinate": 2}


@pytest.mark.parametrize("unscaled", [False, True], ids=["scaled", "unscaled to clip"])
def test_muon_passes_over_gradients_that_half_precision_lost(unscaled: bool) -> None:
    net = HandNet(tiny().model)
    optimizer = make_optimizer(net, tiny(optimizer="muon"))
    scaler, crop = torch.amp.GradScaler("cpu", init_scale=4.0), torch.rand(2, 1, SIZE, SIZE)

    def step(spoilt: bool) -> dict[str, torch.Tensor]:
        optimizer.zero_grad()
        scaler.scale(net(crop).points.sum()).backward()
        for p in net.parameters():
            if spoilt and p.grad is not None:
                p.grad[...] = torch.inf
        if unscaled:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        return {name: p.detach().clone() for name, p in net.named_parameters()}

    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    lost = step(spoilt=True)
    assert all(torch.equal(before[name], lost[name]) for name in before)
    after = step(spoilt=False)
    assert all(torch.isfinite(p).all() for p in after.values())
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 0.9 * len(before)


@pytest.mark.parametrize("head", HIDDEN_OF_HEAD)
def test_muon_takes_hidden_matrices_and_leaves_what_answers(head: str) -> None:
    net = HandNet(dataclasses.replace(tiny().model, head=head, size=64))  # type: ignore[arg-type]
    optimizer = make_optimizer(net, tiny(optimizer="muon", lr=1e-3, matrix_lr=0.02))
    chosen = {id(p): group for group in optimizer.param_groups for p in group["params"] if group["outputs"] is not None}
    body = [p for p, _ in matrices(net.trunk)] + ([p for p, _ in matrices(net.neck)] if net.neck else [])
    assert {id(p) for p in body} <= set(chosen)
    assert len(set(chosen) & {id(p) for p in net.head.parameters()}) == HIDDEN_OF_HEAD[head]
    assert not set(chosen) & {id(p) for layer in net.head.outputs() for p in layer.parameters()}
    assert {round(group["scale"], 6) for group in optimizer.param_groups} == {20.0, 1.0}
    everything = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(everything) == sorted(id(p) for p in net.parameters())


def test_a_transposed_convolution_is_a_matrix_of_its_outputs() -> None:
    config = tiny(optimizer="muon", lr=1e-3, matrix_lr=0.02, weight_decay=0.0)
    net = HandNet(dataclasses.replace(config.model, head="heatmap"))
    deconvolution = net.head.up[1][0]
    assert isinstance(deconvolution, torch.nn.ConvTranspose2d)
    before = deconvolution.weight.detach().clone()
    optimizer = make_optimizer(net, config)
    for group in optimizer.param_groups:
        group["lr"] = group["scale"]
    deconvolution.weight.grad = torch.randn(before.shape)
    optimizer.step()
    change = (deconvolution.weight.detach() - before).transpose(0, 1).flatten(1)  # [outputs, inputs * taps]
    assert torch.linalg.svdvals(change).quantile(0.1) > 20 * 0.3
    assert torch.linalg.svdvals(change).max() < 20 * 1.3


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_workers_too_still_ends_with_a_checkpoint(tmp_path: Path, stop: signal.Signals) -> None:
    def signal_all(i: int) -> None:
        if i == 13:
            os.kill(os.getppid(), stop)
            os.kill(os.getpid(), stop)

    stopped = run(tiny(steps=40, workers=1), tmp_path, Balls(0, on=signal_all))
    assert 0 < stopped.step < 40
    assert Checkpoints(tmp_path).steps() == [stopped.step]


def test_workers_change_nothing(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "none")
    run(tiny(workers=2), tmp_path / "two")
    assert (tmp_path / "none" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()


class Policies(Balls):
    """One number a sample: how the process that made it is scheduled."""

    def __getitem__(self, i: int, /) -> tuple[np.ndarray, np.ndarray]:
        return np.full((SIZE, SIZE), os.sched_getscheduler(0), np.float32), np.zeros((21, 3), np.float32)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux schedules so")
def test_workers_beside_a_cpu_take_what_it_leaves() -> None:
    (share,) = shares(Policies(0), Order(None, 2), range(1), workers=1)
    assert isinstance(share.data, Batch) and (share.data.crop == os.SCHED_IDLE).all()
    assert os.sched_getscheduler(0) != os.SCHED_IDLE


def test_a_loss_that_is_no_number_stops_before_the_step(tmp_path: Path) -> None:
    config = tiny(checkpoint_every=3)
    with pytest.raises(NonFiniteLossError, match="no longer a number at step 3"):
        run(config, tmp_path, Spoilt(0))
    assert all(torch.isfinite(t).all() for t in state(tmp_path, 3).values())
    assert Checkpoints(tmp_path).steps() == [3]
    (kept,) = tmp_path.glob("bad-step-3-of-0.safetensors")
    assert not torch.isfinite(read_tensors(kept)[0]["points"]).all()  # to look at


def test_init_begins_from_given_weights(tmp_path: Path) -> None:
    run(tiny(), tmp_path / "first")
    run(tiny(steps=1, lr=1e-12, ema=0.0, seed=5), tmp_path / "second", init=tmp_path / "first")
    first, second = (read_tensors(tmp_path / name / WEIGHTS)[0] for name in ("first", "second"))
    weight = next(name for name in first if name.endswith("conv_z.weight"))
    torch.testing.assert_close(first[weight], second[weight])
    with pytest.raises(ModelError, match="no weights file"):
        run(tiny(), tmp_path / "third", init=tmp_path / "none")


def test_a_broken_state_is_refused(tmp_path: Path) -> None:
    run(tiny(), tmp_path)
    Checkpoints(tmp_path).path(8).write_bytes(b"PK\x03\x04 something pickled")
    with pytest.raises(ModelError, match=r"step-00000008\.safetensors"):
        run(tiny(), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("backbone", "layout"), [("lcnet_035", torch.channels_last), ("repvgg_a0", torch.contiguous_format)]
)
def test_a_layout_with_wrong_kernels_is_avoided(backbone: str, layout: torch.memory_format) -> None:
    net = HandNet(ModelConfig(backbone=backbone, size=SIZE))
    assert memory_layout(net, torch.device("cpu")) == layout
    assert memory_layout(net, torch.device("cuda")) == torch.channels_last


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_sample_comes_once_an_epoch(processes: int) -> None:
    """Over all processes; the last batch is cut, and no process waits for samples that are not there."""
    order = Order(10, 4, seed=5)
    assert order.steps_an_epoch == 3
    epochs = []
    for epoch in range(2):
        seen: list[int] = []
        for rank in range(processes):
            steps = range(3 * epoch, 3 * epoch + 3)
            stream = shares(Balls(0, on=seen.append), order, steps, rank=rank, processes=processes)
            asked = [share.asked for share in stream]
            assert len(asked) == 3 and sum(asked) >= 10 // processes - 1
        assert sorted(seen) == list(range(10))
        epochs.append(order.samples(3 * epoch)[1].tolist())
    assert epochs[0] != epochs[1]
    assert Order(10, 4, seed=6).samples(0)[1].tolist() != epochs[0]


def test_samples_without_an_end_come_as_they_are() -> None:
    seen: list[int] = []
    list(shares(Balls(0, on=seen.append), Order(None, 4, seed=5), range(1, 3)))
    assert seen == [4, 5, 6, 7, 8, 9, 10, 11]


class Holes(Balls):
    """Balls of which some cannot be read."""

    def __init__(self, seed: int, bad: Sequence[int]) -> None:
        super().__init__(seed)
        self.bad = set(bad)

    def __getitem__(self, i: int, /) -> tuple[np.ndarray, np.ndarray]:
        if i in self.bad:
            raise InputError(f"sample {i} is broken")
        return super().__getitem__(i)


def test_bad_samples_are_skipped_and_counted(tmp_path: Path) -> None:
    assert run(tiny(), tmp_path / "some", Holes(0, [5, 8, 9, 10, 11])).finished  # one step has none at all
    assert sum(line["bad_samples"] for line in metrics(tmp_path / "some")[-1:]) == 5
    with pytest.raises(
        InputError,
        match=r"Too many samples cannot be used; got 11 of 16, the last: sample 10 is broken",
    ):
        run(tiny(log_every=4), tmp_path / "most", Holes(0, range(11)))


def test_learning_rates() -> None:
    cosine = tiny(steps=100, warmup=10, lr=1.0)
    rates = [learning_rate(cosine, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001
    linear = tiny(steps=100, warmup=10, lr=1.0, schedule="linear")
    assert [learning_rate(linear, step) for step in (0, 9, 10, 55, 99)] == pytest.approx([0.1, 1.0, 1.0, 0.5, 1 / 90])
    constant = tiny(samples=0, steps=0, warmup=10, lr=1.0, schedule="constant")
    assert [learning_rate(constant, step) for step in (0, 9, 10, 10**9)] == pytest.approx([0.1, 1.0, 1.0, 1.0])
    paper = tiny(schedule="paper", warmup=0, lr=1.0, epoch=40, batch=4)
    assert learning_rate(paper, 69) == 1.0
    assert learning_rate(paper, 70) == pytest.approx(0.2)
    assert learning_rate(paper, 140) == pytest.approx(0.04)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_half_precision_leaves_inputs_and_grouped_convolutions_as_they_are(tmp_path: Path, optimizer: str) -> None:
    config = tiny(precision="bf16", optimizer=optimizer)
    run_ = Run(config, make_fabric(config), tmp_path, None, resumed=False)
    seen: dict[str, tuple[torch.dtype, torch.dtype]] = {}
    for module in run_.net.modules():
        if isinstance(module, torch.nn.Conv2d):
            kind = "grouped" if module.groups > 1 else "dense"
            module.register_forward_hook(lambda _, i, o, kind=kind: seen.update({kind: (i[0].dtype, o.dtype)}))
    run_.net.register_forward_pre_hook(lambda _, i: seen.update(crop=(i[0].dtype, i[0].dtype)))
    torch.manual_seed(0)
    plain = HandNet(config.model)
    assert list(run_.net.state_dict()) == list(plain.state_dict())  # the same names, in the same order
    before = {name: t.clone() for name, t in run_.net.state_dict().items()}
    assert all(torch.equal(t, before[name]) for name, t in plain.state_dict().items())
    run_.step(0, Share(Balls(0).batch(0, range(4)), 4), 4)
    half = torch.bfloat16
    assert seen["crop"][0] == torch.float32
    assert seen["grouped"][1] == torch.float32
    assert seen["dense"][1] == half
    changed = [name for name, p in run_.net.named_parameters() if not torch.equal(p, before[name])]
    assert any(before[name].ndim == 4 and before[name].shape[1] == 1 for name in changed)  # grouped ones learn, too
    assert all(t.dtype != half for t in run_.net.state_dict().values())


def test_muon_iterates_in_half_precision_where_it_is_told_to() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(48, 96)
    half = orthogonalised(matrix, torch.bfloat16)
    assert half.dtype == torch.float32
    values = torch.linalg.svdvals(half)
    assert values.min() > 0.6 and values.max() < 1.25
    assert not torch.equal(half, orthogonalised(matrix))


def test_a_schedule_that_falls_to_zero_needs_an_end() -> None:
    with pytest.raises(InputError, match=r"Schedule linear falls to zero at the run's end, and there is none"):
        tiny(samples=0, steps=0, schedule="linear")
    assert tiny(samples=0, steps=0, schedule="paper").total_steps is None
    assert tiny(samples=0, steps=5).total_steps == 5
    assert tiny(samples=0, steps=0, epochs=3).total_steps is None  # until the data says how many
