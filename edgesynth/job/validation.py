"""Whether parsed tables make a job, and in plain words why not."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgesynth.errors import EdgesynthError, JobError
from edgesynth.job import relative
from edgesynth.job.reference import is_reference, load_reference
from edgesynth.job.tables import JobTables
from edgesynth.metrics import METRICS

__all__ = ["validate"]

_WANTED: Final = {
    "string_type": "text in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "string_too_short": "text that is not empty",
}

_WANTED_OF: Final = {
    ("prototype", "freeze"): 'a list of patterns, e.g. ["head.*"]',
    ("task", "size"): "a whole number of pixels from 8 to 8192, or a height and a width, e.g. [240, 320]",
    ("task", "classes"): (
        'a list of names that is not empty, e.g. ["road", "car"], or for "mask-folder" a colour by name, '
        "e.g. { road = [128, 64, 128], car = [0, 0, 142] }; leave the key out for the default"
    ),
    ("task", "class_weights"): '"balanced", or one number not below 0 for every class, e.g. [1, 2.5]',
    ("device", "link"): 'text in quotes, or a list with one link per board, e.g. ["ssh://a", "ssh://b"]',
}
"""What keys take that are lists, or of several kinds."""

_NEAR: Final = 0.5
"""How alike two names must be for one to be suggested for the other."""


def validate(data: Mapping[str, Any], label: str, folder: Path) -> JobTables:
    """Check parsed tables.

    Args:
        data: The tables.
        label: What messages call them.
        folder: Where the user's modules are looked up.

    Raises:
        JobError: Every fault found, one per line.
    """
    try:
        # Through JSON, because there pydantic's strict mode takes a list for a tuple.
        tables = JobTables.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        faults = dict.fromkeys(_told(fault, data) for fault in error.errors() if not _is_echo(fault, data))
        raise JobError("\n".join(f"{label}: {fault}" for fault in faults)) from error
    if is_reference(tables.task.data) and not METRICS.keys() >= tables.requirements.keys():
        # A metric of the user's own is known once the module that defines the task is imported.
        load_reference(tables.task.data, folder)
    _check_requirements(tables.requirements, label)
    return tables


def _check_requirements(requirements: Mapping[str, str | list[str]], label: str) -> None:
    from edgesynth.synthesis.requirements import Requirements

    faults = []
    for metric, given in requirements.items():
        for condition in [given] if isinstance(given, str) else given:
            try:
                if relative.is_relative(condition):
                    relative.check(metric, condition)
                else:
                    Requirements({metric: condition})
            except EdgesynthError as error:
                faults.append(f"{label}: [requirements] {error}")
    if faults:
        raise JobError("\n".join(faults))


def _told(fault: ErrorDetails, data: Mapping[str, Any]) -> str:
    """One fault in one line."""
    *tables, key = [str(part) for part in fault["loc"]] or [""]
    value = fault["input"]
    if "requirements" in (*tables[:1], key):
        metric = [*tables, key][1:2]
        wrong = f"{metric[0]} = {_shown(data['requirements'][metric[0]])}" if metric else _shown(value)
        return (
            f'[requirements] {wrong} should be bounds in quotes, e.g. macs = "<= 4M" or "<= prototype / 10"'
        )
    where = f"[{tables[0]}] " if tables else ""
    for table, several in _WANTED_OF:
        if [table, several] == [*tables, key][:2] and fault["type"] != "extra_forbidden":
            whole = _shown(data[table][several])
            return f"{where}{several} = {whole} should be {_WANTED_OF[table, several]}"
    # What follows the key is an index into a list, or a key of the user's own.
    inner = "".join(f".{part}" for part in [*tables, key][2:])
    name = f"{[*tables, key][1]}{inner}" if tables else key
    if fault["type"] == "extra_forbidden":
        return _unknown(where, key, _keys(tables), data)
    if fault["type"] == "missing":
        wanted = f"the key {key!r}" if tables else f"the table [{key}]"
        return f"{where}needs {wanted}: {_meaning(tables, key)}"
    if not tables:
        return f"{key} = {_shown(value)} should be a table: write [{key}] and its keys below"
    return f"{where}{name} = {_shown(value)} should be {_allowed(fault)}"


def _is_echo(fault: ErrorDetails, data: Mapping[str, Any]) -> bool:
    """Whether something is missing only because it is there under a misspelt name."""
    if fault["type"] != "missing":
        return False
    *tables, key = [str(part) for part in fault["loc"]]
    present = data[tables[0]] if tables else data
    unknown = [name for name in present if name not in _keys(tables)]
    return bool(difflib.get_close_matches(key, unknown, n=1, cutoff=_NEAR))


def _unknown(where: str, key: str, known: Iterable[str], data: Mapping[str, Any]) -> str:
    known = list(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=_NEAR)
    if not where:
        named = f"[{key}]" if isinstance(data.get(key), dict) else repr(key)
        hint = f"did you mean [{near[0]}]?" if near else f"known tables: {', '.join(f'[{k}]' for k in known)}"
        homes = [table for table in JobTables.model_fields if key in _keys([table])]
        if homes and not isinstance(data.get(key), dict):
            hint = f"it belongs below [{homes[0]}]"
        return f"unknown table or key {named}; {hint}"
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"{where}unknown key {key!r}; {hint}"


def _allowed(fault: ErrorDetails) -> str:
    if fault["type"] in _WANTED:
        return _WANTED[fault["type"]]
    context = fault.get("ctx", {})
    if "ge" in context:
        return f"at least {context['ge']}"
    if "gt" in context:
        return f"above {context['gt']}"
    if "expected" in context:
        choices = str(context["expected"]).replace("'", '"')
        near = difflib.get_close_matches(str(fault["input"]), choices.split('"')[1::2], n=1, cutoff=_NEAR)
        return f"one of {choices}" + (f'; did you mean "{near[0]}"?' if near else "")
    return fault["msg"].removeprefix("Input should be ")


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _table(name: str) -> type[BaseModel] | None:
    if name not in JobTables.model_fields:
        return None
    kind = JobTables.model_fields[name].annotation
    candidates = [kind, *get_args(kind)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _keys(tables: list[str]) -> list[str]:
    if not tables:
        return list(JobTables.model_fields)
    table = _table(tables[0]) if len(tables) == 1 else None
    return list(table.model_fields) if table else []


def _meaning(tables: list[str], key: str) -> str:
    """What the docstring of a table says about a key, up to the first full stop."""
    table = _table(tables[0]) if tables else JobTables
    text = (table.__doc__ or "") if table else ""
    _, found, rest = text.partition(f"\n        {key}: ")
    first = rest.split("\n        ")[0] if found else ""
    return " ".join(first.replace("``", "").split()).split(". ")[0].rstrip(".")
