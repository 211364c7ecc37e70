"""Small rendered sets in each benchmark's exact format on disk, to read them back."""

import itertools
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray
from scipy.io import savemat

from dor3d.data.msra import GESTURES
from dor3d.data.nyu import LABELLED, SCORED
from dor3d.data.sample import Sample
from dor3d.data.synthetic import render_frame
from dor3d.errors import FrameError
from dor3d.geometry import PRESETS
from dor3d.skeleton import BENCHMARK_JOINTS, JOINTS


@dataclass(frozen=True)
class Rendered:
    """A frame as it was written: depth in mm, and the benchmark's joints in the camera frame."""

    depth_mm: ndarray
    joints_mm: ndarray


# where the joints that are not canonical stand in for: any place on the hand will do
_STAND_INS = {
    "thumb_root": "thumb_mcp",
    "thumb_mid": "thumb_ip",
    **{f"{finger}_root": f"{finger}_mcp" for finger in ("index", "middle", "ring", "little")},
    **{f"{finger}_mid": f"{finger}_pip" for finger in ("index", "middle", "ring", "little")},
    "wrist_back": "wrist",
    "wrist_front": "wrist",
    "palm": "middle_mcp",
}


def render(benchmark: str, count: int, seed: int = 0) -> list[Rendered]:
    """Right hands seen by a benchmark's camera."""
    camera = PRESETS[benchmark]
    names = tuple(_STAND_INS.get(name, name) for name in BENCHMARK_JOINTS[benchmark])
    frames: list[Rendered] = []
    for i in itertools.count():
        scene, depth = render_frame(camera, seed, 2 * i)
        joints = scene.joints_mm[[JOINTS.index(name) for name in names]]
        with suppress(FrameError):  # an arm that points at the camera may hide the whole hand
            Sample("", depth, camera, names, joints).check("")
            frames.append(Rendered(depth, joints))
        if len(frames) == count:
            return frames
    raise AssertionError


def write(benchmark: str, root: Path, frames: list[Rendered], *split: str) -> None:
    """Frames as a benchmark's download lies on the disk."""
    writers = {"nyu": write_nyu, "icvl": write_icvl, "msra": write_msra, "hands17": write_hands17}
    writers[benchmark](root, frames, *split)


def write_nyu(root: Path, frames: list[Rendered], split: str = "test") -> None:
    folder = root / split
    folder.mkdir(parents=True)
    xyz = np.zeros((3, len(frames), LABELLED, 3))
    for i, frame in enumerate(frames):
        xyz[:, i, SCORED] = frame.joints_mm * (1, -1, 1)
        counts = np.round(frame.depth_mm).astype(np.uint16)
        bgr = np.stack([counts & 255, counts >> 8, np.zeros_like(counts)], -1).astype(np.uint8)
        cv2.imwrite(str(folder / f"depth_1_{i + 1:07d}.png"), bgr)
    savemat(folder / "joint_data.mat", {"joint_xyz": xyz, "joint_uvd": xyz}, do_compression=True)


def write_icvl(root: Path, frames: list[Rendered], split: str = "test") -> None:
    if split == "train":
        _write_icvl_part(root / "Training", "labels.txt", "201403121135", frames)
        return
    half = len(frames) // 2
    for n, part in enumerate((frames[:half], frames[half:]), 1):
        _write_icvl_part(root / "Testing", f"test_seq_{n}.txt", f"test_seq_{n}", part)


def _write_icvl_part(folder: Path, labels: str, images: str, frames: list[Rendered]) -> None:
    (folder / "Depth" / images).mkdir(parents=True)
    camera, lines = PRESETS["icvl"], []
    for i, frame in enumerate(frames):
        name = f"{images}/image_{i:04d}.png"
        cv2.imwrite(str(folder / "Depth" / name), np.round(frame.depth_mm).astype(np.uint16))
        uvd = np.concatenate([camera.project(frame.joints_mm), frame.joints_mm[:, 2:]], 1)
        lines.append(f"{name} {' '.join(f'{x:.3f}' for x in uvd.ravel())} ")
    (folder / labels).write_text("\n".join(lines) + "\n\n")  # as in the wild: it ends with a blank line


def write_msra(root: Path, frames: list[Rendered], subjects: int = 2) -> None:
    """Frame i belongs to subject i modulo `subjects`, all to the first gesture."""
    for s in range(subjects):
        folder = root / f"P{s}" / GESTURES[0]
        folder.mkdir(parents=True)
        mine = frames[s::subjects]
        lines = [f"{len(mine)}"]
        for i, frame in enumerate(mine):
            (folder / f"{i:06d}_depth.bin").write_bytes(msra_patch(frame))
            lines.append(" ".join(f"{x:.3f}" for x in (frame.joints_mm * (1, -1, -1)).ravel()))
        (folder / "joint.txt").write_text("\n".join(lines) + "\n")


def msra_box(frame: Rendered) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the patch around a hand, 10 pixels wider than its joints."""
    height, width = frame.depth_mm.shape
    uv = PRESETS["msra"].project(frame.joints_mm)
    (left, top), (right, bottom) = np.floor(uv.min(0)) - 10, np.ceil(uv.max(0)) + 11
    return max(0, int(left)), max(0, int(top)), min(width, int(right)), min(height, int(bottom))


def msra_patch(frame: Rendered) -> bytes:
    height, width = frame.depth_mm.shape
    left, top, right, bottom = msra_box(frame)
    patch = frame.depth_mm[top:bottom, left:right].astype("<f4")
    return struct.pack("<6i", width, height, left, top, right, bottom) + patch.tobytes()


def write_hands17(root: Path, frames: list[Rendered]) -> None:
    """All frames as labelled ones, and the same again as test frames with boxes."""
    labels, boxes = [], []
    for folder in ("training", "frame"):
        (root / folder / "images").mkdir(parents=True)
    for i, frame in enumerate(frames):
        name = f"image_D{i + 1:08d}.png"
        for folder in ("training", "frame"):
            cv2.imwrite(str(root / folder / "images" / name), np.round(frame.depth_mm).astype(np.uint16))
        labels.append(f"{name}\t" + "\t".join(f"{x:.4f}" for x in frame.joints_mm.ravel()))
        uv = PRESETS["hands17"].project(frame.joints_mm)
        boxes.append(f"{name}\t" + "\t".join(f"{x:.1f}" for x in (*uv.min(0), *np.ptp(uv, 0))))
    (root / "training" / "Training_Annotation.txt").write_text("\n".join(labels) + "\n")
    (root / "frame" / "BoundingBox.txt").write_text("\n".join(boxes) + "\n")
