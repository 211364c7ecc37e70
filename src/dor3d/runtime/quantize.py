"""Eight-bit networks: weights and activations of backbone and neck as integers, by onnxruntime's quantiser.

Ranges of activations are seen on calibration crops. What turns maps into joints stays in float32: a joint is a sum over
a map, and eight bits of a coordinate are a pixel.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from jaxtyping import Float
from numpy import ndarray
from onnx import ModelProto

_BATCH: Final = 16
_KINDS: Final = ("Conv", "MatMul", "Gemm")


def quantised(proto: ModelProto, crops: Float[ndarray, "n 1 s s"], whole: frozenset[str]) -> ModelProto:
    """A network in eight bits (QDQ form, which onnxruntime and OpenVINO both turn into integer kernels).

    Args:
        proto: in float32, batch norms folded.
        crops: like those that it will see; some hundreds.
        whole: modules whose nodes stay as they are.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    kept = [node.name for node in proto.graph.node if whole & set(node.name.split("/"))]
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, done = (Path(folder) / name for name in ("plain.onnx", "ready.onnx", "done.onnx"))
        onnx.save(proto, str(plain))
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(done),
            _reader(crops),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_KINDS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
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
