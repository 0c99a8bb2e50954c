"""Batch-norm statistics, estimated afresh."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgesynth.errors import InputError
from edgesynth.tasks.protocol import Batch

__all__ = ["recalibrate_"]


def recalibrate_(module: nn.Module, batches: Iterable[Batch | Tensor]) -> int:
    """Replace the running statistics of every batch-norm layer by their average over ``batches``.

    A slice of shared weights sees other activations than the network the statistics were collected on (J.
    Yu, T. Huang, "Universally Slimmable Networks", ICCV 2019, section 3.3). The average is cumulative: every
    batch weighs the same. No gradient is taken and no weight changes; all other modules run in evaluation
    mode, and every module's mode is restored.

    Args:
        module: Any module; nothing happens when it has no batch norm with running statistics.
        batches: What to run through it, inputs ``[batch, ...]``.

    Returns:
        How many layers were recalibrated.

    Raises:
        InputError: There are layers to recalibrate and no batch.
    """
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        return 0
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    modes = [(part, part.training) for part in module.modules()]
    momenta = [layer.momentum for layer in layers]
    seen = 0
    module.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        with torch.no_grad():
            for batch in batches:
                module((batch.inputs if isinstance(batch, Batch) else batch).to(device))
                seen += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for part, mode in modes:
            part.training = mode
    if seen == 0:
        raise InputError("no batch to estimate batch-norm statistics from; give at least one")
    return len(layers)
