"""The initial weights every prototype of the zoo starts from."""

from __future__ import annotations

import math

from torch import nn

__all__ = ["initialise_", "rare_"]


def initialise_(module: nn.Module) -> None:
    """Set the weights of ``module`` in place.

    Convolutions: K. He et al., "Delving Deep into Rectifiers", ICCV 2015, fan-out form. Normalisation starts
    as the identity. Classifiers start small, so that the first loss is close to ``log(classes)``.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.zeros_(part.bias)


def rare_(head: nn.Conv2d, share: float = 0.01) -> None:
    """Let a convolution that says where objects are start by saying that they are rare, in place.

    T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, section 4.1: otherwise the many
    cells without an object make up the whole loss of the first steps.

    Args:
        head: With a bias; its outputs are logits.
        share: The probability it gives every class everywhere.
    """
    nn.init.normal_(head.weight, std=0.01)
    if head.bias is not None:
        nn.init.constant_(head.bias, -math.log((1 - share) / share))
