"""How often left hands are told from right ones, by a first look, a second one, and both together.

    python benchmarks/sides.py [MODEL] [--count 512] [--shared ../shared]

Crops of the frozen sets, every other one mirrored; and the real frames, all of which show right hands, at the middles
of their labels. A look asks the network for either hand, as `Predictor` does.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from real_data import real_frames

from dor3d.data.synthetic import SyntheticHands
from dor3d.data.testsets import clear, hard
from dor3d.geometry import CropBox
from dor3d.hand.scene import mirrored, read_crop
from dor3d.predict.look import box_after
from dor3d.runtime.onnx import OnnxModel


def main() -> None:
    """Ask, count, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="compact")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    args = parser.parse_args()
    model = OnnxModel(args.model, 1)
    shape = model.card.size, model.card.cube_mm
    print("| on | hands | first look | second | both |\n|---|---|---|---|---|")
    for name, source in (("clear", clear(*shape)), ("hard", hard(*shape))):
        print(line(name, np.array([of_sample(model, source, i) for i in range(args.count)])))
    print(line("real frames", np.array([of_frame(model, frame) for frame in real_frames(args.shared)])))


def line(name: str, odds: np.ndarray) -> str:
    """Shares of hands [N, 2] whose log-odds of the true side are positive."""
    first, second = odds.T
    shares = " | ".join(f"{(some > 0).mean():.1%}" for some in (first, second, first + second))
    return f"| {name} | {len(odds)} | {shares} |"


def of_sample(model: OnnxModel, source: SyntheticHands, index: int) -> list[float]:
    """Log-odds of the true side at both looks."""
    rng, scene, box = source.draw(index)
    is_left = index % 2 == 1
    if is_left:
        x, y, z = box.center_mm
        scene, box = mirrored(scene), replace(box, center_mm=(-x, y, z))
    told = looks(model, box, lambda one: one.normalise(read_crop(scene, one, rng)))
    return [-odds for odds in told] if is_left else told


def of_frame(model: OnnxModel, frame) -> list[float]:
    x, y, z = (float(c) for c in frame.middle)
    box = CropBox(frame.camera, (x, y, z), model.card.cube_mm, model.card.size)
    return looks(model, box, lambda one: one.image(frame.depth))


def looks(model: OnnxModel, box: CropBox, crop_of) -> list[float]:
    """Log-odds of a right hand at a first and a second look."""
    odds, points = ask(model, crop_of(box))
    seen = replace(box, mirrored=odds < 0).to_camera(points[int(odds < 0)])
    again, _ = ask(model, crop_of(box_after(box, seen, upright=model.card.upright)))
    return [odds, again]


def ask(model: OnnxModel, crop: np.ndarray) -> tuple[float, np.ndarray]:
    """Log-odds of a right hand in a crop, and the points of either."""
    said = model(np.stack([crop, crop[:, ::-1]])[:, None])
    assert said.kind is not None, "the model tells no sides"
    return float(said.kind[0, 1] - said.kind[1, 1]) / 2, said.points


if __name__ == "__main__":
    main()
