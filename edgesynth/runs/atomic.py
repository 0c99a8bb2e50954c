"""Files that are either the old ones or the new ones, whenever the power goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from edgesynth.runs.faults import disk_faults

__all__ = ["TEMPORARY", "dump_json", "sync_folder", "write_atomic", "write_json_atomic", "write_synced"]

TEMPORARY: Final = ".tmp"
"""Suffix of files that a crash may leave behind and that mean nothing."""


def write_atomic(path: Path | str, data: bytes) -> Path:
    """Write a file so that a crash at any moment leaves the old content or the new one.

    The data goes to a temporary name in the same folder, is flushed to the disk, and is renamed
    over the target; the folder is flushed last, so the rename itself survives a power cut.

    Args:
        path: Where to write; its folder must exist.
        data: The whole content.

    Returns:
        The path written.

    Raises:
        RunError: The disk is full, or the folder is missing or not writable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    with disk_faults(path):
        try:
            write_synced(temporary, data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return path


def write_json_atomic(path: Path | str, data: object) -> Path:
    """Write JSON, indented and with a final newline, as :func:`write_atomic` does."""
    return write_atomic(path, (dump_json(data, indent=2) + "\n").encode())


def dump_json(data: object, *, indent: int | None = None) -> str:
    """Serialise to JSON; numpy and torch scalars become plain numbers, tuples become lists.

    Lone surrogates, which stand for the bytes of a file name that is no UTF-8, become JSON's own escapes: the
    text can be encoded, and read again as it was.
    """
    text = json.dumps(data, indent=indent, ensure_ascii=False, default=_plain)
    return text.encode(errors="backslashreplace").decode()


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it; not atomic by itself."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(value: object) -> object:
    # Scalars and arrays of numpy and torch both offer tolist(), which gives plain Python numbers.
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")
