"""The mean of the weights of runs that went on from one another, as a run that can be exported and gone on from.

    python benchmarks/mean_weights.py OUT RUN RUN [RUN ...]

Runs of one network whose weights are near each other: each from the last's, or from the same. OUT gets the last one's
config. Wortsman et al., "Model soups", ICML 2022, says why it helps; docs/log.md what it brought.
"""

import argparse
from pathlib import Path

import torch

from dor3d.errors import ModelError
from dor3d.model.checkpoint import CONFIG, load_model, read_config, save_model, write_json


def main() -> None:
    """Load, average, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    nets = [load_model(run) for run in args.runs]
    if any(net.config != nets[-1].config for net in nets):
        got = ", ".join(f"{run}: {net.name}" for run, net in zip(args.runs, nets, strict=True))
        raise ModelError("The runs are of different networks", got=got, expected="runs of one model config")
    states = [net.state_dict() for net in nets]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(last.dtype)
        for name, last in states[-1].items()
    }
    save_model(args.out, nets[-1], mean)
    write_json(args.out / CONFIG, read_config(args.runs[-1]))
    print(f"{args.out}: the mean of {len(nets)} networks of {sum(p.numel() for p in nets[-1].parameters()):,} weights")


if __name__ == "__main__":
    main()
