"""From a prototype and requirements to a learned generator, in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from edgesynth.devices import Device
from edgesynth.errors import EdgesynthError, RequirementError, RequirementsNotMet, RunError
from edgesynth.graph import Prototype, versions
from edgesynth.metrics import METRICS, metric_kind, own_metrics
from edgesynth.progress import NullProgress, Progress
from edgesynth.runs import NetworkRecord, Run
from edgesynth.runs.details import write_details
from edgesynth.runs.run import PROTOTYPE
from edgesynth.synthesis.cycle import Synthesizer
from edgesynth.synthesis.data import check_data, described
from edgesynth.synthesis.evaluation import DERIVED, computed_metrics, quality_metrics
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.illustration import NETWORKS, details_of, illustrate
from edgesynth.synthesis.prototypes import load_weights, save_weights
from edgesynth.synthesis.requirements import Requirements
from edgesynth.synthesis.settings import SynthesisSettings
from edgesynth.tasks import Score, Task
from edgesynth.tasks.scoring import check_task, judged

__all__ = ["Result", "load_generator", "synthesize"]


@dataclass(frozen=True)
class Result:
    """What a synthesis leaves.

    Attributes:
        generator: The learned generator.
        prototype_record: The prototype, evaluated like every other network.
        networks: The reported networks, from seeds the generator never saw.
        requirements: What they were judged by.
        run_dir: Where everything is recorded.
        shortfall: Why fewer networks are reported than were asked for; empty if none is missing.
    """

    generator: Generator
    prototype_record: NetworkRecord
    networks: tuple[NetworkRecord, ...]
    requirements: Requirements
    run_dir: Path
    shortfall: str = ""

    @property
    def met(self) -> bool:
        """Whether as many feasible networks were found as were asked for."""
        return not self.shortfall


def synthesize(
    prototype: Prototype,
    task: Task,
    requirements: Requirements,
    device: Device | None = None,
    *,
    run_dir: Path | str,
    settings: SynthesisSettings | None = None,
    manifest: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Learn a generator, draw networks from unseen seeds, and record everything.

    A run folder that holds the same job goes on where it stopped; a finished one is only read.

    Args:
        prototype: A trained network, traced.
        task: Data, loss and metric.
        requirements: What every network must meet.
        device: Where networks are measured; may be left out if no requirement asks for it.
        run_dir: A new or empty folder, or the folder of an interrupted run of the same job.
        settings: Budgets and the seed.
        manifest: What else the run should say about itself, JSON.
        progress: Who is told.

    Raises:
        RequirementError: A requirement needs a device or a counter there is none of, or neither the
            smallest nor the largest network can meet it.
        RunError: The folder holds another job or a run of other data, or cannot be written.
        TrainingError: Training diverged.
        DeviceError: The device failed.
    """
    settings = settings or SynthesisSettings()
    progress = progress or NullProgress()
    check_task(task)
    check_obtainable(requirements.metrics, task, device)
    check_satisfiable(prototype, requirements)
    job = {
        "space": prototype.space.to_json(),
        "requirements": requirements.to_json(),
        "settings": settings.to_json(),
        **(manifest or {}),
    }
    with _open_or_create(Path(run_dir), job, prototype, task, device) as run:
        weights = Path(run_dir) / PROTOTYPE
        if not weights.exists():
            save_weights(prototype.module, weights)
        else:
            load_weights(prototype.module, weights)
        synthesizer = Synthesizer(prototype, task, requirements, device, run, settings, progress)
        synthesizer.resume()
        if run.status == "finished":
            return _reported(synthesizer, Path(run_dir))
        run.set_status("running")
        try:
            synthesizer.learn()
            result = _report(synthesizer, Path(run_dir), progress)
        except BaseException:
            run.set_status("interrupted")
            raise
        run.set_status("finished")
    return result


