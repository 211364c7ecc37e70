"""ONNX and OpenVINO models through OpenVINO: crops in, crop points and their sigma out, on the CPU."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError
from dor3d.runtime.base import Precision, RuntimeModel, check_threads, first_line
from dor3d.runtime.card import METADATA_KEY, ModelCard, find_model

Hint = Literal["latency", "throughput"]
# OpenVINO's name of each, and what the processor must be able to do
_PRECISIONS: Final[dict[Precision, tuple[str, str]]] = {
    "fp32": ("f32", "FP32"),
    "bf16": ("bf16", "BF16"),
    "fp16": ("f16", "FP16"),
}


class OpenVinoModel(RuntimeModel):
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
        self._config = {"PERFORMANCE_HINT": hint.upper(), "INFERENCE_PRECISION_HINT": _PRECISIONS[precision][0]}
        if threads is not None:
            self._config["INFERENCE_NUM_THREADS"] = str(threads)
        self._core, self._opened = core, dict[bool, list[Any]]()
        try:
            self._network = core.read_model(str(path))
            self.card = ModelCard.parse(metadata_of(self._network), str(path))
            _check_interface(self._network, self.card, path)
            self._requests(one=True)
        except RuntimeError as error:
            raise ModelError(
                f"{path} cannot be opened as a model", got=first_line(error), expected="an ONNX or .xml file of dor3d"
            ) from None
        said = {output.get_any_name() for output in self._network.outputs}
        self._names = [name for name in ("points", "sigma", "kind") if name in said]

    def _run(self, crops: Float[ndarray, "b 1 s s"]) -> Sequence[ndarray]:
        requests = self._requests(one=len(crops) == 1)
        parts = np.array_split(crops, min(len(requests), len(crops))) if len(crops) > 1 else [crops]
        busy = requests[: len(parts)]
        try:
            for request, part in zip(busy, parts, strict=True):
                request.start_async([part], share_inputs=True)
            for request in busy:
                request.wait()
        except RuntimeError:
            self._opened.clear()  # what they hold may be what there was no room for
            raise
        return [np.concatenate([request.get_tensor(name).data for request in busy]) for name in self._names]

    def _requests(self, *, one: bool) -> list[Any]:
        """To the network laid out for one crop, which is faster, or for any number; more than one for throughput."""
        if one not in self._opened:
            network = self._network.clone()
            if one:
                network.reshape([1, 1, self.card.size, self.card.size])
            compiled = self._core.compile_model(network, "CPU", self._config)
            count = 1 if one else compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            self._opened[one] = [compiled.create_infer_request() for _ in range(count)]
        return self._opened[one]


def precisions() -> tuple[Precision, ...]:
    """What this processor computes in; raises InputError where OpenVINO is not installed."""
    return _precisions_of(open_core())


@cache
def open_core() -> Any:
    """OpenVINO itself; raises InputError where it is not installed.

    One for the whole process: each lays out a stack for signals and puts back the one before it when it goes. Where two
    go in the order they came, the next signal (ctrl-c, say) finds a stack that is gone, and the process dies of it.
    """
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


def _check_interface(network: Any, card: ModelCard, path: Path) -> None:
    inputs = {name: put.get_partial_shape().to_string() for put in network.inputs for name in put.get_names()}
    outputs = {name for put in network.outputs for name in put.get_names()}
    shape = network.inputs[0].get_partial_shape() if len(network.inputs) == 1 else None
    fits = shape is not None and shape.compatible(type(shape)([-1, 1, card.size, card.size]))
    if "crop" not in inputs or not {"points", "sigma"} <= outputs or not fits:
        raise ModelError(
            f"{path} does not fit its metadata",
            got=f"{inputs} to {sorted(outputs)}",
            expected=f"crop [?, 1, {card.size}, {card.size}] to points and sigma",
        )


def metadata_of(network: Any) -> str | None:
    """What the file says of itself: ONNX metadata, which OpenVINO keeps, or what `dor3d export` put into the .xml."""
    for where in (["framework", METADATA_KEY], [METADATA_KEY]):
        if network.has_rt_info(where):
            return str(network.get_rt_info(where).astype(str))
    return None
