"""Prototypes by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

from torch import nn

from edgesynth.errors import InputError
from edgesynth.zoo.centrenet import centrenet
from edgesynth.zoo.densenet import densenet
from edgesynth.zoo.detectnet import detectnet
from edgesynth.zoo.lraspp import lraspp
from edgesynth.zoo.mobilenetv2 import mobilenetv2
from edgesynth.zoo.refinenet import refinenet
from edgesynth.zoo.resnet import resnet8, resnet20, resnet56
from edgesynth.zoo.shufflenetv2 import shufflenetv2

__all__ = ["PROTOTYPES", "Entry", "Factory", "TaskKind", "build", "prototype_kind", "prototype_names"]


TaskKind = Literal["classification", "segmentation", "detection"]
"""What a prototype's outputs are for."""


class Factory(Protocol):
    """Makes a prototype with fresh weights, drawn from torch's global generator."""

    def __call__(self, in_channels: int = ..., classes: int = ...) -> nn.Module:
        """Return a module that reads images ``[batch, in_channels, h, w]``; its kind says what comes out.

        ``classification``: logits ``[batch, classes]``. ``segmentation``: logits ``[batch, classes, h, w]``.
        ``detection``: a tuple of tensors, see :mod:`edgesynth.tasks.detection.heads`.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """One prototype of the zoo.

    Attributes:
        kind: The task it is made for.
        make: Makes it.
    """

    kind: TaskKind
    make: Factory


PROTOTYPES: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        "resnet8": Entry("classification", resnet8),
        "resnet20": Entry("classification", resnet20),
        "resnet56": Entry("classification", resnet56),
        "mobilenetv2": Entry("classification", mobilenetv2),
        "shufflenetv2": Entry("classification", shufflenetv2),
        "densenet": Entry("classification", densenet),
        "refinenet": Entry("segmentation", refinenet),
        "lraspp": Entry("segmentation", lraspp),
        "detectnet": Entry("detection", detectnet),
        "centrenet": Entry("detection", centrenet),
    }
)
"""Every prototype by the name job files use."""


def prototype_names(kind: TaskKind | None = None) -> tuple[str, ...]:
    """The names :func:`build` takes: all of them, or those of one kind of task."""
    return tuple(name for name, entry in PROTOTYPES.items() if kind in (None, entry.kind))


def prototype_kind(name: str) -> TaskKind:
    """The task that the prototype called ``name`` is made for.

    Raises:
        InputError: No prototype has this name (the nearest one is named).
    """
    return _entry(name).kind


def build(name: str, *, in_channels: int = 1, classes: int = 10) -> nn.Module:
    """Make the prototype called ``name``.

    Args:
        name: One of :func:`prototype_names`; case, ``-`` and ``_`` do not matter.
        in_channels: Channels of the image, at least 1.
        classes: Classes that the output tells apart, at least 2; at least 1 for detection.

    Raises:
        InputError: No prototype has this name (the nearest one is named), or a count is too small.
    """
    entry = _entry(name)
    # A detector may look for one class of things; telling classes apart takes two.
    least = 1 if entry.kind == "detection" else 2
    if in_channels < 1 or classes < least:
        raise InputError(
            f"prototype {name!r} needs at least 1 input channel and {least} classes, "
            f"got in_channels={in_channels}, classes={classes}"
        )
    return entry.make(in_channels=in_channels, classes=classes)


def _entry(name: str) -> Entry:
    plain = name.lower().replace("-", "").replace("_", "")
    if plain in PROTOTYPES:
        return PROTOTYPES[plain]
    near = difflib.get_close_matches(plain, PROTOTYPES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known prototypes: {', '.join(PROTOTYPES)}"
    raise InputError(f"unknown prototype {name!r}; {hint}")
