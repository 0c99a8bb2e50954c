"""Mixed precision: layers that a lower precision spoils stay in a higher one, found by bisecting.

Every layer is put into the lower precision alone first, which ranks them by what they do to the outputs. Then
the fewest of the worst are looked for whose staying higher brings the outputs back within their tolerance.
Of a large network it is neighbouring layers together, as one, since each trial takes a copy of it.
FP16 is imitated by rounding what a layer takes and makes; INT8 by leaving out the Q/DQ pairs
of all other layers, with the ranges that were calibrated for all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.bypass import bypassed
from edgesynth.deploy.onnx_graph import with_types
from edgesynth.deploy.quantisation import QUANTISED, output_error
from edgesynth.deploy.rounding import float_tensors, rounded
from edgesynth.deploy.runners import Arrays, OnnxRunner, run_in_parts, some_of
from edgesynth.devices.half import KEPT_OPERATORS, Kept, node_name

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Fits", "keep_from_half", "keep_from_int8", "layers_to_keep"]

Fits = Callable[[Mapping[str, NDArray[Any]]], bool]
"""Whether outputs, by name, will do."""

_MOST_BYTES: Final = 20 << 30
"""Of models that ranking makes, one for each layer or each run of layers: minutes."""
_FEWEST_RUNS: Final = 8
_RANKING: Final = 8
"""Samples that layers are ranked on; whether the outputs will do is told by all."""


def layers_to_keep(
    layers: Sequence[str], alone: Callable[[str], float], fits: Callable[[Collection[str]], bool]
) -> tuple[str, ...] | None:
    """The fewest of the worst layers that have to stay higher for the outputs to be right.

    Args:
        layers: Names.
        alone: The error of the outputs with this layer alone in the lower precision.
        fits: Whether the outputs are right with these layers in the higher one.

    Returns:
        The worst first, none where none has to; ``None`` where half of them would not be enough: what is left
        would not deserve the name of the lower precision.
    """
    low, high = 0, len(layers) // 2
    if fits(()):
        return ()
    ranked = sorted(layers, key=alone, reverse=True) if high else []
    if not high or not fits(ranked[:high]):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(ranked[:middle]) else (middle, high)
    return tuple(ranked[:high])


def keep_from_int8(
    model: ModelProto, reference: ModelProto, data: Arrays, fits: Fits
) -> tuple[Kept, ...] | None:
    """The layers of a quantised model that must not be quantised for its outputs to do.

    Args:
        model: With Q/DQ pairs around every layer that can have them.
        reference: In FP32.
        data: Inputs by name, axis 0 the batch.
        fits: Whether outputs on them will do.

    Returns:
        What to give to :func:`bypassed`, none where none has to; ``None`` where the outputs do not do.

    Raises:
        InputError: A model cannot run on the inputs.
    """
    layers = {node_name(node): node for node in model.graph.node if node.op_type in QUANTISED}
    runs = _runs(list(layers), reference)
    kept = _search(
        runs, reference, data, fits, lambda lower: bypassed(model, [n for n in layers if n not in lower])
    )
    return _as_kept(kept, layers, runs, "INT8 is too coarse for it")


def keep_from_half(
    model: ModelProto, data: Arrays, fits: Fits, kept: Collection[str]
) -> tuple[Kept, ...] | None:
    """The layers of an FP32 model that must not be in FP16 for its outputs to do.

    Args:
        model: In FP32.
        data: Inputs by name, axis 0 the batch.
        fits: Whether outputs on them will do.
        kept: Layers that stay in FP32 anyway.

    Returns:
        More layers to keep, none where none has to; ``None`` where the outputs do not do.

    Raises:
        InputError: The model cannot run on the inputs.
    """
    typed = with_types(model)
    stay, floats = {"Constant", *KEPT_OPERATORS}, float_tensors(typed)
    layers = {
        node_name(node): node
        for node in typed.graph.node
        if node_name(node) not in kept and node.op_type not in stay and not floats.isdisjoint(node.output)
    }
    runs = _runs(list(layers), model)
    found = _search(runs, model, data, fits, lambda lower: rounded(typed, lower))
    return _as_kept(found, layers, runs, "FP16 is too coarse for it")


def _runs(layers: Sequence[str], model: ModelProto) -> dict[str, Sequence[str]]:
    """Layers that are tried together, by the first of them: one alone as far as that takes only minutes."""
    most = max(_FEWEST_RUNS, _MOST_BYTES // max(1, model.ByteSize()))
    each = -(-len(layers) // most) or 1
    return {layers[at]: layers[at : at + each] for at in range(0, len(layers), each)}


def _as_kept(
    firsts: Sequence[str] | None,
    layers: Mapping[str, NodeProto],
    runs: Mapping[str, Sequence[str]],
    reason: str,
) -> tuple[Kept, ...] | None:
    if firsts is None:
        return None
    return tuple(
        Kept(
            name,
            layers[name].op_type,
            reason + (f" or for one of {len(runs[first])} layers tried as one" if runs[first][1:] else ""),
        )
        for first in firsts
        for name in runs[first]
    )


def _search(
    runs: Mapping[str, Sequence[str]],
    reference: ModelProto,
    data: Arrays,
    fits: Fits,
    lowered: Callable[[Collection[str]], ModelProto],
) -> tuple[str, ...] | None:
    """The runs to keep, given how a model looks that has only some layers in the lower precision."""
    trusted = OnnxRunner(reference)
    few = some_of(trusted, data, _RANKING)
    expected = run_in_parts(trusted, few)

    def outputs(lower: Collection[str], feed: Arrays) -> dict[str, NDArray[Any]]:
        return run_in_parts(OnnxRunner(lowered(lower), optimise=False), feed)

    return layers_to_keep(
        list(runs),
        lambda first: _finite(output_error(expected, outputs(runs[first], few))),
        lambda kept: fits(
            outputs([name for first in runs if first not in kept for name in runs[first]], data)
        ),
    )


def _finite(error: float) -> float:
    return error if np.isfinite(error) else float("inf")
