"""``edgesynth report``: one HTML file about one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgesynth.cli.options import AsJson

__all__ = ["report"]


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder of edgesynth synth.")],
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The file to write; report.html in the run folder by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run as one self-contained HTML file."""
    from edgesynth.cli.output import print_json, write
    from edgesynth.report import summary_table, write_report
    from edgesynth.runs import Run

    with Run.open(run_dir) as run:
        page = write_report(run, out or run_dir / "report.html")
        rows = [row.to_json() for row in summary_table(run)]
    print_json({"report": str(page), "networks": rows}) if as_json else write(str(page))
