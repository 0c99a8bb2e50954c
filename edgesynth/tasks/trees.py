"""Outputs and targets of several tensors: tuples, lists and dicts of them, or of such.

Files know tensors by name alone. A single tensor is ``output``; the parts of a tuple are ``output_0``,
``output_1``...; those of a dict have their keys. Parts of parts follow after a dot: ``boxes.0``. A file that
keeps these names keeps the structure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

__all__ = ["leaves", "mapped", "moved", "output_names", "structured"]

_SINGLE: Final = "output"
_NUMBERED: Final = re.compile(r"output_(\d+)")
_NUMBER: Final = re.compile(r"\d+")
_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def mapped(function: Callable[[Tensor], Tensor], tree: Any) -> Any:  # noqa: ANN401
    """The same tree with ``function`` applied to every tensor; anything else stays as it is."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, dict):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(function, part) for part in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(function, part) for part in tree)
    return tree


def leaves(tree: Any) -> Iterator[Tensor]:  # noqa: ANN401
    """Every tensor of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        for part in tree.values():
            yield from leaves(part)
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from leaves(part)


def moved(tree: Any, device: torch.device) -> Any:  # noqa: ANN401
    """The same tree on a device."""
    return mapped(lambda tensor: tensor.to(device, non_blocking=True), tree)


def output_names(outputs: Any, taken: Collection[str] = ()) -> tuple[str, ...]:  # noqa: ANN401 - a tree
    """One name per tensor, in order.

    Args:
        outputs: A tensor, or a tuple, list or dict of them, or of such.
        taken: Names that inputs have. Where a name would be one of them, or is not plain, all are numbered.
    """
    paths = list(_paths(outputs))
    names = tuple(".".join(path) for path in paths)
    if names == ("",):
        return (_SINGLE,)
    if len(names) == 1 and not _NUMBERED.fullmatch(names[0]):
        names = (f"{_SINGLE}.{names[0]}",)  # one part of a dict is not the same as the part itself
    plain = all(_KEY.fullmatch(part) or _NUMBER.fullmatch(part) for path in paths for part in path)
    if plain and len({*names, *taken}) == len(names) + len(taken):
        return names
    return tuple(f"output_{index}" for index in range(len(names)))


def structured(outputs: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever the network returned
    """What a network returned, from its tensors by name: the reverse of :func:`output_names`.

    Lists and named tuples come back as tuples. One tensor of any other name is that tensor; several are the
    parts of a dict.
    """
    first = next(iter(outputs))
    if len(outputs) == 1 and "." not in first and not _NUMBERED.fullmatch(first):
        return outputs[first]
    tree: dict[str, Any] = {}
    for name, value in outputs.items():
        *path, last = name.removeprefix(f"{_SINGLE}.").split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return _closed(tree, _NUMBERED)


def _paths(tree: Any) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - a tree
    """The way to every tensor; the parts of the outermost tuple are told apart from other numbers."""
    if isinstance(tree, dict):
        for key, part in tree.items():
            yield from ((str(key), *_inner(path)) for path in _paths(part))
    elif isinstance(tree, list | tuple):
        for index, part in enumerate(tree):
            yield from ((f"{_SINGLE}_{index}", *_inner(path)) for path in _paths(part))
    else:
        yield ()


def _inner(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.removeprefix(f"{_SINGLE}_") if _NUMBERED.fullmatch(part) else part for part in path)


def _closed(tree: dict[str, Any], numbered: re.Pattern[str]) -> Any:  # noqa: ANN401 - a tree
    """Tuples in place of dicts whose keys count from zero."""
    parts = {key: _closed(part, _NUMBER) if isinstance(part, dict) else part for key, part in tree.items()}
    numbers = {int(key.removeprefix(f"{_SINGLE}_")): key for key in parts if numbered.fullmatch(key)}
    if sorted(numbers) != list(range(len(parts))):
        return parts
    return tuple(parts[numbers[index]] for index in range(len(parts)))
