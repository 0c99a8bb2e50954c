"""A job written back as the TOML file it came from, to be copied out of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["job_text"]


def job_text(job: Mapping[str, Any]) -> str:
    """Write a job's tables as TOML; empty for an empty job, and ``None`` values are left out."""
    plain = {name: value for name, value in job.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in job.items() if isinstance(value, Mapping)}
    parts = [_entries(plain)] if plain else []
    parts += [f"[{_key(name)}]\n{_entries(table)}".rstrip() for name, table in tables.items()]
    return "\n\n".join(parts)


def _entries(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{_key(name)} = {_value(value)}" for name, value in table.items() if value is not None)


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else json.dumps(name, ensure_ascii=False)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    # JSON's strings, numbers and booleans are also TOML's.
    return json.dumps(value, ensure_ascii=False)
