"""What a device has to do for one input sample, layer by layer, free of any framework."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from edgesynth.errors import InputError

__all__ = ["LayerWork", "Workload"]


@dataclass(frozen=True)
class LayerWork:
    """One layer's work for one input sample.

    Attributes:
        name: Unique within its workload.
        operator: What it does, e.g. ``conv2d``, ``linear``, ``add``, ``max_pool2d``.
        macs: Multiply-accumulates.
        weight_bytes: Bytes of its weights at 4 bytes a scalar.
        activation_bytes: Bytes read plus written as activations at 4 bytes a scalar.
        groups: Channel groups of a convolution; equal to its channels when it is depthwise.
        fused_into: Name of the layer whose kernel computes this one too; such a layer launches
            nothing and moves nothing of its own.
    """

    name: str
    operator: str
    macs: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0
    groups: int = 1
    fused_into: str | None = None

    def __post_init__(self) -> None:
        """Refuse amounts below zero."""
        if min(self.macs, self.weight_bytes, self.activation_bytes) < 0 or self.groups < 1:
            raise InputError(f"layer {self.name!r} has a negative amount of work: {self}")


@dataclass(frozen=True)
class Workload:
    """A network as a device sees it.

    Attributes:
        name: For messages and tables.
        layers: In the order they run; at least one.
        input_shape: One sample, without the batch axis.
        batch: Samples per call, where the network takes no other number.
    """

    name: str
    layers: tuple[LayerWork, ...]
    input_shape: tuple[int, ...]
    batch: int | None = None

    def __post_init__(self) -> None:
        """Refuse empty workloads, batches of nothing and fusions into layers that do not exist."""
        if self.batch is not None and not (isinstance(self.batch, int) and self.batch > 0):
            raise InputError(f"workload {self.name!r} has a batch of {self.batch!r}; it is a number above 0")
        if not self.layers:
            raise InputError(f"workload {self.name!r} has no layer; there is nothing to run")
        names = {layer.name for layer in self.layers}
        for layer in self.layers:
            if layer.fused_into is not None and layer.fused_into not in names:
                raise InputError(
                    f"layer {layer.name!r} is fused into {layer.fused_into!r}, which is not in the workload"
                )

    @cached_property
    def kernels(self) -> tuple[LayerWork, ...]:
        """The layers that launch a kernel of their own."""
        return tuple(layer for layer in self.layers if layer.fused_into is None)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights at 4 bytes a scalar."""
        return sum(layer.weight_bytes for layer in self.layers)

    @cached_property
    def digest(self) -> str:
        """A hash of the work of a sample, whatever the workload is called."""
        body = json.dumps({"name": None, **self._of_a_sample()}, sort_keys=True)
        return hashlib.sha256(body.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The JSON form that travels over a link."""
        return {"name": self.name, "batch": self.batch, **self._of_a_sample()}

    def _of_a_sample(self) -> dict[str, Any]:
        return {"input_shape": list(self.input_shape), "layers": [vars(layer) for layer in self.layers]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises:
            InputError: A field is missing, unknown or of the wrong kind.
        """
        try:
            layers = tuple(LayerWork(**layer) for layer in data["layers"])
            return cls(data["name"], layers, tuple(data["input_shape"]), data.get("batch"))
        except (KeyError, TypeError) as error:
            raise InputError(f"not a workload: {error}; write it with Workload.to_json") from error
