"""Text files beside pictures: lists of classes, of pictures, of boxes."""

from __future__ import annotations

from pathlib import Path

from edgesynth.tasks.images.files import Corrupt

__all__ = ["read_text"]


def read_text(path: Path) -> str:
    """Read UTF-8, with or without the mark that some editors put before it.

    Raises:
        Corrupt: The file is none, or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise Corrupt(
            path, f"{path} is no text in UTF-8 ({error.reason}, byte {error.start}); save it as such"
        ) from error
    except OSError as error:
        raise Corrupt(path, f"cannot read {path}: {error}") from error
