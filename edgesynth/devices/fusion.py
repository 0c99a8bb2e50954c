"""Which layers launch a kernel, the way an inference engine fuses them.

The rules are TensorRT's layer fusions in their common core: a convolution or matrix product takes the
normalisation, one addition and the activation that follow it into its own kernel, runs of pointwise
layers become one kernel, and layers that only re-interpret memory launch nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final, Literal, Protocol

from edgesynth.devices.workload import LayerWork, Workload

__all__ = ["CostLike", "Kind", "LayerCostLike", "fuse", "kind_of", "workload_from_cost"]


class LayerCostLike(Protocol):
    """What a layer of a cost must have to become work; ``groups`` and ``fused_into`` are optional."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def operator(self) -> str: ...  # noqa: D102
    @property
    def macs(self) -> int: ...  # noqa: D102
    @property
    def weight_bytes(self) -> int: ...  # noqa: D102
    @property
    def activation_bytes(self) -> int: ...  # noqa: D102


class CostLike(Protocol):
    """What the cost of a network must have to become a workload."""

    @property
    def layers(self) -> Sequence[LayerCostLike]: ...  # noqa: D102


Kind = Literal["convolution", "depthwise", "linear", "pool", "pointwise", "view", "other"]

_CONVOLUTIONS: Final = frozenset(
    [
        "conv",
        "conv1d",
        "conv2d",
        "conv3d",
        "convolution",
        "convtranspose",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "deconvolution",
    ]
)
_ADDITIONS: Final = frozenset({"add", "add_"})
_LINEAR: Final = frozenset(
    ["linear", "gemm", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention"]
)
_POINTWISE: Final = frozenset(
    [
        "batch_norm",
        "batchnormalization",
        "native_batch_norm",
        "add",
        "add_",
        "sub",
        "mul",
        "mul_",
        "div",
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "leakyrelu",
        "prelu",
        "hardtanh",
        "hardtanh_",
        "clip",
        "clamp",
        "sigmoid",
        "hardsigmoid",
        "hardswish",
        "hardswish_",
        "silu",
        "silu_",
        "swish",
        "gelu",
        "erf",
        "elu",
        "selu",
        "tanh",
        "softplus",
        "exp",
        "sqrt",
        "pow",
        "neg",
        "abs",
        "min",
        "max",
        "sum_of",
        "where",
        "cast",
    ]
)
_VIEWS: Final = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "squeeze",
        "unsqueeze",
        "expand",
        "contiguous",
        "clone",
        "dropout",
        "identity",
        "detach",
        "alias",
        "chunk",
        "split",
        "split_with_sizes",
        "slice",
        "getitem",
        "constant",
        "shape",
        "to",
        "unflatten",
    ]
)
_POOLS: Final = frozenset(
    [
        "max_pool2d",
        "maxpool",
        "avg_pool2d",
        "averagepool",
        "adaptive_avg_pool2d",
        "adaptive_max_pool2d",
        "globalaveragepool",
        "globalmaxpool",
        "mean",
        "reducemean",
    ]
)


def _plain(operator: str) -> str:
    """The bare name: ``aten.relu_.default`` and ``Relu`` are both ``relu``."""
    parts = operator.lower().split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "aten" else parts[0]


def kind_of(layer: LayerWork) -> Kind:
    """What sort of kernel computes this layer."""
    kind = _kind(layer.operator)
    return "depthwise" if kind == "convolution" and layer.groups > 1 else kind


@cache
def _kind(operator: str) -> Kind:
    name = _plain(operator)
    if name in _CONVOLUTIONS:
        return "convolution"
    if name in _LINEAR:
        return "linear"
    if name in _POOLS or "pool" in name:
        return "pool"
    if name in _POINTWISE:
        return "pointwise"
    if name in _VIEWS:
        return "view"
    return "other"


def fuse(
    layers: Sequence[LayerWork], inputs: Mapping[str, Sequence[str]] | None = None
) -> tuple[LayerWork, ...]:
    """Mark every layer that another layer's kernel computes.

    Args:
        layers: In the order they run, names unique. A layer that already says ``fused_into`` keeps it.
        inputs: Which layers each layer reads, by name. A layer joins a kernel only as the single reader of
            its result. Without it the order stands in for the edges: a layer is taken to read the one
            before it.

    Returns:
        The same layers; only ``fused_into`` differs.
    """
    if inputs is None:
        names = [layer.name for layer in layers]
        inputs = {name: names[max(0, index - 1) : index] for index, name in enumerate(names)}
    readers = Counter(source for sources in inputs.values() for source in set(sources))
    first = next((layer.name for layer in layers if kind_of(layer) != "view"), None)
    by_name = {layer.name: layer for layer in layers}
    out: list[LayerWork] = []
    host_of: dict[str, LayerWork] = {}  # the kernel that computes a layer
    added: set[str] = set()  # kernels that already take one addition
    for layer in layers:
        sources = [host_of[name] for name in inputs.get(layer.name, ()) if name in host_of]
        hosts = [
            host_of[name] for name in inputs.get(layer.name, ()) if name in host_of and readers[name] == 1
        ]
        kind = kind_of(layer)
        fused = layer
        if layer.fused_into is not None:
            host = by_name.get(layer.fused_into, layer)
            if _plain(layer.operator) in _ADDITIONS:
                added.add(host.name)
        elif kind == "view" and first is not None:
            host = sources[-1] if sources else by_name[first]
            fused = replace(layer, fused_into=host.name)
        else:
            host = next((entry for entry in reversed(hosts) if _absorbs(entry, layer, added)), layer)
            if host is not layer:
                fused = replace(layer, fused_into=host.name)
                if _plain(layer.operator) in _ADDITIONS:
                    added.add(host.name)
        host_of[layer.name] = host
        out.append(fused)
    return tuple(out)


def _absorbs(host: LayerWork, layer: LayerWork, added: set[str]) -> bool:
    """Whether the kernel of ``host`` can compute ``layer`` as well."""
    if kind_of(layer) != "pointwise":
        return False
    kind = kind_of(host)
    if kind in {"convolution", "depthwise", "linear"}:
        return host.name not in added or _plain(layer.operator) not in _ADDITIONS
    return kind == "pointwise"


def workload_from_cost(name: str, cost: CostLike, input_shape: Sequence[int]) -> Workload:
    """Turn the per-layer cost of a network into what a device has to do.

    Args:
        name: For messages and tables.
        cost: Anything whose ``layers`` have the attributes of :class:`LayerCostLike`, for one sample.
        input_shape: One sample, without the batch axis.
    """
    layers = [
        LayerWork(
            name=layer.name,
            operator=layer.operator,
            macs=int(layer.macs),
            weight_bytes=int(layer.weight_bytes),
            activation_bytes=int(layer.activation_bytes),
            groups=int(getattr(layer, "groups", 1)),
            fused_into=getattr(layer, "fused_into", None),
        )
        for layer in cost.layers
    ]
    return Workload(name=name, layers=fuse(layers), input_shape=tuple(input_shape))
