"""A model to be timed."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Subject:
    """A model as each kind of backend takes it.

    Attributes:
        name: the model's.
        file: ONNX or .xml file; None where there is only a run and no training stack to export it.
        run: folder with weights for PyTorch; None where there is none.
        random: whether the weights say nothing.
        random_run: whether those of the run alone say nothing; a file's network is built anew for PyTorch.
        parameters, gflop: of one crop; None where the training stack that counts them is missing.
        error_mm: mean on the test set `clear`, where the file tells.
    """

    name: str
    file: Path | None
    run: Path | None
    random: bool = False
    random_run: bool = False
    parameters: int | None = None
    gflop: float | None = None
    error_mm: float | None = None
