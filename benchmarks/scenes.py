"""What each addition to the rendered scenes brings, on rendered and on real frames.

    python benchmarks/scenes.py [--samples 51200] [--jobs 2] [--shared ../shared] [--out runs/scenes] [--finished]

Each row goes on from the network that learnt plain scenes alone (checkpoints/plain) with equal samples in which one
thing more comes, as often as in the scenes of `synth-wide`; the first in none, the last in all. One thread a run,
`--jobs` at a time; finished runs are not trained again.

`clear` and `hard`: mean error (mm) on frozen rendered crops. sr305: frames that pass `sr305_check.py` of 19, and how
much of the hand's surface bones cover. realsense: mean error (mm) on the first four of the eight frames; the others and
nyu's are left for the end (`real_frames.py`). No centre is given in real frames.
"""

import argparse
import shlex
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from choices import finished, folder_of, train
from real_data import Frame, real_frames
from real_frames import error_mm, judge
from sr305_check import covered, hand_surface
from sr305_check import judge as judge_surface

from dor3d.data.testsets import clear, hard
from dor3d.evaluate.crops import found_in_stream
from dor3d.metrics import joint_errors
from dor3d.predict import Predictor
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel

CHECKPOINT: Final = Path(__file__).resolve().parents[1] / "checkpoints" / "plain"
BEGIN: Final = f"--init {shlex.quote(str(CHECKPOINT))} --lr 4e-4 --matrix-lr 0.01 --warmup 50"
ADDITIONS: Final[dict[str, str]] = {
    "nothing": "",
    "views and distances of use": "--data.views [0.4,0.25,0.15,0.2] --data.distance_mm [200,1500]",
    "sensors of each kind": "--data.own_faults 0.6",
    "things held": "--data.held 0.25",
    "another hand, things before and beside": "--data.other 0.15 --data.before 0.08 --data.beside 0.25",
    "hands over the image's edge": "--data.cut 0.08",
    "crops without a hand, left hands": "--data.empty 0.15 --data.left 0.15 --kinds true",
    "all": "--data.scenes wide --data.empty 0.15 --data.left 0.15 --kinds true",
}
_RENDERED: Final = 1024  # frames of each frozen set
_SHOWN: Final = 4  # of realsense


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=51_200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--out", type=Path, default=Path("runs/scenes"))
    parser.add_argument("--finished", action="store_true")
    args = parser.parse_args()
    folders = {name: folder_of(args.out, fields) for name, fields in ADDITIONS.items()}
    if not args.finished:
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda name: train(folders[name], f"{BEGIN} {ADDITIONS[name]}", args.samples), ADDITIONS))
    print("| added | clear | hard | sr305 | covered | realsense |\n|---|---|---|---|---|---|")
    for name, folder in folders.items():
        if finished(folder):
            print(f"| {name} | {measure(folder, args.shared)} |", flush=True)


def measure(folder: Path, shared: Path) -> str:
    """Cells of a row."""
    file = folder / "model.onnx"
    export_onnx(folder, file)
    model = OnnxModel(file)
    shape = model.card.size, model.card.cube_mm
    rendered = [joint_errors(*found_in_stream(model, of(*shape), _RENDERED)[:2]).mean() for of in (clear, hard)]
    frames = list(real_frames(shared))
    passed, share = surfaces(model, [frame for frame in frames if frame.name.startswith("sr305")])
    labelled = [judge(model, frame, None) for frame in frames if frame.name.startswith("realsense")][:_SHOWN]
    off = np.mean([error_mm(one) for one in labelled])
    return f"{rendered[0]:.2f} | {rendered[1]:.2f} | {passed} | {share:.0%} | {off:.1f}"


def surfaces(model: OnnxModel, frames: list[Frame]) -> tuple[int, float]:
    """Frames that pass, and the mean share of surfaces that bones cover."""
    passed, shares = 0, []
    for frame in frames:
        surface, hands = hand_surface(frame.depth, frame.camera), Predictor(model, frame.camera)(frame.depth)
        if not hands:
            shares.append(0.0)
            continue
        joints, pixels = hands[0].joints_mm, hands[0].joints_px
        passed += judge_surface(pixels, joints, frame.depth, surface).passed
        shares.append(covered(pixels, frame.camera.fx / float(joints[:, 2].mean()), surface))
    return passed, float(np.mean(shares))


if __name__ == "__main__":
    main()
