"""A precision below FP32, put where the TensorRT of a device looks for it: into the graph, or into flags."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgesynth.deploy.bypass import bypassed
from edgesynth.deploy.inside_graph import exact_nodes
from edgesynth.deploy.mixed import Fits, keep_from_half, keep_from_int8
from edgesynth.deploy.onnx_graph import default_opset, with_types
from edgesynth.deploy.opset import convert_opset
from edgesynth.deploy.output_check import agree
from edgesynth.deploy.overflow import find_overflows
from edgesynth.deploy.quantisation import METHODS, QUANTISED, Calibration, Metric, quantise
from edgesynth.deploy.rounding import rounded
from edgesynth.deploy.runners import Arrays, OnnxRunner, run_in_parts, some_of
from edgesynth.devices.half import Kept, node_name, to_half
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["Lowered", "is_quantised", "lower"]

_QDQ_OPSET: Final = 13
"""Per-channel ``QuantizeLinear`` came with opset 13."""
_HALF_QDQ_OPSET: Final = 19
"""Pairs around FP16 came with opset 19."""
_FITTED: Final = 32
"""Samples on which layers are looked for that FP16 spoils."""
_MAY_LOSE: Final = 0.01
"""Of the score on calibration data, before layers are kept from INT8."""


@dataclass(frozen=True)
class Lowered:
    """A network in a precision.

    Attributes:
        model: What is written.
        flags: What the builder must set, by TensorRT's name; none where precision is in the graph.
        kept: Nodes that stay higher, and why.
        full: Names of those that a builder which goes by flags must be told to keep in FP32.
        calibrations: INT8: the ways to choose ranges that were compared, the chosen one first.
        coarse: Whether FP16, imitated by rounding what layers take and make, spoils the outputs all the same.
    """

    model: ModelProto
    flags: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    full: tuple[str, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    coarse: bool = False


def lower(
    model: ModelProto,
    precision: str,
    *,
    typed: bool,
    data: Arrays | None = None,
    methods: Sequence[str] = tuple(METHODS),
    metric: Metric | None = None,
) -> Lowered:
    """Put a model into a precision.

    Args:
        model: In FP32, or with Q/DQ pairs already, which stay as they are.
        precision: ``fp32``, ``fp16`` or ``int8``.
        typed: Whether the builder takes precision from the graph.
        data: Real inputs by name. INT8 is calibrated on them; layers that spoil the outputs on them stay
            higher.
        methods: INT8: ways to choose ranges to compare.
        metric: INT8: a score of the outputs on ``data`` that decides instead of their error.

    Raises:
        InputError: Data are missing, or the model cannot be put into it.
    """
    if is_quantised(model):
        if precision != "int8":
            raise InputError(
                f"the network is quantised already and cannot be turned into {precision}; ask for int8"
            )
        return Lowered(model, () if typed else ("INT8", "FP16"), full=_exact(model, typed))
    if precision == "int8":
        return _in_int8(model, data, typed, methods, metric)
    if precision != "fp16":
        return Lowered(model)
    found = () if data is None else _spoiled_by_half(model, data)
    spoiled = (*exact_nodes(model), *(found or ()))
    if typed:
        half, kept = to_half(model, spoiled)
        return Lowered(half, kept=kept, coarse=found is None)
    return Lowered(
        model, ("FP16",), spoiled, tuple(dict.fromkeys(kept.node for kept in spoiled)), coarse=found is None
    )


def is_quantised(model: ModelProto) -> bool:
    """Whether a model holds Q/DQ pairs."""
    return any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def _in_int8(
    model: ModelProto, data: Arrays | None, typed: bool, methods: Sequence[str], metric: Metric | None
) -> Lowered:
    if data is None:
        raise InputError("INT8 needs real inputs to calibrate on; give some dozens of samples")
    model = _with_pairs(model, typed)
    found = quantise(model, data, methods=methods, metric=metric)
    fits = _fitting(model, data, "int8", metric)
    kept = keep_from_int8(found.model, model, data, fits) or ()
    quantised = bypassed(found.model, [each.node for each in kept]) if kept else found.model
    full = () if typed else _without_half(quantised, model, data)
    if typed and default_opset(model) >= _HALF_QDQ_OPSET:
        quantised, kept = _rest_in_half(quantised, model, data, kept, fits)
    rest = (entry for entry in found.compared if entry is not found.chosen)
    return Lowered(
        quantised,
        () if typed else ("INT8", "FP16"),
        (*kept, *full),
        tuple(dict.fromkeys((*_exact(model, typed), *(each.node for each in full)))),
        calibrations=(found.chosen, *rest),
    )


def _with_pairs(model: ModelProto, typed: bool) -> ModelProto:
    """The model in an operator set that has the Q/DQ pairs wanted, where it can be brought to one."""
    if typed and default_opset(model) < _HALF_QDQ_OPSET:
        try:
            return convert_opset(model, _HALF_QDQ_OPSET)
        except InputError:  # what is not quantised stays in FP32, then
            pass
    return model if default_opset(model) >= _QDQ_OPSET else convert_opset(model, _QDQ_OPSET)


def _rest_in_half(
    quantised: ModelProto, model: ModelProto, data: Arrays, kept: tuple[Kept, ...], fits: Fits
) -> tuple[ModelProto, tuple[Kept, ...]]:
    """What is not quantised, in FP16 where that suits it: where flags decide, FP16 is one of them.

    Nothing where the two together spoil outputs that INT8 alone does not.
    """
    spoiled = _spoiled_by_half(model, data)
    if spoiled is None:
        return quantised, kept
    full = (*exact_nodes(model), *spoiled)
    pairs = _pairs_of(quantised, {each.node for each in full})
    half, stay = to_half(quantised, (*full, *pairs))
    # The runtime here does not round between all layers of an FP16 graph.
    high = {"QuantizeLinear", "DequantizeLinear", "Constant"}
    single = {each.node for each in stay}
    low = {node_name(node) for node in quantised.graph.node if node.op_type not in high} - single
    imitated = rounded(with_types(quantised), low)
    alone, both = (run_in_parts(OnnxRunner(each, optimise=False), data) for each in (quantised, imitated))
    if fits(alone) and not fits(both):
        return quantised, kept
    named = {each.node for each in (*kept, *pairs)}
    return half, (*kept, *(each for each in stay if each.node not in named))


def _pairs_of(quantised: ModelProto, layers: Collection[str]) -> tuple[Kept, ...]:
    """What dequantises for these layers alone: with a cast between, the two are no longer one kernel."""
    takers: dict[str, set[str]] = {}
    for node in quantised.graph.node:
        for name in node.input:
            takers.setdefault(name, set()).add(node_name(node))
    return tuple(
        Kept(node_name(node), node.op_type, "what takes it stays in FP32")
        for node in quantised.graph.node
        if node.op_type == "DequantizeLinear" and takers.get(node.output[0], set()) <= set(layers)
    )


def _without_half(lowered: ModelProto, model: ModelProto, data: Arrays) -> tuple[Kept, ...]:
    """Nodes beside the quantised ones that leave the range of FP16, in which a builder may run them."""
    makers = {name: node.op_type for node in lowered.graph.node for name in node.output}
    quantised = {
        node_name(node)
        for node in lowered.graph.node
        if node.op_type in QUANTISED and makers.get(node.input[0]) == "DequantizeLinear"
    }
    return tuple(each for each in find_overflows(model, data) if each.node not in quantised)


def _exact(model: ModelProto, typed: bool) -> tuple[str, ...]:
    """Nodes that must be in FP32 beside INT8: where the graph decides, they are."""
    return () if typed else tuple(kept.node for kept in exact_nodes(model))


def _spoiled_by_half(model: ModelProto, data: Arrays) -> tuple[Kept, ...] | None:
    """Nodes that leave the range of FP16, and those it is too coarse for; ``None`` where those are most."""
    overflowing = find_overflows(model, data)
    few = some_of(OnnxRunner(model), data, _FITTED)
    names = {kept.node for kept in (*exact_nodes(model), *overflowing)}
    coarse = keep_from_half(model, few, _fitting(model, few, "fp16"), names)
    return None if coarse is None else overflowing + coarse


def _fitting(model: ModelProto, data: Arrays, precision: str, metric: Metric | None = None) -> Fits:
    """Whether outputs agree with the model's on these inputs, and keep its score on them."""
    expected = run_in_parts(OnnxRunner(model), data)
    before = None if metric is None else metric(expected)

    def fits(found: Arrays) -> bool:
        if not agree(expected, found, precision):
            return False
        return metric is None or before is None or metric(found) >= before - _MAY_LOSE

    return fits
