"""The agent as one file for a board: a zipapp of its own modules, the same bytes wherever it is made."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Final

__all__ = ["agent_name", "agent_package"]

_SOURCE: Final = Path(__file__).resolve().parents[1] / "agent"
_PACKAGE: Final = "edgesynth/agent"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest date of a zip file: no build has a date of its own


def agent_package() -> bytes:
    """The zipapp. Its content alone decides its bytes: sorted, undated, stored without compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(_members().items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def agent_name(package: bytes) -> str:
    """The file name of a package; a new content is a new name, so a board never runs an old one."""
    return f"edgesynth-agent-{hashlib.sha256(package).hexdigest()[:16]}.pyz"


def _members() -> dict[str, bytes]:
    """Every file of the archive by its name in it."""
    modules = {f"{_PACKAGE}/{path.name}": path.read_bytes() for path in _SOURCE.glob("*.py")}
    return {
        "__main__.py": modules[f"{_PACKAGE}/__main__.py"],
        "edgesynth/__init__.py": b"",  # the board has nothing of the package but the agent
        **modules,
    }
