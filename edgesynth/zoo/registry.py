"""Prototypes by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from torch import nn

from edgesynth.errors import InputError
from edgesynth.zoo.centrenet import centrenet
from edgesynth.zoo.densenet import densenet
from edgesynth.zoo.detectnet import detectnet
from edgesynth.zoo.mobilenetv2 import mobilenetv2
from edgesynth.zoo.resnet import resnet8, resnet20, resnet56
from edgesynth.zoo.shufflenetv2 import shufflenetv2

__all__ = ["DETECTORS", "PROTOTYPES", "Factory", "build", "prototype_names"]


class Factory(Protocol):
    """Makes a prototype with fresh weights, drawn from torch's global generator."""

    def __call__(self, in_channels: int = 1, classes: int = 10) -> nn.Module:
        """Return a module that reads images ``[batch, in_channels, h, w]`` and tells ``classes`` apart."""
        ...


PROTOTYPES: Final[Mapping[str, Factory]] = MappingProxyType(
    {
        "resnet8": resnet8,
        "resnet20": resnet20,
        "resnet56": resnet56,
        "mobilenetv2": mobilenetv2,
        "shufflenetv2": shufflenetv2,
        "densenet": densenet,
    }
)
"""Every classification prototype by the name job files use."""

DETECTORS: Final[Mapping[str, Factory]] = MappingProxyType({"detectnet": detectnet, "centrenet": centrenet})
"""Every detection prototype by the name job files use."""


def prototype_names() -> tuple[str, ...]:
    """The names of the classification prototypes."""
    return tuple(PROTOTYPES)


def build(name: str, *, in_channels: int = 1, classes: int = 10) -> nn.Module:
    """Make the prototype called ``name``.

    Args:
        name: A key of :data:`PROTOTYPES` or :data:`DETECTORS`; case, ``-`` and ``_`` do not matter.
        in_channels: Channels of the image, at least 1.
        classes: Size of the output, at least 2; a detector may look for one class.

    Raises:
        InputError: No prototype has this name (the nearest one is named), or a count is too small.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    least = 1 if plain in DETECTORS else 2
    if in_channels < 1 or classes < least:
        raise InputError(
            f"prototype {name!r} needs at least 1 input channel and {least} classes, "
            f"got in_channels={in_channels}, classes={classes}"
        )
    known = {**PROTOTYPES, **DETECTORS}
    if plain in known:
        return known[plain](in_channels=in_channels, classes=classes)
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known prototypes: {', '.join(known)}"
    raise InputError(f"unknown prototype {name!r}; {hint}")
