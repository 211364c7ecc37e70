"""Eight-bit networks: weights and activations of the backbone as integers, by onnxruntime's quantiser.

Ranges of activations are seen on calibration crops. The neck, and what turns its maps into joints, stay in float32: a
joint is a sum over a map, and eight bits of a coordinate are a pixel. So do the first layers, as many as it takes: what
rounding does to them grows through all that follow.
"""

import tempfile
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from jaxtyping import Float
from numpy import ndarray
from onnx import ModelProto, NodeProto

_BATCH: Final = 16
_KINDS: Final = ("Conv", "MatMul", "Gemm")
_WHOLE: Final = frozenset({"neck", "head", "errors", "kind"})  # modules that stay in float32


def quantised(proto: ModelProto, crops: Float[ndarray, "n 1 s s"], holds: Callable[[ModelProto], bool]) -> ModelProto:
    """A network in eight bits (QDQ form, which onnxruntime and OpenVINO both turn into integer kernels).

    Args:
        proto: in float32, batch norms folded.
        crops: like those that it will see; some dozens are enough.
        holds: whether a network is near enough to the one in float32. As few of the first layers as that takes stay in
            float32, found by bisection; where nothing is near enough, the last layer alone is in eight bits.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready = _prepared(proto, Path(folder))
        layers = [node.name for node in onnx.load(str(ready)).graph.node if _can(node)]

        @cache
        def in_eight_bits(first: int) -> ModelProto:
            return _static(ready, layers[first:], crops)

        return in_eight_bits(bisect_left(range(len(layers) - 1), True, key=lambda first: holds(in_eight_bits(first))))


def eight_bit_layers(model: ModelProto | Path) -> tuple[int, int]:
    """How many of a network's layers have weights in eight bits, and how many layers there are."""
    proto = model if isinstance(model, ModelProto) else onnx.load(str(model))
    restored = {name for node in proto.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    layers = [node for node in proto.graph.node if node.op_type in _KINDS]
    return sum(node.input[1] in restored for node in layers), len(layers)


def _can(node: NodeProto) -> bool:
    return node.op_type in _KINDS and not _WHOLE & set(node.name.split("/"))


def _prepared(proto: ModelProto, folder: Path) -> Path:
    """The network with its shapes inferred, as the quantiser wants it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, ready = folder / "plain.onnx", folder / "ready.onnx"
    onnx.save(proto, str(plain))
    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    return ready


def _static(ready: Path, layers: Sequence[str], crops: Float[ndarray, "n 1 s s"]) -> ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    done = ready.with_name("done.onnx")
    quantize_static(
        str(ready),
        str(done),
        _reader(crops),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=list(layers),
        op_types_to_quantize=list(_KINDS),
        per_channel=True,
        reduce_range=True,  # without VNNI the sums of two products overflow: seven bits of weights leave them room
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )
    return onnx.load(str(done))


def _reader(crops: Float[ndarray, "n 1 s s"]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = (np.ascontiguousarray(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH))

        def get_next(self) -> Any:
            batch = next(self._batches, None)
            return None if batch is None else {"crop": batch}

    return Reader()
