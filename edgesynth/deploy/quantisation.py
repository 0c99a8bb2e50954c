"""INT8 as explicit Q/DQ pairs in the graph, which every TensorRT from 8.0 on takes.

Weights are quantised per channel and symmetrically, activations per tensor and symmetrically with ranges
calibrated on the user's data; biases stay FP32, since TensorRT reads no INT32 ``DequantizeLinear``. The ways
to choose the ranges are compared by what they do to the outputs, or to a metric of the task: the best stays.
"""

from __future__ import annotations

import importlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.acceptance import scored_by, worse_for_certain
from edgesynth.deploy.onnx_graph import batch_of
from edgesynth.deploy.runners import Arrays, OnnxRunner, first_line, run_in_parts
from edgesynth.errors import InputError, MissingDependencyError
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.tasks import Score

__all__ = ["METHODS", "QUANTISED", "Calibration", "Metric", "Quantised", "output_error", "quantise"]

Metric = Callable[[Mapping[str, NDArray[Any]]], float]
"""A score of outputs by name; higher is better."""

METHODS: Final[Mapping[str, str]] = MappingProxyType(
    # Ranges by entropy come as overrides of the plainest method.
    {"min-max": "MinMax", "percentile": "Percentile", "entropy": "MinMax"}
)
"""Ways to choose the range of an activation, and what ONNX Runtime collects for each."""

QUANTISED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose inputs are quantised: those that have INT8 kernels worth the conversion."""
_BATCH: Final = 32
_BINS: Final = 512


@dataclass(frozen=True)
class Calibration:
    """What one way to choose ranges came to.

    Attributes:
        method: ``min-max``, ``percentile`` or ``entropy``.
        error: Root mean square difference of the outputs from the FP32 model's, relative to their own.
        metric: The task's score on the same samples, higher is better; ``None`` without labels.
    """

    method: str
    error: float
    metric: float | None = None


@dataclass(frozen=True)
class Quantised:
    """A quantised model and how its ranges were chosen.

    Attributes:
        model: With Q/DQ pairs.
        chosen: The best way to choose ranges.
        compared: Every way that was tried.
        samples: Calibration samples.
        reference_metric: The FP32 model's score on them; ``None`` without labels.
    """

    model: ModelProto
    chosen: Calibration
    compared: tuple[Calibration, ...]
    samples: int
    reference_metric: float | None = None


def output_error(expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> float:
    """Root mean square difference over all outputs, relative to that of the expected ones.

    Whole numbers are indices, which are right or wrong: each that differs counts as one.
    """
    difference = power = 0.0
    for name, want in expected.items():
        if want.dtype.kind in "iu":
            difference += float(np.sum(found[name] != want))
            power += want.size
            continue
        difference += float(np.sum((found[name].astype(np.float64) - want) ** 2))
        power += float(np.sum(want.astype(np.float64) ** 2))
    return float(np.sqrt(difference / power)) if power else float(np.sqrt(difference))


def quantise(
    model: ModelProto, data: Arrays, *, methods: Sequence[str] = tuple(METHODS), metric: Metric | None = None
) -> Quantised:
    """Quantise a model to INT8 with the best of several ways to choose ranges.

    Args:
        model: In FP32, opset 13 or later.
        data: Calibration inputs by name, axis 0 the batch.
        methods: The ways to compare.
        metric: A score from 0 to 1 of the outputs on ``data``; the error of the outputs decides without one,
            and between methods of which none is for certain below the best, by the paired difference of
            their scores (see :mod:`edgesynth.deploy.acceptance`).

    Raises:
        InputError: Nothing in the model can be quantised, it cannot run on the data, or a method is unknown.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise InputError(f"unknown calibration {unknown or list(methods)}; choose from {', '.join(METHODS)}")
    if not any(node.op_type in QUANTISED for node in model.graph.node):
        raise InputError(
            f"the network has none of {', '.join(QUANTISED)}, so INT8 would change nothing; use fp16"
        )
    expected = run_in_parts(OnnxRunner(model), data)
    reference = metric(expected) if metric else None
    tried: list[tuple[Calibration, ModelProto, Score | None]] = []
    for method in methods:
        candidate = _quantised(model, data, method)
        found = run_in_parts(OnnxRunner(candidate), data)
        outcomes = None if metric is None else scored_by(metric, found)
        score = None if metric is None else outcomes.metric.value if outcomes else metric(found)
        tried.append((Calibration(method, output_error(expected, found), score), candidate, outcomes))
    chosen, best = _best(tried)
    return Quantised(
        best,
        chosen,
        tuple(calibration for calibration, _, _ in tried),
        len(next(iter(data.values()))),
        reference,
    )


