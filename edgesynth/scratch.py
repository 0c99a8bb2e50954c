"""Temporary folders that say whether their process still runs.

A process that is killed (SIGKILL, the memory killer) removes nothing. So every folder is locked for as long
as its process lives, by a lock that the kernel gives up with the process; unlike a process id it means the
same in every container. The first folder that a later process makes removes what the same user's dead ones
left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path
from typing import Final

from edgesynth.closing import Closing

__all__ = ["PREFIX", "Scratch", "sweep"]

PREFIX: Final = "edgesynth-scratch-"
"""How the names of such folders begin."""

_YOUNG_S: Final = 60.0  # such a folder may be one that is not locked yet
_swept: Final[set[tuple[Path, str]]] = set()


class Scratch(Closing):
    """A new, empty folder that is removed when it is closed, or at the latest when this process ends.

    Args:
        parent: Where it is made; the folder for temporary files by default.
        prefix: How its name begins.

    Attributes:
        path: The folder.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, parent: Path | None = None, prefix: str = PREFIX) -> None:
        place = Path(tempfile.gettempdir()) if parent is None else parent
        if (place, prefix) not in _swept:
            _swept.add((place, prefix))
            sweep(place, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        self._remove = weakref.finalize(self, _remove, self.path, handle)
        with contextlib.suppress(OSError):  # a file system without locks, on which nobody sweeps either
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def close(self) -> None:
        """Remove the folder; closing twice is fine."""
        self._remove()


def sweep(parent: Path, prefix: str = PREFIX, *, young_s: float = _YOUNG_S) -> int:
    """Remove the folders that processes of this user have left here, and no others.

    Args:
        parent: Where to look.
        prefix: How their names begin.
        young_s: What was changed less long ago is left alone.

    Returns:
        How many there were.
    """
    try:
        places = [entry.path for entry in os.scandir(parent) if entry.name.startswith(prefix)]
    except OSError:
        return 0
    return sum(_is_left(place, young_s) and _removed(place) for place in places)


def _is_left(place: str, young_s: float) -> bool:
    """Whether it is a folder of this user, and no process has it."""
    try:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        status = os.fstat(handle)
        if status.st_uid != os.getuid() or time.time() - status.st_mtime < young_s:
            return False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _removed(place: str) -> bool:
    shutil.rmtree(place, ignore_errors=True)
    return not Path(place).exists()


def _remove(path: Path, handle: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(handle)
