"""A model over a data set: predictions into a file, then the file's score."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.benchmarks import BENCHMARKS, Benchmark
from dor3d.data.centers import Centers, MassCenters
from dor3d.data.centers import open_centers as open_given
from dor3d.data.listing import list_files
from dor3d.data.sample import DepthSet, Sample
from dor3d.errors import Dor3dError, InputError, NoHandError
from dor3d.evaluate.predictions import write_poses, write_submission
from dor3d.evaluate.score import Score, score_file
from dor3d.evaluate.truth import read_truth
from dor3d.files import write_whole
from dor3d.geometry import CropBox
from dor3d.predict.find import make_finder
from dor3d.predict.look import box_after
from dor3d.runtime.base import CropModel
from dor3d.runtime.onnx import OnnxModel
from dor3d.text import count_of

_BATCH: Final = 32
LOCATE: Final = "locate"  # centres as `dor3d predict` finds them
Watch = Callable[[Iterable[int]], Iterable[int]]


class LocatedCenters:
    """Where `dor3d predict` looks first, without help."""

    name, uses_truth = "located", False

    def __init__(self) -> None:
        self.finder = make_finder()

    def of(self, index: int, sample: Sample, cube_mm: tuple[float, float]) -> Float[ndarray, "3"]:
        del index, cube_mm
        places = self.finder(sample.depth_mm, sample.camera, 1.0)
        if not places:
            raise NoHandError(f"No hand was found in {sample.name}")
        return np.array(places[0].center_mm)


def open_model(model: str) -> CropModel:
    """A shipped model, an ONNX file, or a run folder (which needs the training stack). Raises ModelError."""
    if not Path(model).is_dir():
        return OnnxModel(model)
    from dor3d.runtime.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(Path(model), file, precision="fp32", name=Path(model).resolve().name)
        return OnnxModel(file)


def open_centers(source: str, frames: DepthSet) -> Centers:
    """Where the crops of a set are centred: "locate", or what `data.centers` knows. Raises InputError."""
    return LocatedCenters() if source == LOCATE else open_given(source, frames)


def looks_of(model: CropModel, *, located: bool) -> int:
    """How often a model looks: once, and again if it knows hands upright or first crops may lie far off the hand.

    Args:
        model: that looks.
        located: whether first crops are centred where the locator saw something.
    """
    return 2 if model.card.upright or located else 1


@dataclass
class Evaluation:
    """What came of a model on a set.

    Attributes:
        dataset: the set's name.
        predictions: the file of predictions.
        score: what it scores; None where the set's labels are not public.
        skipped: what was wrong with frames that were left out.
        without_hand: how many frames had no centre and were centred by the centre of mass instead.
    """

    dataset: str
    predictions: Path
    score: Score | None = None
    skipped: list[str] = field(default_factory=list)
    without_hand: int = 0

    def lines(self) -> list[str]:
        """What to tell people besides the score."""
        lines = []
        if self.without_hand:
            lines.append(f"{count_of(self.without_hand, 'frame')} had no centre and took the centre of mass")
        if self.score is None:
            lines.append("there are no labels to score against; HANDS2017's server takes submission.txt")
        elif self.score.notes.get("uses_truth"):
            lines.append("the crops were centred on the true joints, which a user's camera does not know")
        return lines


class CroppedFrames:
    """A set's frames as crops."""

    def __init__(self, frames: DepthSet, centers: Centers, cube_mm: tuple[float, float], size: int) -> None:
        self.frames, self.centers, self.cube_mm, self.size = frames, centers, cube_mm, size
        self.without_hand = 0

    def crop(self, index: int) -> tuple[CropBox, ndarray, Sample]:
        sample = self.frames[index]
        try:
            center = self.centers.of(index, sample, self.cube_mm)
        except NoHandError:
            self.without_hand += 1
            center = MassCenters().of(index, sample, self.cube_mm)
        x, y, z = (float(c) for c in center)
        box = CropBox(sample.camera, (x, y, z), self.cube_mm, self.size, mirrored=sample.left)
        return box, box.image(sample.depth_mm), sample


def evaluate(
    model: CropModel,
    frames: DepthSet,
    centers: Centers,
    out: Path,
    *,
    cube_mm: tuple[float, float] | None = None,
    skip_bad: bool = False,
    watch: Watch = iter,
) -> Evaluation:
    """Predict every frame of a set, write the poses, and score them as they stand in the file.

    Writes predictions.txt, truth.txt and score.json; for a set without labels predictions.txt alone, and for
    HANDS2017's test submission.txt, in the form that the challenge's server takes.

    Args:
        model: crops in, crop points out.
        frames: the set.
        centers: where its crops are centred.
        out: folder for the files.
        cube_mm: in-plane side and depth of the crops; the model's own by default.
        skip_bad: leave out frames that cannot be read, and list them.
        watch: passes on the frames' indices, to show how far it has come.

    Raises InputError, FrameError; when files are missing before the first frame is read.
    """
    joints = shared_joints(model, frames)
    if not skip_bad:
        check_files(frames)
    source = CroppedFrames(frames, centers, cube_mm or model.card.cube_mm, model.card.size)
    looks, result = _looks(model, source), Evaluation(frames.name, out / "predictions.txt")
    columns = [model.card.joints.index(name) for name in joints]
    own = [frames.joints.index(name) for name in joints]
    names, poses, truths = [], [], {}
    for boxes, crops, samples in _batches(source, watch(range(len(frames))), result, skip_bad=skip_bad):
        poses += [joints[columns] for joints in _joints(model, looks, boxes, crops, samples)]
        names += [_file_name(sample) for sample in samples]
        truths |= {_file_name(s): s.joints_mm[own] for s in samples if s.joints_mm is not None}
    if not poses:
        raise InputError(f"No frame of {frames.name} could be used", got=result.skipped[0] if result.skipped else None)
    result.without_hand = source.without_hand
    notes = _notes(model, frames, source)
    if frames.name == "hands17" and frames.split == "test":
        write_submission(out / "submission.txt", np.array(poses), names)
    write_poses(result.predictions, np.array(poses), joints, names, notes)
    if truths:
        about = {"dataset": frames.name, "split": frames.split}
        write_poses(out / "truth.txt", np.array(list(truths.values())), joints, list(truths), about)
        result.score = _score(frames, joints, source.cube_mm, out)
        write_whole(out / "score.json", json.dumps(report(result), indent=1) + "\n")
    return result


