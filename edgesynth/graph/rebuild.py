"""Rebuild a sliced network as a graph module from its trace, around real layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from edgesynth.graph.blocks import ResidualBlock
from edgesynth.graph.labels import bind
from edgesynth.graph.modules import BatchNormInMode, attach, tensor_at
from edgesynth.graph.rewrites import Kept, rewrite
from edgesynth.graph.trace import Argument, Trace, operator_name

__all__ = ["counted_by", "layer_of", "rebuild", "surviving_state"]

_LAYERS: dict[str, tuple[type[nn.Module], ...]] = {
    "aten.conv1d": (nn.Conv1d,),
    "aten.conv2d": (nn.Conv2d,),
    "aten.conv3d": (nn.Conv3d,),
    "aten.conv_transpose1d": (nn.ConvTranspose1d,),
    "aten.conv_transpose2d": (nn.ConvTranspose2d,),
    "aten.conv_transpose3d": (nn.ConvTranspose3d,),
    "aten.linear": (nn.Linear,),
    "aten.batch_norm": (nn.modules.batchnorm._BatchNorm,),
    "aten.instance_norm": (nn.modules.instancenorm._InstanceNorm,),
    "aten.layer_norm": (nn.LayerNorm,),
    "aten.rms_norm": (nn.RMSNorm,),
    "aten.group_norm": (nn.GroupNorm,),
    "aten.prelu": (nn.PReLU,),
    "aten.embedding": (nn.Embedding,),
    "aten.dropout": (nn.Dropout,),
    "aten.feature_dropout": (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
}


def layer_of(trace: Trace, node: fx.Node, module: nn.Module) -> str:
    """Qualified name of the layer that is exactly this operator call, or the empty string."""
    kinds = _LAYERS.get(operator_name(node))
    name, _ = trace.layers[node]
    if kinds is None or not name:
        return ""
    layer = module.get_submodule(name)
    if type(layer) not in kinds and not (
        type(layer).__module__.startswith("torch.nn") and isinstance(layer, kinds)
    ):
        return ""
    # A layer that does more than this one operator (circular padding) is rebuilt from its operators.
    others = {operator_name(n) for n in trace.calls() if trace.layers[n][0] == name}
    own = {id(t) for t in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))}
    used = {id(tensor_at(module, trace.state[s])) for s in node.all_input_nodes if s in trace.state}
    return name if others == {operator_name(node)} and used <= own else ""


def counted_by(trace: Trace, node: fx.Node, module: nn.Module) -> str:
    """Qualified name of the layer whose attributes count this call's channels, or the empty string.

    It may do more than the call, as a layer norm that moves the channels last and back does.
    """
    kinds, name = _LAYERS.get(operator_name(node)), trace.layers[node][0]
    return name if kinds and name and isinstance(module.get_submodule(name), kinds) else ""


def live_nodes(trace: Trace, removed: Sequence[ResidualBlock]) -> tuple[set[fx.Node], dict[fx.Node, fx.Node]]:
    """Nodes that still matter once blocks are removed, and what stands in for their additions."""
    replaced = {block.add: block.trunk for block in removed}
    live: set[fx.Node] = set()
    pending = list(trace.output.all_input_nodes)
    while pending:
        node = pending.pop()
        if node in live:
            continue
        live.add(node)
        pending.extend([replaced[node]] if node in replaced else node.all_input_nodes)
    return live, replaced


def surviving_state(trace: Trace, removed: Sequence[ResidualBlock]) -> set[str]:
    """Names of parameters and buffers that remain once blocks are removed.

    What no operator reads (step counters, spare parameters) goes with its layer, else stays.
    """
    live, _ = live_nodes(trace, removed)
    used = {trace.state[n] for n in trace.state if n.users}
    alive = {trace.state[n] for n in trace.state if n in live}
    gone = {name.rpartition(".")[0] for name in used - alive} - {name.rpartition(".")[0] for name in alive}
    names = set(trace.state.values())
    return {n for n in names if n in alive or (n not in used and n.rpartition(".")[0] not in gone)}


def rebuild(
    trace: Trace, kept: Kept, original: nn.Module, skeleton: nn.Module, removed: Sequence[ResidualBlock]
) -> fx.GraphModule:
    """Write the traced graph again with adjusted constants.

    Args:
        trace: The traced network.
        kept: What remains of every axis.
        original: The full-size module, to recognise its layers.
        skeleton: The resized copy of it, whose layers and parameters the graph module holds.
        removed: Blocks to leave out.

    Returns:
        A module with the same parameter names, less those of removed blocks. Layers are real ones,
        so ``train()`` and ``eval()`` mean what they mean in the original.
    """
    builder = _Builder(trace, kept, original, skeleton)
    live, replaced = live_nodes(trace, removed)
    for node in trace.graph.nodes:
        if node in live and node in replaced:
            builder.alias(node, replaced[node])
        elif node in live or node in trace.inputs:
            builder.add(node)
    module = builder.finish(type(original).__name__)
    _complete(module, skeleton, surviving_state(trace, removed))
    module.train(skeleton.training)
    return module


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
    def __init__(self, trace: Trace, kept: Kept, original: nn.Module, skeleton: nn.Module) -> None:
        self._trace, self._kept, self._original = trace, kept, original
        self._graph = fx.Graph()
        self._attributes: dict[str, Any] = {}
        self._skeleton = skeleton
        self._persistent = set(skeleton.state_dict())
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

    def finish(self, name: str) -> fx.GraphModule:
        """Write the outputs in the structure the original returns."""
        outputs = [self._argument(node) for node in self._trace.results]
        spec = self._trace.program.call_spec.out_spec
        self._graph.output(pytree.tree_unflatten(outputs, spec))
        root = nn.Module()
        for path, attribute in self._attributes.items():
            persistent = path in self._persistent
            attach(root, path, attribute, persistent=persistent)
        return fx.GraphModule(root, self._graph, class_name=name)

    def _call(self, node: fx.Node) -> fx.Node:
        operator = operator_name(node)
        layer = layer_of(self._trace, node, self._original)
        if layer:
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


def _complete(module: nn.Module, skeleton: nn.Module, names: Iterable[str]) -> None:
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
