"""Functions of the normal distribution on arrays: those that NumPy lacks, PyTorch lends."""

from __future__ import annotations

import torch

from edgesynth.synthesis.encoding import Array

__all__ = ["cdf", "log_cdf", "scaled_erfc"]


def cdf(z: Array) -> Array:
    """The chance that a standard normal variable is less than ``z``."""
    chance: Array = torch.special.ndtr(torch.from_numpy(z)).numpy()
    return chance


def log_cdf(z: Array) -> Array:
    """The logarithm of :func:`cdf`, exact in the far tail."""
    chance: Array = torch.special.log_ndtr(torch.from_numpy(z)).numpy()
    return chance


def scaled_erfc(x: Array) -> Array:
    """``exp(x^2) erfc(x)``."""
    scaled: Array = torch.special.erfcx(torch.from_numpy(x)).numpy()
    return scaled
