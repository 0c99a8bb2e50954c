"""Outputs and targets of several tensors: tuples, lists and dicts of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["leaves", "mapped", "moved"]


def mapped(function: Callable[[Tensor], Tensor], tree: Any) -> Any:  # noqa: ANN401
    """The same tree with ``function`` applied to every tensor; anything else stays as it is."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(function, part) for part in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(function, part) for part in tree)
    return tree


def leaves(tree: Any) -> Iterator[Tensor]:  # noqa: ANN401
    """Every tensor of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from leaves(part)
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from leaves(part)


def moved(tree: Any, device: torch.device) -> Any:  # noqa: ANN401
    """The same tree on a device."""
    return mapped(lambda tensor: tensor.to(device, non_blocking=True), tree)
