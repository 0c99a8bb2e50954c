"""The outputs of a network as ONNX knows them: tensors in a row, whatever nest they come in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from edgesynth.deploy.runners import first_line
from edgesynth.errors import TraceError

__all__ = ["Flattened", "evaluate", "evaluating", "is_nested", "leaves", "outputs_of"]


def evaluate(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The output tensors of a module in evaluation mode, in the order an exported file has them.

    Raises:
        TraceError: It cannot run on these inputs, or returns what is no tensor.
    """
    with evaluating(module):
        return leaves(outputs_of(module, tuple(inputs)))


class Flattened(nn.Module):
    """Returns the tensors of a nested output as one tuple, which is all ONNX knows."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Those of the module's own forward."""
        return leaves(self.module(*inputs))


def leaves(outputs: object) -> tuple[Tensor, ...]:
    """Every tensor of a nest of dicts, lists and tuples, in the order they are in.

    Raises:
        TraceError: Something in it is no tensor.
    """
    if isinstance(outputs, Tensor):
        return (outputs,)
    if isinstance(outputs, dict):
        return tuple(leaf for value in outputs.values() for leaf in leaves(value))
    if isinstance(outputs, list | tuple):
        return tuple(leaf for value in outputs for leaf in leaves(value))
    raise TraceError(f"forward returned a {type(outputs).__name__}; ONNX outputs must be tensors")


def outputs_of(module: nn.Module, inputs: tuple[Tensor, ...]) -> object:
    """Run a module once; give what it returns.

    Raises:
        TraceError: It cannot run on these inputs.
    """
    try:
        with torch.no_grad():
            return module(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise TraceError(
            f"{type(module).__name__} fails on inputs of shape {shapes}: {first_line(error)}"
        ) from error


def is_nested(outputs: object) -> bool:
    """Whether outputs are anything else than what ONNX knows: a tensor, or a tuple of tensors."""
    flat = type(outputs) is tuple and all(isinstance(item, Tensor) for item in outputs)
    return not flat and not isinstance(outputs, Tensor)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every submodule's own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
