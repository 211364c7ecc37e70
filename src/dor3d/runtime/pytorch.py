"""Trained networks as PyTorch runs them, on any device: eagerly, compiled, or replayed as CUDA graphs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, cast, get_args

import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from dor3d.errors import InputError
from dor3d.model.checkpoint import load_model
from dor3d.model.network import HandNet
from dor3d.runtime.base import Precision, RuntimeModel
from dor3d.runtime.card import ModelCard

Mode = Literal["eager", "compile", "graph"]
_TYPES: Final[dict[Precision, torch.dtype]] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WARM_UP: Final = 3  # runs before a graph is recorded
Step = Callable[[Tensor], tuple[Tensor, ...]]


def choices() -> list[tuple[Mode, Precision]]:
    """Ways of computing that are worth a look here: on a CPU half precision is emulated, and graphs need a GPU."""
    if not torch.cuda.is_available():
        return [("eager", "fp32"), ("compile", "fp32")]
    return [(mode, precision) for mode in get_args(Mode) for precision in ("fp32", "bf16", "fp16")]


def gpu_name() -> str:
    """Of the first GPU; empty where there is none."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""


def open_run(run: Path, mode: str, precision: Precision) -> "TorchModel":
    """A run's network on the GPU, or where there is none on the CPU; as `TorchModel` has it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TorchModel(run, device, mode=cast(Mode, mode), precision=precision)


class TorchModel(RuntimeModel):
    """A network in PyTorch.

    Args:
        model: a run's folder, or the network itself.
        device: that it runs on.
        mode: `compile` for torch.compile, `graph` for one CUDA graph a batch size, on buffers that stay.
        precision: of backbone, neck and head; decoding stays in float32.
        name: the model's; the folder's by default.

    Raises ModelError for a folder without a network, InputError for graphs without a GPU.
    """

    def __init__(
        self,
        model: Path | HandNet,
        device: torch.device,
        *,
        mode: Mode = "eager",
        precision: Precision = "fp32",
        name: str = "",
    ) -> None:
        if mode == "graph" and device.type != "cuda":
            raise InputError("CUDA graphs need a GPU", got=device, fix="Take torch-eager or torch-compile.")
        net = (model if isinstance(model, HandNet) else load_model(model)).folded()
        net = net.to(device).to(memory_format=torch.channels_last)
        config, self._device, self._dtype = net.config, device, _TYPES[precision]
        name = name or (config.backbone if isinstance(model, HandNet) else model.resolve().name)
        self.card = ModelCard(name, config.size, config.cube_mm, config.joints, upright=config.upright)
        self._net = net
        self._step: Step = torch.compile(self._forward) if mode == "compile" else self._forward
        self._graphs: dict[int, _Graph] | None = {} if mode == "graph" else None

    @torch.inference_mode()
    def _run(self, crops: Float[ndarray, "b 1 s s"]) -> Sequence[ndarray]:
        batch = torch.from_numpy(crops)
        if self._graphs is None:
            said = self._step(batch.to(self._device))
        else:
            if len(crops) not in self._graphs:
                self._graphs[len(crops)] = _Graph(self._forward, batch, self._device)
            said = self._graphs[len(crops)](batch)
        return [part.cpu().numpy() for part in said]

    def _forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            said = self._net(crop)
        parts = (said.points, said.sigma) if said.kind is None else (said.points, said.sigma, said.kind)
        return tuple(part.float() for part in parts)


class _Graph:
    """A step recorded once for a batch of one size, and replayed on the same buffers, the host's ones pinned."""

    def __init__(self, step: Step, batch: Tensor, device: torch.device) -> None:
        self._given = batch.pin_memory()
        self._crop = self._given.to(device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                step(self._crop)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._said = step(self._crop)
        self._told = tuple(torch.empty(said.shape, pin_memory=True) for said in self._said)

    def __call__(self, batch: Tensor) -> tuple[Tensor, ...]:
        """What the step says, in buffers that the next call overwrites."""
        self._given.copy_(batch)
        self._crop.copy_(self._given, non_blocking=True)
        self._graph.replay()
        for told, said in zip(self._told, self._said, strict=True):
            told.copy_(said, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._told