def _best(tried: Sequence[tuple[Calibration, ModelProto, Score | None]]) -> tuple[Calibration, ModelProto]:
    """The least error among those whose score is not for certain below the highest."""
    first = max(tried, key=lambda item: (item[0].metric or 0.0, -item[0].error))

    def alike(calibration: Calibration, outcomes: Score | None) -> bool:
        if outcomes is None or first[2] is None:
            return calibration.metric == first[0].metric
        return not worse_for_certain(outcomes, first[2])

    rest = [(calibration, model) for calibration, model, outcomes in tried if alike(calibration, outcomes)]
    return min(rest, key=lambda item: item[0].error)


def _quantised(model: ModelProto, data: Arrays, method: str) -> ModelProto:
    import onnx

    quantization = _quantization()
    with Scratch() as folder, _quiet():
        source, target = folder.path / "fp32.onnx", folder.path / "int8.onnx"
        onnx.save(model, str(source))
        try:
            quantization.quantize_static(
                str(source),
                str(target),
                _reader(quantization, data, batch_of(model) or _BATCH),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED),
                calibrate_method=getattr(quantization.CalibrationMethod, METHODS[method]),
                extra_options={
                    **_overrides(quantization, source, data, method),
                    "ActivationSymmetric": True,
                    "CalibTensorRangeSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    # One pair per tensor: TensorRT moves them over what commutes with them.
                    "DedicatedQDQPair": False,
                    # TensorRT 8 reads weights as FP32 behind a pair of their own.
                    "AddQDQPairToWeight": True,
                },
            )
        except Exception as error:
            raise InputError(
                f"the network cannot be quantised with {method} calibration: {first_line(error)}; "
                "give calibration data of the kind it was trained on, or use fp16"
            ) from error
        return onnx.load(str(target))


def _overrides(quantization: ModuleType, source: Path, data: Arrays, method: str) -> dict[str, Any]:
    """Ranges by entropy, from a histogram that has finer bins than INT8 has steps.

    The quantiser itself takes as many bins as steps, which leaves nothing to choose: it comes out as min-max.
    """
    if method != "entropy":
        return {}
    import onnx

    calibrate = importlib.import_module("onnxruntime.quantization.calibrate")
    calibrator = calibrate.create_calibrator(
        source,
        list(QUANTISED),
        augmented_model_path=str(source.with_name("entropy.onnx")),
        calibrate_method=quantization.CalibrationMethod.Entropy,
        extra_options={"num_bins": _BINS, "num_quantized_bins": 128, "symmetric": True},
    )
    model = onnx.load(str(source))
    calibrator.collect_data(_reader(quantization, data, batch_of(model) or _BATCH))
    own = {name for node in model.graph.node for name in (*node.input, *node.output)}
    ranges: dict[str, Any] = {}
    for name, found in calibrator.compute_data().data.items():
        low, high = (np.float32(np.asarray(limit).reshape(-1)[0]) for limit in found.range_value)
        if name in own:
            ranges[name] = [
                {"quant_type": quantization.QuantType.QInt8, "symmetric": True, "rmin": low, "rmax": high}
            ]
    return {"TensorQuantOverrides": ranges}


def _reader(quantization: ModuleType, data: Arrays, batch: int) -> Any:  # noqa: ANN401 - a class of ONNX Runtime's
    """The data in batches, as the runtime asks for them."""
    samples = len(next(iter(data.values())))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._starts: Iterator[int] = iter(range(0, samples - samples % batch or samples, batch))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            start = next(self._starts, None)
            return None if start is None else {name: v[start : start + batch] for name, v in data.items()}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the quantiser's advice to preprocess; errors still come through."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(level)


def _quantization() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime.quantization")
    except ImportError as error:
        raise MissingDependencyError(
            "INT8 needs ONNX Runtime; install it with: pip install 'edgesynth[cpu]'"
        ) from error
