"""Small states of a run, and what to ask of a store of them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from dor3d.train.checkpoints import Checkpoints

NOTES = {"config": '{"lr": 0.001}', "step": "7", "name": "ünïcode \n"}


def tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {"net.a": torch.full((3, 5), value), "net.b": torch.arange(64) * int(value), "average.a": torch.ones(())}


def bits(given: Mapping[str, Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    return {
        name: (t.dtype, tuple(t.shape), t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, t in given.items()
    }


def saved(folder: Path, *steps: int, keep: int = 9) -> Checkpoints:
    store = Checkpoints(folder, keep)
    for step in steps:
        store.save(step, tensors(step), NOTES)
    return store


def loaded(store: Checkpoints) -> tuple[int, list[str]]:
    """The step that was loaded, with its own numbers and no other's, and what was said."""
    said: list[str] = []
    state = store.load(said.append)
    assert state is not None
    assert (bits(state.tensors), state.notes) == (bits(tensors(state.step)), NOTES)
    return state.step, said


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*.part")]