def load_generator(
    run_dir: Path | str,
    prototype: Prototype,
    task: Task,
    device: Device | None = None,
    *,
    cycle: int | None = None,
) -> Generator:
    """The generator a run learned; drawing from it needs no search.

    Args:
        run_dir: The run folder.
        prototype: The prototype the run was started with; its weights are taken from the run.
        task: The task the run was started with.
        device: Where generated networks are measured.
        cycle: Which cycle's policy to use; the last one by default.

    Raises:
        RunError: The folder is no run, is damaged, has no finished cycle, or is of other data.
    """
    run_dir = Path(run_dir)
    with Run.open(run_dir) as run:
        manifest = run.manifest
        settings = SynthesisSettings(**manifest["settings"])
        requirements = Requirements.from_json(manifest["requirements"])
        if manifest["space"] != prototype.space.to_json():
            raise RunError(
                f"the run in {run_dir} was learned for another prototype; give the one it was started with"
            )
        check_data(run_dir, manifest, task)
        load_weights(prototype.module, run_dir / PROTOTYPE)
        synthesizer = Synthesizer(prototype, task, requirements, device, run, settings, NullProgress())
        if not synthesizer.resume():
            raise RunError(f"the run in {run_dir} has no finished cycle yet; run `edgesynth synth` on")
        if cycle is not None:
            synthesizer.recall_policy(cycle)
    return _generator(synthesizer)


def check_obtainable(metrics: Iterable[str], task: Task, device: Device | None) -> None:
    """Refuse bounds on metrics that this task and this device will never give.

    Args:
        metrics: The names of the bounded metrics.
        task: What networks are scored by.
        device: Where they are measured, if anywhere.

    Raises:
        RequirementError: Names the metric, and what would give it.
    """
    own = metric_kind(task.metric)
    if own.source != "task" or own.better != "higher" or not own.share:
        raise RequirementError(
            f"{task.name} is scored by {own.name}, which is no share of which more is better; NetScore and "
            "the generator need one between 0 and 1, e.g. the share of samples whose error is small enough"
        )
    for name in metrics:
        kind = METRICS[name]
        if kind.source == "task" and name not in {task.metric, *DERIVED}:
            raise RequirementError(
                f"the requirement on {name} is not about a metric of this task, which is scored by "
                f"{task.metric}; bound {task.metric} instead"
            )
        if kind.source == "device" and device is None:
            raise RequirementError(
                f"the requirement on {name} needs a device to measure it; name one in [device]"
            )
        if kind.energy and device is not None and not device.has_energy:
            raise RequirementError(
                f"the requirement on {name} needs a power counter, and {device.profile.name} has none; "
                "choose a device with one, or bound latency_ms or macs instead"
            )


def check_satisfiable(prototype: Prototype, requirements: Requirements) -> None:
    """Refuse before any training a ceiling that not even the smallest network meets, or the largest a floor.

    Raises:
        RequirementError: Names the requirement and the closest value.
    """
    ends = (prototype.smallest(), prototype.largest())
    requirements.satisfiable_by(*(computed_metrics(prototype.cost(end)) for end in ends))


def _circumstances(prototype: Prototype, task: Task, device: Device | None) -> dict[str, Any]:
    """What a reader of the report wants to know, and what may differ when a run goes on."""
    return {
        "prototype": {"name": prototype.name, "structure": prototype.structure_hash},
        "data": described(task),
        "device": {"name": device.profile.name, "link": device.link.name} if device else {},
        "metrics": [kind.to_json() for kind in own_metrics()],
        "versions": versions(),
    }


def _open_or_create(
    run_dir: Path, job: Mapping[str, Any], prototype: Prototype, task: Task, device: Device | None
) -> Run:
    if not Run.exists(run_dir):
        return Run.create(run_dir, {**_circumstances(prototype, task, device), **job})
    run = Run.open(run_dir, write=True)
    try:
        _check_job(run_dir, run.manifest, job)
        check_data(run_dir, run.manifest, task)
    except BaseException:
        run.close()
        raise
    return run


