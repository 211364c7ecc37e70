"""From a finished run to what ships: the ONNX file, with its card, and the checkpoint that others go on from.

    python benchmarks/ship.py RUN compact --before 1721600 [--calibrate 2048]
    python benchmarks/ship.py RUN accurate --before 1721600 --turns 5
    python benchmarks/ship.py RUN locator

A network that reads joints goes to src/dor3d/weights/NAME.onnx and checkpoints/NAME (half precision; --before: samples
that it had seen before this run; one that looks several times is the same network, and has no checkpoint of its own), a
locator to src/dor3d/weights/find/NAME.onnx.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import dor3d
from dor3d.model.checkpoint import load_model, read_config, save_model
from dor3d.runtime.export import export_onnx
from dor3d.runtime.export_locator import export_locator
from dor3d.train.config import TrainConfig
from dor3d.train.temperature import fit_temperatures

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Export, calibrate, save, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--before", type=int, default=0)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--calibrate", type=int, default=2048)
    parser.add_argument("--errors", type=Path, help="accuracy.json of the same weights, from `accuracy.py --out`")
    args = parser.parse_args()
    config = TrainConfig.from_json(read_config(args.run))
    samples = args.before + config.samples
    card: dict[str, Any] = {
        "data": "synthetic",
        "samples": samples,
        "licence": "Apache-2.0",
        "version": dor3d.__version__,
    }
    if args.errors:  # `dor3d bench` draws them against speed
        card["errors_mm"] = {name: round(r["mean_mm"], 2) for name, r in json.loads(args.errors.read_text()).items()}
    weights = ROOT / "src" / "dor3d" / "weights"
    if config.task == "locate":
        share = export_locator(args.run, weights / "find" / f"{args.name}.onnx", name=args.name, card=card)
        print(f"{args.name}: {samples:,} frames; {share:.0%} as far from torch's as it may be")
        return
    told = fit_temperatures(args.run, args.calibrate, args.turns)
    net = load_model(args.run)
    net.config = dataclasses.replace(net.config, upright=float(config.data.get("upright", 0.0)) > 0)
    out = weights / f"{args.name}.onnx"
    off = export_onnx(net, out, name=args.name, card=card, sigma_scale=told.factors, turns=args.turns)
    halves = {name: t.half() if t.dim() > 1 else t for name, t in net.state_dict().items()}
    if args.turns == 1:
        save_model(ROOT / "checkpoints" / args.name, net, halves)
    print(
        f"{args.name}: {samples:,} samples; torch's joints and its are {off}; sigma times {told.factors}: {told.within}"
    )


if __name__ == "__main__":
    main()
