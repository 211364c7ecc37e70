"""How far a run's standard deviations can be trusted: those of its head, and those of its uncertainty layers.

    python benchmarks/uncertainty.py RUN [RUN ...] [--count 1024] [--fit 1024]

For each run and each of the two: rank correlation of a joint's sigma with its error, shares of coordinates within one
and two sigma (68.3 and 95.4 % of a Gaussian) before and after temperatures are fitted on the run's own held-out samples
(one for x and y, one for z), and the mean negative log-likelihood of coordinates (nats; Gaussian, Laplace) after them.
On the frozen sets `clear` and `hard`, one crop a hand.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from dor3d.data.testsets import clear, hard
from dor3d.evaluate.calibration import calibrate
from dor3d.evaluate.crops import rendered_crops
from dor3d.model.checkpoint import load_model
from dor3d.model.network import HandNet
from dor3d.train.temperature import held_out, temperatures

_BATCH = 64
_LEAST = 1e-3  # px or mm


def said(net: HandNet, crops: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Points and sigma [n, A, 3] (px, px, mm) of the head alone and, where there are some, of the layers for it."""
    layers, found = net.errors, dict[str, tuple[np.ndarray, np.ndarray]]()
    for name, own in (("head", None), ("uncertainty layers", layers)):
        if name == "head" or own is not None:
            net.errors = own
            parts = [net(torch.from_numpy(crops[i : i + _BATCH, None])) for i in range(0, len(crops), _BATCH)]
            found[name] = tuple(np.concatenate([p[k].numpy() for p in parts]) for k in (0, 1))  # type: ignore[assignment]
    net.errors = layers
    return found


def likelihoods(error: np.ndarray, sigma: np.ndarray) -> tuple[float, float]:
    """Mean negative log-likelihoods of coordinates, Gaussian and Laplace, of standard deviation sigma."""
    sigma = np.maximum(sigma, _LEAST)
    gauss = 0.5 * (error / sigma) ** 2 + np.log(sigma * np.sqrt(2 * np.pi))
    scale = sigma / np.sqrt(2)
    return float(gauss.mean()), float((np.abs(error) / scale + np.log(2 * scale)).mean())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=1024, help="frames of each set")
    parser.add_argument("--fit", type=int, default=1024, help="held-out samples that temperatures are fitted on")
    args = parser.parse_args()
    for run in args.runs:
        net = load_model(run)
        size, cube_mm = net.config.size, net.config.cube_mm
        mm = np.array([cube_mm[0] / size, cube_mm[0] / size, 1.0])
        batches = list(held_out(run, args.fit))
        own = said(net, np.concatenate([batch.crop[:, 0].numpy() for batch in batches]))
        truth = np.concatenate([batch.points.numpy() for batch in batches])
        factors = {name: temperatures(points - truth, sigma).factors for name, (points, sigma) in own.items()}
        for set_name, source in (("clear", clear(size, cube_mm)), ("hard", hard(size, cube_mm))):
            crops = rendered_crops(source, range(args.count))
            for name, (points, sigma) in said(net, crops.images).items():
                error = (points - crops.points) * mm
                raw, fitted = (calibrate(error, sigma * mm * f) for f in (1.0, np.array(factors[name])))
                gauss, laplace = likelihoods(error, sigma * mm * factors[name])
                shares = ", then ".join(" / ".join(f"{100 * s:.1f}" for s in c.within) for c in (raw, fitted))
                print(
                    f"{run} {set_name}, {name}: {np.linalg.norm(error, axis=-1).mean():.2f} mm; rank of joints"
                    f" {raw.joint_rank:.3f}, of hands {raw.hand_rank:.3f}; within 1 / 2 sigma {shares} %;"
                    f" -log likelihood {gauss:.3f} (Gaussian), {laplace:.3f} (Laplace)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
