"""``edgesynth inspect``: what of a network may change, what may not, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from edgesynth.cli.options import AsJson

__all__ = ["inspect"]


def inspect(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A zoo name, or package.module:callable.")],
    *,
    shape: Annotated[
        list[str] | None,
        typer.Option("--input", help="Input shape with the batch axis, e.g. 1x3x32x32; once per input."),
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option("--freeze", help="Modules whose width must stay, e.g. 'head.*'.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what may change in a network, what is frozen and why."""
    from edgesynth.cli.models import example_inputs, find_module
    from edgesynth.graph import Prototype

    inputs = example_inputs(shape)
    prototype = Prototype(find_module(model, inputs), inputs, freeze=freeze or (), name=model)
