"""What probing teaches (arXiv 1809.05989): where a network answers strongly, its quality depends more.

A stimulus ``x`` at a vertex causes a response ``y`` at the output. It is the slope of the answer along one
dimension, and known before any network has been trained. ``theta_I`` expects a quality to depend on every
dimension in that proportion, until observations say otherwise::

    log relevance_d  ~  N(log relevance_0 + log y_d - mean log y, 1)

The relevance of a dimension weighs squared differences in it, so ``y`` and not ``y^2`` trusts a response by
half: it tells of the weights as they are, and training goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from edgesynth.space import Space
from edgesynth.synthesis.encoding import Array

__all__ = ["prior_relevance"]

_MOST: Final = 2.0
"""How far a response may move a relevance, in natural logarithms."""


def prior_relevance(space: Space, responses: Mapping[str, float]) -> Array:
    """How much more than another a quality is expected to depend on each dimension: ``[D]`` logarithms.

    Args:
        space: The dimensions.
        responses: Mean responses by ``dimension.stimulus``; names of anything else are passed over, and so
            are responses that are not above zero. A dimension without any counts as the least of the others.

    Returns:
        Zeros where no dimension answered.
    """
    heard = {dimension.name: list[float]() for dimension in space}
    for name, response in responses.items():
        vertex = name.rpartition(".")[0]
        if vertex in heard and response > 0:
            heard[vertex].append(response)
    means = {name: sum(values) / len(values) for name, values in heard.items() if values}
    if not means:
        return np.zeros(len(space))
    least = min(means.values())
    logs = np.log([means.get(dimension.name, least) for dimension in space])
    relevance: Array = np.clip(logs - logs.mean(), -_MOST, _MOST)
    return relevance
