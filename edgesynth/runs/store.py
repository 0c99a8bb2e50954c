"""The SQLite store of a run: tables of JSON records, and transactions that may nest."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgesynth.errors import RunError
from edgesynth.runs.faults import disk_faults

__all__ = ["SCHEMA_VERSION", "CheckpointRow", "Store"]

SCHEMA_VERSION: Final = 1
_APPLICATION_ID: Final = 0x65736E74  # "esnt"
_BUSY_SECONDS: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE networks (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    role TEXT NOT NULL,
    seed TEXT NOT NULL,  -- text, and empty for none: seeds may exceed 64 bits, and NULLs are never equal
    record TEXT NOT NULL,
    UNIQUE (key, role, seed)
);
CREATE TABLE cycles (cycle INTEGER PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    cycle INTEGER NOT NULL,
    keep INTEGER NOT NULL,
    folder TEXT NOT NULL UNIQUE,
    UNIQUE (cycle, keep)
);
CREATE TABLE checkpoint_files (
    checkpoint INTEGER NOT NULL REFERENCES checkpoints (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (checkpoint, name)
);
CREATE TABLE events (id INTEGER PRIMARY KEY, time REAL NOT NULL, text TEXT NOT NULL);
"""


@dataclass(frozen=True)
class CheckpointRow:
    """Where a checkpoint lies and what its files must hash to."""

    cycle: int
    keep: bool
    folder: str
    sha256: dict[str, str]


