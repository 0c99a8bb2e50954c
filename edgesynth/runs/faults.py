"""What the disk does to us, turned into errors a person can act on."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgesynth.errors import RunError

__all__ = ["disk_faults"]

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_SQLITE_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_DENIED: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Turn operating system and SQLite errors inside the block into :class:`RunError`.

    Args:
        path: What is being read or written; named in the message, and its disk is looked at.

    Raises:
        RunError: The disk is full, the path may not be written, or the database is damaged.
    """
    try:
        yield
    except OSError as error:
        raise RunError(_explain_os(error, path)) from error
    except sqlite3.Error as error:
        raise RunError(_explain_sqlite(error, path)) from error


def _explain_os(error: OSError, path: Path) -> str:
    where = Path(error.filename) if isinstance(error.filename, str) else path
    if error.errno in _FULL:
        return _full(where, error.strerror or "no space left")
    if error.errno in _DENIED:
        return _denied(where, error.strerror or "permission denied")
    return f"cannot read or write {where}: {error.strerror or error}; check the disk and the path"


def _explain_sqlite(error: sqlite3.Error, path: Path) -> str:
    # The low byte is the primary code; the rest narrows it down.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    primary = code & 0xFF
    # A file size limit shows as a failed write, not as a full disk.
    if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_WRITE:
        return _full(path, str(error))
    if primary in _SQLITE_DAMAGED:
        return (
            f"the run database {path} is damaged ({error}); restore it from a copy, "
            "or start a new run in another folder"
        )
    if primary in _SQLITE_DENIED:
        return _denied(path, str(error))
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"the run database {path} stayed busy ({error}); try again when the other process is done"
    return f"the run database {path} failed: {error}; check the disk, then open the run again"


def _full(path: Path, reason: str) -> str:
    folder = next((p for p in (path, *path.parents) if p.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    return (
        f"cannot write {path}: {reason} ({free:,} bytes free on its disk); nothing recorded before was "
        "lost: make room, then resume the run"
    )


def _denied(path: Path, reason: str) -> str:
    return f"cannot write {path}: {reason}; make the folder writable, or choose another one"
