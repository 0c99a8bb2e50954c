"""What TensorRT's parser does not take of an operator that it has.

One rule per row of the "Restrictions" column in ``docs/operators.md`` of onnx-tensorrt (for the releases
that :mod:`edgesynth.deploy.parser_facts` names), and what its changelog says about when a restriction went.
A rule answers with a verdict, a reason and what to do, or with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from edgesynth.deploy.finding import Verdict
from edgesynth.deploy.onnx_graph import Site
from edgesynth.deploy.restrictions_of_seven import objections_of_seven
from edgesynth.devices.release import Release

__all__ = ["Objection", "objections"]

Objection = tuple[Verdict, str, str]
"""Verdict, reason, what to do."""

_Rule = Callable[[Site, Release], Iterator[Objection]]

_RESIZE_LISTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "mode": frozenset({"nearest", "linear"}),
        "coordinate_transformation_mode": frozenset(
            {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
        ),
        "nearest_mode": frozenset({"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}),
        "keep_aspect_ratio_policy": frozenset({"stretch"}),
    }
)
_TOPK_LIMIT: Final = 3840


def objections(site: Site, release: Release) -> Iterator[Objection]:
    """What a release does not take of one node whose operator it has."""
    for rule in _RULES.get(site.node.op_type, ()):
        yield from rule(site, release)
    if release < (8, 0):
        yield from objections_of_seven(site)


def _constant_input(index: int, what: str, until: Release | None, *, optional: bool = True) -> _Rule:
    """An input that must be an initializer, in every release or before ``until``."""

    def rule(site: Site, release: Release) -> Iterator[Objection]:
        name = site.input(index)
        if until is not None and release >= until:
            return
        if (name or not optional) and not site.scope.is_constant(name):
            yield (
                "refused",
                f"its {what} ({name!r}) is computed, and must be an initializer",
                f"export with a fixed {what}, or fold constants first (onnxslim or onnx-simplifier)",
            )

    return rule


def _zero_point(site: Site, release: Release) -> Iterator[Objection]:
    name = site.input(2)
    if not name:
        if site.node.op_type == "QuantizeLinear":
            yield "refused", "without a zero point it makes UINT8, and only INT8 is read", "quantise to INT8"
        return
    kind, held = site.scope.value(name).type, site.scope.constant(name)
    if kind == "UINT8" and release >= (10, 10):
        # The changelog of 10.10 and 10.11 has UINT8 constants imported and asymmetric ranges for DLA.
        yield (
            "unknown",
            "it quantises to UINT8; the table lists INT8",
            "quantise to INT8 with zero points of 0",
        )
    elif kind in {"UINT8", "INT16", "UINT16", "INT32"}:
        yield (
            "refused",
            f"it quantises to {kind}, and only INT8 is read",
            "quantise to INT8 with zero points of 0",
        )
    elif held is None:
        yield "unknown", "its zero point is computed, and must be 0", "quantise symmetrically"
    elif np.any(np.asarray(held, dtype=np.float64) != 0):
        yield "refused", "its zero point is not 0", "quantise symmetrically"


def _resize(site: Site, release: Release) -> Iterator[Objection]:
    for key, known in _RESIZE_LISTS.items():
        chosen = _text(site.attributes.get(key))
        if chosen and chosen not in known:
            yield "refused", f"{key} {chosen!r}; known are {', '.join(sorted(known))}", "choose one of those"
    if site.attributes.get("antialias"):
        yield "refused", "antialiasing", "export with antialias=False"
    if site.input(2) and not site.scope.is_constant(site.input(2)):
        yield "unknown", "its scales are computed", "export with fixed sizes"
    if "axes" in site.attributes and release < (10, 0):
        yield "unknown", "resizing with axes is not in the tables before 10", "give scales for every axis"


def _spatial(lowest: int, highest: int) -> _Rule:
    def rule(site: Site, release: Release) -> Iterator[Objection]:
        rank = site.scope.value(site.input(0)).rank
        if rank is None or lowest <= rank - 2 <= highest:
            return
        if rank - 2 < lowest:
            # The changelog of 8.5 mends 1-d deconvolution, so some are read; the table says none.
            yield (
                "unknown",
                f"{rank - 2} spatial axes; the table lists 2 or 3 only",
                "add an axis of size 1 to be sure",
            )
        elif not (site.node.op_type.startswith("Conv") and release >= (8, 5)):
            yield "refused", f"{rank - 2} spatial axes; 2 or 3 are read", "split the operator by axis"

    return rule


def _weights(site: Site, release: Release) -> Iterator[Objection]:
    name = site.input(1)
    # Weights of a quantised layer come out of a DequantizeLinear of a constant, which 8.0 and later read.
    if release >= (8, 5) or site.scope.is_constant(name) or site.scope.is_dequantised(name):
        return
    yield "refused", f"its weight ({name!r}) is computed, and must be an initializer", "fold constants first"


def _pool(site: Site, release: Release) -> Iterator[Objection]:
    if site.has_output(1):
        yield "refused", "its output of indices", "compute them otherwise; unpooling is not read either"
    dilations = site.attributes.get("dilations") or []
    if any(step != 1 for step in dilations):
        verdict: Verdict = "refused" if release >= (10, 0) else "unknown"
        yield verdict, f"dilations {list(dilations)}; they must be 1", "pool without dilation"


def _grid_sample(site: Site, release: Release) -> Iterator[Objection]:
    rank = site.scope.value(site.input(0)).rank
    if rank == 4:
        return
    verdict: Verdict = "refused" if rank is not None and release >= (10, 0) else "unknown"
    yield (
        verdict,
        f"an input with {rank or 'an unknown number of'} axes; 4 are read",
        "sample in two dimensions",
    )


def _range(site: Site, release: Release) -> Iterator[Objection]:
    if release >= (9, 0) or all(site.scope.is_constant(name) for name in site.node.input):
        return
    kind = site.scope.value(site.input(0)).type or site.scope.value(site.node.output[0]).type
    if kind == "INT32" or (kind in {"FLOAT", "FLOAT16"} and release >= (8, 4)):
        return
    if not kind:
        yield "unknown", "computed limits of a type that could not be inferred", "export with fixed sizes"
        return
    # FeiYull/TensorRT-Alpha issue 15: INT64 Range refused on a TX2.
    yield (
        "refused",
        f"computed {kind} limits; only INT32 is read",
        "export with fixed sizes, so that it is folded",
    )


def _suppression(site: Site, release: Release) -> Iterator[Objection]:
    if release < (8, 5):
        for index, what in ((2, "max_output_boxes_per_class"), (3, "iou_threshold"), (4, "score_threshold")):
            yield from _constant_input(index, what, None)(site, release)
        yield (
            "unknown",
            "it is experimental before 8.5, and pads its output to a fixed number of boxes",
            "suppress overlaps after the network",
        )


def _branches(site: Site, release: Release) -> Iterator[Objection]:
    from edgesynth.deploy.onnx_graph import value_of

    graphs = [site.attributes.get("then_branch"), site.attributes.get("else_branch")]
    if None in graphs:
        return
    for left, right in zip(*(graph.output for graph in graphs if graph is not None), strict=False):
        one, two = value_of(left.type), value_of(right.type)
        if one.rank is None or two.rank is None:
            yield (
                "unknown",
                "its branches give shapes that are not declared",
                "decide the condition before the export",
            )
        elif one.rank != two.rank:
            yield (
                "refused",
                f"its branches give {one.rank} and {two.rank} axes",
                "decide the condition before the export",
            )
        elif one.shape != two.shape and release < (9, 0):
            yield "unknown", "its branches give shapes that differ", "decide the condition before the export"
        if left.name == right.name:
            yield "refused", f"both branches call an output {left.name!r}", "name them apart"


def _loop(site: Site, release: Release) -> Iterator[Objection]:
    from edgesynth.deploy.onnx_graph import value_of

    del release
    body = site.attributes.get("body")
    if site.node.op_type == "Loop" and body is not None:
        # After the turn and the condition comes state, and whatever is handed out besides is scanned.
        before = [value_of(value.type) for value in body.input[2:]]
        known = all(value.shape is not None and None not in value.shape for value in before)
        if known and before == [value_of(value.type) for value in body.output[1:]]:
            return
    yield "unknown", "state and scan outputs that change their shape are not read", "unroll it in the export"


def _recurrent(site: Site, release: Release) -> Iterator[Objection]:
    given = [_text(name) for name in site.attributes.get("activations") or []]
    if (
        _text(site.attributes.get("direction")) == "bidirectional"
        and given[: len(given) // 2] != given[len(given) // 2 :]
    ):
        yield "refused", "its two directions have different activations", "use the same in both"
    for key in ("input_forget", "layout"):
        if site.attributes.get(key):
            verdict: Verdict = "refused" if release >= (10, 0) else "unknown"
            yield verdict, f"{key} {site.attributes[key]}; it must be 0", f"export with {key}=0"


def _top(site: Site, release: Release) -> Iterator[Objection]:
    held = site.scope.constant(site.input(1))
    if held is not None and held.size and int(held.reshape(-1)[0]) >= _TOPK_LIMIT:
        yield "refused", f"k {int(held.reshape(-1)[0])}; it must be below {_TOPK_LIMIT}", "ask for fewer"
    if site.attributes.get("sorted", 1) != 1:
        verdict: Verdict = "refused" if release >= (10, 0) else "unknown"
        yield verdict, "sorted 0; it must be 1", "export with sorted=True"


def _layer_norm(site: Site, release: Release) -> Iterator[Objection]:
    del release
    if site.has_output(1):
        yield "refused", "its outputs beside the first", "compute mean and deviation otherwise"


def _instance_norm(site: Site, release: Release) -> Iterator[Objection]:
    if release >= (9, 0):
        return
    for index, what in ((1, "scale"), (2, "bias")):
        yield from _constant_input(index, what, None)(site, release)
    rank = site.scope.value(site.input(0)).rank
    if rank is not None and not 3 <= rank <= 5:
        yield "refused", f"{rank} axes; 3 to 5 are read", "reshape around it"


def _group_norm(site: Site, release: Release) -> Iterator[Objection]:
    if "stash_type" in site.attributes and release < (10, 9):
        yield "unknown", "the form of opset 21 came with 10.9", "export in opset 18 to 20"


def _scatter(site: Site, release: Release) -> Iterator[Objection]:
    reduction = _text(site.attributes.get("reduction")) or "none"
    if reduction == "none":
        return
    if site.node.op_type == "ScatterElements" and release >= (10, 0):
        # The changelog of 10.0 has it, by a plugin; the parser of TensorRT for RTX refuses it.
        yield "unknown", f"reduction {reduction!r}; it needs a plugin", "scatter without reduction"
    else:
        yield "refused", f"reduction {reduction!r}", "scatter without reduction"


def _einsum(site: Site, release: Release) -> Iterator[Objection]:
    equation = _text(site.attributes.get("equation"))
    terms = equation.split("->", maxsplit=1)[0].split(",")
    diagonal = any(len(set(term.strip())) != len(term.strip()) for term in terms if "." not in term)
    if release < (9, 0) and ("." in equation or diagonal):
        yield (
            "refused",
            f"the equation {equation!r} has an ellipsis or a diagonal",
            "write it as matrix products",
        )
    elif release < (10, 12) and ("." in equation or diagonal):
        yield (
            "unknown",
            f"the equation {equation!r} has an ellipsis or a diagonal",
            "write it as matrix products",
        )


def _pad(site: Site, release: Release) -> Iterator[Objection]:
    if _text(site.attributes.get("mode")) == "wrap" and release < (10, 0):
        yield "refused", "mode 'wrap'", "pad with constant, edge or reflect"
    if site.input(3) and release < (10, 4):
        yield "unknown", "axes as an input came with 10.4", "give pads for every axis"


def _attention(site: Site, release: Release) -> Iterator[Objection]:
    del release
    if any(site.scope.value(site.input(index)).rank not in {None, 4} for index in range(3)):
        yield "refused", "queries, keys and values of other than 4 axes", "split the heads before it"
    if any(site.input(index) for index in (4, 5, 6)) or any(site.has_output(index) for index in (1, 2, 3)):
        yield "refused", "past or present keys and values", "compute attention from matrix products"
    if site.attributes.get("softcap") or "qk_matmul_output_mode" in site.attributes:
        yield "refused", "softcap or qk_matmul_output_mode", "compute attention from matrix products"
    yield "unknown", "a builder of the newest release wants keys and values of one shape", "build to find out"


def _lp_pool(site: Site, release: Release) -> Iterator[Objection]:
    del release
    if site.attributes.get("p", 2) not in {1, 2}:
        yield "unknown", f"p {site.attributes['p']}; a builder of the newest release reads 1 and 2", "use p=2"


def _dropout(site: Site, release: Release) -> Iterator[Objection]:
    name = site.input(2)
    held = site.scope.constant(name) if name else None
    if name and (held is None or bool(np.any(held))):
        verdict: Verdict = "refused" if release >= (10, 0) else "unknown"
        yield verdict, "its training mode is not an initializer of False", "export in evaluation mode"


def _tensor_scatter(site: Site, release: Release) -> Iterator[Objection]:
    del release
    if (_text(site.attributes.get("mode")) or "linear") != "linear":
        yield "unknown", "mode 'circular'; a builder of the newest release reads linear", "use mode 'linear'"


def _training(site: Site, release: Release) -> Iterator[Objection]:
    del release
    if site.attributes.get("training_mode"):
        yield "refused", "training_mode 1", "export in evaluation mode"


def _argument(site: Site, release: Release) -> Iterator[Objection]:
    if release < (8, 4) and any(
        not isinstance(n, int) for n in site.scope.value(site.input(0)).shape or (None,)
    ):
        yield "unknown", "free sizes are read from 8.4 on", "export with a fixed batch"


def _reversed(site: Site, release: Release) -> Iterator[Objection]:
    if release < (8, 6) and any(
        not isinstance(n, int) for n in site.scope.value(site.input(0)).shape or (None,)
    ):
        yield "refused", "an input with free sizes", "export with a fixed batch"


def _constant(site: Site, release: Release) -> Iterator[Objection]:
    del release
    for key in ("sparse_value", "value_string", "value_strings"):
        if key in site.attributes:
            yield "refused", f"a constant of kind {key}", "store it as a dense tensor"


def _text(value: Any) -> str:  # noqa: ANN401 - an attribute of any kind
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


_AXES: Final = _constant_input(1, "axes", None)

_RULES: Final[Mapping[str, tuple[_Rule, ...]]] = MappingProxyType(
    {
        "ArgMax": (_argument,),
        "ArgMin": (_argument,),
        "Attention": (_attention,),
        "AveragePool": (_spatial(2, 3), _pool),
        "BatchNormalization": (_training,),
        "Constant": (_constant,),
        "Conv": (_spatial(2, 3), _weights),
        "ConvTranspose": (_spatial(2, 3), _weights),
        "CumSum": (_constant_input(1, "axis", (10, 8)),),
        "DequantizeLinear": (_zero_point,),
        "Dropout": (_dropout,),
        "Einsum": (_einsum,),
        "GRU": (_recurrent,),
        "GridSample": (_grid_sample,),
        "GroupNormalization": (_group_norm,),
        "If": (_branches,),
        "InstanceNormalization": (_instance_norm,),
        "LSTM": (_recurrent,),
        "LayerNormalization": (_layer_norm,),
        "Loop": (_loop,),
        "LpPool": (_pool, _lp_pool),
        "MaxPool": (_spatial(2, 3), _pool),
        "NonMaxSuppression": (_suppression,),
        "OneHot": (_constant_input(1, "depth", None),),
        "Pad": (_pad,),
        "QuantizeLinear": (_zero_point,),
        "RNN": (_recurrent,),
        "Range": (_range,),
        **{
            f"Reduce{kind}": (_AXES,)
            for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
        },
        "Resize": (_resize,),
        "ReverseSequence": (_reversed,),
        "STFT": (_constant_input(1, "frame_step", None), _constant_input(2, "window", None)),
        "Scan": (_loop,),
        "ScatterElements": (_scatter,),
        "ScatterND": (_scatter,),
        "Slice": (_constant_input(3, "axes", (10, 3)),),
        "Squeeze": (_constant_input(1, "axes", (10, 7)),),
        "TensorScatter": (_tensor_scatter,),
        "TopK": (_constant_input(1, "k", (8, 6)), _top),
        "Unsqueeze": (_constant_input(1, "axes", (10, 7)),),
    }
)
