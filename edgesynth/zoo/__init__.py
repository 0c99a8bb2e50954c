"""Prototypes to start from: plain modules, one file per family, torch only."""

from edgesynth.zoo.centrenet import centrenet
from edgesynth.zoo.densenet import densenet
from edgesynth.zoo.detectnet import detectnet
from edgesynth.zoo.mobilenetv2 import mobilenetv2
from edgesynth.zoo.registry import DETECTORS, PROTOTYPES, Factory, build, prototype_names
from edgesynth.zoo.resnet import resnet8, resnet20, resnet56
from edgesynth.zoo.shufflenetv2 import shufflenetv2

__all__ = [
    "DETECTORS",
    "PROTOTYPES",
    "Factory",
    "build",
    "centrenet",
    "densenet",
    "detectnet",
    "mobilenetv2",
    "prototype_names",
    "resnet8",
    "resnet20",
    "resnet56",
    "shufflenetv2",
]
