"""The report: one HTML file that opens from the disk, says what was found, and how sure we are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesynth.errors import EdgesynthError
from edgesynth.metrics import METRICS, Provenance
from edgesynth.report import formatting, plots
from edgesynth.report.answers import answer_section
from edgesynth.report.job_text import job_text
from edgesynth.report.plots.layers import LayerPair, pair_layers
from edgesynth.report.summary import (
    COLUMNS,
    chosen_network,
    headlines,
    is_feasible,
    quality_metric,
    requirement_rows,
    summary_table,
    weakest,
)
from edgesynth.runs.atomic import write_atomic
from edgesynth.runs.records import LayerTimeRecord, NetworkRecord
from edgesynth.runs.run import Run
from edgesynth.space import Space

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["write_report"]

PROVENANCES = {
    Provenance.MEASURED: "obtained by running the network on real data or on a real device",
    Provenance.SIMULATED: "obtained from the simulated board: a model of the device, not the device",
    Provenance.PREDICTED: "estimated by the learned inquisitor; never counts as meeting a requirement",
    Provenance.COMPUTED: "exact: counted on the network itself",
}
_ORIGINS = {"real": "real data", "generated": "generated data, not recorded", "user": "the user's own data"}
_SLOWEST = 10
_PARETO = ("macs", "latency_ms", "inferences_per_joule")


def write_report(run: Run, path: Path | str | None = None) -> Path:
    """Write the report of a run, whatever state the run is in.

    The file needs nothing but itself: no network, no scripts, no fonts. The same records give the
    same bytes.

    Args:
        run: An open run.
        path: Where to write; ``report.html`` in the run folder by default.

    Returns:
        The path written.

    Raises:
        RunError: The run is damaged, or the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edgesynth.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": formatting.count,
        "duration": formatting.duration,
        "figure": lambda value, name: formatting.figure(name, value),
        "human": formatting.human,
        "requirement": formatting.requirement,
        "when": _when,
        "breakable": _breakable,
    }
    text = environment.get_template("report.html.j2").render(_content(run))
    return write_atomic(path or run.path / "report.html", text.encode(errors="backslashreplace"))


@dataclass(frozen=True)
class _Subject:
    """What the run is about, as far as its manifest says."""

    prototype: str
    device: str
    data: str
    performance: str
    seed: str

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> _Subject:
        job = _mapping(manifest.get("job"))
        settings = {**_mapping(job.get("synthesis")), **_mapping(manifest.get("settings"))}
        device = _mapping(manifest.get("device")) or _mapping(job.get("device"))
        link = f" ({device['link']})" if device.get("link") else ""
        return cls(
            prototype=_name(manifest.get("prototype")) or _name(job.get("prototype")) or "the prototype",
            device=f"{device['name']}{link}" if device.get("name") else _name(manifest.get("device")),
            data=_data(manifest.get("data")) or _data(job.get("task")),
            performance=str(settings.get("performance", "")),
            seed=str(settings.get("seed", "")),
        )


def _content(run: Run) -> dict[str, Any]:
    """Everything the template shows."""
    manifest, records, cycles = run.manifest, run.networks(), run.cycles()
    prototype = next((record for record in records if record.role == "prototype"), None)
    generated = [record for record in records if record.role == "generated"]
    chosen = chosen_network(records)
    quality = quality_metric(records)
    rows = summary_table(run)
    layers = pair_layers(prototype.layers, chosen.layers) if prototype and chosen else []
    return {
        "run": run,
        "name": run.path.name,
        "subject": _Subject.of(manifest),
        "question": _question(manifest, prototype),
        "answer": _answer(generated, run.status),
        "status": run.status,
        "cycles": cycles,
        "headlines": headlines(rows),
        "rows": rows,
        "columns": [name for name in (quality, *COLUMNS) if any(name in row.cells for row in rows)],
        "labels": {name: formatting.titled(kind.label) for name, kind in METRICS.items()},
        "quality": quality,
        "requirements": requirement_rows(records),
        "unjudged": _bounds(manifest),
        "pareto": _present(plots.pareto_plot(records, quality, cost) for cost in _PARETO),
        "answers": answer_section(run, records, chosen),
        "predicted": any(m.provenance is Provenance.PREDICTED for r in records for m in r.metrics.values()),
        "history": plots.history_panels(
            cycles, quality, prototype.metrics if prototype else {}, _provenance_of(records)
        ),
        "phases": run.phases(),
        "chosen": chosen,
        "chosen_label": _label(chosen) if chosen else "",
        "layers": [pair for pair in layers if _worth_showing(pair)],
        "efficiency": plots.efficiency_grid(cycles),
        "slowest": _slowest(chosen) if chosen else [],
        "timed_on": _timed_on(chosen) if chosen else "",
        "timed_how": _timed_how(chosen) if chosen else "",
        "measured_under": _measured_under(chosen) if chosen else [],
        "layer_bars": plots.layer_bars(layers),
        "family": _family(generated, manifest),
        "generated": generated,
        "troubled": [record for record in records if record.status != "ok"],
        "evaluated": len(records),
        "simulated": _simulated_on(records),
        "provenances": PROVENANCES,
        "job": job_text(_mapping(manifest.get("job"))),
        "first_seed": next((record.seed for record in generated if record.seed is not None), 1000),
        "versions": _mapping(manifest.get("versions")),
        "manifest": json.dumps(manifest, indent=2, ensure_ascii=False),
        "events": run.events(),
    }


