"""A run's states on disk: the last few, and the best, each checked when it is read.

    <folder>/checkpoints/step-00000500.safetensors    a state after 500 steps
    <folder>/best.safetensors                         the state with the lowest error so far

A file is written whole or not at all and is on the disk when `save` or `best` returns, so neither a kill nor a power
cut leaves a run without a state. What a disk does to a file later is found by a checksum: safetensors checks its header
alone, and a flipped bit among the weights would be trained on without a word.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from dor3d.errors import InputError, ModelError
from dor3d.model.checkpoint import read_tensors, write_tensors

FOLDER: Final = "checkpoints"
BEST: Final = "best.safetensors"
_FORMAT: Final = {"format": "pt"}  # what every safetensors file of torch says
# The store's own notes, beside those of the caller.
_STEP, _SCORE, _CHECKSUM = "store.step", "store.score_mm", "store.checksum"


@dataclass(frozen=True)
class State:
    """What was saved after `step` steps, bit for bit, and the notes that were saved with it."""

    step: int
    tensors: dict[str, Tensor]
    notes: dict[str, str]


class Checkpoints:
    """The states of one run. To be opened by the one process that writes them: opening sweeps up after a kill."""

    def __init__(self, folder: Path, keep: int = 3) -> None:
        """Open the store of a run folder, which need not be there yet.

        Args:
            folder: the run folder.
            keep: how many states stay when a new one is saved, that one counted.

        Raises InputError when none would stay.
        """
        if keep < 1:
            raise InputError("A run keeps its last states", got=keep, expected="1 or more")
        self.folder, self.keep = folder, keep
        self._broken: set[Path] = set()
        stray = [*(folder / FOLDER).glob(".step-*.safetensors.*.part"), *folder.glob(f".{BEST}.*.part")]
        for path in stray:
            _remove(path)

    def path(self, step: int) -> Path:
        """Where the state after `step` steps lies, or would."""
        return state_path(self.folder, step)

    def steps(self) -> list[int]:
        """The steps that have a file, ascending; whether it is whole shows when it is read."""
        found = [re.fullmatch(r"step-([0-9]{8,})\.safetensors", p.name) for p in (self.folder / FOLDER).glob("step-*")]
        steps = sorted({int(match[1]) for match in found if match})
        return [step for step in steps if self.path(step).is_file()]

    def save(self, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> Path:
        """Write the state after `step` steps, and then let go of the oldest.

        Names of notes that begin with "store." are the store's own. Raises InputError when the file cannot be written
        (a full disk, say): all older states are then as they were.
        """
        path = self.path(step)
        _write(path, tensors, {**notes, _STEP: str(step)})
        self._broken.discard(path)
        # only now that the new one is safe; of later steps only what is broken
        older = [self.path(s) for s in self.steps() if s < step and self.path(s) not in self._broken]
        for spare in {*self._broken, *older[: max(0, len(older) + 1 - self.keep)]}:
            _remove(spare)
        self._broken.clear()
        return path

    def load(self, say: Callable[[str], None]) -> State | None:
        """The newest state that is whole, or None where none was ever saved.

        `say` is called with a line for each newer one that is not. Those are deleted at the next `save`, since the run
        then goes another way from an earlier step. Raises ModelError when there are states and none is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                state = read_state(self.path(step))
                if state.step != step:
                    raise ModelError(f"{self.path(step)} is another step's state", got=state.step, expected=step)
                return state
            except ModelError as error:
                self._broken.add(self.path(step))
                say(f"Passed over a state: {error}")
        if not steps:
            return None
        names = ", ".join(self.path(step).name for step in steps)
        fix = "Start anew in another folder with --out, from weights with --init."
        raise ModelError(f"No state in {self.folder / FOLDER} is whole", got=names, fix=fix)

    def best(self, score: float, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> bool:
        """Keep this state as the best if its `score` (mm) is below that of the best so far; returns whether it was.

        A best that is no longer whole counts for nothing, and so does a score that is not finite. Raises InputError
        when the file cannot be written: the best so far is then as it was.
        """
        if not (math.isfinite(score) and score < self.best_score()):
            return False
        _write(self.folder / BEST, tensors, {**notes, _STEP: str(step), _SCORE: repr(float(score))})
        return True

    def best_score(self) -> float:
        """The score of the best state so far (mm); infinite where there is none, or none that is whole."""
        try:
            score = float(_read(self.folder / BEST)[1][_SCORE])
        except (ModelError, KeyError, ValueError):
            return math.inf
        return score if math.isfinite(score) else math.inf


def state_path(folder: Path, step: int) -> Path:
    """Where a run's state after `step` steps lies, or would."""
    return folder / FOLDER / f"step-{step:08d}.safetensors"


def read_state(path: Path) -> State:
    """A state that `Checkpoints` wrote, its best too; raises ModelError when it is foreign or not as it was written."""
    tensors, notes = _read(path)
    own = {*_FORMAT, _STEP, _SCORE, _CHECKSUM}
    try:
        return State(int(notes[_STEP]), tensors, {name: note for name, note in notes.items() if name not in own})
    except (KeyError, ValueError):
        raise ModelError(f"{path} does not say which step it is of") from None


def _write(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    plain = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}  # one way from the GPU, not two
    notes = {**_FORMAT, **notes}
    write_tensors(path, plain, {**notes, _CHECKSUM: _checksum(plain, notes)}, durable=True)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes whose checksum is right; raises ModelError for everything else."""
    try:
        tensors, notes = read_tensors(path)
        said = notes.pop(_CHECKSUM, None)
        counted = _checksum(tensors, notes)
    except (OSError, RuntimeError) as error:  # a disk that fails, a type that torch cannot turn to bytes
        raise ModelError(f"{path} cannot be read", got=error) from None
    if said is None:
        raise ModelError(f"{path} was not written as a state of a run", got="no checksum")
    if said != counted:
        raise ModelError(f"{path} is damaged", got=f"checksum {counted}", expected=said)
    return tensors, notes


def _checksum(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """A checksum of everything that a state says: its notes, and its tensors' names, types, shapes and bytes.

    CRC-32 finds every damage within 32 bits in a row, and any other but one in 4e9: the enemy is a disk, not a forger.
    Measured on one core: crc32 4.3 GB/s, sha1 1.9, sha256 1.8, blake2b 0.95.
    """
    crc = zlib.crc32(json.dumps(notes, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode(), crc)
        # through one dimension: a tensor of none cannot be seen as bytes
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def _remove(path: Path) -> None:
    """Delete a file that is no longer needed; one that cannot be deleted now is no reason to end a run."""
    with suppress(OSError):
        path.unlink()
