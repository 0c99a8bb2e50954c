"""Outputs of a network as tensors in a row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgesynth.deploy.outputs import evaluate
from edgesynth.errors import TraceError


class Nest(nn.Module):
    """Returns what it is made with, each number as that many times the input."""

    def __init__(self, nest: object) -> None:
        super().__init__()
        self.nest = nest
        self.inner = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> object:
        return self._times(self.nest, self.inner(x))

    def _times(self, nest: object, x: Tensor) -> object:
        if isinstance(nest, dict):
            return {key: self._times(value, x) for key, value in nest.items()}
        if isinstance(nest, list | tuple):
            return type(nest)(self._times(value, x) for value in nest)
        return nest * x if isinstance(nest, int) else nest


def test_tensors_of_a_nest_come_in_the_order_they_are_in() -> None:
    network = Nest({"b": [1, (2, 3)], "a": 4}).train()

    found = evaluate(network, [torch.ones(2)])

    assert [tensor.tolist() for tensor in found] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert network.training
    assert network.inner.training


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(TraceError, match="returned a str; ONNX outputs must be tensors"):
        evaluate(Nest([1, "mask"]), [torch.ones(2)])
