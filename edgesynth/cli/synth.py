"""``edgesynth synth``: learn a generator for one job."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesynth.cli.options import AsJson, Quiet
from edgesynth.errors import InputError, RequirementsNotMet

if TYPE_CHECKING:
    from edgesynth.devices import Device
    from edgesynth.graph import Prototype
    from edgesynth.job import Job
    from edgesynth.metrics import Metric
    from edgesynth.progress import Progress
    from edgesynth.synthesis.api import Result
    from edgesynth.tasks import Task

__all__ = ["synth"]


def synth(
    job_file: Annotated[Path, typer.Argument(metavar="JOB", help="A job file; edgesynth init writes one.")],
    *,
    run_dir: Annotated[
        Path | None, typer.Option("--run-dir", help="The run folder; by default runs/ and the job's name.")
    ] = None,
    resume: Annotated[
        bool | None,
        typer.Option(
            "--resume/--fresh",
            help="Insist on an existing run, or begin anew in its place. By default whichever fits.",
        ),
    ] = None,
    cycles: Annotated[int | None, typer.Option("--cycles", help="Instead of the job's own.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Instead of the job's own.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn a generator of networks that meet the job's requirements."""
    from edgesynth.cli.progress import open_progress
    from edgesynth.job import load_job

    job = load_job(job_file).with_synthesis(cycles=cycles, seed=seed)
    folder = run_dir or Path("runs") / _run_name(job_file)
    _choose_run(folder, job, resume=resume)
    try:
        result = _synthesize(job, folder, open_progress(quiet=quiet))
        page = _write_report(folder)
    except KeyboardInterrupt:
        again = ["edgesynth", "synth", str(job_file), "--run-dir", str(folder)]
        for flag, value in (("--cycles", cycles), ("--seed", seed)):
            again += [flag, str(value)] if value is not None else []
        sys.stderr.write(f"\nstopped; everything finished is kept. Go on with: {shlex.join(again)}\n")
        raise
    _tell(result, page, as_json=as_json)
    if not result.met:
        raise RequirementsNotMet(f"requirements not met: {result.shortfall}")


def _run_name(job_file: Path) -> str:
    """``runs/photos`` for ``photos.toml`` and for ``photos/job.toml``."""
    return job_file.resolve().parent.name if job_file.stem == "job" else job_file.stem


def _choose_run(folder: Path, job: Job, *, resume: bool | None) -> None:
    """Refuse, before any work, a folder that this job cannot have or go on with."""
    from edgesynth.runs import Run
    from edgesynth.runs.run import PROTOTYPE, UNFINISHED

    if not (folder / "run.sqlite").exists():
        begun = any((folder / name).exists() for name in (PROTOTYPE, UNFINISHED))
        if resume is True and not begun:
            raise InputError(f"there is no run in {folder} to go on with; leave --resume out to begin one")
        _check_prototype(folder, job, fresh=resume is False)
        return
    if resume is False:
        # Opening for writing refuses to remove a run that another process is working on.
        Run.open(folder, write=True).close()
        shutil.rmtree(folder)
        return
    with Run.open(folder) as run:
        before = run.manifest.get("job")
    differing = _differences(before, job.to_json()) if isinstance(before, dict) else ["job"]
    _refuse_another(f"the run in {folder}", differing)


def _check_prototype(folder: Path, job: Job, *, fresh: bool) -> None:
    """Weights that a run left before it began are taken only by a job that would train them alike."""
    from edgesynth.runs.run import PROTOTYPE, UNFINISHED, refuse_occupied

    if folder.is_dir():
        refuse_occupied(folder)
    for name, what in ((PROTOTYPE, "the prototype"), (UNFINISHED, "the unfinished training of a prototype")):
        if (folder / name).is_file():
            _check_weights(folder / name, what, job, fresh=fresh)


def _check_weights(path: Path, what: str, job: Job, *, fresh: bool) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            before = json.loads((file.metadata() or {}).get("origin", "null"))
    except (OSError, SafetensorError, ValueError):
        before = None
    if not isinstance(before, dict):
        raise InputError(
            f"{path} was not left by a job; move it away, or give --run-dir another folder (weights of your "
            "own are named by [prototype] checkpoint)"
        )
    if fresh:
        path.unlink()
        return
    _refuse_another(f"{what} in {path}", _differences(before, json.loads(_origin(job))))


