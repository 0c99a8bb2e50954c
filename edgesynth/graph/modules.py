"""Small helpers on module trees, and the one layer torch lacks."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["BatchNormInMode", "attach", "tensor_at"]


class BatchNormInMode(nn.Module):
    """A functional batch norm that obeys the mode of the network it is in."""

    def __init__(self, momentum: float, eps: float) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps

    def forward(
        self, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor
    ) -> Tensor:
        """Normalise axis 1 of ``x`` with the running statistics, or in training with the batch's."""
        return nn.functional.batch_norm(
            x, mean, variance, weight, bias, self.training, self.momentum, self.eps
        )


def tensor_at(module: nn.Module, name: str) -> Tensor:
    """The parameter or buffer of a qualified name."""
    parent, _, leaf = name.rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(parent), leaf)
    return tensor


def attach(root: nn.Module, path: str, attribute: Tensor | nn.Module, *, persistent: bool = True) -> None:
    """Put a module, parameter or buffer at a qualified name, making empty modules on the way."""
    *parents, leaf = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    if isinstance(attribute, nn.Module):
        root.add_module(leaf, attribute)
    elif isinstance(attribute, nn.Parameter):
        root.register_parameter(leaf, attribute)
    else:
        root.register_buffer(leaf, attribute, persistent=persistent)
