"""Releases of TensorRT, and where they take precision from."""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["Release", "half_is_in_graph", "parse_release"]

Release: TypeAlias = tuple[int, int]
"""Major and minor version of TensorRT."""

_STRONG_TYPING: Final[Release] = (10, 12)
"""From here on precision belongs into the graph: the flags are deprecated, and gone in TensorRT 11."""


def parse_release(version: str) -> Release | None:
    """Major and minor of a version text (``8.2.1``); ``None`` when it says neither."""
    parts = version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return None


def half_is_in_graph(release: Release) -> bool:
    """Whether FP16 is decided by the types of the graph, instead of by a flag of the builder."""
    return release >= _STRONG_TYPING
