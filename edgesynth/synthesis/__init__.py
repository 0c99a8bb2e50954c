"""The generator-inquisitor pair, and the cycle that teaches it."""

from __future__ import annotations

from edgesynth.synthesis.api import Result, load_generator, synthesize
from edgesynth.synthesis.generator import GeneratedNetwork, Generator
from edgesynth.synthesis.pair import GeneratorInquisitor
from edgesynth.synthesis.performance import EnergyAwareScore, InformationDensity, NetScore
from edgesynth.synthesis.polish import Polish
from edgesynth.synthesis.requirements import Judgement, Requirements
from edgesynth.synthesis.settings import SynthesisSettings

__all__ = [
    "EnergyAwareScore",
    "GeneratedNetwork",
    "Generator",
    "GeneratorInquisitor",
    "InformationDensity",
    "Judgement",
    "NetScore",
    "Polish",
    "Requirements",
    "Result",
    "SynthesisSettings",
    "load_generator",
    "synthesize",
]
