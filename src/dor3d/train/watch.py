"""What a run leaves to be looked at: numbers as lines, sheets of sample pictures, and both on the usual boards.

One process tells it: that of rank 0. TensorBoard and Weights & Biases are imported when they are asked for.
"""

import importlib
import importlib.util
import json
import math
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from jaxtyping import UInt8
from numpy import ndarray

from dor3d.errors import InputError, MissingExtraError
from dor3d.files import write_whole
from dor3d.train.state import METRICS
from dor3d.viz.overlay import png
from dor3d.viz.report import SAMPLES, SHEETS, sheet_name

TENSORBOARD: Final = "tensorboard"
_WANDB_ID: Final = "wandb-id.txt"  # by which a resumed run goes on in the same place


class _Board(Protocol):
    """Where numbers and pictures are shown."""

    def numbers(self, step: int, values: Mapping[str, float | int]) -> None: ...

    def picture(self, step: int, picture: UInt8[ndarray, "h w 3"]) -> None: ...

    def close(self) -> None: ...


class Watch:
    """Keeps the numbers and pictures of a run in its folder, and sends them to the boards.

    The folder gets `metrics.jsonl` (a line of JSON for each call of `numbers`), `samples/step-00000500.png` and
    `tensorboard/`.
    """

    def __init__(
        self, folder: Path, total: int | None, done: int = 0, *, tensorboard: bool = True, wandb: str = ""
    ) -> None:
        """Begin, or go on after a resume: what TensorBoard has of steps that will be done again is forgotten.

        Args:
            folder: the run's.
            total: steps of the whole run; None: without an end.
            done: steps that were done before.
            tensorboard: whether to write event files.
            wandb: project of Weights & Biases; empty: none.

        Raises InputError when the folder cannot be written or Weights & Biases cannot be used, MissingExtraError
        without the package that is asked for.
        """
        self.folder, self.total = Path(folder), total
        self._boards: list[_Board] = []
        if wandb:
            _check_wandb()  # first: where it is missing, nothing is left behind
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = (self.folder / METRICS).open("ab")
        except OSError as error:
            raise InputError(f"The run folder {folder} cannot be written", got=error.strerror or error) from None
        try:
            _drop_sheets_after(self.folder / SAMPLES, done)
            if tensorboard:
                self._boards.append(_TensorBoard(self.folder / TENSORBOARD, done))
            if wandb:
                self._boards.append(_Wandb(self.folder, wandb, done))
        except BaseException:
            self.close()
            raise

    def numbers(self, step: int, values: Mapping[str, float | int]) -> None:
        """Keep numbers of a step (1 is the first). A number that is not finite is null in the file.

        Raises InputError when they cannot be written.
        """
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = json.dumps({"step": step, **finite}) + "\n"
        try:
            self._file.write(line.encode())  # in one piece: a kill leaves no half of a line, but for a full disk
            self._file.flush()
        except OSError as error:
            raise InputError(f"Cannot write {self.folder / METRICS}", got=error.strerror or error) from None
        for board in self._boards:
            board.numbers(step, values)

    def title(self, step: int) -> str:
        """Of a sheet of samples."""
        return f"step {step:,}" if self.total is None else f"step {step:,} of {self.total:,}"

    def picture(self, step: int, sheet: UInt8[ndarray, "h w 3"]) -> Path:
        """Keep a sheet of samples (RGB) as they are after so many steps; returns its file.

        Raises InputError when it cannot be written.
        """
        path = write_whole(self.folder / SAMPLES / sheet_name(step), png(sheet))
        for board in self._boards:
            board.picture(step, sheet)
        return path

    def close(self) -> None:
        """Finish all files; a second call does nothing."""
        self._file.close()
        while self._boards:
            self._boards.pop().close()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _TensorBoard:
    """Event files in a folder."""

    def __init__(self, folder: Path, done: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("TensorBoard's files need the package tensorboard", "train") from None
        # a run that begins anew forgets all that an earlier one left
        self.writer = SummaryWriter(str(folder), purge_step=done + 1 if done else 0)

    def numbers(self, step: int, values: Mapping[str, float | int]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()  # a run is killed at any time

    def picture(self, step: int, picture: UInt8[ndarray, "h w 3"]) -> None:
        self.writer.add_image(SAMPLES, picture, step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Wandb:
    """A run in a project of Weights & Biases."""

    def __init__(self, folder: Path, project: str, done: int) -> None:
        from lightning.pytorch.loggers import WandbLogger

        identity = _wandb_id(folder, anew=not done)
        self.logger = WandbLogger(
            name=folder.resolve().name, save_dir=folder, version=identity, project=project, resume="allow"
        )
        try:
            _ = self.logger.experiment  # begins it: not to be found out after hours that nobody is logged in
        except importlib.import_module("wandb.errors").Error as error:
            raise InputError(
                "Weights & Biases cannot be used",
                got=str(error).rstrip("."),
                fix="Run 'wandb login', or set WANDB_MODE=offline.",
            ) from None

    def numbers(self, step: int, values: Mapping[str, float | int]) -> None:
        self.logger.log_metrics(dict(values), step)

    def picture(self, step: int, picture: UInt8[ndarray, "h w 3"]) -> None:
        self.logger.log_image(SAMPLES, [picture], step)

    def close(self) -> None:
        self.logger.experiment.finish()


def _check_wandb() -> None:
    if importlib.util.find_spec("wandb") is None:
        raise MissingExtraError("Weights & Biases needs the package wandb", "wandb")


def _wandb_id(folder: Path, *, anew: bool) -> str:
    """The name by which the service knows this folder's run: a new one, or that of the run which goes on."""
    path = folder / _WANDB_ID
    if anew or not path.exists():
        write_whole(path, secrets.token_hex(4))
    return path.read_text().strip()


def _drop_sheets_after(folder: Path, step: int) -> None:
    """Sheets of steps that will be done again are those of a run that went on elsewhere, or of another run."""
    for path in folder.glob(SHEETS):
        if path.name > sheet_name(step):
            with suppress(OSError):
                path.unlink()