def _looks(model: CropModel, source: CroppedFrames) -> int:
    return looks_of(model, located=isinstance(source.centers, LocatedCenters))


def _joints(
    model: CropModel, looks: int, boxes: Sequence[CropBox], crops: Sequence[ndarray], samples: Sequence[Sample]
) -> list[Float[ndarray, "a 3"]]:
    """What a model sees at last (mm, camera frame), from these crops on, as `Predictor` does it."""
    found = _seen(model, boxes, crops)
    for _ in range(1, looks):
        pairs = zip(boxes, found, strict=True)
        boxes = [box_after(box, joints, upright=model.card.upright) for box, joints in pairs]
        crops = [box.image(sample.depth_mm) for box, sample in zip(boxes, samples, strict=True)]
        found = _seen(model, boxes, crops)
    return found


def _seen(model: CropModel, boxes: Sequence[CropBox], crops: Sequence[ndarray]) -> list[Float[ndarray, "a 3"]]:
    points = model(np.stack(crops)[:, None]).points
    return [box.to_camera(p) for box, p in zip(boxes, points, strict=True)]


def report(result: Evaluation) -> dict[str, Any]:
    """A result as a JSON object; without a method where there are no labels to score against."""
    if result.score is None:
        return {"benchmark": result.dataset, "methods": {}, "skipped": result.skipped}
    scored = {**result.score.to_json(), "skipped": result.skipped, "frames_without_a_center": result.without_hand}
    return {"benchmark": result.score.benchmark.name, "methods": {"model": scored}}


def shared_joints(model: CropModel, frames: DepthSet) -> tuple[str, ...]:
    """The set's joints that the model predicts, in the set's order; names decide. Raises InputError without any."""
    joints = tuple(name for name in frames.joints if name in model.card.joints)
    if not joints:
        raise InputError(
            f"Model {model.card.name} predicts no joint of {frames.name}",
            got=", ".join(model.card.joints[:4]) + ", ...",
            expected=", ".join(frames.joints[:4]) + ", ..." if frames.joints else "frames with labels",
        )
    return joints


def check_files(frames: DepthSet, most: int = 0) -> None:
    """Raises InputError when more than `most` files of a set are missing."""
    files = list_files(frames)
    if len(files.missing) > most:
        raise InputError(
            f"{count_of(len(files.missing), 'frame')} of {len(frames):,} cannot be read",
            got=f"no file {frames.root / files.missing[0]}",
            fix="--skip-bad leaves them out; dor3d inspect tells more.",
        )


def _batches(
    source: CroppedFrames, indices: Iterable[int], result: Evaluation, *, skip_bad: bool
) -> Iterator[tuple[tuple[CropBox, ...], tuple[ndarray, ...], tuple[Sample, ...]]]:
    batch: list[tuple[CropBox, ndarray, Sample]] = []
    for index in indices:
        try:
            batch.append(source.crop(index))
        except Dor3dError as error:
            if not skip_bad:
                raise
            result.skipped.append(str(error))
        if len(batch) == _BATCH:
            boxes, crops, samples = zip(*batch, strict=True)
            yield boxes, crops, samples
            batch = []
    if batch:
        boxes, crops, samples = zip(*batch, strict=True)
        yield boxes, crops, samples


def _file_name(sample: Sample) -> str:
    """The frame's name, as it stands in a line of words."""
    return "_".join(sample.name.split())


def _notes(model: CropModel, frames: DepthSet, source: CroppedFrames) -> dict[str, Any]:
    """What a reader of the numbers must know."""
    return {
        "dataset": frames.name,
        "split": frames.split,
        "model": model.card.name,
        "centers": source.centers.name,
        "uses_truth": source.centers.uses_truth,
        "cube_mm": list(source.cube_mm),
        "looks": _looks(model, source),
    }


def _score(frames: DepthSet, joints: tuple[str, ...], cube_mm: tuple[float, float], out: Path) -> Score:
    protocol = BENCHMARKS.get(frames.name)
    if protocol is None:
        protocol = Benchmark(frames.name, frames.name, joints, frames.camera, cube_mm)
    return score_file(protocol, read_truth(protocol, out / "truth.txt"), out / "predictions.txt")