def _question(manifest: Mapping[str, Any], prototype: NetworkRecord | None) -> str:
    subject = _Subject.of(manifest)
    texts = list(prototype.verdicts) if prototype and prototype.verdicts else _bounds(manifest)
    # A bound stays on the line of what it bounds.
    bounds = [re.sub(" (?=[≤≥])", "\N{NO-BREAK SPACE}", formatting.requirement(text)) for text in texts]
    goal = f" with {_listed(bounds)}" if bounds else ""
    return f"Can {subject.prototype} become a family of smaller networks{goal}?"


def _answer(generated: Sequence[NetworkRecord], status: str) -> str:
    if not generated and status == "finished":
        return "No: the run ended without a network that meets every requirement."
    if not generated:
        return "Not known yet: no network has been generated so far."
    if not any(record.verdicts for record in generated):
        return f"Not known: no requirement was judged on the {len(generated)} generated networks."
    met, drawn = sum(bool(is_feasible(record)) for record in generated), len(generated)
    verdicts = [verdict for record in generated for verdict in record.verdicts.values()]
    how = ", device figures being simulated" if any("simulated" in text for text in verdicts) else ""
    word = "Yes" if met == drawn else "Partly" if met else "No"
    so_far = "" if status == "finished" else " so far"
    of_all = f"{met} of {drawn} {'network' if drawn == 1 else 'networks'}"
    return f"{word}{so_far}: {of_all} generated from unseen seeds meet every requirement{how}."


def _bounds(manifest: Mapping[str, Any]) -> list[str]:
    """The requirements a manifest asks for, in the text form of verdicts."""
    asked = _mapping(manifest.get("requirements"))
    return [
        f"{name} {bound}"
        for name, bounds in asked.items()
        for bound in (bounds if isinstance(bounds, list) else [bounds])
    ]


def _family(generated: Sequence[NetworkRecord], manifest: Mapping[str, Any]) -> plots.FamilyGrid | None:
    try:
        space = Space.from_json(manifest["space"])
    except (KeyError, TypeError, EdgesynthError):
        return None
    return plots.family_grid(generated, space)


def _simulated_on(records: Iterable[NetworkRecord]) -> list[str]:
    """The boards behind simulated values; one empty name when a value does not say."""
    return list(
        dict.fromkeys(
            metric.source
            for record in records
            for metric in (*record.metrics.values(), *record.test_metrics.values())
            if metric.provenance is Provenance.SIMULATED
        )
    )


def _provenance_of(records: Iterable[NetworkRecord]) -> dict[str, Provenance]:
    """The least certain provenance behind each device metric."""
    found: dict[str, Provenance] = {}
    for record in records:
        for name, metric in record.metrics.items():
            if METRICS[name].source == "device":
                found[name] = weakest((metric.provenance, found.get(name, metric.provenance)))
    return found


def _slowest(record: NetworkRecord) -> list[LayerTimeRecord]:
    """The layers that take longest on the device."""
    return sorted(record.layer_times, key=lambda layer: -layer.mean_ms)[:_SLOWEST]


def _timed_on(record: NetworkRecord) -> str:
    """The device whose times per layer a record has: the one that measured its latency."""
    latency = record.metrics.get("latency_ms")
    return latency.source if latency else ""


def _timed_how(record: NetworkRecord) -> str:
    """How those times were obtained."""
    latency = record.metrics.get("latency_ms")
    return str(latency.provenance) if latency else ""


def _measured_under(record: NetworkRecord) -> list[tuple[str, str]]:
    """Mean power per rail, and the conditions of a measurement, in words."""
    rails = [(f"{rail}, mean power", f"{power_mw:.0f} mW") for rail, power_mw in record.rails.items()]
    return rails + [(name.replace("_", " "), _told(value)) for name, value in record.conditions.items()]


def _told(value: object) -> str:
    """A value of a condition on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_told(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not known"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _worth_showing(pair: LayerPair) -> bool:
    return any(layer and (layer.macs or layer.parameters) for layer in (pair.prototype, pair.network))


def _label(record: NetworkRecord) -> str:
    return f"seed {record.seed}" if record.role == "generated" else f"candidate {record.key}"


def _present(figures: Iterable[plots.Figure | None]) -> list[plots.Figure]:
    return [figure for figure in figures if figure]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _name(value: object) -> str:
    found = _mapping(value).get("name", value)
    return found if isinstance(found, str) else ""


def _data(value: object) -> str:
    """One line on the data, from a data description or a job's task table."""
    if isinstance(value, str):
        return value
    about = _mapping(value)
    sizes = ", ".join(f"{formatting.count(n)} {split}" for split, n in _mapping(about.get("sizes")).items())
    origin = _ORIGINS.get(str(about.get("origin", "")), "")
    parts = [
        about.get("name") or about.get("data"),
        origin,
        sizes,
        about.get("division"),
        about.get("source"),
    ]
    licence = f"licence {about['licence']}" if about.get("licence") else ""
    return "; ".join(str(part) for part in (*parts, licence) if part)


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _breakable(name: str) -> Markup:
    """A dotted name that may be broken after its dots."""
    from markupsafe import Markup, escape

    return escape(name).replace(".", Markup(".<wbr>"))


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
