"""``edgesynth inspect``: what of a network may change, what may not, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgesynth.cli.options import AsJson
from edgesynth.cli.output import print_json, print_table, write

if TYPE_CHECKING:
    from edgesynth.graph import Prototype

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

    inputs = example_inputs(model, shape)
    prototype = Prototype(find_module(model, inputs), inputs, freeze=freeze or (), name=model)
    if not as_json:
        _tell(prototype)
        return
    smallest = prototype.cost(prototype.smallest())
    print_json(
        {
            **prototype.report.to_json(),
            "parameters": prototype.cost().parameters,
            "architectures": prototype.space.size,
            "smallest": {"macs": smallest.macs, "parameters": smallest.parameters},
        }
    )


def _tell(prototype: Prototype) -> None:
    from edgesynth.report.formatting import human

    report, whole = prototype.report, prototype.cost()
    smallest = prototype.cost(prototype.smallest())
    write(
        f"{report.name}: {human(report.macs)} MACs, {human(whole.parameters)} parameters; "
        f"free dimensions run through layers with {100 * report.covered_share:.1f} % of the MACs"
    )
    write(
        f"{prototype.space.size:.3g} architectures, the smallest has {human(smallest.macs)} MACs "
        f"and {human(smallest.parameters)} parameters"
    )
    if report.free:
        rows = [
            [
                row.dimension,
                str(row.units),
                f"{row.minimum} .. {row.units}",
                str(row.step),
                ", ".join(row.layers),
            ]
            for row in report.free
        ]
        _section("may change")
        print_table(["dimension", "units", "widths", "step", "layers"], rows, right=(1, 3))
    if report.blocks:
        _section("may be left out")
        print_table(["block", "layers"], [[name, ", ".join(layers)] for name, layers in report.blocks])
    if report.frozen:
        _section("frozen")
        print_table(
            ["layer", "channels", "why", "operator", "in", "line"],
            [
                [row.layer, f"{row.channels} of {row.of}", row.reason, row.operator, row.module, row.line]
                for row in report.frozen
            ],
        )


def _section(title: str) -> None:
    write(f"\n{title}")
