"""Prove that the file on disk computes what the network computes.

The file is read again from disk and run with ONNX Runtime, on real inputs, against a PyTorch module or
another ONNX file. Each output is judged on its own, by a tolerance that follows from the precision; a value
that is not finite is never within it. Where outputs differ, the first node that goes wrong is named.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgesynth.deploy.acceptance import Acceptance, accept
from edgesynth.deploy.divergence import Divergence, find_divergence, first_overflow
from edgesynth.deploy.inside_objects import Objects
from edgesynth.deploy.onnx_graph import default_opset, index_outputs, load_model
from edgesynth.deploy.output_check import TOLERANCES, OutputCheck, check_output
from edgesynth.deploy.quantisation import Metric
from edgesynth.deploy.runners import (
    Arrays,
    OnnxRunner,
    call_size,
    fixed_batch,
    joined,
    run_in_parts,
    runtime_version,
)
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.deploy.engine import EngineTensor

__all__ = [
    "Reference",
    "VerifyReport",
    "expected_outputs",
    "reference_name",
    "verify",
    "verify_outputs",
]


class Reference(Protocol):
    """What outputs are compared with, where that is no network alone."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def step(self) -> int:
        """What a number of samples must be a multiple of."""
        ...

    @property
    def model(self) -> ModelProto:
        """A network that computes it in FP32, whose tensors tell where a file goes wrong."""
        ...

    def __call__(self, data: Arrays) -> Mapping[str, NDArray[Any]]:
        """The outputs by name; a masked array holds class indices, masked where there is no one class."""
        ...


