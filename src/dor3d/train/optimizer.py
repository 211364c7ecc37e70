"""Optimizers: AdamW (the paper's), and Muon for hidden matrices with AdamW for the rest.

Source of Muon: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. A matrix's momentum is
replaced by the nearest matrix with equal singular values, by five Newton-Schulz steps. torch's own `Muon` takes
two-dimensional parameters only and iterates in bfloat16, which CPUs without that type emulate; here convolutions count
as matrices too, and it iterates in bfloat16 only where the run computes in it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.model.base import Network
from dor3d.train.config import TrainConfig

_MOMENTUM: Final = 0.95
_NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)  # the coefficients of the source: quick, not exact
_ROUNDS: Final = 5
_SMALLEST: Final = 16  # a matrix with fewer rows or columns has little to orthogonalise


def make_optimizer(net: Network, config: TrainConfig, iterate_in: torch.dtype = torch.float32) -> torch.optim.AdamW:
    """The optimizer that a config names; groups carry `scale`, their learning rate's ratio to the config's.

    Args:
        net: whose parameters it steps.
        config: of the run.
        iterate_in: the type of Muon's Newton-Schulz steps.
    """
    if config.optimizer == "adamw":
        return torch.optim.AdamW(_groups(net, config, {}), lr=config.lr, fused=True)
    answers = {id(p) for layer in net.outputs() for p in layer.parameters()}
    hidden = {id(p): axis for p, axis in matrices(net) if id(p) not in answers}
    return Muon(_groups(net, config, hidden), lr=config.lr, fused=True, iterate_in=iterate_in)


def matrices(module: nn.Module) -> list[tuple[nn.Parameter, int]]:
    """Weights of dense layers that are wide enough to orthogonalise, each with the axis that counts its outputs."""
    found = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and getattr(layer, "groups", 1) == 1:
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            outputs = layer.weight.shape[axis]
            if layer.weight.requires_grad and min(outputs, layer.weight.numel() // outputs) >= _SMALLEST:
                found.append((layer.weight, axis))
    return found


def _groups(net: nn.Module, config: TrainConfig, hidden: Mapping[int, int]) -> list[dict[str, Any]]:
    """Matrices for Muon, other weights, and one-dimensional parameters (norms, biases), which are not decayed."""
    params = [p for p in net.parameters() if p.requires_grad]
    other = [p for p in params if id(p) not in hidden]
    decay, scale = config.weight_decay, config.matrix_lr / config.lr
    groups: list[dict[str, Any]] = [
        *(
            {
                "params": [p for p in params if hidden.get(id(p)) == axis],
                "weight_decay": decay,
                "scale": scale,
                "outputs": axis,
            }
            for axis in (0, 1)
        ),
        {"params": [p for p in other if p.ndim > 1], "weight_decay": decay, "scale": 1.0, "outputs": None},
        {"params": [p for p in other if p.ndim <= 1], "weight_decay": 0.0, "scale": 1.0, "outputs": None},
    ]
    return [group for group in groups if group["params"]]


class Muon(torch.optim.AdamW):
    """AdamW, but for the groups that name an axis of `outputs`, which take orthogonalised momentum."""

    def __init__(self, *args: Any, iterate_in: torch.dtype = torch.float32, **options: Any) -> None:
        super().__init__(*args, **options)
        self.iterate_in = iterate_in
        # fused AdamW unscales half precision's gradients, and passes over infinite ones, itself: for its own groups
        # alone. So the scaler does it, for all.
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both; `closure` is not supported."""
        for group in self.param_groups:
            outputs: int | None = group["outputs"]
            if outputs is None:
                continue
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step_matrix(weight, group["lr"], group["weight_decay"], outputs)
                    weight.grad = None  # done: nothing is left to AdamW
        super().step()

    def _step_matrix(self, weight: Tensor, lr: float, weight_decay: float, outputs: int) -> None:
        state, grad = self.state[weight], weight.grad
        if grad is None:
            return
        if not state:
            state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(weight)
        state["step"] += 1
        state["momentum"].mul_(_MOMENTUM).add_(grad)
        update = grad.add(state["momentum"], alpha=_MOMENTUM).movedim(outputs, 0)  # Nesterov's
        matrix = update.flatten(1)
        rows, columns = matrix.shape
        direction = orthogonalised(matrix, self.iterate_in).view(update.shape).movedim(0, outputs)
        weight.mul_(1 - lr * weight_decay)
        weight.add_(direction, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def orthogonalised(matrix: Float[Tensor, "m n"], iterate_in: torch.dtype = torch.float32) -> Float[Tensor, "m n"]:
    """About the nearest matrix whose singular values are all one (they end between 0.7 and 1.2), in float32."""
    a, b, c = _NEWTON_SCHULZ
    x = (matrix.float() / (matrix.float().norm() + 1e-7)).to(iterate_in)
    wide = len(x) > x.shape[1]
    if wide:
        x = x.T
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if wide else x).float()
