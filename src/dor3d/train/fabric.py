"""Devices and processes, through Lightning Fabric: one process, several that torchrun started, or a SLURM job's."""

import os
from typing import Any, Final

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.precision.amp import MixedPrecision
from lightning.fabric.strategies.ddp import DDPStrategy

from dor3d.errors import InputError
from dor3d.train.config import TrainConfig

_PRECISIONS: Final = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class _Mixed(MixedPrecision):
    """Autocast of what a network computes, and not of what it is given: half precision rounds depths by half a mm."""

    def convert_input(self, data: Any) -> Any:
        """Return it as it is."""
        return data


def make_fabric(config: TrainConfig) -> Fabric:
    """The devices that a config asks for and, started by torchrun or SLURM, the processes that share the work.

    Raises InputError where a GPU is asked for and there is none, or half precision that the device cannot do.
    """
    device = pick_device(config.device)
    here, nodes = processes()
    strategy: Any = "auto"
    if here * nodes > 1:
        strategy = DDPStrategy(process_group_backend="nccl" if device.type == "cuda" else "gloo")
    precision: Any = precision_of(config, device)
    mixed: Any = [] if precision == "32-true" else [_Mixed(precision, device.type)]
    fabric = Fabric(accelerator=device.type, strategy=strategy, devices=here, num_nodes=nodes, plugins=mixed)
    fabric.launch()
    return fabric


def pick_device(name: str) -> torch.device:
    """`auto` is the GPU if there is one; raises InputError where a GPU is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device", fix="Use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def precision_of(config: TrainConfig, device: torch.device) -> str:
    """What a config computes in on a device, as Fabric calls it; raises InputError for what the device cannot do."""
    name = config.precision
    if name == "auto":
        name = "bf16" if device.type == "cuda" else "32"
    if name == "fp16" and device.type == "cpu":
        raise InputError("A CPU does not train in fp16", got="--precision fp16", expected="32 or bf16")
    return _PRECISIONS[name]


def processes() -> tuple[int, int]:
    """Processes on this machine, and machines, as torchrun or SLURM started them.

    Raises InputError where their numbers do not fit together.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        here, every = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    elif "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        every, nodes = int(os.environ["SLURM_NTASKS"]), int(os.environ.get("SLURM_NNODES", "1"))
        here = every // nodes
    else:
        return 1, 1
    if every % here:
        raise InputError("Machines run different numbers of processes", got=f"{here} here, {every} in all")
    return here, every // here
