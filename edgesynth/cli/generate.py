"""``edgesynth generate``: draw networks from a learned generator, without any search."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesynth.cli.options import AsJson, Quiet
from edgesynth.cli.runs import read_job
from edgesynth.errors import InputError, RequirementsNotMet

if TYPE_CHECKING:
    from edgesynth.runs import NetworkRecord
    from edgesynth.synthesis.generator import GeneratedNetwork
    from edgesynth.synthesis.requirements import Requirements

__all__ = ["generate"]


def generate(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder of edgesynth synth.")],
    *,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many networks.")] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed; the next ones follow.")] = 1000,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write recipe, weights and ONNX of each network here.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Keep networks that miss a requirement too, instead of passing on.")
    ] = False,
    cycle: Annotated[
        int | None, typer.Option("--cycle", min=0, help="The generator of this cycle; the last by default.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="'METRIC <= VALUE'",
            help="Another budget within the run's budget_range, in place of its own; may be repeated.",
        ),
    ] = None,
    polish: Annotated[
        float | None,
        typer.Option("--polish", min=0.0, help="Epochs each network is trained alone; the run's by default."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw networks from a learned generator; one seed, one network, no search."""
    from edgesynth.cli.output import print_json, print_networks, record_json, warned, write
    from edgesynth.cli.progress import open_progress
    from edgesynth.synthesis.api import load_generator

    wanted = [_read_bound(text) for text in require or ()]
    job, prototype_record = read_job(run_dir)
    progress = open_progress(quiet=quiet)
    records: list[NetworkRecord] = []
    shortfall: RequirementsNotMet | None = None
    with ExitStack() as stack:
        task = job.build_task()
        prototype = job.build_prototype(task, checkpoint=False)
        device = job.open_device(progress)
        if device is not None:
            stack.enter_context(device)
            stack.enter_context(warned(device))
        generator = load_generator(run_dir, prototype, task, device, cycle=cycle)
        for bound in wanted:
            generator = generator.under(generator.requirements.replaced(bound))
        own = replace(generator.polish, epochs=polish) if polish is not None else None
        phase = stack.enter_context(progress.phase("draw networks", count))
        try:
            for drawn in generator.draw(count, seed, polish=own, reject=not everything):
                network = generator.tested(drawn)
                records.append(_record(network, generator.requirements, out))
                phase.advance()
        except RequirementsNotMet as error:
            shortfall = error
    if as_json:
        print_json(
            {
                "run_dir": str(run_dir),
                "met": shortfall is None,
                "shortfall": str(shortfall or ""),
                "networks": [record_json(record) for record in records],
            }
        )
    elif records:
        print_networks(records, prototype_record, generator.requirements.metrics)
        if out is not None:
            write(f"networks: {out}")
        elif not quiet:
            sys.stderr.write("nothing was written; add --out DIR to keep the networks\n")
    if shortfall is not None:
        raise shortfall


def _read_bound(text: str) -> Requirements:
    """One requirement as it stands in tables: ``macs <= 2M``."""
    from edgesynth.synthesis.requirements import Requirements

    parts = re.split(r"(<=|>=)", text, maxsplit=1)
    if len(parts) != 3:
        raise InputError(
            f"--require {text!r} is no bound; write a metric, <= or >=, and a value: 'macs <= 2M'"
        )
    metric, sense, bound = (part.strip() for part in parts)
    return Requirements({metric: f"{sense} {bound}"})


def _record(network: GeneratedNetwork, requirements: Requirements, out: Path | None) -> NetworkRecord:
    """The network's record, with its files if it is to be kept."""
    files = {}
    if out is not None:
        folder = out / f"{network.seed}-{network.key}"
        files = {kind: str(folder / name) for kind, name in network.save(folder).items()}
    return network.evaluation.record(
        network.key,
        "generated",
        requirements,
        seed=network.seed,
        test_metrics=network.test_metrics,
        files=files,
    )
