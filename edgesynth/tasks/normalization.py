"""How stored samples become what a network reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgesynth.tasks.samples import LabelledSamples

__all__ = ["Normalization"]

_ENOUGH_SAMPLES = 10_000


@dataclass(frozen=True)
class Normalization:
    """``(scale * stored - mean) / std``, per channel.

    Attributes:
        mean: One value per channel, in units of the scaled sample.
        std: One value per channel, positive.
        scale: Brings stored values to the unit range; 1/255 for 8-bit images.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0

    @classmethod
    def of(cls, samples: LabelledSamples) -> Normalization | None:
        """The statistics of labelled samples; see :meth:`measured`."""
        return cls.measured(samples.take, len(samples.labels))

    @classmethod
    def measured(cls, take: Callable[[Tensor], Tensor], count: int) -> Normalization | None:
        """The statistics of (at most 10,000 evenly spaced) samples over all axes but the channel's.

        Args:
            take: The samples at some indices (int64 ``[n]``), as stored: ``[n, channels, ...]``.
            count: How many samples there are.

        Returns:
            ``None`` for integer samples other than 8-bit images: those are indices, not quantities.
        """
        stride = -(-count // _ENOUGH_SAMPLES)
        total, squares, values = torch.zeros(1), torch.zeros(1), 0
        scale = 1.0
        picked = torch.arange(0, count, stride)
        for start in range(0, len(picked), 1024):
            stored = take(picked[start : start + 1024])
            if stored.dtype != torch.uint8 and not stored.dtype.is_floating_point:
                return None
            scale = 1 / 255 if stored.dtype == torch.uint8 else 1.0
            rows = (stored.double() * scale).reshape(len(stored), -1)
            if stored.ndim > 1:
                rows = rows.reshape(len(stored), stored.shape[1], -1)
                rows = rows.transpose(0, 1).reshape(stored.shape[1], -1)
            else:
                rows = rows.reshape(1, -1)
            total = total + rows.sum(1)
            squares = squares + rows.square().sum(1)
            values += rows.shape[1]
        mean = total / values
        # A channel that never varies keeps its scale.
        std = (squares / values - mean.square()).clamp_min(0).sqrt()
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        return cls(tuple(mean.tolist()), tuple(std.tolist()), scale)

    def __call__(self, stored: Tensor) -> Tensor:
        """Map stored samples ``[batch, channels, ...]`` to float32 of the same shape."""
        shape = (1, -1) + (1,) * (stored.ndim - 2) if stored.ndim > 1 else (-1,)
        std = torch.tensor(self.std, device=stored.device)
        mean = torch.tensor(self.mean, device=stored.device)
        return (stored * (self.scale / std).view(shape)).float().sub_((mean / std).view(shape))

    def undone(self, normalised: Tensor) -> Tensor:
        """Bring what :meth:`__call__` gave back to stored values, as float32 of the same shape."""
        shape = (1, -1) + (1,) * (normalised.ndim - 2) if normalised.ndim > 1 else (-1,)
        std = torch.tensor(self.std, device=normalised.device)
        mean = torch.tensor(self.mean, device=normalised.device)
        return (normalised * std.view(shape) + mean.view(shape)) / self.scale

    def to_json(self) -> dict[str, Any]:
        """The JSON form that bundles and reports use."""
        return {"mean": list(self.mean), "std": list(self.std), "scale": self.scale}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Normalization:
        """Read what :meth:`to_json` wrote."""
        return cls(tuple(data["mean"]), tuple(data["std"]), data["scale"])
