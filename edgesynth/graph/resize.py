"""Shrink a copy of the user's own module: parameters, buffers, and the attributes that count channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from edgesynth.graph.modules import copied

__all__ = ["resized"]


def resized(
    module: nn.Module, tensors: Mapping[str, Tensor], attributes: Mapping[str, Mapping[str, Any]]
) -> nn.Module:
    """A copy of ``module`` of the same class that holds the given tensors.

    Args:
        module: The full-size module; left untouched.
        tensors: New value of every parameter and buffer that changes, by name.
        attributes: Attributes that no parameter's shape tells, such as ``groups``, by layer name.

    Returns:
        A module with its own parameters, shared where the original shares them.
    """
    memo: dict[int, object] = {}
    for name, parameter in module.named_parameters():
        if name in tensors:
            memo[id(parameter)] = nn.Parameter(tensors[name], requires_grad=parameter.requires_grad)
    for name, buffer in module.named_buffers():
        if name in tensors:
            memo[id(buffer)] = tensors[name]
    # A copy takes what the memo holds for a tensor instead of copying it, so ties survive.
    twin = copied(module, memo)
    for name, layer in twin.named_modules():
        for attribute, value in attributes.get(name, {}).items():
            setattr(layer, attribute, value)
        for kind, update in _COUNTERS:
            if isinstance(layer, kind):
                update(layer)
                break
    return twin


_Layer: TypeAlias = Any


def _convolution(layer: _Layer) -> None:
    first, second = layer.weight.shape[:2]
    if layer.transposed:
        layer.in_channels, layer.out_channels = first, second * layer.groups
    else:
        layer.in_channels, layer.out_channels = second * layer.groups, first


def _linear(layer: _Layer) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


def _embedding(layer: _Layer) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


def _prelu(layer: _Layer) -> None:
    layer.num_parameters = layer.weight.shape[0]


def _attention(layer: _Layer) -> None:
    if layer.in_proj_weight is not None:
        layer.embed_dim = layer.kdim = layer.vdim = layer.in_proj_weight.shape[1]
        layer.head_dim = layer.in_proj_weight.shape[0] // 3 // layer.num_heads


_COUNTERS: tuple[tuple[type, Callable[[_Layer], None]], ...] = (
    (nn.modules.conv._ConvNd, _convolution),
    (nn.Linear, _linear),
    (nn.Embedding, _embedding),
    (nn.PReLU, _prelu),
    (nn.MultiheadAttention, _attention),
)
