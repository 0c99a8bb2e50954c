"""Names of classes, and what the ``data.yaml`` of YOLO says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgesynth.errors import DataError
from edgesynth.tasks.images import read_text

__all__ = ["check_class_name", "yaml_entries", "yaml_names"]


def check_class_name(file: Path, name: str) -> None:
    """Refuse what no report could write down.

    Raises:
        DataError: The name of a class is empty, or no text.
    """
    if not name.strip():
        raise DataError(f"{file} has a class whose name is empty; name it")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{file} names a class {name!r}, which holds half a character; correct it") from None


def yaml_entries(file: Path) -> dict[str, Any]:
    """The entries of such a file, as nodes: their texts stay as they are written, so ``no`` is a name.

    Raises:
        DataError: It is no YAML, or has no entries.
    """
    try:
        root = yaml.compose(read_text(file), Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {file} as YAML: {reason}") from error
    except RecursionError:
        raise DataError(f"{file} is nested too deeply to be read as YAML") from None
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise DataError(f"{file} has no entries; list the classes under names:, one per class")
    return {key.value: node for key, node in root.value if isinstance(key, yaml.ScalarNode)}


def yaml_names(file: Path, entries: dict[str, Any]) -> tuple[str, ...]:
    """The entry ``names``: ``[a, b]`` or ``{0: a, 1: b}``, on one line or several.

    Raises:
        DataError: There is none, a name is empty or no text, their indices are not 0, 1, 2 and so on, or
            ``nc`` is not their number.
    """
    node = entries.get("names")
    if isinstance(node, yaml.MappingNode):
        names = _numbered(file, node)
    elif isinstance(node, yaml.SequenceNode):
        names = [_name(file, each) for each in node.value]
    else:
        names = []
    if not names:
        raise DataError(f"{file} has no names; list them under names:, one per class")
    count = entries.get("nc")
    if count is not None and count.value != str(len(names)):
        raise DataError(
            f"{file} has {len(names)} names, and its nc is {count.value!s:.40}; correct the one or the other"
        )
    return tuple(names)


def _numbered(file: Path, node: Any) -> list[str]:  # noqa: ANN401 - PyYAML tells no types
    """Names in the order of the numbers before them."""
    keys = [str(key.value) for key, _ in node.value]
    names = dict(zip(keys, (_name(file, name) for _, name in node.value), strict=True))
    order = [str(index) for index in range(len(keys))]
    if sorted(keys) != sorted(order):
        raise DataError(
            f"{file}: its names have the indices [{', '.join(keys):.80}]; number them from 0 on, leaving "
            "none out"
        )
    return [names[index] for index in order]


def _name(file: Path, node: Any) -> str:  # noqa: ANN401 - PyYAML tells no types
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.ScalarNode):
        raise DataError(f"{file}, line {line}: a name is not a text; write it in quotes")
    if node.tag == "tag:yaml.org,2002:null":
        raise DataError(
            f"{file}, line {line}: {node.value!r} is nothing to YAML, and no name; write one, or put it in "
            "quotes"
        )
    check_class_name(file, node.value)
    return str(node.value)