@dataclass(frozen=True)
class VerifyReport:
    """The verdict of :func:`verify`; true exactly when every output agrees and nothing else is wrong.

    Attributes:
        file: The file's name.
        sha256: Hex digest of what was verified.
        reference: What it was compared with.
        runtime: What ran the file.
        precision: Whose tolerance was applied.
        samples: How many inputs were run.
        outputs: One entry per output.
        problems: What is wrong beside the outputs.
        divergence: The first node that goes wrong, where it could be found.
        metric: The task's score of the file's outputs; ``None`` without labels.
        reference_metric: The reference's.
        metric_name: What the score is; empty where the caller's own has no name.
        acceptance: Whether the precision keeps the score; ``None`` without one.
        takes: The inputs of an engine by name, as the board told them; empty for a file.
        gives: Its outputs.
        rounding: How far the outputs that were judged may be from the file's own, relative to each value;
            what they may differ is less by that.
        no_cuda_graph: Why calls of an engine were not launched as a CUDA graph, where they were to be.
        sizes: Samples of calls that were each judged by themselves, of an engine that takes several sizes.
    """

    file: str
    sha256: str
    reference: str
    runtime: str
    precision: str
    samples: int
    outputs: tuple[OutputCheck, ...]
    problems: tuple[str, ...] = ()
    divergence: Divergence | None = None
    metric: float | None = None
    reference_metric: float | None = None
    metric_name: str = ""
    acceptance: Acceptance | None = None
    rounding: float = 0.0
    takes: Mapping[str, EngineTensor] = field(default_factory=dict)
    gives: Mapping[str, EngineTensor] = field(default_factory=dict)
    no_cuda_graph: str = ""
    sizes: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.outputs) and not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Everything that is wrong, one line each."""
        refused = self.acceptance is not None and self.acceptance.refused
        return (
            *self.problems,
            *(f"{check.name}: {check.problem}" for check in self.outputs if check.problem),
            *((self.acceptance.says,) if self.acceptance is not None and refused else ()),
        )

    @property
    def rounding_note(self) -> str:
        """What rounded outputs mean for the verdict; empty where outputs are exact."""
        if not self.rounding:
            return ""
        whole = TOLERANCES[self.precision].worst
        return (
            f"outputs come as decimals, each off by up to {self.rounding:g} of itself; so "
            f"{whole - self.rounding:g} of the largest may differ instead of {whole:g}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        acceptance = None if self.acceptance is None else self.acceptance.to_json()
        return {
            **asdict(self),
            "acceptance": acceptance,
            "rounding_note": self.rounding_note,
            "passed": bool(self),
        }


def verify(
    path: str | os.PathLike[str],
    reference: nn.Module | str | os.PathLike[str] | ModelProto | Reference,
    data: Arrays,
    *,
    precision: str = "fp32",
    opset: int | None = None,
    batch: int | None = None,
    metric: Metric | None = None,
    metric_drop: float = 0.01,
    strict: bool = False,
) -> VerifyReport:
    """Compare a file with the network it was made from.

    Args:
        path: The file; read again from disk.
        reference: The module, the FP32 file, or what else tells outputs.
        data: Real inputs by name, axis 0 the batch.
        precision: Whose tolerance applies.
        opset: The default operator set it must declare.
        batch: The fixed batch it must have, or 0 for a free one; ``None`` for any.
        metric: A score of the outputs, higher is better. One with a method ``scored`` tells what each sample
            came to, which shows more than two scores; see :mod:`edgesynth.deploy.acceptance`.
        metric_drop: How much of the score may be lost.
        strict: Whether a precision below FP32 must be shown to keep the score.

    Returns:
        The report; a difference is a result, not an error.

    Raises:
        InputError: A file is missing or damaged, or the reference cannot run on the inputs.
    """
    source = Path(path)
    model = load_model(source)
    # As written: a runtime that optimises puts integer kernels where Q/DQ pairs are.
    runner = OnnxRunner(source, optimise=False)
    problems = _declared(model, runner, opset, batch)
    expected = expected_outputs(reference, runner, data)
    report = VerifyReport(
        file=source.name,
        sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        reference=reference_name(reference),
        runtime=runtime_version(),
        precision=precision,
        samples=len(next(iter(data.values()))),
        outputs=(),
        problems=tuple(problems),
    )
    try:
        found = run_in_parts(runner, data)
    except InputError as error:
        return replace(report, problems=(*problems, str(error)))
    report = verify_outputs(report, expected, found, metric=metric, metric_drop=metric_drop, strict=strict)
    if overflow := first_overflow(model, data):
        said = f"{overflow.node} ({overflow.operator}) leaves the range of FP16"
        return replace(report, problems=(*report.problems, said), divergence=overflow)
    if any(check.problem for check in report.outputs):
        return replace(report, divergence=_divergence(model, reference, data, precision))
    return report


def verify_outputs(
    report: VerifyReport,
    expected: Arrays,
    found: Arrays,
    *,
    metric: Metric | None = None,
    metric_drop: float = 0.01,
    advice: str = "",
    strict: bool = False,
) -> VerifyReport:
    """Judge outputs, whatever computed them.

    Args:
        report: What is known so far; its precision decides the tolerance, its rounding narrows it.
        expected: The reference's outputs by name.
        found: Those under suspicion.
        metric: A score of the outputs, higher is better; as for :func:`verify`.
        metric_drop: How much of the score may be lost.
        advice: What to do where the samples are too few to tell.
        strict: Whether a precision below FP32 must be shown to keep the score.

    Returns:
        The report with a verdict per output and one on the score.
    """
    limits = TOLERANCES[report.precision]
    # Both errors obey the triangle inequality: within this, the outputs before rounding are within the whole.
    limits = replace(limits, worst=limits.worst - report.rounding, rms=limits.rms - report.rounding)
    problems = [*report.problems, *_unpaired(expected, found)]
    beside = expected.beside(found, limits) if isinstance(expected, Objects) else expected
    outputs = tuple(
        check_output(name, want, found[name], limits) for name, want in beside.items() if name in found
    )
    report = replace(report, outputs=outputs, problems=tuple(problems))
    if metric is None or set(found) != set(expected):
        return report
    judged = accept(
        metric,
        expected,
        found,
        precision=report.precision,
        bound=metric_drop,
        advice=advice,
        strict=strict,
    )
    return replace(
        report,
        metric=judged.value,
        reference_metric=judged.reference,
        metric_name=judged.metric,
        acceptance=judged,
    )


def _declared(model: ModelProto, runner: OnnxRunner, opset: int | None, batch: int | None) -> list[str]:
    problems = []
    if opset is not None and default_opset(model) != opset:
        problems.append(f"it declares opset {default_opset(model)}, not {opset}")
    for name, (_, shape) in runner.inputs.items():
        first = shape[0] if shape and isinstance(shape[0], int) else 0
        if batch is not None and first != batch:
            is_, must = (f"fixed at {size}" if size else "free" for size in (first, batch))
            problems.append(f"the batch of {name} is {is_}, not {must}")
    return problems


def expected_outputs(
    reference: nn.Module | str | os.PathLike[str] | ModelProto | Reference, runner: OnnxRunner, data: Arrays
) -> Mapping[str, NDArray[Any]]:
    """The reference's outputs under the names of the file's: by order for a module, by name for a file.

    Those that are indices in the file come as masked arrays, which are compared as classes.

    Args:
        reference: The module, the FP32 file, or what else tells outputs.
        runner: The file, for its names.
        data: Inputs by name.

    Raises:
        InputError: There are no data for an input of the file, or the reference cannot run on them.
    """
    outputs = _reference_outputs(reference, runner, data)
    if isinstance(outputs, Objects):
        return outputs
    if runner.path is None or not any("int" in kind for kind, _ in runner.output_types.values()):
        return outputs
    indices = index_outputs(load_model(runner.path))
    return {name: np.ma.asarray(value) if name in indices else value for name, value in outputs.items()}


def _reference_outputs(
    reference: nn.Module | str | os.PathLike[str] | ModelProto | Reference, runner: OnnxRunner, data: Arrays
) -> Mapping[str, NDArray[Any]]:
    if not isinstance(reference, nn.Module):
        if callable(reference):
            return reference(data)
        return run_in_parts(OnnxRunner(reference, optimise=False), data, fixed_batch(runner))
    from edgesynth.deploy.outputs import evaluate

    missing = [name for name in runner.inputs if name not in data]
    if missing:
        raise InputError(
            f"{runner.name} has the inputs {list(runner.inputs)}; there are no data for {missing}"
        )

    def called(feed: Arrays) -> tuple[NDArray[Any], ...]:
        # Copies: a module may change its inputs in place, which the file is run on as well.
        leaves = evaluate(reference, tuple(torch.tensor(np.asarray(feed[name])) for name in runner.inputs))
        return tuple(leaf.detach().cpu().numpy() for leaf in leaves)

    samples, step = len(next(iter(data.values()))), call_size(runner, data)
    starts = range(0, samples, step)
    calls = [called({name: value[at : at + step] for name, value in data.items()}) for at in starts]
    found = list(zip(*calls, strict=True))
    names = [*runner.outputs, *(f"output {index}" for index in range(len(runner.outputs), len(found)))]
    return {name: joined(parts) for name, parts in zip(names, found, strict=False)}


def _unpaired(expected: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    lacking = [f"it has no output {name!r}" for name in expected if name not in found]
    return lacking + [f"the reference has no output {name!r}" for name in found if name not in expected]


def _divergence(
    model: ModelProto,
    reference: nn.Module | str | os.PathLike[str] | ModelProto | Reference,
    data: Arrays,
    precision: str,
) -> Divergence | None:
    if isinstance(reference, nn.Module):
        return None  # a module's tensors have no names to compare by
    if callable(reference):
        trusted = reference.model
    else:
        trusted = load_model(reference) if isinstance(reference, str | os.PathLike) else reference
    return find_divergence(model, trusted, data, TOLERANCES[precision].rms)


def reference_name(reference: object) -> str:
    """What a report calls it."""
    if isinstance(reference, nn.Module):
        return f"{type(reference).__name__} (torch {torch.__version__})"
    if isinstance(reference, str | os.PathLike):
        return Path(reference).name
    return str(getattr(reference, "name", "the FP32 model")) if callable(reference) else "the FP32 model"
