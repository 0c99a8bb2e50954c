"""Where the board's programs are, and how they are run with root's rights; see ``board.py``."""

import os
import shutil
from typing import List, Optional

from edgesynth.agent.places import place, root

__all__ = ["as_root", "find_program", "is_root", "needs_terminal"]

_FOLDERS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/src/tensorrt/bin")
_SUDO = "sudo"


def find_program(name: str) -> Optional[str]:
    """The full path of a program: ssh sessions often lack ``/usr/sbin`` and TensorRT's folder in PATH."""
    folders = [place(folder) for folder in _FOLDERS]
    if not root():
        folders = os.environ.get("PATH", "").split(os.pathsep) + folders
    return shutil.which(name, path=os.pathsep.join(folders))


def is_root() -> bool:
    """Whether the agent may do everything; never under another root."""
    return os.geteuid() == 0 and not root()


def as_root(command: List[str]) -> Optional[List[str]]:
    """The command with root rights, never asking for a password; ``None`` without ``sudo``."""
    if is_root():
        return command
    sudo = find_program(_SUDO)
    return None if sudo is None else [sudo, "-n"] + command


def needs_terminal(command: List[str]) -> bool:
    """Whether a command becomes root's, so that only a terminal of its own can end it for certain."""
    return os.path.basename(command[0]) == _SUDO
