"""Does the user's own class, resized, compute what the graph rebuilt from the trace computes?

Both are run without data, on the meta device, and the operators they call are written down. Two
equal records are proof. Where the records differ (an in-place write seen as a copy, say) the two are
run on the example input and their outputs compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from edgesynth.graph.trace import plain_attention

__all__ = ["agree"]

_TOLERANCE = 1e-4
# Operators that describe the same memory anew: what they yield is told by its shape.
_VIEWS = frozenset("view _unsafe_view reshape _reshape_alias expand alias detach slice clone".split())
# Slow on the meta device, though their first result always has the shape of their input.
_LIKE_INPUT = frozenset("native_batch_norm _native_batch_norm_legit_no_training".split())
_SPLITS = frozenset("split split_with_sizes unsafe_split unsafe_split_with_sizes".split())


class _Record(TorchDispatchMode):
    """Writes down every operator, its constants, and where its tensors come from."""

    def __init__(self, known: Mapping[int, str]) -> None:
        super().__init__()
        self.lines: list[object] = []
        self._names: dict[int, object] = dict(known)
        self._alive: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:  # noqa: D105, ANN401
        stem = func._schema.name.partition("::")[2].rstrip("_")
        if stem in _LIKE_INPUT:
            out = (torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0))
        else:
            out = func(*args, **(kwargs or {}))
        source = args[0] if args and isinstance(args[0], Tensor) else None
        if isinstance(out, Tensor) and source is not None and stem in _VIEWS and out.shape == source.shape:
            self._names[id(out)] = self._name(source)
            self._alive.append(out)
            return out
        constants: object = () if stem in _VIEWS - {"slice"} else self._described((args[1:], kwargs))
        if stem in _SPLITS:
            stem, constants = "split", (kwargs or {}).get("dim", args[2] if len(args) > 2 else 0)
        results = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
        line = (stem, self._described(args[:1]), constants, tuple(tuple(r.shape) for r in results))
        self.lines.append(line)
        for i, result in enumerate(results):
            # An in-place result is a new version of its tensor: later reads see the new name.
            self._names[id(result)] = (len(self.lines), i)
            self._alive.append(result)
        return out

    def _name(self, tensor: Tensor) -> object:
        return self._names.setdefault(id(tensor), "outside")

    def _described(self, value: Any) -> object:  # noqa: ANN401 - any operator argument
        if isinstance(value, Tensor):
            return self._name(value)
        if isinstance(value, (list, tuple)):
            return tuple(self._described(item) for item in value)
        if isinstance(value, dict):
            return tuple((key, self._described(item)) for key, item in value.items())
        return str(value)

    def outputs(self, out: object) -> list[object]:
        """Where the network's outputs come from."""
        return [self._name(leaf) for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]


def agree(
    own: nn.Module, rebuilt: nn.Module, tensors: Mapping[str, Tensor], example: tuple[Tensor, ...]
) -> bool:
    """Whether two modules with the same parameter names compute the same.

    Args:
        own: The user's class, resized.
        rebuilt: The graph module, the reference.
        tensors: Parameters and buffers with data, by name; for the comparison on the example.
        example: Inputs of the network.
    """
    modes = [(module, module.training) for module in (*own.modules(), *rebuilt.modules())]
    try:
        for module, _ in modes:
            module.training = False
        with plain_attention():
            return _same_record(own, rebuilt, tensors, example) or _same_outputs(
                own, rebuilt, tensors, example
            )
    finally:
        for module, training in modes:
            module.training = training


def _same_record(
    own: nn.Module, rebuilt: nn.Module, tensors: Mapping[str, Tensor], example: tuple[Tensor, ...]
) -> bool:
    state = {name: tensor.detach().to("meta") for name, tensor in tensors.items()}
    inputs = tuple(tensor.to("meta") for tensor in example)
    known = {id(tensor): name for name, tensor in state.items()}
    known |= {id(tensor): f"input {i}" for i, tensor in enumerate(inputs)}
    records: list[object] = []
    for module in (own, rebuilt):
        try:
            with _Record(known) as record, torch.no_grad():
                outputs = functional_call(module, _held(module, state), inputs)
        except Exception:  # needs data to run: the example decides
            return False
        records.append((record.lines, record.outputs(outputs)))
    return records[0] == records[1]


@torch.no_grad()
def _same_outputs(
    own: nn.Module, rebuilt: nn.Module, tensors: Mapping[str, Tensor], example: tuple[Tensor, ...]
) -> bool:
    inputs = tuple(tensor.clone() for tensor in example)
    expected = pytree.tree_leaves(functional_call(rebuilt, _held(rebuilt, tensors), example))
    try:
        actual = pytree.tree_leaves(functional_call(own, _held(own, tensors), inputs))
    except Exception:  # a forward with sizes written out: the rebuilt graph stands in for it
        return False
    return len(actual) == len(expected) and all(
        a.shape == e.shape and torch.allclose(a, e, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        for a, e in zip(actual, expected, strict=True)
        if isinstance(a, Tensor)
    )


def _held(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
    return {name: tensors[name] for name in names if name in tensors}
