"""The job file: what to synthesize, for which task, within which requirements, on which device."""

from __future__ import annotations

from edgesynth.job.job import Job
from edgesynth.job.reader import EXAMPLE, load_job
from edgesynth.job.relative import resolve

__all__ = ["EXAMPLE", "Job", "load_job", "resolve"]
