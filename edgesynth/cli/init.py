"""``edgesynth init``: a commented job file to start from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgesynth.cli.options import AsJson
from edgesynth.cli.output import print_json
from edgesynth.errors import InputError

__all__ = ["init"]


def init(
    path: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("job.toml"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a complete, commented job file."""
    from edgesynth.job import EXAMPLE
    from edgesynth.runs import write_atomic

    if path.exists() and not force:
        raise InputError(f"{path} exists; choose another name, or overwrite it with --force")
    write_atomic(path, EXAMPLE.read_bytes())
    if as_json:
        print_json({"job": str(path)})
    else:
        sys.stdout.write(f"{path}\n")
        sys.stderr.write(f"edit it, then run: edgesynth synth {path}\n")
