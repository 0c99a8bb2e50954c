"""Does the user's own class, resized, compute what the graph rebuilt from the trace computes?

Both are run without data, on the meta device, and the operators they call are written down. Two
equal records are proof. Where the records differ (an in-place write seen as a copy, say) the two are
run on the example input and their outputs compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from edgesynth.graph.trace import Argument, plain_attention

__all__ = ["agree"]

_TOLERANCE = 1e-4
# Operators that describe the same memory anew: what they yield is told by its shape.
_VIEWS = frozenset(
    ["view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "alias", "detach", "slice"]
)
# Slow on the meta device, though their first result always has the shape of their input ...
_NORMS = frozenset(["native_batch_norm", "_native_batch_norm_legit_no_training"])
# ... and their only one is like their inputs, where these are alike.
_POINTWISE = frozenset(
    ["relu", "silu", "gelu", "sigmoid", "hardtanh", "hardswish", "leaky_relu", "add", "mul"]
)
_SPLITS = frozenset(["split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"])


class _Record(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator, its constants, and where its tensors come from."""

    def __init__(self, known: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lines: list[object] = []
        self._names: dict[int, object] = dict(known)
        self._alive: list[Tensor] = []

    def __torch_dispatch__(
        self,
        func: Argument,
        types: Argument,
        args: tuple[Argument, ...] = (),
        kwargs: dict[str, Argument] | None = None,
    ) -> Argument:
        stem = func._schema.name.partition("::")[2].rstrip("_")
        out: Argument
        if stem in _NORMS:
            out = (torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0))
        elif stem in _POINTWISE and _alike(args):
            out = args[0] if func._schema.name.endswith("_") else torch.empty_like(args[0])
        else:
            out = func(*args, **(kwargs or {}))
        if stem in _VIEWS and out.shape == args[0].shape and out.dtype == args[0].dtype:
            self._names[id(out)] = self._name(args[0])
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
        if id(tensor) not in self._names:
            # A tensor made from data: nothing is known of its values, so it equals no other.
            self._names[id(tensor)] = object()
            self._alive.append(tensor)
        return self._names[id(tensor)]

    def _described(self, value: Argument) -> object:
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


def _alike(args: tuple[Argument, ...]) -> bool:
    """Whether all arguments are floating-point tensors of one shape and type, or plain numbers."""
    first = args[0]
    return isinstance(first, Tensor) and all(
        not isinstance(each, Tensor)
        or (each.shape == first.shape and each.dtype == first.dtype and each.is_floating_point())
        for each in args
    )


def agree(
    own: nn.Module,
    rebuilt: nn.Module,
    weights: Callable[[], Mapping[str, Tensor]],
    example: tuple[Tensor, ...],
) -> bool:
    """Whether two modules with the same parameter names compute the same.

    Args:
        own: The user's class, resized; its parameters need hold no data.
        rebuilt: The graph module, the reference.
        weights: Gives parameters and buffers with data, by name, if they are needed after all.
        example: Inputs of the network.
    """
    modes = [(module, module.training) for module in (*own.modules(), *rebuilt.modules())]
    try:
        for module, _ in modes:
            module.training = False
        with plain_attention():
            return _same_record(own, rebuilt, example) or _same_outputs(own, rebuilt, weights(), example)
    finally:
        for module, training in modes:
            module.training = training


def _same_record(own: nn.Module, rebuilt: nn.Module, example: tuple[Tensor, ...]) -> bool:
    state = {
        name: tensor.detach().to("meta") for name, tensor in (*own.named_parameters(), *own.named_buffers())
    }
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
