"""How long work tells the outside where it stands, without knowing who listens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

__all__ = ["NullProgress", "Phase", "Progress"]


class Phase(AbstractContextManager["Phase"], Protocol):
    """One named stretch of work; leaving the context ends it."""

    def advance(self, steps: float = 1, **figures: float) -> None:
        """Report that ``steps`` more are done, with figures worth showing (loss, rate)."""


class Progress(Protocol):
    """Receives phases and notes; the terminal, a log file or nothing stands behind it."""

    def phase(self, name: str, total: float | None = None) -> Phase:
        """Begin a phase of ``total`` steps, or of unknown length."""
        ...

    def note(self, text: str) -> None:
        """Say one line that stays."""


class _SilentPhase:
    def advance(self, steps: float = 1, **figures: float) -> None:
        """Drop the report."""

    def __enter__(self) -> _SilentPhase:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class NullProgress:
    """Listens to nothing: the default of every library function."""

    def phase(self, name: str, total: float | None = None) -> Phase:
        """Begin a phase nobody sees."""
        return _SilentPhase()

    def note(self, text: str) -> None:
        """Drop the line."""
