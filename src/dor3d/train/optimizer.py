"""Optimizers: AdamW (the paper's), and Muon for the backbone's matrices with AdamW for the rest.

Source of Muon: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. A matrix's momentum is
replaced by the nearest matrix with equal singular values, by five Newton-Schulz steps. torch's own `Muon` takes
two-dimensional parameters only and iterates in bfloat16, which CPUs without that type emulate; here convolutions count
as matrices too, and it is float32.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.model.network import HandNet
from dor3d.train.recipes import TrainConfig

_MOMENTUM: Final = 0.95
_NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)  # the coefficients of the source: quick, not exact
_ROUNDS: Final = 5
_SMALLEST: Final = 16  # a matrix with fewer rows or columns has little to orthogonalise


def make_optimizer(net: HandNet, config: TrainConfig) -> torch.optim.AdamW:
    """The optimizer that a config names; groups carry `scale`, their learning rate's ratio to the config's."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(_groups(net, config, set()), lr=config.lr, fused=True)
    head = {id(p) for p in net.head.parameters()}  # an output layer is none of Muon's
    return Muon(_groups(net, config, {id(p) for p in matrices(net) if id(p) not in head}), lr=config.lr, fused=True)


def matrices(module: nn.Module) -> list[nn.Parameter]:
    """The weights of dense convolutions and linear layers that are wide enough to orthogonalise."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.groups == 1)]
    weights = [layer.weight for layer in layers if layer.weight.requires_grad]
    return [w for w in weights if min(len(w), w[0].numel()) >= _SMALLEST]  # pyright: ignore[reportReturnType]


def _groups(net: nn.Module, config: TrainConfig, orthogonal: set[int]) -> list[dict[str, Any]]:
    """Matrices for Muon, other weights, and one-dimensional parameters (norms, biases), which are not decayed."""
    params = [p for p in net.parameters() if p.requires_grad]
    matrix = [p for p in params if id(p) in orthogonal]
    other = [p for p in params if id(p) not in orthogonal]
    decay = config.weight_decay
    groups: list[dict[str, Any]] = [
        {"params": matrix, "weight_decay": decay, "scale": config.matrix_lr / config.lr, "matrix": True},
        {"params": [p for p in other if p.ndim > 1], "weight_decay": decay, "scale": 1.0, "matrix": False},
        {"params": [p for p in other if p.ndim <= 1], "weight_decay": 0.0, "scale": 1.0, "matrix": False},
    ]
    return [group for group in groups if group["params"]]


class Muon(torch.optim.AdamW):
    """AdamW, but for the groups marked `matrix`, which take orthogonalised momentum."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both; `closure` is not supported."""
        for group in self.param_groups:
            for weight in group["params"] if group["matrix"] else ():
                if weight.grad is not None:
                    self._step_matrix(weight, group["lr"], group["weight_decay"])
                    weight.grad = None  # done: nothing is left to AdamW
        super().step()

    def _step_matrix(self, weight: Tensor, lr: float, weight_decay: float) -> None:
        state, grad = self.state[weight], weight.grad
        if grad is None:
            return
        if not state:
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(weight)
        state["step"] += 1
        state["momentum"].mul_(_MOMENTUM).add_(grad)
        update = grad.add(state["momentum"], alpha=_MOMENTUM)  # Nesterov's
        rows, columns = len(weight), weight[0].numel()
        direction = orthogonalised(update.reshape(rows, columns)).reshape(weight.shape)
        weight.mul_(1 - lr * weight_decay)
        weight.add_(direction, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def orthogonalised(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """About the nearest matrix whose singular values are all one (they end between 0.7 and 1.2)."""
    a, b, c = _NEWTON_SCHULZ
    x = matrix.float() / (matrix.float().norm() + 1e-7)
    wide = len(x) > x.shape[1]
    if wide:
        x = x.T
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if wide else x
