"""States of a run come back bit for bit or not at all; the last few stay, and the best."""

import errno
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from states import NOTES, bits, loaded, saved, tensors
from torch import Tensor

from dor3d.errors import InputError, ModelError
from dor3d.train import checkpoints
from dor3d.train.checkpoints import BEST, FOLDER, Checkpoints, read_state

ODD = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])


@pytest.mark.parametrize(
    "tensor",
    [
        ODD,
        ODD.to(torch.bfloat16),
        torch.tensor(2.5, dtype=torch.bfloat16),
        torch.tensor([2**62 + 1, -1]),
        torch.tensor(3),
        torch.tensor([[True, False, True]]),
        torch.tensor(True),
        torch.zeros(0, 3),
        torch.rand(4, 6).T,
        torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.nn.Parameter(torch.rand(3)),
        torch.rand(8).to(torch.float8_e4m3fn),
    ],
    ids=lambda t: f"{str(t.dtype)[6:]}-{t.ndim}d",
)
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, tensor: Tensor) -> None:
    given = {"x": tensor, "a.b": torch.rand(3)}
    path = Checkpoints(tmp_path).save(500, given, NOTES)
    assert path == tmp_path / FOLDER / "step-00000500.safetensors"
    state = Checkpoints(tmp_path).load(pytest.fail)
    assert state is not None
    assert (state.step, state.notes, bits(state.tensors)) == (500, NOTES, bits(given))


