"""Where the board's files are, below whatever root (see ``board.py``), and which board they say it is."""

import glob
import os
from typing import List, Optional

__all__ = ["model", "paths", "place", "read_text", "root", "soc"]


def root() -> str:
    """The root of the board; empty for this machine's own."""
    return os.environ.get("EDGESYNTH_ROOT", "").rstrip("/")


def place(path: str) -> str:
    """Where an absolute path of the board is."""
    return root() + path


def paths(pattern: str) -> List[str]:
    """Files of the board that match a pattern, sorted."""
    return sorted(glob.glob(place(pattern)))


def read_text(path: str) -> Optional[str]:
    """The text of a file as given (see :func:`place`), or ``None`` if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace").replace("\0", "\n").strip()
    except OSError:
        return None


def model() -> Optional[str]:
    """What the board calls itself."""
    return read_text(place("/proc/device-tree/model"))


def soc() -> Optional[str]:
    """The chip, e.g. ``tegra186``; it decides which engines the GPU can run."""
    compatible = read_text(place("/proc/device-tree/compatible")) or ""
    chips = [entry.partition(",")[2] for entry in compatible.split("\n") if entry.startswith("nvidia,tegra")]
    return chips[-1] if chips else None
