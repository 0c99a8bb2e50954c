"""Run an ONNX model with ONNX Runtime on the CPU: its outputs, or any tensor inside it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgesynth.devices.onnx_session import open_session
from edgesynth.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "AT_ONCE",
    "NUMPY_TYPES",
    "WITH_TAPS",
    "Arrays",
    "OnnxRunner",
    "call_size",
    "each_part",
    "first_line",
    "fixed_batch",
    "joined",
    "load_runtime",
    "run_in_parts",
    "runtime_version",
    "some_of",
    "tapped",
    "together",
]

Arrays = Mapping[str, NDArray[Any]]
"""Tensors by name, axis 0 the batch."""

NUMPY_TYPES: Final[Mapping[str, DTypeLike]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(bool)": np.bool_,
}
"""NumPy's type for each of ONNX Runtime's that an input can be filled with."""


AT_ONCE: Final = 64
"""Samples of a free batch that are run together: inner tensors of more may not fit into memory."""
WITH_TAPS: Final = 8
"""The same where every inner tensor is kept."""
_NUMBERS: Final = 1 << 18
"""Of one sample up to which so many go together: an RGB picture of 295x295. Inner tensors grow with it."""


class OnnxRunner:
    """A model that can be run.

    Args:
        model: A file, or a model that was read.
        taps: Tensors inside the model that are given back besides its outputs.
        optimise: Let the runtime rewrite the graph; off, every tensor is computed as it is written.

    Raises:
        InputError: The file is missing, or the runtime cannot load it.
        MissingDependencyError: ONNX Runtime is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelProto,
        taps: Sequence[str] = (),
        *,
        optimise: bool = True,
    ) -> None:
        runtime = load_runtime()
        self.path = Path(model) if isinstance(model, str | os.PathLike) else None
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        if not optimise:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if isinstance(model, str | os.PathLike):
            self.name = Path(model).name
            if not Path(model).is_file():
                raise InputError(f"there is no ONNX file {model}; check the path")
            source: str | bytes = str(model)
        else:
            self.name = "the model"
            source = tapped(model, taps).SerializeToString()
        try:
            self._session = open_session(runtime, source, options, ["CPUExecutionProvider"])
        except Exception as error:
            raise InputError(f"ONNX Runtime cannot load {self.name}: {first_line(error)}") from error
        self.inputs: dict[str, tuple[str, tuple[int | str | None, ...]]] = {
            node.name: (node.type, tuple(node.shape)) for node in self._session.get_inputs()
        }
        self.output_types: dict[str, tuple[str, tuple[int | str | None, ...]]] = {
            node.name: (node.type, tuple(node.shape)) for node in self._session.get_outputs()
        }
        self.outputs: tuple[str, ...] = tuple(self.output_types)

    def __call__(self, feed: Arrays) -> dict[str, NDArray[Any]]:
        """Run once.

        Raises:
            InputError: The inputs do not fit the model's.
        """
        if set(feed) != set(self.inputs):
            raise InputError(f"{self.name} has the inputs {sorted(self.inputs)}, got data for {sorted(feed)}")
        try:
            found = self._session.run(list(self.outputs), dict(feed))
        except Exception as error:
            shapes = ", ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in feed.items())
            raise InputError(f"{self.name} cannot be run on {shapes}: {first_line(error)}") from error
        return dict(zip(self.outputs, found, strict=True))


def fixed_batch(runner: OnnxRunner) -> int | None:
    """How many samples a model takes at a time; ``None`` when any number will do."""
    return next(
        (shape[0] for _, shape in runner.inputs.values() if shape and isinstance(shape[0], int)), None
    )


def some_of(runner: OnnxRunner, feed: Arrays, most: int) -> dict[str, NDArray[Any]]:
    """The first samples: about so many, in whole calls of the model and one at the least."""
    step = fixed_batch(runner) or 1
    count = max(step, most - most % step)
    return {name: value[:count] for name, value in feed.items()}


def together(feed: Arrays, most: int = AT_ONCE) -> int:
    """How many samples of a free batch are run together: so many at the most, of large ones fewer."""
    each = max(1, sum(value[:1].size for value in feed.values() if value.ndim))
    return max(1, min(most, most * _NUMBERS // each))


def run_in_parts(runner: OnnxRunner, feed: Arrays, step: int | None = None) -> dict[str, NDArray[Any]]:
    """Run a model on more samples than its batch takes, part by part; of a free batch some dozens at once.

    Args:
        runner: The model.
        feed: Inputs by name.
        step: Samples per call of what the outputs are to be compared with, which counts where the batch is
            free and an output is one per call; by default such a model is called once.

    Raises:
        InputError: The number of samples is no multiple of the model's fixed batch.
    """
    samples, at_once = len(next(iter(feed.values()))), call_size(runner, feed, step)
    if samples == at_once or (fixed_batch(runner) is None and samples < at_once):
        return runner(feed)
    parts = list(each_part(runner, feed, at_once))
    return {name: joined([part[name] for part in parts]) for name in parts[0]}


def call_size(runner: OnnxRunner, feed: Arrays, step: int | None = None) -> int:
    """Samples per call of a model.

    Its fixed batch, or of a free one what memory bears. Where an output has no row for each sample, it is so
    many as what it is compared with takes, or all.
    """
    counted = all(shape and not isinstance(shape[0], int) for _, shape in runner.output_types.values())
    free = together(feed) if counted else step or len(next(iter(feed.values())))
    return fixed_batch(runner) or free


def joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """One output of several calls; a scalar is one per call."""
    return parts[0] if len(parts) == 1 else np.concatenate([np.atleast_1d(part) for part in parts])


def each_part(runner: OnnxRunner, feed: Arrays, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The outputs of a model, part by part: each of its fixed batch, or of so many samples at the most.

    Raises:
        InputError: The number of samples is no multiple of the model's fixed batch.
    """
    samples, fixed = len(next(iter(feed.values()))), fixed_batch(runner)
    if fixed is not None and samples % fixed:
        raise InputError(f"{runner.name} takes {fixed} samples at a time; {samples} is no multiple of that")
    step = fixed or most
    for start in range(0, samples, step):
        yield runner({name: value[start : start + step] for name, value in feed.items()})


def tapped(model: ModelProto, taps: Sequence[str]) -> ModelProto:
    """A copy of a model that gives back tensors inside it as well."""
    import onnx

    if not taps:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in copy.graph.output}
    for name in taps:
        if name not in known:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy


def runtime_version() -> str:
    """The runtime and its version, for reports."""
    return f"onnxruntime {load_runtime().__version__} (CPU)"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


def load_runtime() -> ModuleType:
    """ONNX Runtime.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(
            "ONNX Runtime is not installed; install it with: pip install 'edgesynth[cpu]'"
        ) from error
