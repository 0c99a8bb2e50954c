"""Attention written out for opsets that have no form of it: two products of matrices and a softmax.

The exporter of torch knows ``scaled_dot_product_attention`` from opset 14 on, and the parser of TensorRT 8.2
reads up to 13. Nothing that it is made of is newer than 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["written_out_attention"]

_KNOWN_FROM: Final = 14


@contextmanager
def written_out_attention(opset: int) -> Iterator[None]:
    """Let networks that run inside compute attention by products, for an opset below 14."""
    if opset >= _KNOWN_FROM:
        yield
        return
    functional = torch.nn.functional
    own = functional.scaled_dot_product_attention
    # Torch's attention layers call it by this name, out of sight of the mode.
    functional.scaled_dot_product_attention = _attention
    try:
        with _WrittenOut(own):
            yield
    finally:
        functional.scaled_dot_product_attention = own


class _WrittenOut(TorchFunctionMode):
    """Catches attention, called as a function or as an operator of a graph.

    Args:
        own: Torch's function.
    """

    def __init__(self, own: Callable[..., Tensor]) -> None:
        super().__init__()
        packet = torch.ops.aten.scaled_dot_product_attention
        self._caught = (own, packet, packet.default)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the function returns
        """Called by torch for every function."""
        return (_attention if func in self._caught else func)(*args, **(kwargs or {}))


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key^T * scale + mask) @ value`` over the last two axes, as torch documents it."""
    del dropout_p  # networks are exported in evaluation mode
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = (tensor.repeat_interleave(times, -3) for tensor in (key, value))
    # Both sides are scaled before their product, which then stays in the range of FP16.
    root = math.sqrt(1.0 / math.sqrt(int(query.shape[-1])) if scale is None else scale)
    scores = (query * root) @ (key.transpose(-2, -1) * root)
    if is_causal:
        rows, columns = int(query.shape[-2]), int(key.shape[-2])
        rest = [[-math.inf if column > row else 0.0 for column in range(columns)] for row in range(rows)]
        scores = scores + torch.tensor(rest)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            attn_mask = torch.where(attn_mask, 0.0, -math.inf)
        scores = scores + attn_mask
    return torch.softmax(scores, -1) @ value
