"""Write a profile as the TOML that :mod:`edgesynth.devices.catalog` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from edgesynth.devices.profile import Profile

__all__ = ["profile_toml"]


def profile_toml(
    profile: Profile, *, header: Sequence[str] = (), notes: Mapping[str, str] | None = None
) -> str:
    """The text of a profile's file. What is not known, or has its default, is left out.

    Args:
        profile: What to write.
        header: Lines of a comment at the top; what ends a line within one (of a name) becomes a blank.
        notes: Comments beside keys and above tables, by dotted path (``simulation.launch_us``).
    """
    lines = [f"# {' '.join(line.splitlines())}".rstrip() for line in header]
    lines += ["", *_table((), profile, notes or {})]
    return "\n".join(lines).strip() + "\n"


def _table(path: tuple[str, ...], value: Any, notes: Mapping[str, str]) -> Iterator[str]:  # noqa: ANN401
    """The plain keys of a table, then the tables below it."""
    entries = dict(_entries(value))
    for key, entry in entries.items():
        if not _is_table(entry):
            note = notes.get(".".join([*path, key]), "")
            yield f"{_key(key)} = {_value(entry)}" + (f"  # {note}" if note else "")
    for key, entry in entries.items():
        below = (*path, key)
        if isinstance(entry, tuple) and _is_table(entry):
            for item in entry:
                yield from ["", f"[[{_dotted(below)}]]", *_table(below, item, notes)]
        elif _is_table(entry):
            note = notes.get(".".join(below), "")
            body = list(_table(below, entry, notes))
            head = [f"[{_dotted(below)}]" + (f"  # {note}" if note else "")]
            yield from ["", *head, *body] if body and body[0] else body  # a table of tables needs no head


def _entries(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if isinstance(value, Mapping):
        yield from ((str(key), entry) for key, entry in value.items())
        return
    for entry in fields(value):
        found = getattr(value, entry.name)
        required = entry.default is MISSING and entry.default_factory is MISSING
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        if required or found != default:
            yield entry.name, found


def _is_table(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, tuple):
        return bool(value) and is_dataclass(value[0])
    return isinstance(value, Mapping) or is_dataclass(value)


def _value(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(f"{value:.6g}"))
    if isinstance(value, tuple):
        return f"[{', '.join(_value(entry) for entry in value)}]"
    return json.dumps(value, ensure_ascii=False)  # integers, and strings as TOML's basic strings


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(_key(part) for part in path)
