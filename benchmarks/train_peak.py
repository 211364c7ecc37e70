"""How much of the machine's matrix-multiply peak training reaches.

    python benchmarks/train_peak.py [swin-b resnet50] [--batches 32 64 128 256] [--steps 30] [--compile true]

Trains each backbone's network with its recipe's step (forward, backward, optimizer, average of weights) on crops in the
device's memory, in bfloat16 on a GPU and float32 on a CPU. Prints images/s and their share of the peak, which is that
of the fastest product of two square matrices of that type, measured first. Operations are counted by torch (a multiply
and an add are two; elementwise ones are none). Aims on a GPU in bfloat16: Swin-B 15 %, ResNet50 8 %.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dor3d.data.batch import Batch
from dor3d.model.network import HandNet
from dor3d.train.config import TrainConfig
from dor3d.train.fabric import make_fabric, pick_device
from dor3d.train.recipes import get_recipe, override
from dor3d.train.run import Run
from dor3d.train.stream import Share

_SIDES: Final = {"cuda": (4096, 8192, 16384), "cpu": (1024, 2048)}  # of the matrices
_WARM: Final = 5


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the best square product."""
    best = 0.0
    for side in _SIDES[device.type]:
        a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        for _ in range(10):
            wait(device)
            start = time.perf_counter()
            a @ b
            wait(device)
            best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def operations(config: TrainConfig) -> int:
    """Of a forward and backward pass, for one image."""
    net, size = HandNet(config.model), config.model.size
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # attention as plain products
        net(torch.zeros(2, 1, size, size)).points.sum().backward()
    return counter.get_total_flops() // 2


def images_per_second(config: TrainConfig, steps: int) -> float:
    fabric = make_fabric(config)
    size, joints = config.model.size, len(config.model.joints)
    crop = torch.rand(config.batch, 1, size, size, device=fabric.device) * 2 - 1
    points = torch.rand(config.batch, joints, 3, device=fabric.device) * size
    share = Share(Batch(crop, points), config.batch)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config, fabric, Path(folder), None, resumed=False)
        for number in range(steps + _WARM):
            if number == _WARM:
                wait(fabric.device)
                start = time.perf_counter()
            run.step(number, share, config.batch)
        wait(fabric.device)
    return steps * config.batch / (time.perf_counter() - start)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="*", default=["swin-b", "resnet50"])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--compile", default="false", choices=["true", "false"])
    args = parser.parse_args()
    device = pick_device("auto")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    peak = matmul_peak(device, dtype)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{device.type} ({name}), torch {torch.__version__}, {dtype}: {peak / 1e12:.2f} TFLOP/s in a matrix product\n"
    )
    print("| backbone | GFLOP an image | batch | images/s | share of the peak |\n|---|---|---|---|---|")
    for backbone in args.backbones:
        recipe = "synth-swin-b" if backbone.startswith("swin") else "synth-resnet50"
        fields = {"backbone": backbone, "pretrained": "false", "compile": args.compile}
        config = override(get_recipe(recipe), fields)
        each = operations(config)
        for batch in args.batches:
            try:
                speed = images_per_second(override(config, {"batch": str(batch)}), args.steps)
            except torch.OutOfMemoryError:
                print(f"| {backbone} | {each / 1e9:.1f} | {batch} | too little memory | |", flush=True)
                break
            print(f"| {backbone} | {each / 1e9:.1f} | {batch} | {speed:.1f} | {each * speed / peak:.1%} |", flush=True)


if __name__ == "__main__":
    main()
