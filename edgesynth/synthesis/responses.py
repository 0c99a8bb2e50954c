"""What probing teaches (arXiv 1809.05989): a stimulus ``x`` at a vertex, the response ``y`` at the output.

A response costs no training, so many more networks may be probed than trained. What their responses
have in common is predicted from the architecture, and the prediction helps to predict every metric.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgesynth.synthesis.surrogate import Regression

__all__ = ["ResponseModel"]

_DIRECTIONS: Final = 2
_LEAST: Final = 4


class ResponseModel:
    """Predicts the leading directions of the probe responses from an architecture's features.

    Attributes:
        regression: One Gaussian process per direction.

    Args:
        owner: The group of each feature, ``[P]``.
    """

    def __init__(self, owner: Tensor) -> None:
        self.regression = Regression(owner)

    def fit(self, features: Tensor, responses: NDArray[np.float64], steps: int) -> None:
        """Learn from the rows that hold responses; with fewer than four of them, nothing is predicted.

        Args:
            features: ``[N, P]``.
            responses: ``[N, R]``; rows of not a number where none were given.
            steps: Steps on the hyperparameters.
        """
        self.regression.forget()
        given = np.isfinite(responses).all(1) if responses.shape[1] else np.zeros(len(responses), dtype=bool)
        if given.sum() < _LEAST:
            return
        target = _leading(responses[given])
        names = [f"response{i}" for i in range(len(target))]
        self.regression.fit(names, features[torch.from_numpy(given)], target, torch.ones_like(target), steps)

    def predict(self, features: Tensor) -> Tensor:
        """The expected directions of features ``[n, P]``: ``[n, K]``; no column before anything is known."""
        if not self.regression.ready:
            return features[:, :0]
        return self.regression.posterior(features)[0].T


def _leading(responses: NDArray[np.float64]) -> Tensor:
    """Standardised principal components of responses ``[n, R]``: ``[K, n]``."""
    table = (responses - responses.mean(0)) / (responses.std(0) + 1e-9)
    left, sizes, _ = np.linalg.svd(table, full_matrices=False)
    count = min(_DIRECTIONS, len(sizes))
    # The sign of a singular vector is arbitrary; fix it by its largest entry.
    leading = left[:, :count] * np.sign(left[np.abs(left[:, :count]).argmax(0), range(count)])
    return torch.from_numpy(leading / (leading.std(0) + 1e-9)).T.contiguous()
