"""What a runtime is given that it cannot run: files of other makers, other sizes, batches without room."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy import ndarray
from onnx import ModelProto, TensorProto, helper

from dor3d.errors import ModelError, RoomError
from dor3d.runtime.backends import open_backend
from dor3d.runtime.base import RuntimeModel
from dor3d.runtime.card import METADATA_KEY, find_model
from dor3d.runtime.locator import OnnxLocator
from dor3d.runtime.onnx import OnnxModel

FILES = ("onnxruntime", "openvino")


def shipped() -> ModelProto:
    return onnx.load(str(find_model("compact")))


def of_another_maker(opset: int = 17) -> ModelProto:
    """A valid network that knows nothing of hands."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 96, 96]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "net", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def with_metadata(proto: ModelProto) -> ModelProto:
    (entry,) = [entry for entry in shipped().metadata_props if entry.key == METADATA_KEY]
    helper.set_model_props(proto, {METADATA_KEY: entry.value})
    return proto


def of_another_size() -> ModelProto:
    """One whose input is not what its metadata says."""
    proto = shipped()
    for axis, size in zip(proto.graph.input[0].type.tensor_type.shape.dim, (1, 1, 128, 128), strict=True):
        axis.dim_value = size
    return proto


@pytest.mark.parametrize("backend", FILES)
@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (None, "cannot be opened as a model; got .+; expected an ONNX"),
        (of_another_maker(), "is not a dor3d model; got a file without"),
        (with_metadata(of_another_maker()), "has other inputs or outputs; got|does not fit its metadata; got"),
        (of_another_size(), r"does not fit its metadata; got .*128.*; expected .*\[.*1, 96, 96\]|cannot be opened"),
    ],
    ids=["no network", "another maker's", "other inputs", "another size"],
)
def test_other_files_are_refused(proto: ModelProto | None, said: str, backend: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.onnx"
    file.write_bytes(b"no network" if proto is None else proto.SerializeToString())
    with pytest.raises(ModelError, match=said) as told:
        open_backend(file, backend, 1)
    assert "bad.onnx" in str(told.value)


def test_an_opset_of_the_future_is_named(tmp_path: Path) -> None:
    file = tmp_path / "new.onnx"
    file.write_bytes(with_metadata(of_another_maker(opset=99)).SerializeToString())
    with pytest.raises(ModelError, match=r"new\.onnx cannot be opened as a model; got .*opset"):
        open_backend(file, "onnxruntime", 1)


class Small(RuntimeModel):
    """A runtime with room for so many crops."""

    def __init__(self, most: int) -> None:
        self.card, self.most, self.asked = OnnxModel("compact", 1).card, most, list[int]()

    def _run(self, crops: ndarray) -> Sequence[ndarray]:
        self.asked.append(len(crops))
        if len(crops) > self.most:
            raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 7")
        points = np.repeat(crops[:, 0, :1, :1], len(self.card.joints), 1).repeat(3, 2)
        return points, points + 1


def numbered(count: int) -> ndarray:
    return np.arange(count, dtype=np.float32)[:, None, None, None] + np.zeros((1, 1, 96, 96), np.float32)


def test_a_batch_without_room_goes_on_in_halves() -> None:
    model, crops = Small(3), numbered(13)
    with pytest.warns(RuntimeWarning, match="no memory for 13 crops at once in model compact: it goes on with 6"):
        said = model(crops)
    assert model.asked[:3] == [13, 6, 3] and model.room == 3
    assert np.array_equal(said.points[:, 0, 0], np.arange(13)) and np.array_equal(said.sigma, said.points + 1)
    model.asked.clear()
    model(crops)
    assert model.asked == [3, 3, 3, 3, 1]  # what has no room is not tried again


def test_no_room_for_one_crop_is_an_error() -> None:
    with (
        pytest.warns(RuntimeWarning, match="goes on with 1"),
        pytest.raises(RoomError, match="no memory for model compact, even for one crop"),
    ):
        Small(0)(numbered(2))


def test_other_failures_are_no_matter_of_room() -> None:
    model = Small(3)
    model._run = lambda crops: (_ for _ in ()).throw(RuntimeError("a kernel failed"))  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="Model compact failed; got a kernel failed"):
        model(numbered(2))
    assert model.room is None


WITHOUT_MEMORY = """
import resource, sys, warnings
import numpy as np
from dor3d.runtime.backends import open_backend
model = open_backend("compact", sys.argv[1], 1)
crops = np.zeros((512, 1, 96, 96), np.float32)
expected = model(crops[:1]).points[0]
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + (200 << 20), -1))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    points = model(crops).points
assert np.abs(points - expected).max() < 1e-3
print(model.room, len(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
@pytest.mark.parametrize("backend", FILES)
def test_memory_that_ends_is_met_by_halves(backend: str) -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    words = [sys.executable, "-c", WITHOUT_MEMORY, backend]
    # each thread's arena takes addresses by the 64 MB, used or not: now and then too many for even one crop
    one_arena = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=one_arena)
    assert done.returncode == 0, done.stderr
    room, told = map(int, done.stdout.split())
    assert 1 <= room < 512 and told >= 1


@pytest.mark.parametrize("kind", [OnnxModel, OnnxLocator])
def test_threads_that_have_answered_soon_sleep(kind: type) -> None:
    """Awake they keep a core from the next network: a frame with a locator and a network took half as long again."""
    waits_us = int(
        kind(threads=2)._session.get_session_options().get_session_config_entry("session.intra_op.spin_duration_us")
    )
    assert 100 <= waits_us <= 1000
