"""Small helpers on module trees, and the one layer torch lacks."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

from torch import Tensor, nn

__all__ = ["BatchNormInMode", "attach", "copied", "tensor_at"]

_Module = TypeVar("_Module", bound=nn.Module)
_CONSTANT: Final = (bool, int, float, str, type(None))


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


def copied(module: _Module, memo: Mapping[int, object]) -> _Module:
    """``copy.deepcopy`` of a module, in a small part of its time.

    Args:
        module: Any module; left untouched.
        memo: What to take instead of a copy, by the ``id`` of what it replaces.
    """
    known = dict(memo)
    # A class that makes its own copy may look into those of its parts: they are whole by then.
    ordered = _parts_first(module, set())
    parts = [part for part in ordered if id(part) not in known and _has_plain_state(type(part))]
    for part in parts:
        known[id(part)] = object.__new__(type(part))
    for part in parts:
        # Every module has some ten empty tables of hooks, which take most of the time of its copy.
        state = {
            name: known.setdefault(id(value), OrderedDict())
            if type(value) is OrderedDict and not value
            else value
            if type(value) in _CONSTANT
            else copy.deepcopy(value, known)
            for name, value in part.__getstate__().items()  # type: ignore[no-untyped-call]
        }
        vars(known[id(part)]).update(state)
    return copy.deepcopy(module, known)


def _parts_first(module: nn.Module, seen: set[int]) -> Iterator[nn.Module]:
    """Every module inside, and the module itself: once each, and after all that are inside of it."""
    seen.add(id(module))
    for part in module.children():
        if id(part) not in seen:
            yield from _parts_first(part, seen)
    yield module


def _has_plain_state(kind: type[nn.Module]) -> bool:
    """Whether a copy of a module of this class is one of its attributes, and no method of it has a say."""
    return (
        not hasattr(kind, "__deepcopy__")
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and kind.__getstate__ in (nn.Module.__getstate__, object.__getstate__)
        # Those of torch itself only add what older versions did not save.
        and kind.__setstate__.__module__.startswith("torch.nn.modules.")
        and kind.__new__ is object.__new__
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
