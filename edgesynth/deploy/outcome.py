"""What became of a network on a board, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesynth.deploy.acceptance import Acceptance
from edgesynth.deploy.delivery import Delivery
from edgesynth.deploy.engine import EngineOnBoard
from edgesynth.deploy.gain import Gain
from edgesynth.deploy.installation import Installed
from edgesynth.deploy.standalone import RUNNER
from edgesynth.deploy.unfit import Unfit
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
        failure_kind: ``out_of_memory``, ``unsupported``, ``timeout`` or ``crash``; empty without one.
        report: The engine's verification on the board, by the network's file.
        module_report: Its verification by the PyTorch module, where there is one.
        measurement: Its figures there, where they were asked for.
        bundle: On this machine, where it was kept.
        installed: On the board.
        runner: What runs engines there: ``tensorrt`` of Python, or ``trtexec``; empty where none was asked.
        passed_over: Precisions that were tried and not chosen, and why: what became of the task's score,
            what was wrong, or what they do not gain.
        gain: What the precision was measured to gain on the next higher one; ``None`` where it was asked for
            by name, or there is none to compare with.
        cuda_graph: Whether its bundle launches calls as a CUDA graph.
    """

    delivery: Delivery | None = None
    engine: EngineOnBoard | None = None
    failure: str = ""
    failure_kind: str = ""
    report: VerifyReport | None = None
    module_report: VerifyReport | None = None
    measurement: Measurement | None = None
    bundle: Path | None = None
    installed: Installed | None = None
    runner: str = ""
    passed_over: tuple[Acceptance | Unfit | Gain, ...] = ()
    gain: Gain | None = None
    cuda_graph: bool = False

    def __bool__(self) -> bool:
        return self.installed is not None

    @property
    def failures(self) -> tuple[str, ...]:
        """Why it is not installed, one line each."""
        said = list(self.delivery.failures) if self.delivery is not None else []
        said += [self.failure] if self.failure else []
        for report in (self.report, self.module_report):
            if report is not None and not report:
                said += report.failures or ("the engine has no outputs",)
        return tuple(said)

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses it on the board must know, one line each."""
        export = None if self.delivery is None else self.delivery.export
        own = "" if export is None else f", it computes in {export.precision}"
        said = tuple(f"{tried.precision} was not chosen{own}: {tried.says}" for tried in self.passed_over)
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
    def refused(self) -> Acceptance | None:
        """What became of the task's score, where that is all that speaks against it."""
        told = (None if self.delivery is None else self.delivery.report, self.report)
        judged = [report.acceptance for report in told if report is not None]
        refused = [each for each in judged if each is not None and each.refused]
        return refused[0] if refused and set(self.failures) == {each.says for each in refused} else None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        parts = {
            "export": self.delivery,
            "engine": self.engine,
            "verify": self.report,
            "verify_module": self.module_report,
            "gain": self.gain,
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
