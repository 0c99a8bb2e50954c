"""Rebuild a sliced network as a graph module from its trace, around real layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from edgesynth.graph.blocks import ResidualBlock
from edgesynth.graph.couplings import Couplings
from edgesynth.graph.labels import bind
from edgesynth.graph.modules import BatchNormInMode, attach, tensor_at
from edgesynth.graph.rewrites import Kept, rewrite
from edgesynth.graph.trace import Argument, Trace, operator_name

__all__ = ["Draft", "Remainder", "compiled", "draft"]


@dataclass(frozen=True)
class Remainder:
    """What is left of a trace once blocks are removed.

    Attributes:
        nodes: Nodes that still matter.
        replaced: What stands in for the addition of each removed block.
        state: Names of parameters and buffers that remain. What no operator reads (step counters, spare
            parameters) goes with its layer, else stays.
    """

    nodes: Set[fx.Node]
    replaced: Mapping[fx.Node, fx.Node]
    state: Set[str]

    @classmethod
    def of(cls, trace: Trace, removed: Sequence[ResidualBlock]) -> Remainder:
        """What is left of ``trace`` without ``removed``."""
        replaced = {block.add: block.trunk for block in removed}
        live: set[fx.Node] = set()
        pending = list(trace.output.all_input_nodes)
        while pending:
            node = pending.pop()
            if node in live:
                continue
            live.add(node)
            pending.extend([replaced[node]] if node in replaced else node.all_input_nodes)
        used = {name for node, name in trace.state.items() if node.users}
        alive = {name for node, name in trace.state.items() if node in live}
        gone = {_owner(name) for name in used - alive} - {_owner(name) for name in alive}
        spare = {name for name in trace.state.values() if name not in used and _owner(name) not in gone}
        return cls(live, replaced, alive | spare)


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


_NODES: Final = "the nodes"  # no user calls a layer or a parameter so


class Draft(nn.Module):
    """The traced network with adjusted constants, run node by node: no code has been written for it.

    It has no methods of its own but ``forward``: the names of others may be names of the user's layers.

    Args:
        graph: Its nodes; the layers and tensors that they name are attached to this module.
    """

    def __init__(self, graph: fx.Graph) -> None:
        super().__init__()
        setattr(self, _NODES, graph)

    def forward(self, *inputs: Tensor) -> Argument:
        """What the network returns."""
        return fx.Interpreter(self, graph=getattr(self, _NODES)).run(*inputs)


def compiled(drafted: Draft, skeleton: nn.Module, remainder: Remainder, name: str) -> fx.GraphModule:
    """A module with code of its own.

    Its parameters have the names they had, less those of removed blocks. Layers are real ones, so ``train()``
    and ``eval()`` mean what they mean in the original.

    Args:
        drafted: The network.
        skeleton: What it was drafted with.
        remainder: What it was drafted of.
        name: Of its class.
    """
    module = fx.GraphModule(drafted, getattr(drafted, _NODES), class_name=name)
    _complete(module, skeleton, remainder.state)
    module.train(skeleton.training)
    return module


def draft(couplings: Couplings, kept: Kept, skeleton: nn.Module, remainder: Remainder) -> Draft:
    """Write the traced graph again with adjusted constants.

    Args:
        couplings: The traced network.
        kept: What remains of every axis.
        skeleton: The resized copy of the user's module, whose layers and parameters the draft holds.
        remainder: What remains once blocks are removed.
    """
    builder = _Builder(couplings, kept, skeleton)
    for node in couplings.trace.graph.nodes:
        if node in remainder.nodes and node in remainder.replaced:
            builder.alias(node, remainder.replaced[node])
        elif node in remainder.nodes or node in couplings.trace.inputs:
            builder.add(node)
    return builder.finish()


def _in_mode(operator: str, arguments: Mapping[str, Argument]) -> tuple[nn.Module, tuple[str, ...]] | None:
    """A module for a functional call that was traced in eval mode but must obey ``train()``."""
    if operator in ("aten.dropout", "aten.feature_dropout") and not arguments["train"]:
        kind = nn.Dropout if operator == "aten.dropout" else nn.Dropout2d
        return kind(float(arguments["p"])), ("input",)
    if operator == "aten.batch_norm" and arguments["running_mean"] is not None and not arguments["training"]:
        module = BatchNormInMode(arguments["momentum"], arguments["eps"])
        return module, ("input", "weight", "bias", "running_mean", "running_var")
    return None


class _Builder:
    def __init__(self, couplings: Couplings, kept: Kept, skeleton: nn.Module) -> None:
        self._trace, self._layers, self._kept = couplings.trace, couplings.layers.whole, kept
        self._graph = fx.Graph()
        self._attributes: dict[str, Any] = {}
        self._skeleton = skeleton
        self._new: dict[fx.Node, Any] = {}

    def alias(self, node: fx.Node, other: fx.Node) -> None:
        """Let ``node`` be ``other`` from here on."""
        self._new[node] = self._new[other]

    def add(self, node: fx.Node) -> None:
        """Write one node."""
        if node in self._trace.inputs:
            self._new[node] = self._graph.placeholder(node.name)
        elif node in self._trace.state or node in self._trace.constants or node.op == "get_attr":
            pass  # written where it is first read, so layers do not read their own twice
        else:
            self._new[node] = self._call(node)

    def finish(self) -> Draft:
        """Write the outputs in the structure the original returns."""
        outputs = [self._argument(node) for node in self._trace.results]
        spec = self._trace.program.call_spec.out_spec
        self._graph.output(pytree.tree_unflatten(outputs, spec))
        drafted, persistent = Draft(self._graph), set(self._skeleton.state_dict())
        for path, attribute in self._attributes.items():
            attach(drafted, path, attribute, persistent=path in persistent)
        return drafted

    def _call(self, node: fx.Node) -> fx.Node:
        operator = operator_name(node)
        layer = self._layers.get(node)
        if layer is not None:
            self._attributes[layer] = self._skeleton.get_submodule(layer)
            return self._graph.call_module(layer, (self._signal(node),))
        modal = _in_mode(operator, bind(node))
        if modal is not None:
            module, names = modal
            arguments = bind(node)
            return self._module(module, tuple(self._argument(arguments[name]) for name in names))
        if operator == "aten.sym_size":
            # Unlike the operator, the method keeps the batch size free when traced again.
            return self._graph.call_method("size", tuple(self._argument(a) for a in node.args))
        target, args, kwargs = rewrite(node, self._kept)
        args, kwargs = fx.node.map_arg((args, kwargs), self._argument)
        if isinstance(target, str):
            return self._graph.call_method(target, tuple(args), dict(kwargs))
        return self._graph.call_function(target, tuple(args), dict(kwargs))

    def _signal(self, node: fx.Node) -> fx.Node:
        source = next(n for n in node.all_input_nodes if n not in self._trace.state)
        signal: fx.Node = self._argument(source)
        return signal

    def _module(self, module: nn.Module, args: tuple[Any, ...]) -> fx.Node:
        name = f"_mode_{len(self._attributes)}"
        self._attributes[name] = module
        return self._graph.call_module(name, args)

    def _argument(self, node: Argument) -> Argument:
        if not isinstance(node, fx.Node):
            return node
        if node not in self._new:
            self._new[node] = self._attribute(node)
        return self._new[node]

    def _attribute(self, node: fx.Node) -> fx.Node:
        if node in self._trace.state:
            name = self._trace.state[node]
            self._attributes[name] = tensor_at(self._skeleton, name)
        elif node in self._trace.constants:
            name = f"_constant_{len(self._attributes)}"
            self._attributes[name] = self._trace.constants[node]
        else:
            name = str(node.target)
            self._attributes[name] = getattr(self._trace.program.graph_module, name)
        return self._graph.get_attr(name)


def _complete(module: nn.Module, skeleton: nn.Module, names: Set[str]) -> None:
    """Attach what survives but is read by no operator, so that state dicts keep their keys."""
    persistent, present = set(skeleton.state_dict()), set(module.state_dict())
    tensors: Mapping[str, Tensor] = dict(
        [*skeleton.named_parameters(remove_duplicate=False), *skeleton.named_buffers(remove_duplicate=False)]
    )
    canonical: dict[int, str] = {}
    for name, tensor in tensors.items():
        first = canonical.setdefault(id(tensor), name)
        if first in names and name in persistent and name not in present:
            attach(module, name, tensor)
