"""From a trained network to one ONNX file: decode inside, weights in half precision, checked before it is written.

The file's interface: input `crop` float32 [B, 1, S, S]; outputs `points` and `sigma` float32 [B, A, 3] in (px, px, mm),
and of networks that tell what a crop shows `kind` [B, 2], the log-odds of a hand and of a right one;
`metadata_props["dor3d"]` holds a JSON object with format, name, size, cube_mm, joints and training (the card's data).
"""

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float
from numpy import ndarray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dor3d.errors import ModelError
from dor3d.files import write_whole
from dor3d.model.checkpoint import load_model
from dor3d.model.network import HandNet
from dor3d.model.turns import Turned, with_turns
from dor3d.runtime.base import CropOutput, joined
from dor3d.runtime.card import FORMAT, METADATA_KEY, ModelCard
from dor3d.runtime.parity import Parity, asked_for, made_up_crops, parity
from dor3d.runtime.quantize import quantised

OPSET: Final = 17
Stored = Literal["fp32", "fp16", "int8"]
_BATCH: Final = 16
_CROPS: Final = 8
_HALF_MAX: Final = 65504.0


def export_onnx(
    model: HandNet | Path,
    out: Path,
    *,
    precision: Stored = "fp16",
    name: str = "",
    card: Mapping[str, Any] | None = None,
    sigma_scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turns: int = 1,
    crops: Float[ndarray, "n 1 s s"] | None = None,
    calibration: Float[ndarray, "m 1 s s"] | None = None,
) -> Parity:
    """Write a network (or a run folder's) as ONNX; returns how far it is from torch's.

    Args:
        out: the .onnx file, written whole or not at all.
        precision: `fp16`: weights are stored so, and a runtime turns them back when it loads the file and computes in
            float32; `int8`: the backbone computes in integers as far as joints can bear it
            (`dor3d.runtime.quantize`); `fp32`.
        name: the model's name; the file's stem by default.
        card: free data on the training, kept in the file.
        sigma_scale: what standard deviations along x, y and z are multiplied by (`dor3d.train.temperature`).
        turns: how often the file looks at the crop, each time turned (`dor3d.model.turns`).
        crops: that it is compared on; some made-up ones by default.
        calibration: crops whose activations int8 is laid out for; made-up ones by default.

    Raises ModelError when the exported network does not agree with torch's.
    """
    out = Path(out)
    net = model if isinstance(model, HandNet) else load_model(model)
    plain = net.folded().cpu().to(memory_format=torch.contiguous_format)
    outputs = _Outputs(with_turns(plain, turns), sigma_scale).eval()
    proto = traced(outputs, {"crop": torch.zeros(2, 1, net.config.size, net.config.size)}, _names(net))
    crops = made_up_crops(_CROPS, net.config.size) if crops is None else crops
    expected = _torch_says(outputs, crops)
    if precision == "int8":
        seen = made_up_crops(_CROPS, net.config.size, seed=1) if calibration is None else calibration
        proto = quantised(proto, seen, lambda tried: _parity(tried, net, crops, expected).within("int8"))
    elif precision == "fp16":
        store_half(proto)
    helper.set_model_props(proto, {METADATA_KEY: json.dumps(_metadata(net, name or out.stem, card or {}, turns))})
    found = _parity(proto, net, crops, expected)
    if not found.within(precision):
        raise ModelError(
            "The exported network does not agree with the trained one",
            got=str(found),
            expected=asked_for(precision),
            fix="Nothing was written." + ("" if precision == "fp32" else " Try another precision."),
        )
    write_whole(out, proto.SerializeToString())
    return found


def _torch_says(outputs: "_Outputs", crops: Float[ndarray, "n 1 s s"]) -> CropOutput:
    with torch.no_grad():
        said = joined([part.numpy() for part in outputs(torch.from_numpy(batch))] for batch in _batches(crops))
    return CropOutput(*said)


def _parity(proto: ModelProto, net: HandNet, crops: Float[ndarray, "n 1 s s"], expected: CropOutput) -> Parity:
    """How far an ONNX network is from what torch says."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    said = CropOutput(*joined(session.run(_names(net), {"crop": batch}) for batch in _batches(crops)))
    config = net.config
    return parity(ModelCard(config.backbone, config.size, config.cube_mm, config.joints), said, expected)


def _batches(crops: Float[ndarray, "n 1 s s"]) -> list[ndarray]:
    return np.array_split(crops, max(1, len(crops) // _BATCH))


def store_half(proto: ModelProto) -> None:
    """Keep weights as float16 in the file, each with a Cast back that runtimes fold away when they load it.

    Vectors (biases, thresholds) stay in float32: they are small, and the decode needs them whole.
    """
    graph, casts = proto.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > _HALF_MAX:
            continue
        stored = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_half")
        graph.initializer.remove(tensor)
        graph.initializer.append(stored)
        casts.append(helper.make_node("Cast", [stored.name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]  # a node's inputs must stand before it
    del graph.node[:]
    graph.node.extend(nodes)


class _Outputs(nn.Module):
    """The network without what only training needs."""

    def __init__(self, net: HandNet | Turned, sigma_scale: tuple[float, float, float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("scale", torch.tensor(sigma_scale))

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        said = self.net(crop)
        sigma = said.sigma * self.scale
        return (said.points, sigma) if said.kind is None else (said.points, sigma, said.kind)


def _names(net: HandNet | Turned) -> list[str]:
    return ["points", "sigma", "kind"] if net.config.kinds else ["points", "sigma"]


def traced(net: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> ModelProto:
    """A module in eval mode as ONNX, with its inputs and outputs named; the first axis of each is free."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every shape that is fixed; the parity check judges it
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            net,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,  # folds batch norms into their convolutions, and keeps the batch free for every backbone
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
        )
        proto = onnx.load(str(path))
    onnx.checker.check_model(proto)
    return proto


def _metadata(net: HandNet, name: str, card: Mapping[str, Any], turns: int) -> dict[str, Any]:
    config = net.config
    return {
        "format": FORMAT,
        "name": name,
        "size": config.size,
        "cube_mm": list(config.cube_mm),
        "joints": list(config.joints),
        "model": config.to_json(),
        "turns": turns,
        "upright": config.upright,
        "training": dict(card),
    }
