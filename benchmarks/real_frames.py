"""The error on labelled real frames of other cameras, with given centres and without.

    python benchmarks/real_frames.py [--model NAME|FILE] [--shared ../shared] [--out FOLDER]

realsense: 8 frames with 20 joints from a tracker (a few mm off themselves), by tools/score_real.py; centres are those
of the hand's mask: its centroid in the image, at its median depth. nyu: one test frame, over the joints that its
labels share with ours: five tips, four pips, the thumb's ip; the centre is the middle of the labelled joints'
bounding box. Frames and overlays are not ours to publish: keep --out out of the repository.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from dor3d.files import write_whole
from dor3d.geometry import Pinhole
from dor3d.geometry.crop import center_of_joints
from dor3d.predict.batch import Options, predict_files
from dor3d.skeleton import JOINTS

# NYU's 36 joints count from the little finger's tip; a tip is the last of them, as ours
NYU_JOINTS = {
    "little_tip": 0, "ring_tip": 6, "middle_tip": 12, "index_tip": 18, "thumb_tip": 24,
    "little_pip": 3, "ring_pip": 9, "middle_pip": 15, "index_pip": 21, "thumb_ip": 25,
}  # fmt: skip


def main() -> None:
    """Predict, score, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        out = args.out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for given in (True, False):
            words = "given centres" if given else "no centres   "
            print(f"realsense, {words}: {realsense(args.shared, args.model, out, given)}")
        for given in (True, False):
            words = "given centre " if given else "no centre    "
            print(f"nyu,       {words}: {nyu(args.shared, args.model, out, given)}")


def realsense(shared: Path, model: str, out: Path, given: bool) -> str:
    """What the scoring tool says of the eight frames."""
    folder, place = shared / "real" / "realsense", out / f"realsense_{'given' if given else 'none'}"
    names = list(json.loads((folder / "labels.json").read_text())["joints"])
    centers = _write_mask_centers(folder, names, out) if given else None
    _predict(
        [folder / name for name in names], Options(str(folder / "camera.json"), centers=centers, model=model, out=place)
    )
    tool = [sys.executable, shared / "tools" / "score_real.py", folder / "labels.json", place / "poses.jsonl"]
    done = subprocess.run(
        tool, capture_output=True, text=True, check=False
    )  # its exit code says nothing without a limit
    if not done.stdout:
        raise SystemExit(f"{tool[1].name} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _write_mask_centers(folder: Path, names: list[str], out: Path) -> Path:
    camera, lines = Pinhole.load(folder / "camera.json"), []
    for name in names:
        depth = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(folder / name.replace("depth", "mask")), cv2.IMREAD_UNCHANGED)
        mask = mask if mask.ndim == 2 else mask.max(-1)
        v, u = np.nonzero((mask > 0) & (depth > 0))
        uv, z = np.array([u.mean(), v.mean()]), np.array(float(np.median(depth[v, u])))
        lines.append(f"{name} " + " ".join(f"{c:.2f}" for c in camera.unproject(uv, z)))
    return write_whole(out / "mask_centers.txt", "\n".join(lines) + "\n")


def nyu(shared: Path, model: str, out: Path, given: bool) -> str:
    """The mean error over the shared joints of the one frame."""
    folder, place = shared / "real" / "nyu", out / f"nyu_{'given' if given else 'none'}"
    labels, camera = json.loads((folder / "labels.json").read_text()), Pinhole.preset("nyu")
    truth = np.array(labels["joints_uvd_36"])
    truth = camera.unproject(truth[:, :2], truth[:, 2])
    coded = cv2.imread(str(folder / labels["frame"]), cv2.IMREAD_UNCHANGED).astype(np.uint16)  # blue, green, red
    frame = write_whole(out / "nyu.png", cv2.imencode(".png", coded[..., 1] * 256 + coded[..., 0])[1].tobytes())
    center = ",".join(f"{c:.2f}" for c in center_of_joints(truth)) if given else None
    _predict([frame], Options("nyu", center=center, model=model, out=place))
    (hand,) = json.loads((place / "poses.jsonl").read_text())["hands"] or (None,)
    if hand is None:
        return "no hand"
    joints = np.array(hand["joints_mm"])
    errors = {name: np.linalg.norm(joints[JOINTS.index(name)] - truth[i]) for name, i in NYU_JOINTS.items()}
    worst = max(errors, key=lambda name: errors[name])
    mean = np.mean(list(errors.values()))
    return f"mean {mean:.2f} mm over {len(errors)} joints, worst {worst} {errors[worst]:.1f}, {hand['handedness']}"


def _predict(inputs: list[Path], options: Options) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        predict_files([str(path) for path in inputs], options)


if __name__ == "__main__":
    main()
