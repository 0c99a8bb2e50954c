"""What several verbs read from a run folder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edgesynth.errors import RunError

if TYPE_CHECKING:
    from edgesynth.job import Job
    from edgesynth.runs import NetworkRecord
    from edgesynth.synthesis.generator import GeneratedNetwork
    from edgesynth.tasks import Task

__all__ = ["draw_network", "is_run", "read_job"]


def is_run(folder: str | Path) -> bool:
    """Whether a folder is that of a run."""
    from edgesynth.runs import Run

    return Run.exists(folder)


def read_job(run_dir: Path) -> tuple[Job, NetworkRecord | None]:
    """The job a run was started with, and its prototype's figures.

    Raises:
        RunError: It is no run, or was not started from a job file.
    """
    from edgesynth.job import Job
    from edgesynth.runs import Run

    with Run.open(run_dir) as run:
        job, folder = run.manifest.get("job"), run.manifest.get("job_folder")
        prototypes = run.networks("prototype")
    if not isinstance(job, dict) or not isinstance(folder, str):
        raise RunError(
            f"the run in {run_dir} was not started from a job file, so its prototype and data are not known "
            "here; draw from it with edgesynth.load_generator(run_dir, prototype, task)"
        )
    return Job.from_json(job, folder), prototypes[0] if prototypes else None


def draw_network(run_dir: Path, seed: int) -> tuple[GeneratedNetwork, Task]:
    """The network of one seed, whether or not it meets the requirements, and the task it is for.

    Raises:
        RunError: It is no run, or was not started from a job file.
        DeviceError: The run's own device is needed and cannot be opened.
    """
    from edgesynth.synthesis.api import load_generator

    job, _ = read_job(run_dir)
    with ExitStack() as stack:
        task = job.build_task()
        prototype = job.build_prototype(task, checkpoint=False)
        device = job.open_device()
        if device is not None:
            stack.enter_context(device)
        return load_generator(run_dir, prototype, task, device).generate(seed), task
