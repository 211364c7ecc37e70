"""ONNX and OpenVINO models through OpenVINO: crops in, crop points and their sigma out, on the CPU."""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError
from dor3d.runtime.base import CropOutput, Precision, check_threads, checked_output, first_line
from dor3d.runtime.card import METADATA_KEY, ModelCard, find_model

Hint = Literal["latency", "throughput"]
# OpenVINO's name of each, and what the processor must be able to do
_PRECISIONS: Final[dict[Precision, tuple[str, str]]] = {
    "fp32": ("f32", "FP32"),
    "bf16": ("bf16", "BF16"),
    "fp16": ("f16", "FP16"),
}


class OpenVinoModel:
    """A model in OpenVINO.

    Args:
        model: a shipped name, an ONNX file or an OpenVINO .xml.
        threads: of the network; None: OpenVINO's choice.
        precision: that it computes in.
        hint: `latency` for one crop after another, `throughput` for many at a time.

    Raises ModelError for a file that is missing, broken or not dor3d's, InputError where OpenVINO is not installed or
    the processor does not know the precision.
    """

    def __init__(
        self,
        model: str | Path = "compact",
        threads: int | None = None,
        *,
        precision: Precision = "fp32",
        hint: Hint = "latency",
    ) -> None:
        path, core = find_model(model), open_core()
        check_threads(threads)
        _check_precision(core, precision)
        config = {"PERFORMANCE_HINT": hint.upper(), "INFERENCE_PRECISION_HINT": _PRECISIONS[precision][0]}
        if threads is not None:
            config["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            network = core.read_model(str(path))
            self.card = ModelCard.parse(metadata_of(network), str(path))
            self._names = [output.get_any_name() for output in network.outputs]
            self._compiled = core.compile_model(network, "CPU", config)
        except RuntimeError as error:
            raise ModelError(
                f"{path} cannot be opened as a model", got=first_line(error), expected="an ONNX or .xml file of dor3d"
            ) from None
        if not {"points", "sigma"} <= set(self._names):
            raise ModelError(f"{path} has other outputs", got=sorted(self._names), expected="points and sigma")
        self._request = self._compiled.create_infer_request()

    def __call__(self, crops: Float[ndarray, "b 1 s s"]) -> CropOutput:
        """Run a batch of normalised crops in [-1, 1]; raises ModelError if the network fails on it."""
        try:
            found = self._request.infer([np.ascontiguousarray(crops, np.float32)], share_inputs=True)
        except RuntimeError as error:
            raise ModelError(f"Model {self.card.name} failed", got=first_line(error)) from None
        said = dict(zip(self._names, found.values(), strict=True))
        return checked_output(self.card, len(crops), said["points"], said["sigma"], said.get("kind"))


def precisions() -> tuple[Precision, ...]:
    """What this processor computes in; raises InputError where OpenVINO is not installed."""
    return _precisions_of(open_core())


def open_core() -> Any:
    """OpenVINO itself; raises InputError where it is not installed."""
    try:
        import openvino
    except ImportError:
        raise InputError("OpenVINO is not installed", fix="pip install 'dor3d[openvino]'") from None
    return openvino.Core()


def _precisions_of(core: Any) -> tuple[Precision, ...]:
    known = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name, (_, needed) in _PRECISIONS.items() if needed in known)


def _check_precision(core: Any, precision: Precision) -> None:
    can = _precisions_of(core)
    if precision not in can:
        raise InputError("This processor does not compute so", got=precision, expected=" or ".join(can))


def metadata_of(network: Any) -> str | None:
    """What the file says of itself: ONNX metadata, which OpenVINO keeps, or what `dor3d export` put into the .xml."""
    for where in (["framework", METADATA_KEY], [METADATA_KEY]):
        if network.has_rt_info(where):
            return str(network.get_rt_info(where).astype(str))
    return None