def _origin(job: Job) -> str:
    """What the weights of a prototype depend on, as JSON."""
    tables = job.to_json()
    prototype = {key: value for key, value in tables["prototype"].items() if key not in ("freeze", "align")}
    synthesis = {key: tables["synthesis"][key] for key in ("batch_size", "seed")}
    return json.dumps({"prototype": prototype, "task": tables["task"], "synthesis": synthesis})


def _refuse_another(what: str, differing: Sequence[str]) -> None:
    if differing:
        raise InputError(
            f"{what} is of another job (different: {', '.join(differing)}); "
            "begin anew in its place with --fresh, or give --run-dir another folder"
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``table.key`` of everything that two jobs say differently."""
    found = []
    for table in sorted({*before, *now}):
        old, new = before.get(table) or {}, now.get(table) or {}
        found += [f"{table}.{key}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return found


def _synthesize(job: Job, folder: Path, progress: Progress) -> Result:
    from edgesynth.cli.output import warned
    from edgesynth.synthesis.api import synthesize
    from edgesynth.synthesis.data import check_begun

    with ExitStack() as stack:
        task = job.build_task()
        # Before the prototype is scored: bounds may be relative to it, and would seem to be at fault.
        check_begun(folder, task)
        device = job.open_device(progress)
        if device is not None:
            stack.enter_context(device)
            stack.enter_context(warned(device))
        prototype, figures = _prepare_prototype(job, task, device, folder, progress)
        return synthesize(
            prototype,
            task,
            job.resolve(figures),
            device,
            run_dir=folder,
            settings=job.settings,
            manifest={"job": job.to_json(), "job_folder": str(job.folder)},
            progress=progress,
        )


def _prepare_prototype(
    job: Job, task: Task, device: Device | None, folder: Path, progress: Progress
) -> tuple[Prototype, dict[str, Metric]]:
    """The prototype with trained weights, and the figures that requirements may refer to."""
    from edgesynth.synthesis.api import check_obtainable, check_satisfiable
    from edgesynth.synthesis.evaluation import computed_metrics, derived_metrics
    from edgesynth.synthesis.measuring import measure
    from edgesynth.synthesis.prototypes import train_prototype
    from edgesynth.tasks.scoring import check_task, judged

    check_obtainable(job.requirements, task, device)
    module = job.build_module(task)
    prototype = job.trace(module, task)
    cost = prototype.cost()
    figures = computed_metrics(cost)
    # What can be refused without training is refused before it.
    check_task(task)
    check_satisfiable(prototype, job.resolve(figures, partial=True))
    if job.prototype.trained:
        plan = job.training_plan(task.size("train"))
        train_prototype(module, task, plan, folder, progress, origin=_origin(job))
        # Channels are ranked by their weights, which training has changed.
        prototype = job.trace(module, task)
    quality = judged(task, module, "validation").metric
    figures |= {quality.name: quality, **derived_metrics(quality, figures)}
    if device is not None:
        figures |= measure(
            module, prototype.example_input, cost, device, name="prototype", thorough=True
        ).metrics
    return prototype, figures


def _write_report(folder: Path) -> Path:
    from edgesynth.report import write_report
    from edgesynth.runs import Run

    with Run.open(folder) as run:
        return write_report(run, folder / "report.html")


def _tell(result: Result, page: Path, *, as_json: bool) -> None:
    from edgesynth.cli.output import print_json, print_networks, record_json, write
    from edgesynth.report.formatting import requirement

    if as_json:
        print_json(
            {
                "run_dir": str(result.run_dir),
                "report": str(page),
                "met": result.met,
                "shortfall": result.shortfall,
                "requirements": result.requirements.to_json(),
                "prototype": record_json(result.prototype_record),
                "networks": [record_json(record) for record in result.networks],
            }
        )
        return
    print_networks(result.networks, result.prototype_record, result.requirements.metrics)
    write(f"requirements: {', '.join(requirement(item.text) for item in result.requirements)}")
    write(f"run: {result.run_dir}")
    write(f"report: {page}")
    write(f"more networks: edgesynth generate {shlex.quote(str(result.run_dir))} -n 10 --seed 1000")
