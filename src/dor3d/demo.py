"""`dor3d demo`: predict the frames that come with dor3d, measure the error, and write a page to look at."""

import json
import time
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray

from dor3d.errors import CameraError, FrameError
from dor3d.files import whole_file, write_whole
from dor3d.frames import in_mm
from dor3d.geometry import Pinhole
from dor3d.predict.batch import overlay
from dor3d.predict.predictor import Hand, Predictor
from dor3d.skeleton import JOINT_COUNT
from dor3d.viz.overlay import close_up, png
from dor3d.viz.page import PageFrame, PageNumbers, demo_page

FRAMES: Final = Path(__file__).parent / "demo_data" / "demo.npz"


class DemoFrames(NamedTuple):
    """Rendered depth frames with their truth."""

    depth: ndarray  # [N, H, W] integers in the camera's unit
    joints_mm: ndarray  # [N, 21, 3]
    camera: Pinhole


def load_frames(path: Path = FRAMES) -> DemoFrames:
    """The demo's frames: arrays `depth` and `joints_mm` and the JSON text `camera` of an .npz.

    Raises FrameError when the file is missing, broken or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            depth, joints, text = archive["depth"], archive["joints_mm"], str(archive["camera"])
        camera = Pinhole.from_json(text)
    except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError, AttributeError, CameraError) as error:
        raise FrameError(
            "The demo's frames cannot be read", got=repr(error)[:200], fix="Install dor3d again: they are part of it."
        ) from None
    if depth.ndim != 3 or joints.shape != (len(depth), JOINT_COUNT, 3) or not len(depth):
        raise FrameError("The demo's frames do not fit together", got=(depth.shape, joints.shape))
    return DemoFrames(depth, joints, camera)


def run(out: Path, model: str = "compact", frames: Path = FRAMES) -> Path:
    """Write `poses.jsonl`, `overlay/*.png` and `index.html` into a folder; returns the page's path."""
    demo = load_frames(frames)
    predictor = Predictor(model, demo.camera)
    predictor(demo.depth[0])  # the first call is slower than all others
    predictor.looker.network_s = 0.0
    begin = time.perf_counter()
    found = [predictor(depth) for depth in demo.depth]
    spent = time.perf_counter() - begin
    rows = [_page_frame(i, demo, hands, predictor.joints) for i, hands in enumerate(found)]
    numbers = PageNumbers(predictor.model.card.name, len(found) / spent, len(found) / predictor.network_s)
    _write_results(out, rows, found, predictor.joints)
    return write_whole(out / "index.html", demo_page(rows, numbers))


def error_mm(hands: list[Hand], truth: ndarray) -> float | None:
    """Mean distance of the joints to the truth [21, 3] (mm), or None without a hand."""
    if not hands or hands[0].joints_mm.shape != truth.shape:
        return None
    return float(np.linalg.norm(hands[0].joints_mm - truth, axis=-1).mean())


def _page_frame(index: int, demo: DemoFrames, hands: list[Hand], joints: tuple[str, ...]) -> PageFrame:
    depth = in_mm(demo.depth[index], demo.camera)
    name, picture, aspect = f"frame_{index:02d}", png(overlay(depth, hands, joints)), depth.shape[1] / depth.shape[0]
    if not hands:
        return PageFrame(name, picture, b"", aspect, None, "none", float("nan"))
    hand = hands[0]
    closer = close_up(depth, hand.joints_px, joints, around_mm=float(hand.joints_mm[:, 2].mean()))
    error = error_mm(hands, demo.joints_mm[index])
    return PageFrame(name, picture, png(closer), aspect, error, hand.handedness, float(hand.std_mm.mean()))


def _write_results(out: Path, rows: list[PageFrame], found: list[list[Hand]], joints: tuple[str, ...]) -> None:
    for row in rows:
        write_whole(out / "overlay" / f"{row.name}.png", row.picture)
    with whole_file(out / "poses.jsonl", "w") as stream:
        for i, hands in enumerate(found):
            entry = {"frame": FRAMES.name, "index": i, "joints": list(joints), "hands": [h.to_json() for h in hands]}
            stream.write(json.dumps(entry) + "\n")
