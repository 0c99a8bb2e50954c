"""One writer per run folder, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
import weakref
from pathlib import Path
from typing import Final

from edgesynth.errors import RunError
from edgesynth.runs.faults import disk_faults

__all__ = ["LOCK", "WriterLock"]

LOCK: Final = "run.lock"
"""Its name in the folder of a run."""


class WriterLock:
    """An exclusive ``flock`` on a file; the kernel drops it when its process dies, even by SIGKILL.

    Args:
        path: The lock file; made if missing and never deleted, since deleting it would race.

    Raises:
        RunError: Another process (or this one, elsewhere) holds the lock; its pid is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_faults(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._handle)
            raise RunError(
                f"the run folder {path.parent} is being written by {_owner(path)}; wait until it ends, "
                "stop it, or choose another folder"
            ) from None
        with disk_faults(path):
            os.ftruncate(self._handle, 0)
            os.write(self._handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
        _HELD.add(self)

    def release(self) -> None:
        """Give the lock back, also on behalf of forked children; a second call does nothing."""
        if self._handle >= 0:
            fcntl.flock(self._handle, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Close this process's handle without unlocking: another process still holds the lock."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    @staticmethod
    def held(path: Path) -> bool:
        """Whether any process holds the lock right now."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            # Closing the handle also drops the lock that succeeding takes.
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False


_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    # A forked worker shares the lock and would keep it alive after its parent was killed.
    for lock in tuple(_HELD):
        lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)


def _owner(path: Path) -> str:
    words = path.read_text(errors="replace").split()
    return f"process {words[0]} on {words[1]}" if len(words) == 2 else "another process"
