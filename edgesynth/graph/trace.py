"""Trace any user module into one flat graph of ATen operators.

The graph comes from ``torch.export`` without decompositions, so convolutions, linear layers,
normalisations and attention are still whole, and Python control flow is already decided.
"""

from __future__ import annotations

import copy
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from edgesynth.errors import InputError, TraceError
from edgesynth.graph.functional import functionalise

__all__ = ["Argument", "Trace", "as_inputs", "operator_name", "plain_attention", "trace"]

Argument: TypeAlias = Any
"""Whatever an operator or a module takes and gives: tensors, nodes, numbers, lists of them, nothing."""

# An unusual prime: no channel count or image side can be mistaken for the batch when axes merge.
_BATCH = 13
_LOUD = ("torch._subclasses.fake_tensor", "torch.export", "torch.fx.experimental.symbolic_shapes")
_PACKAGE = str(Path(__file__).resolve().parents[1])
_TORCH = str(Path(torch.__file__).resolve().parent)


@dataclass(frozen=True)
class Trace:
    """A traced module.

    Attributes:
        graph: Flat graph of ATen operators; placeholders are state first, then inputs.
        program: The exported program the graph belongs to; owns sub-graphs and the output structure.
        state: Name in the module's ``state_dict`` (or of a non-persistent buffer) per placeholder node.
        constants: Tensors written as literals in ``forward``, per placeholder node.
        inputs: Placeholder nodes of the network's inputs, in order.
        shapes: Concrete shape of every tensor node; several for nodes with a list of outputs.
        batch_axis: The axis of each tensor node that is exactly the batch, or None.
        merged_batch: Axes of each tensor node whose size depends on the batch.
        dynamic: Whether the batch size is free in the graph.
        lines: ``file:line: source`` of the user's code per node; empty if unknown.
        layers: Qualified module name per node (empty at the root), and its class path.
    """

    graph: fx.Graph
    program: ExportedProgram
    state: Mapping[fx.Node, str]
    constants: Mapping[fx.Node, Tensor]
    inputs: tuple[fx.Node, ...]
    shapes: Mapping[fx.Node, tuple[tuple[int, ...], ...]]
    batch_axis: Mapping[fx.Node, int | None]
    merged_batch: Mapping[fx.Node, frozenset[int]]
    dynamic: bool
    lines: Mapping[fx.Node, str]
    layers: Mapping[fx.Node, tuple[str, str]]

    @property
    def batch(self) -> int:
        """The batch size the shapes were recorded with."""
        return self.shapes[self.inputs[0]][0][0]

    @property
    def output(self) -> fx.Node:
        """The output node."""
        return self.graph.output_node()

    @property
    def results(self) -> tuple[Argument, ...]:
        """What the network returns, flattened; nodes, or constants."""
        return tuple(cast("Sequence[Argument]", self.output.args[0]))

    def calls(self) -> Iterator[fx.Node]:
        """Operator nodes in execution order."""
        return (node for node in self.graph.nodes if node.op == "call_function")

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Concrete shape of a node that yields one tensor."""
        return self.shapes[node][0]


def operator_name(node: fx.Node) -> str:
    """Name of a node's operator without its overload, e.g. ``aten.conv2d`` or ``getitem``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = target._schema.name.partition("::")
        return f"{namespace}.{name}"
    return getattr(target, "__name__", str(target))


