"""What became of a network on a board, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesynth.deploy.acceptance import HIGHEST, Acceptance
from edgesynth.deploy.delivery import Delivery
from edgesynth.deploy.engine import EngineOnBoard
from edgesynth.deploy.inexact import Inexact, find_inexact
from edgesynth.deploy.installation import Installed
from edgesynth.deploy.standalone import RUNNER
from edgesynth.deploy.verify import VerifyReport
from edgesynth.profiler import Measurement

__all__ = ["Deployment"]


@dataclass(frozen=True)
class Deployment:
    """What became of a network on a board; true exactly when it is installed.

    Attributes:
        delivery: Its way to a file that the board's TensorRT takes; ``None`` for a bundle that was there.
        engine: The engine on the board; ``None`` where it was not built.
        failure: Why not.
        report: The engine's verification on the board.
        measurement: Its figures there, where they were asked for.
        bundle: On this machine, where it was kept.
        installed: On the board.
        runner: What runs engines there: ``tensorrt`` of Python, or ``trtexec``; empty where none was asked.
        passed_over: Lower precisions that were tried before this one: what became of the task's score, or
            which values they do not hold.
        cuda_graph: Whether its bundle launches calls as a CUDA graph.
    """

    delivery: Delivery | None = None
    engine: EngineOnBoard | None = None
    failure: str = ""
    report: VerifyReport | None = None
    measurement: Measurement | None = None
    bundle: Path | None = None
    installed: Installed | None = None
    runner: str = ""
    passed_over: tuple[Acceptance | Inexact, ...] = ()
    cuda_graph: bool = False

    def __bool__(self) -> bool:
        return self.installed is not None

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it is not installed, one line each."""
        said = list(self.delivery.failures) if self.delivery is not None else []
        said += [self.failure] if self.failure else []
        if self.report is not None and not self.report:
            said += self.report.failures or ("the engine has no outputs",)
        return tuple(said)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses it on the board must know, one line each."""
        said = tuple(
            f"{tried.precision} was not chosen, it computes in {HIGHEST}: {tried.says}"
            for tried in self.passed_over
        )
        if self.report is not None and self.report.no_cuda_graph:
            said += (f"it runs without a CUDA graph: {self.report.no_cuda_graph}",)
        if self.measurement is not None and self.engine is not None and not self.engine.batches.fixed:
            some = self.engine.batches
            said += (f"it is measured in calls of {some.usual} samples, of the {some.text} that it takes",)
        if self.installed is None or self.runner != "trtexec":
            return said
        return (
            *said,
            f"{RUNNER} needs TensorRT for Python, which this board lacks; install it with: sudo apt install "
            "python3-libnvinfer. Without it trtexec runs the engine, and so does edgesynth run",
        )

    @property
    def refusal(self) -> Acceptance | Inexact | None:
        """Why the precision was refused, where a higher one may do: for the score, or for its values."""
        if self.delivery is None or self.delivery.export is None:
            return None
        told = (self.delivery.report, self.delivery.module_report, self.report)
        reports = [report for report in told if report is not None]
        if set(self.failures) != {line for report in reports for line in report.failures}:
            return None
        judged = [report.acceptance for report in reports if report.acceptance is not None]
        refused = [each for each in judged if each.refused]
        if refused and set(self.failures) == {each.says for each in refused}:
            return refused[0]
        return find_inexact(self.delivery.export.precision, reports)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        parts = {
            "export": self.delivery,
            "engine": self.engine,
            "verify": self.report,
            "measurement": self.measurement,
            "installed": self.installed,
        }
        return {
            "passed": bool(self),
            "failures": list(self.failures),
            "notes": list(self.notes),
            "bundle": None if self.bundle is None else str(self.bundle),
            "cuda_graph": self.cuda_graph,
            "passed_over": [tried.to_json() for tried in self.passed_over],
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
        }
