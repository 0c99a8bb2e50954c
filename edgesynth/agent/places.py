"""Where the board's files are, below whatever root (see ``board.py``), and which board they say it is."""

import glob
import os
from typing import List, Optional

__all__ = ["compatible", "model", "paths", "place", "read_text", "root", "soc"]

# Container engines hide the first; docker/README.md mounts the second.
_DEVICE_TREES = ("/proc/device-tree", "/run/device-tree")


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
    return _device_tree("model")


def soc() -> Optional[str]:
    """The chip, e.g. ``tegra186``; it decides which engines the GPU can run."""
    chips = [entry.partition(",")[2] for entry in compatible() if entry.startswith("nvidia,tegra")]
    return chips[-1] if chips else None


def compatible() -> List[str]:
    """What the board is compatible with, itself first and its chip last; none where there is no such file."""
    return (_device_tree("compatible") or "").split()


def _device_tree(name: str) -> Optional[str]:
    """The text of one of the device tree's own files."""
    texts = [read_text(place(os.path.join(folder, name))) for folder in _DEVICE_TREES]
    return next((text for text in texts if text is not None), None)
