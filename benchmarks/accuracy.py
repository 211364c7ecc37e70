"""Errors of a model on the frozen test sets, in mm in the camera frame.

    python benchmarks/accuracy.py [MODEL] [--tracked ../shared/poses/animbank.pose] [--out DIR] [--count N] [--looks 2]
    python benchmarks/accuracy.py [MODEL] --version 2 [--tracked ../shared/poses/tracked] ...

The first crops are the sets' own (their centres lie 10 mm off, 1 sd per axis): no truth beyond that is used. As
`dor3d predict` does by itself, each hand is looked at twice, the second time where the first look saw it; --looks 1:
once. With --out it writes accuracy.json and the success curves (share of frames whose worst joint is within some mm).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from dor3d.data.synthetic import SyntheticHands
from dor3d.data.testsets import CLEAR_COUNT, HARD_COUNT, clear, hard, tracked
from dor3d.evaluate.calibration import calibrate
from dor3d.evaluate.crops import found_in_stream
from dor3d.files import whole_file, write_whole
from dor3d.hand.pose import HAND_VERSIONS
from dor3d.hand.scene import seen_joints
from dor3d.hand.stage import WIDE
from dor3d.metrics import joint_errors, success_curve
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import FINGER_JOINTS, JOINTS

_CURVE_MM = np.arange(0.0, 81.0)
_SHOWN = WIDE.least_seen  # joints in sight of a hand that shows at all


def measure(model: OnnxModel, source: SyntheticHands, count: int, looks: int) -> dict[str, Any]:
    """Mean error, per joint, success rates, how often errors lie within 1 and 2 sigma and how sigma ranks them."""
    predicted, true, sigma = found_in_stream(model, source, count, looks)
    errors, told = joint_errors(predicted, true), calibrate(predicted - true, sigma)
    curve = success_curve(errors, _CURVE_MM)
    per_axis = predicted - true
    seen = np.array([seen_joints(source.draw(i)[1]) for i in range(count)])
    shown = seen.sum(1) >= _SHOWN
    return {
        "frames": count,
        "mean_mm": float(errors.mean()),
        "seen_mm": {"seen": float(errors[seen].mean()), "hidden": float(errors[~seen].mean())},
        "shown_mm": float(errors[shown].mean()),
        "not_shown": int((~shown).sum()),
        "median_mm": float(np.median(errors)),
        "per_joint_mm": dict(zip(JOINTS, errors.mean(0).round(3).tolist(), strict=True)),
        "fingers_mm": {name: float(errors[:, list(own)].mean().round(3)) for name, own in FINGER_JOINTS.items()},
        "views_mm": by_view(true, errors),
        "axes_mm": dict(zip("xyz", np.abs(per_axis).mean((0, 1)).round(3).tolist(), strict=True)),
        "success_max": {f"{mm:.0f}": round(100 * float(curve[int(mm)]), 2) for mm in (10, 20, 30, 40, 60, 80)},
        "curve": curve.round(4).tolist(),
        "within_sigma": told.within,
        "sigma_ranks": {"joints": told.joint_rank, "hands": told.hand_rank},
    }


def by_view(true: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """Mean errors (mm) and shares (%) of what the camera sees of right hands: palm, back, side, or fingers end on."""
    wrist, index, middle, little = (
        true[:, JOINTS.index(name)] for name in ("wrist", "index_mcp", "middle_mcp", "little_mcp")
    )
    sight = unit(true.mean(1))
    towards = (unit(np.cross(index - wrist, little - wrist)) * sight).sum(1)  # the palm's normal; -1: it faces the eye
    along = np.abs((unit(middle - wrist) * sight).sum(1))
    end_on = along > 0.85
    views = {
        "palm": ~end_on & (towards < -0.5),
        "back": ~end_on & (towards > 0.5),
        "side": ~end_on & (np.abs(towards) <= 0.5),
        "end on": end_on,
    }
    told: dict[str, float] = {}
    for name, some in views.items():
        told[name] = round(float(errors[some].mean()), 3) if some.any() else float("nan")
        told[f"{name}, share"] = round(100 * float(some.mean()), 1)
    return told


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def draw(results: dict[str, dict[str, Any]], out: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    for (name, result), style in zip(results.items(), ("-", "--", ":"), strict=False):
        axes.plot(_CURVE_MM, 100 * np.array(result["curve"]), style, label=f"{name}: {result['mean_mm']:.2f} mm")
    axes.set(xlabel="largest error of any joint (mm)", ylabel="frames within (%)", xlim=(0, 80), ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    with whole_file(out) as file:
        figure.savefig(file, dpi=100, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="compact")
    parser.add_argument("--tracked", type=Path, help="the recording's file, of version 2 the folder; none: left out")
    parser.add_argument("--version", type=int, choices=HAND_VERSIONS, default=1, help="of the sets")
    parser.add_argument("--count", type=int, default=CLEAR_COUNT, help="frames of each set at most")
    parser.add_argument("--looks", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = OnnxModel(args.model)
    shape = model.card.size, model.card.cube_mm, args.version
    results = {"clear": measure(model, clear(*shape), min(args.count, CLEAR_COUNT), args.looks)}
    results["hard"] = measure(model, hard(*shape), min(args.count, HARD_COUNT), args.looks)
    if args.tracked:
        source = tracked(args.tracked, *shape)
        results["tracked"] = measure(model, source, min(args.count, len(source)), args.looks)
    for name, r in results.items():
        rates = ", ".join(f"{mm} mm {share:.1f} %" for mm, share in r["success_max"].items())
        inside = " and ".join(f"{100 * share:.1f} %" for share in r["within_sigma"])
        means = f"mean {r['mean_mm']:.2f} mm, median {r['median_mm']:.2f}"
        print(f"{name}: {r['frames']} frames, {means}; worst joint {rates}")
        ranks = ", ".join(f"{what} {value:.2f}" for what, value in r["sigma_ranks"].items())
        fingers = " / ".join(f"{mm:.1f}" for mm in r["fingers_mm"].values())
        views = ", ".join(f"{name} {mm:.1f}" for name, mm in r["views_mm"].items() if "share" not in name)
        by_sight = f"joints in sight {r['seen_mm']['seen']:.2f} mm, hidden {r['seen_mm']['hidden']:.2f}"
        without = f"{r['shown_mm']:.2f} mm without the {r['not_shown']} frames that show fewer than {_SHOWN} joints"
        print(f"    {by_sight}; {without}")
        print(f"    thumb to little finger {fingers}; seen from {views}")
        print(f"    along x, y, z {r['axes_mm']}; within 1 and 2 sigma: {inside}; errors' rank correlation: {ranks}")
    if args.out:
        write_whole(args.out / "accuracy.json", json.dumps(results, indent=1))
        draw(results, args.out / "success_curve.png")


if __name__ == "__main__":
    main()
