"""What a head costs: exported networks that differ in it alone, timed in turns on one crop.

    python benchmarks/head_cost.py [VARIANT ...] [--backbone compact] [--seconds 10] [--threads 1]

VARIANTs are those of `dor3d tables`; the first is what the others are compared with. Random weights: times do not
depend on them. Prints the median of each and its ratio to the first, over rounds in which all take turns.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from dor3d.evaluate.variants import BASE, VARIANTS
from dor3d.model.network import HandNet, parameter_count
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel
from dor3d.runtime.parity import made_up_crops
from dor3d.train.recipes import get_recipe, override

_BURST = 20  # crops that a network is asked for before the next one's turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=["offset-neck", "offset-surface-metric", "local"])
    parser.add_argument("--backbone", default="compact")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    sessions, sizes, crop = {}, {}, None
    with tempfile.TemporaryDirectory() as folder:
        for name in args.variants:
            changes = {"backbone": args.backbone, **BASE, **VARIANTS[name], "relief": True}
            net = HandNet(override(get_recipe("synth-compact"), changes).model).eval()
            path = Path(folder) / f"{name}.onnx"
            export_onnx(net, path, precision="fp32")
            sessions[name], sizes[name] = OnnxModel(path, threads=args.threads), parameter_count(net)
            crop = made_up_crops(1, net.config.size)
    assert crop is not None
    times = {name: [] for name in sessions}
    end = time.perf_counter() + args.seconds
    while time.perf_counter() < end:
        for name, session in sessions.items():
            session(crop)
            start = time.perf_counter()
            for _ in range(_BURST):
                session(crop)
            times[name].append((time.perf_counter() - start) / _BURST)
    first = np.array(times[args.variants[0]])
    for name, own in times.items():
        ratios = np.array(own) / first
        quarters = np.percentile(ratios, [25, 75])
        print(
            f"{name}: {1e3 * np.median(own):.3f} ms, {np.median(ratios):.3f} of the first"
            f" ({quarters[0]:.3f} to {quarters[1]:.3f}), {sizes[name]:,} parameters"
        )


if __name__ == "__main__":
    main()
