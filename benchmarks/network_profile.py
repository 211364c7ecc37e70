"""Where a network's time goes, by kind of layer, as onnxruntime's profiler has it on one thread.

    python benchmarks/network_profile.py [MODEL] [--runs 200]

For each kind the sum of its layers' medians (us), its share, and what convolutions compute a second (two operations
for each product). The profiler itself costs some of what small steps are said to take.
"""

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from dor3d.runtime.card import find_model
from dor3d.runtime.parity import made_up_crops

_SUFFIX = "_kernel_time"


def main() -> None:
    """Run, sort, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="compact")
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args()
    took, work = Counter[str](), Counter[str]()
    for kind, us, flop in profile(find_model(args.model), args.runs):
        took[kind] += us
        work[kind] += flop
    whole = sum(took.values())
    print("| kind | us | share | GFLOP/s |\n|---|---|---|---|")
    for kind, us in took.most_common():
        print(f"| {kind} | {us:.0f} | {us / whole:.0%} | {f'{work[kind] / us / 1e3:.0f}' if work[kind] else ''} |")


def profile(path: Path, runs: int) -> list[tuple[str, float, float]]:
    """Kind, time (us) and floating-point operations of each step of the optimised network."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        options.optimized_model_filepath = f"{folder}/optimised.onnx"
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        crop = made_up_crops(1, session.get_inputs()[0].shape[-1])
        for _ in range(runs):
            session.run(None, {"crop": crop})
        events = json.loads(Path(session.end_profiling()).read_text())
        graph = onnx.load(options.optimized_model_filepath).graph
    times, sizes = defaultdict[str, list[float]](list), dict[str, list[int]]()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            times[name].append(event["dur"])
            sizes[name] = next(iter(event["args"]["output_type_shape"][0].values()))
    shapes = {value.name: list(value.dims) for value in graph.initializer}
    steps = {node.name: _kind(node, shapes) for node in graph.node}
    return [
        (steps[name][0], float(np.median(us)), steps[name][1] * float(np.prod(sizes[name][2:])))
        for name, us in times.items()
    ]


def _kind(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> tuple[str, float]:
    """What a node is, and what it computes for each place of its output."""
    if node.op_type != "Conv":
        return "small steps", 0.0
    out, into, height, width = shapes[node.input[1]]
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return ("depthwise" if group > 1 else f"{height}x{width}"), 2.0 * out * into * height * width


if __name__ == "__main__":
    main()
