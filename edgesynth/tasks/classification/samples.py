"""Labelled samples, in memory or read when needed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from edgesynth.errors import DataError

__all__ = ["DatasetSamples", "LabelledSamples", "TensorSamples"]


class LabelledSamples(Protocol):
    """Samples of one shape with one class index each."""

    @property
    def labels(self) -> Tensor:
        """Class indices, int64 ``[samples]``."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        ...

    def take(self, indices: Tensor) -> Tensor:
        """The samples at ``indices`` (int64 ``[n]``), as stored: ``[n, *shape]``."""
        ...

    def subset(self, indices: Tensor) -> LabelledSamples:
        """The samples at ``indices`` (int64 ``[n]``), as samples of their own."""
        ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples held in memory.

    Attributes:
        inputs: ``[samples, *shape]``; uint8 for images, floating point or integer for anything else.
        labels: Class indices, int64 ``[samples]``.
    """

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        """Refuse inputs and labels that do not belong together."""
        if self.labels.ndim != 1 or self.labels.dtype.is_floating_point or self.labels.dtype == torch.bool:
            raise DataError(
                f"labels must be one class index per sample, got {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}"
            )
        if len(self.inputs) != len(self.labels):
            raise DataError(f"{len(self.inputs)} samples come with {len(self.labels)} labels; give one each")
        object.__setattr__(self, "labels", self.labels.to(torch.int64))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.inputs.shape[1:])

    def take(self, indices: Tensor) -> Tensor:
        """The samples at ``indices``."""
        return self.inputs[indices]

    def subset(self, indices: Tensor) -> TensorSamples:
        """A copy of the samples at ``indices``."""
        return TensorSamples(self.inputs[indices], self.labels[indices])


class DatasetSamples:
    """Samples read from a map-style torch data set each time they are needed.

    Args:
        dataset: Items are pairs (tensor, class index).
        labels: Class indices, int64 ``[len(dataset)]``; read from the data set when not given.

    Raises:
        DataError: The data set is empty, or an item is not such a pair.
    """

    def __init__(self, dataset: Dataset[Any], labels: Tensor | None = None) -> None:
        if not isinstance(dataset, Sized):
            raise DataError(
                f"{type(dataset).__name__} has no length; give a map-style data set (__len__ and __getitem__)"
            )
        self._length = len(dataset)
        if self._length == 0:
            raise DataError(f"{type(dataset).__name__} is empty; give at least one sample")
        self._dataset = dataset
        first = _pair(dataset, 0)[0]
        self._shape = tuple(first.shape)
        self.item_bytes = first.element_size() * first.numel()
        if labels is None:
            labels = _declared_labels(dataset, self._length)
        if labels is None:
            labels = torch.tensor([_pair(dataset, index)[1] for index in range(self._length)])
        self.labels = labels

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self._shape

    def take(self, indices: Tensor) -> Tensor:
        """Read the samples at ``indices``, one by one."""
        items = [_pair(self._dataset, index)[0] for index in indices.tolist()]
        for item, index in zip(items, indices.tolist(), strict=True):
            if tuple(item.shape) != self._shape:
                raise DataError(
                    f"item {index} has shape {tuple(item.shape)}, item 0 has {self._shape}; "
                    "give samples of one shape (resize them in the data set's transform)"
                )
        return torch.stack(items)

    def subset(self, indices: Tensor) -> DatasetSamples:
        """The samples at ``indices``, still read when needed."""
        picked = torch.utils.data.Subset(self._dataset, indices.tolist())
        return DatasetSamples(picked, self.labels[indices])

    def in_memory(self) -> TensorSamples:
        """Read everything once and keep it."""
        return TensorSamples(self.take(torch.arange(self._length)), self.labels)


def _pair(dataset: Dataset[Any], index: int) -> tuple[Tensor, int]:
    item = dataset[index]
    if not isinstance(item, Sequence) or len(item) != 2 or not isinstance(item[0], Tensor):
        raise DataError(
            f"item {index} of {type(dataset).__name__} is {_describe(item)}; "
            "give pairs (tensor, class index), for images with a transform that returns tensors"
        )
    label = item[1]
    if isinstance(label, Tensor) and label.numel() == 1:
        label = label.item()
    if not isinstance(label, int):
        with contextlib.suppress(TypeError, AttributeError):
            label = label.__index__()
    if not isinstance(label, int):
        raise DataError(
            f"the label of item {index} of {type(dataset).__name__} is {label!r}; give a class index"
        )
    return item[0], label


def _describe(item: object) -> str:
    if isinstance(item, Sequence) and not isinstance(item, str):
        return f"({', '.join(type(part).__name__ for part in item)})"
    return type(item).__name__


def _declared_labels(dataset: Dataset[Any], length: int) -> Tensor | None:
    """The labels a data set keeps in ``targets`` (the habit of torchvision), if they fit."""
    targets = getattr(dataset, "targets", None)
    if targets is None or not isinstance(targets, Tensor | Sequence) or len(targets) != length:
        return None
    with contextlib.suppress(TypeError, ValueError):
        labels = torch.as_tensor(targets)
        if labels.ndim == 1 and not labels.dtype.is_floating_point:
            return labels.to(torch.int64)
    return None
