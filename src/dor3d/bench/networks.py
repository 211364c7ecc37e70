"""Networks to time that have to be built or exported first; needs the training stack."""

from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dor3d.bench.subject import Subject
from dor3d.model.checkpoint import load_model, save_model
from dor3d.model.network import HandNet, ModelConfig, parameter_count
from dor3d.runtime.card import ModelCard
from dor3d.runtime.export import export_onnx
from dor3d.train.recipes import get_recipe


def built(name: str, run: Path | None, folder: Path, *, files: bool) -> Subject:
    """Build a network to time.

    Args:
        name: one of the paper's networks, or what a run is called.
        run: its folder; None: the paper's network with random weights.
        folder: for what is written.
        files: whether it is exported too, for backends that run files.
    """
    random = run is None
    if run is None:
        run = folder / name
        save_model(run, HandNet(get_recipe(f"synth-{name}").model))
    net = load_model(run)
    file = folder / f"{run.name}.onnx" if files else None
    if file:
        export_onnx(net, file, precision="fp32", name=run.name)
    parameters = parameter_count(net.folded())
    return Subject(run.name or name, file, run, random, parameters=parameters, gflop=gflop(net))


def with_network(subject: Subject, card: ModelCard, folder: Path) -> Subject:
    """A file's network for PyTorch, with random weights: they cost the same. Of a turned one PyTorch has no run."""
    net = HandNet(ModelConfig.from_json(card.model)).eval()
    counted = replace(subject, parameters=parameter_count(net.folded()), gflop=gflop(net) * card.turns)
    if card.turns > 1:
        return counted
    run = folder / f"{subject.name}-network"
    save_model(run, net)
    return replace(counted, run=run, random_run=True)


@torch.no_grad()
def gflop(net: HandNet) -> float:
    """Of one crop: products and sums, each one."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # attention as plain products
        net.folded()(torch.zeros(1, 1, net.config.size, net.config.size))
    return counter.get_total_flops() / 1e9
