"""Labelled crops as networks see them, and what networks make of them."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.data.listing import spread
from dor3d.data.sample import DepthSet
from dor3d.data.synthetic import SyntheticHands
from dor3d.errors import InputError
from dor3d.evaluate.run import CroppedFrames, open_centers
from dor3d.geometry import CropBox
from dor3d.hand.scene import read_crop
from dor3d.predict.look import box_after
from dor3d.runtime.base import CropModel, CropOutput
from dor3d.skeleton import JOINTS

_BATCH: Final = 64
# crops [B, 1, S, S] to crop points and their standard deviations, each [B, A, 3]
Network = Callable[[Float[ndarray, "b 1 s s"]], CropOutput]


class Crops(NamedTuple):
    """Labelled crops.

    Attributes:
        images: the network's input.
        points: the true joints in it (px, px, mm).
        boxes: that the crops came out of.
        again: the same hands in other boxes, at a later look (1, 2, ...).
    """

    images: Float[ndarray, "n s s"]
    points: Float[ndarray, "n a 3"]
    boxes: list[CropBox]
    again: Callable[[list[CropBox], int], "Crops"]


class Found(NamedTuple):
    """What a network makes of crops: joints and true ones in the camera frame, and coordinates' sigma, all in mm."""

    predicted_mm: Float[ndarray, "n a 3"]
    true_mm: Float[ndarray, "n a 3"]
    sigma_mm: Float[ndarray, "n a 3"]


def rendered_crops(source: SyntheticHands, rows: range, joints: Sequence[str] = JOINTS) -> Crops:
    """Some samples of a stream, with those of the 21 joints that are named."""
    samples = [source.sample(i) for i in rows]
    columns = [JOINTS.index(name) for name in joints]
    points = np.array([s.points[columns] for s in samples])
    again = partial(_rendered_again, source, rows, columns)
    return Crops(np.array([s.image for s in samples]), points, [s.box for s in samples], again)


def _rendered_again(source: SyntheticHands, rows: range, columns: list[int], boxes: list[CropBox], look: int) -> Crops:
    images, points = [], []
    for index, box in zip(rows, boxes, strict=True):
        _, scene, _ = source.draw(index)
        rng = np.random.default_rng((source.seed, index, look))  # the sensor's next frame
        images.append(box.normalise(read_crop(scene, box, rng)))
        points.append(box.to_crop(scene.joints_mm[columns]))
    return Crops(np.array(images), np.array(points), boxes, partial(_rendered_again, source, rows, columns))


def set_crops(
    frames: DepthSet,
    centers: str,
    count: int,
    size: int,
    cube_mm: tuple[float, float],
    joints: Sequence[str],
) -> Crops:
    """Labelled frames of a set, evenly spread over it.

    Args:
        frames: the set.
        centers: where crops are centred, as `dor3d evaluate --centers` has it.
        count: how many frames at most.
        size, cube_mm: side of the crops (px), and what they hold: in-plane side and depth (mm).
        joints: names of the points, in their order; the set has them all.

    Raises InputError where none of the frames is labelled.
    """
    columns = [frames.joints.index(name) for name in joints]
    source = CroppedFrames(frames, open_centers(centers, frames), cube_mm, size)
    labels: dict[int, Float[ndarray, "a 3"]] = {}
    firsts: list[tuple[CropBox, ndarray]] = []
    for index in spread(range(len(frames)), count):
        box, image, sample = source.crop(index)
        if sample.joints_mm is not None:
            labels[index] = sample.joints_mm[columns]
            firsts.append((box, image))
    if not firsts:
        raise InputError(f"The split {frames.split} of {frames.name} has no labels to show")

    def of(boxes: list[CropBox], images: list[ndarray]) -> Crops:
        points = [box.to_crop(joints).astype(np.float32) for box, joints in zip(boxes, labels.values(), strict=True)]
        return Crops(np.array(images), np.array(points), boxes, again)

    def again(boxes: list[CropBox], look: int) -> Crops:
        del look  # a frame that was taken stays the same
        return of(boxes, [box.image(frames[index].depth_mm) for index, box in zip(labels, boxes, strict=True)])

    return of(*(list(part) for part in zip(*firsts, strict=True)))


def run_on(network: Network, images: Float[ndarray, "n s s"]) -> tuple[ndarray, ndarray]:
    """Crop points and their standard deviations, [N, A, 3] each."""
    outputs = [network(images[i : i + _BATCH, None]) for i in range(0, len(images), _BATCH)]
    return np.concatenate([o.points for o in outputs]), np.concatenate([o.sigma for o in outputs])


def found_in(network: Network, crops: Crops) -> Found:
    """What a network makes of crops."""
    points, sigma = run_on(network, crops.images)
    first = crops.boxes[0]
    scale = np.array([first.mm_per_pixel] * 2 + [1.0])
    predicted, true = (
        np.array([box.to_camera(p) for box, p in zip(crops.boxes, some, strict=True)])
        for some in (points, crops.points)
    )
    return Found(predicted, true, sigma * scale)


def found_in_stream(model: CropModel, source: SyntheticHands, count: int, looks: int = 1, workers: int = 0) -> Found:
    """What a network makes of the first samples of a stream, which are rendered a batch at a time.

    Args:
        model: that looks.
        source: its samples' crops are the first looks.
        count: of samples.
        looks: how often each hand is looked at; as `Predictor` does it, each later crop lies where the look before saw
            the hand, and shows it upright to a model that wants it so.
        workers: processes that render, all crops of a look before the next; 0: this one does it, a batch at a time.
    """
    rows = [range(i, min(i + _BATCH, count)) for i in range(0, count, _BATCH)]
    with _mapping(workers) as each:
        batches = each(partial(rendered_crops, source), rows)
        for look in range(1, looks):
            batches = each(partial(_again, look), map(partial(_next_boxes, model), batches))
        parts = [found_in(model, crops) for crops in batches]
    return Found(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator]]:
    """`map`, or one that processes share, which takes its items before it begins."""
    if not workers:
        yield map
        return
    # a fork: what numba has compiled is there, and a GPU is left alone
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield lambda do, items: pool.imap(do, list(items))


def _again(look: int, crops_and_boxes: tuple[Crops, list[CropBox]]) -> Crops:
    crops, boxes = crops_and_boxes
    return crops.again(boxes, look)


def _next_boxes(model: CropModel, crops: Crops) -> tuple[Crops, list[CropBox]]:
    """Crops, and the boxes that a model sees their hands in."""
    pairs = zip(crops.boxes, run_on(model, crops.images)[0], strict=True)
    return crops, [box_after(box, box.to_camera(points), upright=model.card.upright) for box, points in pairs]


def last_crops(model: CropModel, crops: Crops, looks: int) -> Crops:
    """What a model sees at the last of so many looks, of which these crops are the first."""
    for look in range(1, looks):
        crops = _again(look, _next_boxes(model, crops))
    return crops
