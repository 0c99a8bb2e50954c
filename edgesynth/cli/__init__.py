"""The command line, one module per verb."""

from __future__ import annotations

from edgesynth.cli.app import main

__all__ = ["main"]
