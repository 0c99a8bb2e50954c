"""What commands print on stdout: JSON for programs, aligned tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from edgesynth.metrics import METRICS, SHARES, Metric

if TYPE_CHECKING:
    from edgesynth.devices import Device
    from edgesynth.runs import NetworkRecord

__all__ = ["print_json", "print_metrics", "print_networks", "print_table", "record_json", "warned", "write"]

_WIDE: Final = 220
"""Columns of a table that goes to a file, where nothing needs to wrap."""

_COLUMNS: Final = (
    "macs",
    "parameters",
    "netscore",
    "latency_ms",
    "inferences_per_joule",
)
"""Metrics the table of networks shows after the task's own; what a requirement bounds is added."""


def write(text: str) -> None:
    """Write one line to stdout."""
    sys.stdout.write(f"{text}\n")


@contextmanager
def warned(device: Device) -> Iterator[None]:
    """Say on stderr at the end, whatever happens before, what of a board could not be put back."""
    try:
        yield
    finally:
        for complaint in device.complaints:
            sys.stderr.write(f"edgesynth: WARNING: {complaint}\n")


def print_json(data: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write one JSON document to stdout."""
    write(json.dumps(data, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Write an aligned table to stdout.

    Args:
        columns: Headings; a line break makes a second line.
        rows: Cells.
        right: Which columns hold numbers, and line up on the right.
    """
    numeric, rows = set(right), list(rows)
    console = Console(file=sys.stdout, markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    table = _table(columns, rows, numeric)
    if Measurement.get(console, console.options.update(width=_WIDE), table).maximum > console.width:
        # What is said in brackets goes below the figure where it does not fit beside it.
        table = _table(columns, [[cell.replace(" (", "\n(") for cell in row] for row in rows], numeric)
    with console.capture() as captured:
        console.print(table)
    # Rich pads every line to the table's width, which shows when a result is kept in a file.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines() if line.strip()))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: set[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        # What a row is about stays whole on a narrow terminal; the rest may wrap.
        table.add_column(
            column, justify="right" if index in numeric else "left", overflow="fold", no_wrap=index == 0
        )
    for row in rows:
        table.add_row(*row)
    return table


def print_metrics(metrics: Mapping[str, Metric]) -> None:
    """One metric per row: value, interval, samples, how and on what it was obtained."""
    from edgesynth.report.formatting import figure, interval

    rows = [
        [
            METRICS[name].label,
            figure(name, metric.value),
            interval(metric),
            str(metric.samples or ""),
            str(metric.provenance),
            metric.source,
        ]
        for name, metric in metrics.items()
    ]
    print_table(["metric", "value", "95 % interval", "samples", "obtained", "on"], rows, right=(1, 2, 3))


def print_networks(
    records: Sequence[NetworkRecord], prototype: NetworkRecord | None, bounded: Iterable[str] = ()
) -> None:
    """Compare networks with the prototype: one column per metric, headed by how it was obtained.

    Args:
        records: The networks, one row each.
        prototype: The first row, and what the others are compared with.
        bounded: Metrics that requirements bound; shown besides the usual ones.
    """
    everyone = [*([prototype] if prototype else []), *records]
    figures = [_figures(record) for record in everyone]
    reference = figures[0] if prototype else {}
    quality = dict.fromkeys(name for known in figures for name in known if name in SHARES)
    wanted = dict.fromkeys((*quality, *_COLUMNS, *bounded))
    names = [name for name in wanted if any(name in known for known in figures)]
    columns = ["network", *(_heading(name, figures) for name in names), "requirements"]
    rows = [
        [_label(record), *(_cell(name, known, reference) for name in names), _verdict(record)]
        for record, known in zip(everyone, figures, strict=True)
    ]
    print_table(columns, rows, right=range(1, len(names) + 1))


def record_json(record: NetworkRecord) -> dict[str, Any]:
    """The JSON form of a network for ``--json``; cost per layer stays in the run folder."""
    return {
        "key": record.key,
        "role": record.role,
        "seed": record.seed,
        "architecture": dict(record.architecture),
        "metrics": {name: metric.to_json() for name, metric in record.metrics.items()},
        "test_metrics": {name: metric.to_json() for name, metric in record.test_metrics.items()},
        "verdicts": dict(record.verdicts),
        "status": record.status,
        "reason": record.reason,
        "files": dict(record.files),
    }


def _figures(record: NetworkRecord) -> dict[str, Metric]:
    """Quality on test data where it was tested, on validation data otherwise."""
    return {**record.metrics, **record.test_metrics}


def _label(record: NetworkRecord) -> str:
    return "prototype" if record.role == "prototype" else f"seed {record.seed}"


def _heading(name: str, figures: Sequence[Mapping[str, Metric]]) -> str:
    kind = METRICS[name]
    known = [metrics[name] for metrics in figures if name in metrics]
    obtained = ", ".join(sorted({str(metric.provenance) for metric in known}))
    # The source of a task metric is the split it was scored on.
    on = (
        ", ".join(sorted({metric.source for metric in known if metric.source}))
        if kind.source == "task"
        else ""
    )
    return f"{kind.label}\n{obtained}{f' on {on}' if on and len(on) <= 12 else ''}"


def _cell(name: str, figures: Mapping[str, Metric], reference: Mapping[str, Metric]) -> str:
    from edgesynth.report.formatting import compare, figure

    if name not in figures:
        return "-"
    text = figure(name, figures[name].value)
    if name not in reference or figures is reference:
        return text
    return f"{text} ({compare(figures[name], reference[name])})"


def _verdict(record: NetworkRecord) -> str:
    from edgesynth.report.formatting import requirement

    if record.role == "prototype":
        return ""
    if record.status != "ok":
        return f"{record.status}: {record.reason}"
    failing = [
        f"{requirement(text)}: {said}"
        for text, said in record.verdicts.items()
        if not said.startswith("satisfied")
    ]
    if failing:
        return "; ".join(failing)
    if any("simulated" in said for said in record.verdicts.values()):
        return "met (simulated)"
    return "met" if record.verdicts else ""
