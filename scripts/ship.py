"""Export a run as the model that ships, measure it, and write its card from what was measured.

    python scripts/ship.py runs/compact --samples 1000000 [--tracked POSES] [--notes "..."]

Writes src/dor3d/weights/compact.onnx and compact.md, and checkpoints/compact, the same weights before they were folded,
in half precision: `dor3d train synth-compact --init checkpoints/compact` goes on from them. `--samples` counts all that
the weights have seen, over all runs.
"""

import argparse
import importlib.util
import json
import tempfile
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import dor3d
from dor3d.data.testsets import CLEAR_COUNT, VERSION, clear, tracked
from dor3d.files import write_whole
from dor3d.model.backbone import ALIASES
from dor3d.model.checkpoint import load_model, save_model
from dor3d.model.network import ModelConfig, parameter_count
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel
from dor3d.skeleton import FINGER_JOINTS
from dor3d.train.recipes import TrainConfig

WEIGHTS = Path(dor3d.__file__).parent / "weights"
CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "compact"
LIMITS = """\
- Trained on rendered hands only; no real frame was seen. On real cameras expect larger errors than on `clear`.
- One hand a crop, and a crop must be found first: without a given centre the nearest surface is taken for the hand.
- Held objects, two hands that touch, gloves and hands cut off by the image's edge were not trained.
- It sees right hands; left ones are mirrored, and which it is may be guessed wrongly.
- `std_mm` is the network's own spread, not calibrated.
- From about 0.2 to 1.2 m; farther hands have few pixels."""


def _accuracy_script() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "accuracy.py"
    spec = importlib.util.spec_from_file_location("accuracy", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(model: OnnxModel, poses: Path | None) -> dict[str, Any]:
    """The test sets' results for an exported model."""
    script, shape = _accuracy_script(), (model.card.size, model.card.cube_mm)
    results = {"clear": script.measure(model, clear(*shape), CLEAR_COUNT)}
    if poses:
        source = tracked(poses, *shape)
        results["tracked"] = script.measure(model, source, len(source))
    return results


def card(run: Path, config: TrainConfig, samples: int, results: dict[str, Any], notes: str) -> str:
    """The card's text."""
    model = config.model
    rows = []
    for name, r in results.items():
        rates = " / ".join(f"{r['success_max'][mm]:.1f} %" for mm in ("20", "40"))
        fingers = []
        for joints in FINGER_JOINTS.values():
            errors = list(r["per_joint_mm"].values())
            fingers.append(f"{sum(errors[j] for j in joints) / 4:.1f}")
        rows.append(f"| `{name}` | {r['frames']} | {r['mean_mm']:.2f} | {rates} | {' / '.join(fingers)} |")
    parameters = parameter_count(load_model(run).folded()) / 1e6
    backbone = ALIASES.get(model.backbone, model.backbone)
    return f"""# compact

The model that `dor3d predict` uses unless told otherwise. Licence: Apache-2.0, as the rest of dor3d.

| | |
|---|---|
| backbone | timm's {backbone}, random initial weights |
| input | {model.size} x {model.size} crop, cube {model.cube_mm[0]:g} x {model.cube_mm[0]:g} x {model.cube_mm[1]:g} mm |
| head | {_head(model)} |
| parameters | {parameters:.2f} M |
| data | {samples:,} rendered crops (`dor3d.data.synthetic`), each seen once |
| training | {config.optimizer}, loss `{config.loss}`, batch {config.batch}, average of weights {config.ema} |
| weights | half precision, computed in float32 |

{textwrap.fill(notes, 120)}

## Errors

On the frozen test sets (version {VERSION}), crops centred 10 mm (1 sd per axis) off; `python benchmarks/accuracy.py`:

| set | frames | mean (mm) | all joints within 20 / 40 mm | thumb / index / middle / ring / little (mm) |
|---|---|---|---|---|
{chr(10).join(rows)}

`clear` is rendered from people, poses and views that training never drew; `tracked` holds recorded poses, rendered.

## Limits

{LIMITS}
"""


def _head(model: ModelConfig) -> str:
    if model.head == "offset":
        return f"dense offsets with learned weights, on a map of stride 8 ({model.neck} channels)"
    if model.head == "ordinal":
        return f"dense ordinal regression, {model.labels} labels, {model.z_discretisation} discretisation in depth"
    return model.head


def keep_checkpoint(run: Path) -> None:
    """The weights to go on from; statistics and biases keep their precision, they are few."""
    net = load_model(run)
    halves = {name: t.half() if t.ndim > 1 else t for name, t in net.state_dict().items()}
    save_model(CHECKPOINT, net, halves)


def main() -> None:
    """Export, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--tracked", type=Path)
    parser.add_argument("--notes", default="")
    args = parser.parse_args()
    config = TrainConfig.from_json(json.loads((args.run / "config.json").read_text()))
    facts = {"data": "synthetic", "samples": args.samples, "licence": "Apache-2.0", "version": dor3d.__version__}
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "compact.onnx"
        export_onnx(args.run, made, card=facts)
        results = measure(OnnxModel(made), args.tracked)
        write_whole(WEIGHTS / "compact.md", card(args.run, config, args.samples, results, args.notes))
        write_whole(WEIGHTS / "compact.onnx", made.read_bytes())
    keep_checkpoint(args.run)
    for name, r in results.items():
        print(f"{name}: {r['mean_mm']:.2f} mm on {r['frames']} frames")


if __name__ == "__main__":
    main()
