"""ONNX models through onnxruntime: crops in, crop points and their sigma out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import onnxruntime
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError
from dor3d.runtime.base import RuntimeModel, check_threads, first_line
from dor3d.runtime.card import METADATA_KEY, ModelCard, find_model

Provider = Literal["cpu", "cuda", "tensorrt", "coreml", "directml"]
# onnxruntime's name of each, and the package that brings it
PROVIDERS: Final[dict[Provider, tuple[str, str]]] = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml"),
}
_SPIN_US: Final = "500"  # how long threads wait awake; from 200 to 1,000 nothing is lost (benchmarks/spin_speed.py)


class OnnxModel(RuntimeModel):
    """A model in onnxruntime.

    Args:
        model: a shipped name or an ONNX file.
        threads: of the network; None: onnxruntime's choice, one a core.
        provider: what computes.

    Raises ModelError for a file that is missing, broken or not dor3d's (nothing in it is ever unpickled), InputError
    for a provider that is not installed.
    """

    def __init__(self, model: str | Path = "compact", threads: int | None = None, provider: Provider = "cpu") -> None:
        path = find_model(model)
        self._session = open_session(path, threads, provider)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        self.card = ModelCard.parse(text, str(path))
        _check_interface(self._session, self.card, str(path))
        tells = any(output.name == "kind" for output in self._session.get_outputs())
        self._outputs = ["points", "sigma", "kind"] if tells else ["points", "sigma"]

    def _run(self, crops: Float[ndarray, "b 1 s s"]) -> Sequence[ndarray]:
        return self._session.run(self._outputs, {"crop": crops})


def providers() -> list[Provider]:
    """Those that the installed onnxruntime brings; whether they start is another matter."""
    brought = onnxruntime.get_available_providers()
    return [name for name, (wanted, _) in PROVIDERS.items() if wanted in brought]


def open_session(path: Path, threads: int | None, provider: Provider = "cpu") -> Any:
    """A session of an ONNX file.

    Args:
        path: of the file.
        threads: on the CPU; None: one a core.
        provider: what computes.

    Raises ModelError for a file that is no network, or where the provider cannot start; InputError for no threads, or a
    provider that is not installed.
    """
    check_threads(threads)
    wanted, package = PROVIDERS[provider]
    if provider not in (known := providers()):
        fix = f"{package} may bring it, in place of what is installed."
        raise InputError("This onnxruntime lacks a provider", got=provider, expected=" or ".join(known), fix=fix)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # our one line says it
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    # else threads of a network that has answered keep a core for a tenth of a second, which the next network lacks
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[wanted])
    except Exception as error:  # onnxruntime's errors share no base class
        raise ModelError(
            f"{path} cannot be opened as a model", got=first_line(error), expected="an ONNX file of dor3d"
        ) from None
    if session.get_providers()[0] != wanted:  # it falls back to the CPU without a word
        raise ModelError(
            f"onnxruntime cannot start {provider}", got=session.get_providers(), fix="Its driver may be missing or old."
        )
    return session


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
