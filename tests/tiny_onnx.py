"""A network small enough to write by hand, with the interface of the real ones."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dor3d.skeleton import JOINTS

SIZE = 32
CUBE_MM = (280.0, 300.0)


def tiny_model(path: Path, *, size: int = SIZE, card: dict | None = None, metadata: str | None = None) -> Path:
    """Write a network whose joints always stand on a fixed grid of the crop, and that is surest of hands on the left.

    The point j is at p = size/4 + j * size/48, q = size/2, r = 140 mm; sigma falls with the surface on
    the left: it is 4 - 4 * (sum of the right half) / size^2.
    """
    count = len((card or {}).get("joints", JOINTS))
    j = np.arange(count)
    points = np.stack([size / 4 + j * size / 48, np.full(count, size / 2), np.full(count, 140.0)], -1)[None]
    right = np.zeros((1, 1, size, size), np.float32)
    right[..., size // 2 :] = -1 / (size * size)  # a surface's input is below 1, the background's is 1
    constants = {
        "points0": points.astype(np.float32),
        "ones": np.ones((1, count, 3), np.float32),
        "right": right,
        "zero": np.zeros(1, np.float32),
        "shape": np.array([-1, 1, 1], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "base": np.array([4.0], np.float32),
        "gain": np.array([4.0], np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["crop", "right"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["sum4"], keepdims=1),
        helper.make_node("Reshape", ["sum4", "shape"], ["sum3"]),
        helper.make_node("Mul", ["sum3", "zero"], ["nothing"]),
        helper.make_node("Add", ["points0", "nothing"], ["points"]),
        helper.make_node("Mul", ["sum3", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "base"], ["level"]),
        helper.make_node("Mul", ["ones", "level"], ["sigma"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["batch", 1, size, size])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", count, 3]) for n in ("points", "sigma")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    own = {"format": 1, "name": "tiny", "size": size, "cube_mm": list(CUBE_MM), "joints": list(JOINTS), "training": {}}
    text = json.dumps({**own, **(card or {})}) if metadata is None else metadata
    if text:
        helper.set_model_props(model, {"dor3d": text})
    onnx.save(model, str(path))
    return path


def hand_frame(width: int = 320, height: int = 240, z: int = 500, focal: float = 287.0) -> np.ndarray:
    """A uint16 frame (mm) of a palm with five fingers and a forearm that leaves the image at the bottom."""
    frame = np.zeros((height, width), np.uint16)
    scale = focal / z
    cx, cy = width / 2, height / 2

    def block(x0: float, y0: float, x1: float, y1: float, depth: int) -> None:
        rows = slice(max(0, round(cy + y0 * scale)), max(0, round(cy + y1 * scale)))
        frame[rows, round(cx + x0 * scale) : round(cx + x1 * scale)] = depth

    block(-27, 50, 27, 2000, z + 20)
    block(-42, -40, 42, 50, z)
    for k in range(4):
        block(-42 + 22 * k, -115, -26 + 22 * k, -40, z - 5)
    block(42, 0, 80, 18, z)
    return frame
