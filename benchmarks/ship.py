"""From a finished run to what ships: the ONNX file, with its card, and the checkpoint that others go on from.

    python benchmarks/ship.py RUN compact --before 1721600 [--calibrate 2048]
    python benchmarks/ship.py RUN accurate --before 1721600 --turns 5
    python benchmarks/ship.py RUN locator
    python benchmarks/ship.py result/accuracy.json compact

A network that reads joints goes to src/dor3d/weights/NAME.onnx and checkpoints/NAME (half precision; --before: samples
that it had seen before this run; one that looks several times is the same network, and has no checkpoint of its own), a
locator to src/dor3d/weights/find/NAME.onnx. Errors that `accuracy.py --out result` measured are written into the file
that ships, where `dor3d bench` finds them.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

import dor3d
from dor3d.files import write_whole
from dor3d.model.checkpoint import load_model, read_config, save_model
from dor3d.runtime.card import METADATA_KEY
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
    args = parser.parse_args()
    weights = ROOT / "src" / "dor3d" / "weights"
    if args.run.suffix == ".json":
        tell_errors(weights / f"{args.name}.onnx", json.loads(args.run.read_text()))
        return
    config = TrainConfig.from_json(read_config(args.run))
    samples = args.before + config.samples
    card: dict[str, Any] = {
        "data": "synthetic",
        "samples": samples,
        "licence": "Apache-2.0",
        "version": dor3d.__version__,
    }
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


def tell_errors(file: Path, measured: dict[str, Any]) -> None:
    """Write mean errors (mm) on the test sets into a file's metadata."""
    proto = onnx.load(str(file))
    props = {entry.key: entry.value for entry in proto.metadata_props}
    told = json.loads(props[METADATA_KEY])
    told["training"]["errors_mm"] = {name: round(result["mean_mm"], 2) for name, result in measured.items()}
    helper.set_model_props(proto, {**props, METADATA_KEY: json.dumps(told)})
    write_whole(file, proto.SerializeToString())
    print(f"{file}: {told['training']['errors_mm']}")


if __name__ == "__main__":
    main()
