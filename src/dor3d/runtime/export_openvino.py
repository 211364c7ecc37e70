"""From an exported ONNX file to OpenVINO's own form, an .xml with a .bin beside it, checked before it is written.

OpenVINO reads ONNX files too; its own load faster and need no ONNX reader.
"""

import tempfile
from pathlib import Path

from jaxtyping import Float
from numpy import ndarray

from dor3d.errors import InputError, ModelError
from dor3d.files import write_whole
from dor3d.runtime.card import METADATA_KEY
from dor3d.runtime.onnx import OnnxModel
from dor3d.runtime.openvino import OpenVinoModel, metadata_of, open_core
from dor3d.runtime.parity import Limit, Parity, asked_for, parity


def check_place(out: Path) -> None:
    """Raises InputError where OpenVINO is not installed, or for a file that is no .xml."""
    if out.suffix != ".xml":
        raise InputError("OpenVINO's files end in .xml", got=out, fix="Name the .xml; its .bin is written beside it.")
    open_core()


def export_openvino(onnx: Path, out: Path, crops: Float[ndarray, "n 1 s s"], limit: Limit) -> Parity:
    """Write what an ONNX file holds in OpenVINO's form; returns how far it is from the ONNX file's joints.

    Args:
        onnx: an exported file.
        out: the .xml; its .bin comes beside it. Both are written, or none.
        crops: that the two are compared on.
        limit: how near they have to be; `fp16` also stores weights so.

    Raises ModelError when they do not agree, and what `check_place` raises.
    """
    check_place(out)
    core = open_core()
    import openvino

    network = core.read_model(str(onnx))
    network.set_rt_info(metadata_of(network) or "", METADATA_KEY)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.xml"
        openvino.save_model(network, str(place), compress_to_fp16=limit == "fp16")
        model = OpenVinoModel(place)
        found = parity(model.card, model(crops), OnnxModel(onnx)(crops))
        if not found.within(limit):
            raise ModelError(
                "OpenVINO's network does not agree with the ONNX file's",
                got=str(found),
                expected=asked_for(limit),
                fix="Nothing was written.",
            )
        write_whole(out.with_suffix(".bin"), place.with_suffix(".bin").read_bytes())
        write_whole(out, place.read_bytes())
    return found
