"""ONNX files: what every reader of one has to know, and one that holds everything, to be sent elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgesynth.errors import InputError, MissingDependencyError

__all__ = ["DEFAULT_DOMAINS", "in_one_file"]

DEFAULT_DOMAINS: Final = ("", "ai.onnx")
"""The names of the domain of the standard operators."""


def in_one_file(model: Path, folder: Path) -> Path:
    """A model with its weights inside: the file itself, or a copy where it keeps them in files beside it.

    Args:
        model: An ONNX file.
        folder: Where a copy goes.

    Raises:
        InputError: It cannot be read, what it keeps elsewhere is missing, or it is larger than one file of
            this format may be (2 GB).
        MissingDependencyError: The ``onnx`` package is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError("reading ONNX files needs onnx; pip install onnx") from error
    try:
        found = onnx.load(str(model), load_external_data=False)
        own_bytes = found.ByteSize()
        onnx.load_external_data_for_model(found, str(model.parent))
        if found.ByteSize() == own_bytes:
            return model
        whole = folder / model.name
        whole.write_bytes(found.SerializeToString(deterministic=True))
    except Exception as error:  # of protobuf, of the checker, and of files beside it
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{model} cannot be read with all its weights: {said[0]}; keep what was exported together"
        ) from error
    return whole
