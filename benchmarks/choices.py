"""What the compact network is made of, chosen by measurement: variants of `synth-compact`, trained on equal samples.

`dor3d tables` compares variants of the paper's network; here the one that ships is varied.

    python benchmarks/choices.py GROUP... [--samples 102400] [--jobs 2] [--out runs/choices] [--finished]

Groups: heads, losses, inputs, backbones.
Each variant is a run of `dor3d train synth-compact` with some fields changed, one thread each, `--jobs` at a time. The
order of samples is the same for all. A variant that several groups share is one run. Finished runs are not trained
again, stopped ones go on; --finished trains nothing and shows what there is. A table holds the mean error on 1,024
held-out crops (drawn as `clear`, none in common with it), parameters of the exported network, its size, its latency
(onnxruntime, one thread, one crop) and the samples that training took in a second on its one thread.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dor3d.model.checkpoint import load_model
from dor3d.model.network import parameter_count
from dor3d.runtime.export import export_onnx
from dor3d.runtime.onnx import OnnxModel

_ORDINAL: Final = "--head ordinal --loss balanced"
GROUPS: Final[dict[str, dict[str, str]]] = {
    "heads": {
        "offset": "",
        "ordinal, exact labels": _ORDINAL,
        "ordinal, hard labels": f"{_ORDINAL} --labels hard",
        "coordinate, metric": "--head coordinate",
        "coordinate, balanced": "--head coordinate --loss balanced",
    },
    "losses": {
        "offset, metric": "",
        "offset, balanced": "--loss balanced",
        "ordinal, balanced": _ORDINAL,
        "ordinal, paper": "--head ordinal --loss paper",
    },
    "inputs": {
        "depth, U, V and relief": "",
        "depth, U and V": "--relief false",
        "depth and relief": "--uv-maps false",
    },
    "backbones": {
        "mobilenetv4_conv_small": "",
        **{
            name: f"--backbone {name}"
            for name in ("mobilenetv4_conv_small_050", "lcnet_100", "regnetx_002", "edgenext_xx_small", "hgnetv2_b0")
        },
    },
}


class Row(NamedTuple):
    """What one variant measures."""

    error_mm: float
    parameters: int
    megabytes: float
    latency_ms: float
    samples_per_s: float


def train(out: Path, fields: str, samples: int) -> None:
    """Train one variant, or go on with it."""
    if finished(out):
        return
    command = [Path(sys.executable).with_name("dor3d"), "train", "synth-compact", "--out", out, "--resume"]
    command += [
        "--samples",
        str(samples),
        "--threads",
        "1",
        "--workers",
        "0",
        "--log-every",
        "100",
        *shlex.split(fields),
    ]
    if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed; run it alone to see why")


def metrics(out: Path) -> list[dict[str, float]]:
    """What a run has logged so far."""
    path = out / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finished(out: Path) -> bool:
    """Whether a run has come to its end, where it is validated."""
    return any("validation_mm" in line for line in metrics(out))


def measure(out: Path) -> Row:
    """The row of a finished run."""
    lines = metrics(out)
    error = next(line["validation_mm"] for line in reversed(lines) if "validation_mm" in line)
    speed = float(np.median([line["samples_per_s"] for line in lines if "samples_per_s" in line]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export_onnx(out, file)
        model, megabytes = OnnxModel(file, threads=1), file.stat().st_size / 1e6
    return Row(error, parameter_count(load_model(out).folded()), megabytes, _latency_ms(model), speed)


def _latency_ms(model: OnnxModel, rounds: int = 200) -> float:
    crop = np.random.default_rng(0).uniform(-1, 1, (1, 1, model.card.size, model.card.size)).astype(np.float32)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        model(crop)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", choices=GROUPS)
    parser.add_argument("--samples", type=int, default=102_400)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/choices"))
    parser.add_argument("--finished", action="store_true")
    args = parser.parse_args()
    if not args.finished:
        every = dict.fromkeys(fields for group in args.groups for fields in GROUPS[group].values())
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda fields: train(folder_of(args.out, fields), fields, args.samples), every))
    for group in args.groups:
        print(table(GROUPS[group], args.out))


def folder_of(out: Path, fields: str) -> Path:
    """Where the run with these fields changed is kept."""
    return out / (fields.replace("--", "").replace(" ", "-") or "own")


def table(variants: dict[str, str], out: Path) -> str:
    """The finished variants as a table."""
    lines = [
        "| variant | held out (mm) | parameters (M) | file (MB) | latency (ms) | samples a second |",
        "|---|---|---|---|---|---|",
    ]
    for name, fields in variants.items():
        folder = folder_of(out, fields)
        if finished(folder):
            row = measure(folder)
            lines.append(
                f"| {name} | {row.error_mm:.2f} | {row.parameters / 1e6:.2f} | {row.megabytes:.1f} "
                f"| {row.latency_ms:.2f} | {row.samples_per_s:.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
