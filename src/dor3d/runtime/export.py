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
from typing import Any, Final

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

FORMAT: Final = 1
METADATA_KEY: Final = "dor3d"
OPSET: Final = 17
HALF_TOLERANCE_MM: Final = 0.3
FULL_TOLERANCE_MM: Final = 0.05
_HALF_MAX: Final = 65504.0


def export_onnx(
    model: HandNet | Path,
    out: Path,
    *,
    half: bool = True,
    name: str = "",
    card: Mapping[str, Any] | None = None,
    sigma_scale: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turns: int = 1,
) -> float:
    """Write a network (or a run folder's) as ONNX; returns by how much its joints differ from torch's (mean, mm).

    Args:
        out: the .onnx file, written whole or not at all.
        half: store weights as float16; a runtime turns them back when it loads the file and computes in float32.
        name: the model's name; the file's stem by default.
        card: free data on the training, kept in the file.
        sigma_scale: what standard deviations along x, y and z are multiplied by (`dor3d.train.temperature`).
        turns: how often the file looks at the crop, each time turned (`dor3d.model.turns`).

    Raises ModelError when the exported network does not agree with torch's.
    """
    out = Path(out)
    net = model if isinstance(model, HandNet) else load_model(model)
    plain = net.folded().cpu().to(memory_format=torch.contiguous_format)
    outputs = _Outputs(with_turns(plain, turns), sigma_scale).eval()
    proto = traced(outputs, {"crop": torch.zeros(2, 1, net.config.size, net.config.size)}, _names(net))
    if half:
        store_half(proto)
    helper.set_model_props(proto, {METADATA_KEY: json.dumps(_metadata(net, name or out.stem, card or {}, turns))})
    difference = _parity_mm(proto, outputs)
    limit = HALF_TOLERANCE_MM if half else FULL_TOLERANCE_MM
    if not difference <= limit:
        raise ModelError(
            "The exported network does not agree with the trained one",
            got=f"{difference:.3f} mm apart",
            expected=f"at most {limit} mm",
            fix="Nothing was written." + (" Try full precision (half=False)." if half else ""),
        )
    write_whole(out, proto.SerializeToString())
    return difference


def _parity_mm(proto: ModelProto, outputs: "_Outputs", count: int = 8, seed: int = 0) -> float:
    """How far an ONNX network is from torch's on made-up crops: the mean distance (mm) of joints, or of their sigma.

    A tenth of log-odds counts as much as a mm.
    """
    net = outputs.net
    crops = made_up_crops(count, net.config.size, seed)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    batches = [session.run(_names(net), {"crop": crops[i : i + 3]}) for i in range(0, count, 3)]
    with torch.no_grad():
        expected = outputs(torch.from_numpy(crops))
    scale = net.config.cube_mm[0] / net.config.size
    in_mm = np.array([scale, scale, 1.0])
    units = (in_mm, in_mm, np.array([10.0, 10.0]))
    apart = [
        np.linalg.norm((np.concatenate(got) - said.numpy()) * unit, axis=-1).mean()
        for got, said, unit in zip(zip(*batches, strict=True), expected, units, strict=False)
    ]
    return float(np.max(apart))


def made_up_crops(count: int, size: int, seed: int = 0) -> Float[ndarray, "n 1 s s"]:
    """Crops with some fat sticks before a far background: rough stand-ins for fingers, no data needed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    crops = np.ones((count, 1, size, size), np.float32)
    for crop in crops[:, 0]:
        for _ in range(6):
            (x, y, depth), angle = rng.uniform([0.3, 0.3, -0.6], [0.7, 0.7, 0.6]), rng.uniform(0, np.pi)
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
            stick = (np.abs(along) < 0.25) & (np.abs(across) < 0.04)
            crop[stick] = np.minimum(crop[stick], depth + 0.3 * along[stick])
    return crops


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
