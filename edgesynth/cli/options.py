"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["AsJson", "Quiet", "Wait"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Wait: TypeAlias = Annotated[
    float, typer.Option("--wait", min=0.0, metavar="SECONDS", help="Wait for a board that another run has.")
]
