"""Modules as the command line names them, and the inputs they are run on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgesynth.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["example_inputs", "find_module"]

_DEFAULT_SHAPE: Final = "1x1x28x28"


def example_inputs(name: str, shapes: Sequence[str] | None) -> tuple[Tensor, ...]:
    """Zeros of the shapes of ``--input``; one grey 28x28 image for a zoo network when there are none.

    Args:
        name: The network they are for.
        shapes: One text per input, with the batch axis: ``1x3x32x32``.

    Raises:
        InputError: A shape cannot be read, or a network of the user's own comes without one.
    """
    import torch

    from edgesynth.job.reference import is_reference

    if is_reference(name) and not shapes:
        raise InputError(
            f"{name!r} needs --input: the shape of one input with its batch axis, e.g. --input 1x3x32x32"
        )
    tensors = []
    for text in shapes or [_DEFAULT_SHAPE]:
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text):
            raise InputError(
                f"--input {text!r} cannot be read; write sizes with x between them: {_DEFAULT_SHAPE}"
            )
        tensors.append(torch.zeros([int(size) for size in text.split("x")]))
    return tuple(tensors)


def find_module(name: str, inputs: Sequence[Tensor]) -> nn.Module:
    """A module by zoo name or ``package.module:callable``, looked up from the current folder.

    Args:
        name: Either of the two.
        inputs: What it will be run on; a zoo network takes the channels of the first one.

    Raises:
        JobError: The name is unknown, or the user's callable fails.
    """
    from edgesynth.job.job import make_module

    channels = int(inputs[0].shape[1]) if inputs[0].dim() > 1 else 1
    return make_module(name, {}, {"in_channels": channels, "classes": 10}, Path.cwd())