def as_inputs(example_input: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Check an example input and return it as a tuple of tensors.

    Raises:
        InputError: It is no tensor, or has no batch axis, or the batch is empty.
    """
    inputs = example_input if isinstance(example_input, tuple) else (example_input,)
    for i, tensor in enumerate(inputs):
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"example input {i} is a {type(tensor).__name__}; give a tensor or a tuple of tensors"
            )
        if tensor.ndim < 1 or tensor.shape[0] < 1:
            raise InputError(
                f"example input {i} has shape {tuple(tensor.shape)}; give it a batch axis of at least 1"
            )
    if not inputs:
        raise InputError("the example input is an empty tuple; give at least one tensor")
    return inputs


@contextmanager
def plain_attention() -> Iterator[None]:
    """Keep torch's attention layers from taking the fused inference path that hides their axes."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def trace(module: nn.Module, example_input: Tensor | tuple[Tensor, ...]) -> Trace:
    """Trace ``module`` in eval mode with a free batch size, leaving the module untouched.

    Args:
        module: Any module that ``torch.export`` can follow.
        example_input: Tensor or tuple of tensors, axis 0 is the batch.

    Raises:
        InputError: The module cannot run on the example input.
        TraceError: The module runs, but cannot be traced; names the user's line.
    """
    inputs = as_inputs(example_input)
    try:
        twin = copy.deepcopy(module).eval()
    except Exception as error:
        raise TraceError(
            f"cannot copy {type(module).__name__}: {_first_line(error)}; keep only parameters, buffers and "
            "plain values as attributes of the module"
        ) from error
    _check_runs(twin, inputs)
    program = _export(twin, inputs)
    return _read(program, module)


def _check_runs(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    try:
        with torch.no_grad():
            module(*inputs)
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise InputError(
            f"{type(module).__name__} cannot run on an example input of shape {shapes}: "
            f"{_first_line(error)}{_at(error)}; check the shape of the example input"
        ) from error


def _export(module: nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    batch = inputs[0].shape[0]
    batched = [tensor.shape[0] == batch for tensor in inputs]
    wide = tuple(
        tensor[:1].expand(_BATCH, *tensor.shape[1:]).contiguous() if is_batched else tensor
        for tensor, is_batched in zip(inputs, batched, strict=True)
    )
    free = tuple({0: Dim.AUTO} if is_batched else None for is_batched in batched)
    try:
        with plain_attention(), _quiet():
            try:
                return torch.export.export(module, wide, dynamic_shapes=free, strict=False)
            except Exception:  # the batch may be written into the user's code: then it stays as given
                return torch.export.export(module, inputs, strict=False)
    except Exception as error:
        raise TraceError(
            f"cannot trace {type(module).__name__}: {_first_line(error)}{_at(error)}; forward may only call "
            "torch operators, and the value of a tensor must not decide which of them run"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from logging and printing failures that are raised, and reported by us, anyway.

    The module has run once before, so what its own ``forward`` prints has been seen.
    """
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        # Torch prints the whole graph it had before a failure, to stderr and past its loggers.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What torch adds in brackets to a data-dependent expression repeats it in its own terms.
    return lines[0].partition(" (unhinted:")[0] if lines else type(error).__name__


def _at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not f.filename.startswith((_TORCH, _PACKAGE, "<"))]
    # The caller's own frames come first; the module's forward is the last of the user's.
    inside = [f for f in users if f.name == "forward"] or users[1:]
    return f" (at {inside[-1].filename}:{inside[-1].lineno}: {inside[-1].line})" if inside else ""


def _read(program: ExportedProgram, module: nn.Module) -> Trace:
    graph = functionalise(program.graph)
    if graph is None:
        program = program.run_decompositions({})
        graph = program.graph
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    names = _untie(names, module)
    literal = signature.inputs_to_lifted_tensor_constants
    users = set(signature.user_inputs)
    state, constants, inputs = {}, {}, []
    for node in graph.nodes:
        if node.op != "placeholder":
            break
        if node.name in names:
            state[node] = names[node.name]
        elif node.name in literal:
            constants[node] = program.constants[literal[node.name]]
        elif node.name in users:
            inputs.append(node)
    batch_size: Argument = inputs[0].meta["val"].shape[0]
    dynamic = isinstance(batch_size, torch.SymInt)
    shapes, batch_axis, merged, lines, layers = {}, {}, {}, {}, {}
    for node in graph.nodes:
        values = [value for value in _flat(node.meta.get("val")) if isinstance(value, Tensor)]
        shapes[node] = tuple(tuple(_hint(size) for size in value.shape) for value in values)
        axes: Argument = values[0].shape if len(values) == 1 else ()
        exact = [i for i, size in enumerate(axes) if str(size) == str(batch_size)]
        batch_axis[node] = (exact[0] if exact else None) if dynamic else (0 if exact[:1] == [0] else None)
        merged[node] = frozenset(i for i, size in enumerate(axes) if isinstance(size, torch.SymInt))
        lines[node] = _user_line(node)
        layers[node] = _layer(node)
    return Trace(
        graph,
        program,
        state,
        constants,
        tuple(inputs),
        shapes,
        batch_axis,
        merged,
        dynamic,
        lines,
        layers,
    )


def _untie(names: Mapping[str, str], module: nn.Module) -> dict[str, str]:
    """Give every tensor that has several names the first of them."""
    first: dict[int, str] = {}
    canonical: dict[str, str] = {}
    for kind in (module.named_parameters, module.named_buffers):
        for name, tensor in kind(remove_duplicate=False):
            canonical[name] = first.setdefault(id(tensor), name)
    return {node: canonical[name] for node, name in names.items()}


def _flat(value: Argument) -> list[Argument]:
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]


def _hint(size: Argument) -> int:
    return int(size.node.hint if isinstance(size, torch.SymInt) else size)


def _user_line(node: fx.Node) -> str:
    found = re.findall(
        r'File "([^"]+)", line (\d+), in [^\n]+\n\s+([^\n]+)', node.meta.get("stack_trace") or ""
    )
    mine = [f for f in found if not f[0].startswith((_TORCH, _PACKAGE, "torch/"))]
    return "{}:{}: {}".format(*mine[-1]) if mine else ""


def _layer(node: fx.Node) -> tuple[str, str]:
    stack = [v for v in (node.meta.get("nn_module_stack") or {}).values() if not v[0].startswith("_empty")]
    if not stack:
        return "", ""
    name, kind = stack[-1]
    return re.sub(r"@\d+", "", name), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
