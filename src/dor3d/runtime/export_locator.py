"""From a trained locator to one ONNX file, checked before it is written.

The file's interface: inputs `depth` float32 [B, 1, 120, 160], readings in mm on the coarse grid (0: none), padded with
none, and `pitch` [B], the angle between its cells (rad); outputs `heat`, `offset` and `distance`, as
`dor3d.model.locator.Sights` has them; `metadata_props["dor3d"]` holds a JSON object: format, name, task and training.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from numpy import ndarray
from onnx import ModelProto, helper
from torch import Tensor

from dor3d.errors import ModelError
from dor3d.files import write_whole
from dor3d.geometry.grid import COARSE
from dor3d.model.checkpoint import load_locator
from dor3d.model.locator import Locator
from dor3d.runtime.card import FORMAT, METADATA_KEY
from dor3d.runtime.export import store_half, traced
from dor3d.runtime.locator import OUTPUTS

# how far outputs may be from torch's, on average: log-odds, grid cells, log of distance
_LIMITS: Final = (0.1, 0.1, 0.002)


def export_locator(
    model: Locator | Path, out: Path, *, half: bool = True, name: str = "", card: Mapping[str, Any] | None = None
) -> float:
    """Write a locator (or a run folder's) as ONNX; returns how far it is from torch's, as a share of what may be.

    Args:
        out: the .onnx file, written whole or not at all.
        half: store weights as float16.
        name: the model's name; the file's stem by default.
        card: free data on the training, kept in the file.

    Raises ModelError when the exported network does not agree with torch's.
    """
    out = Path(out)
    net = (model if isinstance(model, Locator) else load_locator(model)).eval()
    proto = traced(net, _inputs(made_up_frames(2)), OUTPUTS)
    if half:
        store_half(proto)
    metadata = {"format": FORMAT, "name": name or out.stem, "task": "locate", "training": dict(card or {})}
    helper.set_model_props(proto, {METADATA_KEY: json.dumps(metadata)})
    difference = _difference(proto, net)
    if not difference <= 1:
        raise ModelError(
            "The exported locator does not agree with the trained one",
            got=f"{difference:.1f} times what it may be off",
            fix="Nothing was written." + (" Try full precision (half=False)." if half else ""),
        )
    write_whole(out, proto.SerializeToString())
    return difference


def _difference(proto: ModelProto, net: Locator) -> float:
    inputs = _inputs(made_up_frames(4, seed=1))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(list(OUTPUTS), {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        expected = net(*inputs.values())
    apart = [np.abs(a - b.numpy()).mean() for a, b in zip(got, expected, strict=True)]
    return float(np.max(np.array(apart) / _LIMITS))


def _inputs(depth: Float[ndarray, "b 1 y x"]) -> dict[str, Tensor]:
    pitch = torch.linspace(1 / 200, 1 / 90, len(depth))
    return {"depth": torch.from_numpy(depth), "pitch": pitch}


def made_up_frames(count: int, seed: int = 0) -> Float[ndarray, "b 1 y x"]:
    """Frames of a slanting wall, some fat sticks before it and pixels without a reading; no data needed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: COARSE[1], : COARSE[0]].astype(np.float32)
    frames = np.empty((count, 1, COARSE[1], COARSE[0]), np.float32)
    for frame in frames[:, 0]:
        frame[:] = 1500 + rng.uniform(-5, 5) * rows + rng.uniform(-5, 5) * columns
        for _ in range(5):
            (x, y), angle, z = rng.uniform((10, 10), (150, 110)), rng.uniform(0, np.pi), rng.uniform(300, 1200)
            along = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
            across = (rows - y) * np.cos(angle) - (columns - x) * np.sin(angle)
            frame[(np.abs(along) < 25) & (np.abs(across) < 6)] = z
        frame[rng.random(frame.shape) < 0.02] = 0
    return frames