def test_a_state_without_tensors_or_notes_is_a_state(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(0, {}, {})
    assert Checkpoints(tmp_path).load(pytest.fail) == checkpoints.State(0, {}, {})


def test_what_is_loaded_can_be_changed_without_a_mark_on_the_file(tmp_path: Path) -> None:
    store = saved(tmp_path, 1)
    state = store.load(pytest.fail)
    assert state is not None
    state.tensors["net.a"].add_(1)
    assert loaded(store) == (1, [])


def test_only_the_last_few_stay(tmp_path: Path) -> None:
    assert saved(tmp_path, 5, 10, 15, 20, keep=2).steps() == [15, 20]
    assert saved(tmp_path, 25, keep=4).steps() == [15, 20, 25]
    assert saved(tmp_path, 100_000_000, 200_000_000, keep=1).steps() == [200_000_000]
    with pytest.raises(InputError, match="last states; got 0; expected 1 or more"):
        Checkpoints(tmp_path, 0)


def test_a_step_is_saved_again_in_its_place(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    store.save(2, {"x": torch.ones(1)}, {})
    state = store.load(pytest.fail)
    assert state is not None
    assert (store.steps(), list(state.tensors)) == ([1, 2], ["x"])


def test_an_empty_store_has_nothing_to_load(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "no" / "such")
    assert (store.steps(), store.load(pytest.fail), store.best_score()) == ([], None, math.inf)
    assert list(tmp_path.iterdir()) == []


def test_foreign_files_are_not_states(tmp_path: Path) -> None:
    store = saved(tmp_path, 7)
    for name in ("step-12.safetensors", "step-000000009.safetensors", "step-00000009.safetensors.bak", "a.part"):
        (tmp_path / FOLDER / name).write_bytes(b"x")
    (tmp_path / FOLDER / "step-00000010.safetensors").mkdir()
    assert store.steps() == [7]
    assert loaded(store) == (7, [])


def test_what_a_killed_write_left_is_swept_up(tmp_path: Path) -> None:
    saved(tmp_path, 7)
    stray = [tmp_path / FOLDER / ".step-00000008.safetensors.abc.part", tmp_path / f".{BEST}.abc.part"]
    foreign = [tmp_path / FOLDER / ".other.part", tmp_path / ".model.safetensors.abc.part"]
    for path in stray + foreign:
        path.write_bytes(b"half")
    store = Checkpoints(tmp_path)
    assert not any(path.exists() for path in stray)
    assert all(path.exists() for path in foreign)
    assert loaded(store) == (7, [])


@pytest.mark.parametrize("seed", range(40))
def test_a_truncated_state_is_passed_over(tmp_path: Path, seed: int) -> None:
    store = saved(tmp_path, 1, 2)
    whole = store.path(2).read_bytes()
    store.path(2).write_bytes(whole[: int(np.random.default_rng(seed).integers(len(whole)))])
    step, said = loaded(store)
    assert (step, len(said)) == (1, 1)
    assert said[0].startswith(f"Passed over a state: {store.path(2)} is not a whole safetensors file; got ")


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One bit of every byte in turn: the header's, the notes', the tensors'."""
    store = saved(tmp_path, 1, 2)
    whole = store.path(2).read_bytes()
    for place in range(len(whole)):
        wrong = bytearray(whole)
        wrong[place] ^= 1 << int(np.random.default_rng(place).integers(8))
        store.path(2).write_bytes(wrong)
        step, said = loaded(store)
        assert (step, len(said)) == (1, 1), (place, whole[place], wrong[place])
        assert str(store.path(2)) in said[0]
        assert "\n" not in said[0]


@pytest.mark.parametrize("seed", range(40))
def test_a_byte_of_rubbish_never_loads_wrong_numbers(tmp_path: Path, seed: int) -> None:
    """Where the padding or a blank of the header is hit by another blank, the numbers are still right."""
    store, random = saved(tmp_path, 1, 2), np.random.default_rng(seed)
    wrong = bytearray(store.path(2).read_bytes())
    for place in random.integers(len(wrong), size=random.integers(1, 4)):
        wrong[place] = int(random.integers(256))
    changed = bytes(wrong) != store.path(2).read_bytes()
    store.path(2).write_bytes(wrong)
    step, said = loaded(store)
    assert step == 2 - len(said)
    assert changed or step == 2


def test_a_flipped_bit_is_said_with_both_checksums(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2)
    wrong = bytearray(store.path(2).read_bytes())
    wrong[-1] ^= 1
    store.path(2).write_bytes(wrong)
    _, said = loaded(store)
    assert said[0].startswith(f"Passed over a state: {store.path(2)} is damaged; got checksum ")


def test_foreign_contents_are_passed_over_and_said(tmp_path: Path) -> None:
    store = saved(tmp_path, 1, 2, 3, 4, 5)
    store.path(2).write_bytes(b"")
    store.path(3).write_bytes(b"PK\x03\x04" + b"\0" * 100)
    save_file({"x": torch.ones(1)}, store.path(4))
    store.path(5).write_bytes(store.path(1).read_bytes())
    step, said = loaded(store)
    assert step == 1
    reasons = ["another step's state; got 1; expected 5", "no checksum", "a pickle", "header too small"]
    assert [reason in line for reason, line in zip(reasons, said, strict=True)] == [True] * 4


def test_a_state_that_cannot_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = saved(tmp_path, 1, 2), checkpoints.read_tensors

    def failing(path: Path) -> Any:
        if path == store.path(2):
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(checkpoints, "read_tensors", failing)
    step, said = loaded(store)
    assert step == 1
    assert "cannot be read; got [Errno 5] Input/output error" in said[0]


def test_where_no_state_is_whole_all_are_named(tmp_path: Path) -> None:
    store, said = saved(tmp_path, 1, 2), list[str]()
    for step in (1, 2):
        store.path(step).write_bytes(b"x")
    with pytest.raises(ModelError, match=r"is whole; got step-00000001.safetensors, step-00000002.safetensors\. Start"):
        store.load(said.append)
    assert len(said) == 2


def test_after_a_fall_back_the_broken_ones_go_and_the_whole_ones_stay(tmp_path: Path) -> None:
    store = saved(tmp_path, 10, 20, 30, 40, keep=9)
    store.keep = 2
    for step in (30, 40):
        store.path(step).write_bytes(b"x")
    assert loaded(store)[0] == 20
    assert store.steps() == [10, 20, 30, 40]  # nothing goes before the next one is there
    store.save(35, tensors(35), NOTES)
    assert store.steps() == [20, 35]
    assert loaded(Checkpoints(tmp_path)) == (35, [])


def test_a_broken_state_may_be_of_the_step_that_is_saved(tmp_path: Path) -> None:
    store = saved(tmp_path, 10, 20, keep=1)
    store.path(20).write_bytes(b"x")
    with pytest.raises(ModelError):
        store.load(lambda line: None)
    store.save(20, tensors(20), NOTES)
    assert loaded(store) == (20, [])


def test_the_best_is_the_lowest(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    kept = [store.best(score, step, tensors(step), NOTES) for step, score in enumerate([9.5, 9.5, 8.25, 8.5, math.nan])]
    assert kept == [True, False, True, False, False]
    assert Checkpoints(tmp_path).best_score() == 8.25
    state = read_state(tmp_path / BEST)
    assert (state.step, state.notes, bits(state.tensors)) == (2, NOTES, bits(tensors(2)))
    assert store.steps() == []


def test_a_score_that_is_not_a_number_is_never_the_best(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    assert [store.best(score, 1, tensors(), {}) for score in (math.nan, math.inf, -math.inf)] == [False, False, False]
    assert not (tmp_path / BEST).exists()


@pytest.mark.parametrize("how", ["empty", "flipped", "foreign", "truncated"])
def test_a_broken_best_is_replaced(tmp_path: Path, how: str) -> None:
    store = Checkpoints(tmp_path)
    store.best(1.0, 1, tensors(1), NOTES)
    whole = (tmp_path / BEST).read_bytes()
    contents = {"empty": b"", "flipped": whole[:-1] + b"\xff", "foreign": b"PK\x03\x04", "truncated": whole[:-1]}
    (tmp_path / BEST).write_bytes(contents[how])
    assert store.best(5.0, 2, tensors(2), NOTES)
    assert (store.best_score(), read_state(tmp_path / BEST).step) == (5.0, 2)
