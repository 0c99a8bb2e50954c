"""Which operator calls of a trace are layers of the user's module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx, nn

from edgesynth.graph.modules import tensor_at
from edgesynth.graph.trace import Trace, operator_name

__all__ = ["Layers", "find_layers"]

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


@dataclass(frozen=True)
class Layers:
    """The layers behind a trace's calls, by qualified name; a call without one is in neither.

    Attributes:
        whole: Layers that do nothing but this one call.
        counting: Layers whose attributes count this call's channels. They may do more than the call, as a
            layer norm does that moves the channels last and back.
    """

    whole: Mapping[fx.Node, str]
    counting: Mapping[fx.Node, str]


def find_layers(trace: Trace, module: nn.Module) -> Layers:
    """Look every call's layer up.

    Args:
        trace: A trace of ``module``.
        module: Its layers are those of ``torch.nn``.
    """
    operators: dict[str, set[str]] = {}
    for node in trace.calls():
        operators.setdefault(trace.layers[node][0], set()).add(operator_name(node))
    whole, counting = {}, {}
    for node in trace.calls():
        operator, (name, _) = operator_name(node), trace.layers[node]
        kinds = _LAYERS.get(operator)
        if kinds is None or not name:
            continue
        layer = module.get_submodule(name)
        if isinstance(layer, kinds):
            counting[node] = name
        # A layer that does more than this one operator (circular padding) is rebuilt from its operators.
        if operators[name] == {operator} and _is_torch(layer, kinds) and _reads_its_own(trace, node, module):
            whole[node] = name
    return Layers(whole, counting)


def _is_torch(layer: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    return type(layer) in kinds or (
        type(layer).__module__.startswith("torch.nn") and isinstance(layer, kinds)
    )


def _reads_its_own(trace: Trace, node: fx.Node, module: nn.Module) -> bool:
    layer = module.get_submodule(trace.layers[node][0])
    own = {id(t) for t in (*layer.parameters(recurse=False), *layer.buffers(recurse=False))}
    return {id(tensor_at(module, trace.state[s])) for s in node.all_input_nodes if s in trace.state} <= own