def _check_job(run_dir: Path, manifest: Mapping[str, Any], job: Mapping[str, Any]) -> None:
    differing = sorted(key for key in job if manifest.get(key) != job[key])
    if differing:
        raise RunError(
            f"{run_dir} holds another job (different {', '.join(differing)}); "
            "give --run-dir a new folder, or continue with the job it was started with"
        )


def _generator(synthesizer: Synthesizer) -> Generator:
    return Generator(
        synthesizer.prototype,
        synthesizer.pair,
        synthesizer.evaluator,
        synthesizer.requirements,
        synthesizer.task,
        synthesizer.polish,
        synthesizer.teacher,
    )


def _reported(synthesizer: Synthesizer, run_dir: Path) -> Result:
    """What a finished run has to say; nothing is trained, drawn or written again."""
    run = synthesizer.run
    networks = run.networks("generated")
    # A run that falls short says why as the last thing it logs.
    shortfall = run.events()[-1][1] if len(networks) < synthesizer.settings.networks else ""
    return Result(
        _generator(synthesizer),
        run.networks("prototype")[0],
        networks,
        synthesizer.requirements,
        run_dir,
        shortfall,
    )


def _report(synthesizer: Synthesizer, run_dir: Path, progress: Progress) -> Result:
    """Evaluate the prototype, draw the networks to report, test them, and keep their files."""
    run, settings, requirements = synthesizer.run, synthesizer.settings, synthesizer.requirements
    generator, task = _generator(synthesizer), synthesizer.task
    evaluator, prototype = synthesizer.evaluator, synthesizer.prototype
    whole = evaluator.evaluate(
        prototype.largest(), prototype.module.eval(), limit=task.size("validation"), thorough=True
    )
    score = judged(task, prototype.module, "test")
    prototype_record = whole.record(
        "prototype",
        "prototype",
        requirements,
        test_metrics=quality_metrics(score.metric, whole.cost),
        files=_details(run, "prototype", score, task),
    )
    run.record_network(prototype_record)
    records: list[NetworkRecord] = []
    shown: dict[str, nn.Module] = {"prototype": prototype.module}
    shortfall = ""
    with progress.phase("draw networks from unseen seeds", settings.networks) as phase:
        try:
            for network in generator.draw(settings.networks):
                tested = generator.tested(network)
                name = f"{tested.seed}-{tested.key}"
                folder = run.path_for("network", name)
                files = {
                    kind: str((folder / file).relative_to(run_dir))
                    for kind, file in tested.save(folder).items()
                }
                record = tested.evaluation.record(
                    tested.key,
                    "generated",
                    requirements,
                    seed=tested.seed,
                    test_metrics=tested.test_metrics,
                    files={**files, **_details(run, name, tested.test_score, task)},
                )
                run.record_network(record)
                records.append(record)
                if len(shown) <= NETWORKS:
                    shown[f"seed {tested.seed}"] = tested.module
                phase.advance()
        except RequirementsNotMet as error:
            shortfall = str(error)
        _illustrate(run, task, shown)
    if shortfall:
        run.event(shortfall)
    return Result(generator, prototype_record, tuple(records), requirements, run_dir, shortfall)


def _details(run: Run, name: str, score: Score | None, task: Task) -> dict[str, str]:
    """Keep what else a test score says; the file by its kind, as records name it."""
    if score is None:
        return {}
    path = write_details(run.path_for("network", name), details_of(score, task.classes))
    return {"details": str(path.relative_to(run.path))}


def _illustrate(run: Run, task: Task, networks: Mapping[str, nn.Module]) -> None:
    """Draw pictures; a fault of the user's own drawing must not cost them the run."""
    try:
        illustrate(task, networks, run.path)
    except EdgesynthError:
        raise
    except Exception as error:
        run.event(f"no pictures: {task.name} cannot draw its answers: {type(error).__name__}: {error}")
