"""Prototypes to start from: plain modules, one file per family, torch only."""

from edgesynth.zoo.densenet import densenet
from edgesynth.zoo.lraspp import lraspp
from edgesynth.zoo.mobilenetv2 import mobilenetv2
from edgesynth.zoo.refinenet import refinenet
from edgesynth.zoo.registry import (
    PROTOTYPES,
    Entry,
    Factory,
    TaskKind,
    build,
    prototype_kind,
    prototype_names,
)
from edgesynth.zoo.resnet import resnet8, resnet20, resnet56
from edgesynth.zoo.shufflenetv2 import shufflenetv2

__all__ = [
    "PROTOTYPES",
    "Entry",
    "Factory",
    "TaskKind",
    "build",
    "densenet",
    "lraspp",
    "mobilenetv2",
    "prototype_kind",
    "prototype_names",
    "refinenet",
    "resnet8",
    "resnet20",
    "resnet56",
    "shufflenetv2",
]