class Store:
    """A connection to the database of one run.

    Threads may share it: a transaction holds a lock until it ends.

    Args:
        path: The database file, which must exist.
        write: Whether records may be written.

    Raises:
        RunError: The file is not a run database, is damaged, cannot be opened, or was written by a
            newer version.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with disk_faults(path):
            self._connection = _connect(path, write=write)
            try:
                self._prepare(write=write)
            except BaseException:
                self._connection.close()
                raise

    @staticmethod
    def build(path: Path, meta: dict[str, str]) -> None:
        """Make a database in one file, without side files, so that it can be renamed into place."""
        with disk_faults(path):
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            finally:
                connection.close()

    def _prepare(self, *, write: bool) -> None:
        run = self._connection.execute
        application = run("PRAGMA application_id").fetchone()[0]
        version = run("PRAGMA user_version").fetchone()[0]
        if application != _APPLICATION_ID:
            raise RunError(f"{self.path} is a database, but not one of a run; choose another folder")
        if version > SCHEMA_VERSION:
            raise RunError(
                f"{self.path} has schema version {version}, and this edgesynth reads up to "
                f"{SCHEMA_VERSION}; install a newer edgesynth"
            )
        run("PRAGMA foreign_keys = ON")
        if write:
            problems = [row[0] for row in run("PRAGMA quick_check(1)")]
            if problems != ["ok"]:
                raise RunError(
                    f"the run database {self.path} is damaged ({problems[0]}); restore it from a copy, "
                    "or start a new run in another folder"
                )
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = FULL")
        else:
            run("PRAGMA query_only = ON")

    def close(self) -> None:
        """Close the connection; the last one folds the write-ahead log into the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; a transaction inside another joins it."""
        with self._lock:
            if self._depth == 0:
                with disk_faults(self.path):
                    self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    with disk_faults(self.path):
                        self._connection.execute("COMMIT")
            except BaseException:
                # SQLite may have rolled back by itself, when the disk is full for instance.
                if self._depth == 1 and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; only meaningful on the thread that opened it."""
        return self._depth > 0

    def _write(self, statement: str, *values: object) -> int:
        with self.transaction(), disk_faults(self.path):
            return self._connection.execute(statement, values).lastrowid or 0

    def _read(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, disk_faults(self.path):
            return self._connection.execute(statement, values).fetchall()

    def _decode(self, text: str, what: str) -> dict[str, Any]:
        try:
            return dict(json.loads(text))
        except (TypeError, ValueError) as error:
            raise RunError(
                f"the run database {self.path} is damaged: {what} is not a JSON object ({error}); "
                "restore it from a copy"
            ) from error

    def meta(self, name: str) -> str:
        """A named text of the run, such as its status; empty when it was never set."""
        rows = self._read("SELECT value FROM meta WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def set_meta(self, name: str, value: str) -> None:
        """Set a named text."""
        self._write(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    def manifest(self) -> dict[str, Any]:
        """What the run was created with."""
        return self._decode(self.meta("manifest"), "the manifest")

    def put_network(self, key: str, role: str, seed: int | None, record: str) -> None:
        """Insert a network, or replace the one with the same key, role and seed in its place."""
        self._write(
            "INSERT INTO networks (key, role, seed, record) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key, role, seed) DO UPDATE SET record = excluded.record",
            key,
            role,
            "" if seed is None else str(seed),
            record,
        )

    def networks(self, role: str | None = None) -> list[dict[str, Any]]:
        """Network records in the order they were first recorded."""
        rows = self._read("SELECT key, record FROM networks WHERE ?1 IS NULL OR role = ?1 ORDER BY id", role)
        return [self._decode(record, f"network {key}") for key, record in rows]

    def put_cycle(self, cycle: int, record: str) -> None:
        """Insert a cycle, or replace the one of the same number."""
        self._write(
            "INSERT INTO cycles VALUES (?, ?) ON CONFLICT (cycle) DO UPDATE SET record = excluded.record",
            cycle,
            record,
        )

    def cycles(self) -> list[dict[str, Any]]:
        """Cycle records by number."""
        rows = self._read("SELECT cycle, record FROM cycles ORDER BY cycle")
        return [self._decode(record, f"cycle {cycle}") for cycle, record in rows]

    def put_checkpoint(self, row: CheckpointRow, *, last: int) -> None:
        """Make a checkpoint current, and forget all but the ``last`` ones that are not kept."""
        with self.transaction():
            self._write("DELETE FROM checkpoints WHERE cycle = ? AND keep = ?", row.cycle, row.keep)
            number = self._write(
                "INSERT INTO checkpoints (cycle, keep, folder) VALUES (?, ?, ?)",
                row.cycle,
                row.keep,
                row.folder,
            )
            for name, digest in row.sha256.items():
                self._write("INSERT INTO checkpoint_files VALUES (?, ?, ?)", number, name, digest)
            self._write(
                "DELETE FROM checkpoints WHERE NOT keep AND id NOT IN "
                "(SELECT id FROM checkpoints WHERE NOT keep ORDER BY id DESC LIMIT ?)",
                last,
            )

    def checkpoints(self) -> list[CheckpointRow]:
        """Every checkpoint, newest cycle first; within a cycle the one that is not kept comes first."""
        files: dict[int, dict[str, str]] = {}
        with self._lock:
            rows = self._read("SELECT id, cycle, keep, folder FROM checkpoints ORDER BY cycle DESC, keep")
            for number, name, digest in self._read("SELECT checkpoint, name, sha256 FROM checkpoint_files"):
                files.setdefault(number, {})[name] = digest
        return [
            CheckpointRow(cycle, bool(keep), folder, files.get(number, {}))
            for number, cycle, keep, folder in rows
        ]

    def add_event(self, time: float, text: str) -> None:
        """Append to the log."""
        self._write("INSERT INTO events (time, text) VALUES (?, ?)", time, text)

    def events(self) -> list[tuple[float, str]]:
        """The log: seconds since the epoch, and text."""
        return [
            (float(time), str(text)) for time, text in self._read("SELECT time, text FROM events ORDER BY id")
        ]


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    # Reading a write-ahead log needs its shared-memory file, so readers open read-write where they may.
    writable = os.access(path.parent, os.W_OK) and os.access(path, os.W_OK)
    mode = "mode=rw" if write or writable else "mode=ro"
    log = path.with_name(path.name + "-wal")
    if mode == "mode=ro" and not log.exists():
        mode += "&immutable=1"
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
