"""What a model file says about itself, and which file a model's name means. Reads no weights."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dor3d.errors import ModelError
from dor3d.skeleton import JOINTS
from dor3d.text import parse_json

FORMAT: Final = 1
METADATA_KEY: Final = "dor3d"
WEIGHTS: Final = Path(__file__).parent.parent / "weights"


@dataclass(frozen=True)
class ModelCard:
    """The part of a model file's metadata that prediction depends on.

    Attributes:
        name: the model's name.
        size: side S of the crop in pixels.
        cube_mm: what a crop holds: in-plane side and depth (mm).
        joints: names of the joints, in the order of the output.
        training: free data on how it was made.
        upright: whether later looks should show it hands that point upwards.
        turns: how often the file looks at a crop by itself.
        model: the network's config, where the file tells.
    """

    name: str
    size: int
    cube_mm: tuple[float, float]
    joints: tuple[str, ...]
    training: dict[str, Any] = field(default_factory=dict)
    upright: bool = False
    turns: int = 1
    model: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None, source: str) -> "ModelCard":
        """Read the metadata's JSON; raises ModelError when it is missing, malformed or of a newer format."""
        if not text:
            raise ModelError(
                f"{source} is not a dor3d model",
                got="a file without dor3d's metadata",
                expected="a file that `dor3d export` wrote",
            )
        try:
            raw = parse_json(text)
            form = raw["format"]
            if raw.get("task") == "locate":
                raise ModelError(f"{source} finds hands and reads no joints", fix="It is for --locator.")
            card = cls(
                str(raw["name"]),
                int(raw["size"]),
                (float(raw["cube_mm"][0]), float(raw["cube_mm"][1])),
                tuple(str(joint) for joint in raw["joints"]),
                dict(raw.get("training") or {}),
                bool(raw.get("upright", False)),
                int(raw.get("turns", 1)),
                dict(raw.get("model") or {}),
            )
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise ModelError(f"The metadata of {source} cannot be read", got=repr(error)) from None
        if form != FORMAT:
            raise ModelError(f"{source} has another format", got=form, expected=FORMAT, fix="Update dor3d.")
        cubes_fit = all(math.isfinite(side) and side > 0 for side in card.cube_mm)
        if card.size < 1 or not cubes_fit or not card.joints or len(set(card.joints)) != len(card.joints):
            raise ModelError(f"The metadata of {source} makes no sense", got=text[:200])
        if card.upright and card.joints != JOINTS:
            raise ModelError(
                f"The metadata of {source} makes no sense", got="upright hands of other joints than the 21"
            )
        return card


def shipped() -> list[str]:
    """Names of the models that come with dor3d."""
    return sorted(path.stem for path in WEIGHTS.glob("*.onnx"))


def find_model(model: str | Path) -> Path:
    """The ONNX file of a shipped model's name, or of a path. Raises ModelError when there is none."""
    text = str(model)
    path = Path(model)
    if path.is_file():
        return _checked(path)
    if (WEIGHTS / f"{text}.onnx").is_file() and "/" not in text:
        return WEIGHTS / f"{text}.onnx"
    if path.is_dir():
        raise ModelError(
            f"{text} is a folder, not a model file",
            expected="an ONNX file or a shipped name",
            fix="Turn a run into one file first: dor3d export RUN --format onnx --out model.onnx.",
        )
    raise ModelError(
        "No such model", got=text, expected=f"a shipped name ({', '.join(shipped()) or 'none here'}) or an ONNX file"
    )


def _checked(path: Path) -> Path:
    if path.suffix.lower() in (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pkl"):
        raise ModelError(
            f"{path} cannot be run",
            got=f"a {path.suffix} file",
            expected="an ONNX file",
            fix="Export a run folder first: dor3d export RUN --format onnx --out model.onnx.",
        )
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty", expected="an ONNX file")
    return path
