"""ONNX models through onnxruntime: crops in, crop points and their sigma out."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import onnxruntime
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError
from dor3d.runtime.card import METADATA_KEY, ModelCard, find_model


class CropOutput(NamedTuple):
    """What a network says about a batch of crops."""

    points: Float[ndarray, "b a 3"]  # (p px, q px, r mm)
    sigma: Float[ndarray, "b a 3"]  # standard deviations in the same units
    kind: Float[ndarray, "b 2"] | None = None  # log-odds of a hand, and of a right one; of networks that tell


@runtime_checkable
class CropModel(Protocol):
    """What prediction needs of a runtime."""

    card: ModelCard

    def __call__(self, crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        """Run a batch of normalised crops in [-1, 1]."""
        ...


class OnnxModel:
    """A model in onnxruntime on the CPU.

    Args:
        model: a shipped name or an ONNX file.
        threads: of the network; None: onnxruntime's choice, one a core.

    Raises ModelError for a file that is missing, broken or not dor3d's; nothing in it is ever unpickled.
    """

    def __init__(self, model: str | Path = "compact", threads: int | None = None) -> None:
        path = find_model(model)
        self._session = open_session(path, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.card = ModelCard.parse(text, str(path))
        _check_interface(self._session, self.card, str(path))
        tells = any(output.name == "kind" for output in self._session.get_outputs())
        self._outputs = ["points", "sigma", "kind"] if tells else ["points", "sigma"]

    def __call__(self, crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        """Run a batch of normalised crops in [-1, 1]; raises ModelError if the network fails on it."""
        try:
            points, sigma, *kind = self._session.run(self._outputs, {"crop": np.ascontiguousarray(crops, np.float32)})
        except Exception as error:  # onnxruntime's errors share no base class
            raise ModelError(f"Model {self.card.name} failed", got=first_line(error)) from None
        expected = (len(crops), len(self.card.joints), 3)
        if points.shape != expected or sigma.shape != expected:
            raise ModelError("A model's output has a wrong shape", got=(points.shape, sigma.shape), expected=expected)
        if kind and kind[0].shape != (len(crops), 2):
            raise ModelError("A model's output has a wrong shape", got=kind[0].shape, expected=(len(crops), 2))
        if not all(np.isfinite(output).all() for output in (points, sigma, *kind)):
            raise ModelError(f"Model {self.card.name} put out numbers that are not finite")
        return CropOutput(points, sigma, *kind)


def open_session(path: Path, threads: int | None) -> Any:
    """A session of an ONNX file on the CPU; raises ModelError for a file that is none, InputError for no threads."""
    if threads is not None and threads < 1:
        raise InputError("The number of threads must be at least 1", got=threads)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # our one line says it
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(
            f"{path} cannot be opened as a model", got=first_line(error), expected="an ONNX file of dor3d"
        ) from None


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _check_interface(session: Any, card: ModelCard, source: str) -> None:
    inputs = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    outputs = {o.name: o.type for o in session.get_outputs()}
    kind, shape = inputs.get("crop", ("", []))
    if set(inputs) != {"crop"} or not {"points", "sigma"} <= set(outputs):
        raise ModelError(
            f"{source} has other inputs or outputs",
            got=f"{sorted(inputs)} to {sorted(outputs)}",
            expected="crop to points and sigma",
        )
    wrong = len(shape) != 4 or any(
        isinstance(s, int) and s != e for s, e in zip(shape[1:], (1, card.size, card.size), strict=True)
    )
    if wrong or {kind, outputs["points"], outputs["sigma"]} != {"tensor(float)"}:
        raise ModelError(
            f"{source} does not fit its metadata",
            got=f"{kind} {shape}",
            expected=f"float32 [B, 1, {card.size}, {card.size}]",
        )
