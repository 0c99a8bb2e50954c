"""Element types: which of them a release of TensorRT reads, where, and with which loss.

From the heads of the operator tables that :mod:`edgesynth.deploy.parser_facts` names. INT64 is cast down to
INT32 before 9.0; DOUBLE is cast down to FLOAT in every release; UINT8 is for inputs and outputs, from 8.5 on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from edgesynth.deploy.finding import Finding, Verdict
from edgesynth.deploy.onnx_graph import Site, value_of
from edgesynth.deploy.parser_facts import allowed_types, has_int64
from edgesynth.devices.release import Release

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["operator_types", "tensor_types"]

_MAX_AXES: Final = 8
"""``nvinfer1::Dims::MAX_DIMS``: no TensorRT tensor has more."""
_INT32: Final = np.iinfo(np.int32)
_READ: Final = frozenset({"FLOAT", "FLOAT16", "INT32", "INT64", "INT8", "BOOL"})
"""Element types every release reads, INT64 by casting it down before 9.0."""
_CONVERSIONS: Final = frozenset({"Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Identity"})
_GPU_TYPES: Final = ("FLOAT8", "FLOAT4", "INT4", "UINT4")


def operator_types(site: Site, release: Release) -> Iterator[Finding]:
    """Integer arithmetic where the tables of TensorRT 8 list floating point alone."""
    yield from _small_integers(site, release)
    allowed = allowed_types(site.node.op_type, release)
    kind = site.scope.value(site.input(0) or site.node.output[0]).type
    if site.node.op_type == "ConstantOfShape":
        kind = site.scope.value(site.node.output[0]).type
    if allowed is None or not kind or kind in allowed or kind == "DOUBLE":
        return
    # Shapes are computed in integers, and the builder may fold such nodes: nobody says which.
    yield Finding(
        "unknown",
        site.name,
        site.node.op_type,
        f"it works on {kind}; the table lists {', '.join(sorted(allowed))}",
        "export with fixed sizes, so that it is folded, or compute in FLOAT",
    )


def _small_integers(site: Site, release: Release) -> Iterator[Finding]:
    """INT8 and UINT8 where they are neither cast nor quantised: no table from 10 on lists them."""
    if site.node.op_type in _CONVERSIONS:
        return
    kinds = {site.scope.value(name).type for name in site.node.input if name}
    small = kinds & ({"UINT8"} if release < (10, 0) else {"UINT8", "INT8"})
    if small:
        reason = f"it works on {', '.join(sorted(small))}, which is for inputs, outputs and Q/DQ pairs"
        yield Finding("unknown", site.name, site.node.op_type, reason, "cast to FLOAT or INT32 before it")


def tensor_types(every: Sequence[Site], model: ModelProto, release: Release) -> Iterator[Finding]:
    """Element types and numbers of axes that a release does not read, wherever a tensor has them."""
    seen: set[tuple[str, str]] = set()
    outer = [(value.name, "", value_of(value.type)) for value in (*model.graph.input, *model.graph.output)]
    made = [
        (site.name, site.node.op_type, site.scope.value(name))
        for site in every
        for name in site.node.output
        if name
    ]
    for name, operator, value in (*outer, *made):
        if value.rank is not None and value.rank > _MAX_AXES:
            yield Finding(
                "refused", name, operator, f"{value.rank} axes; at most {_MAX_AXES}", "reshape before it"
            )
        verdict, reason, advice = _element(value.type, release, inside=bool(operator))
        if verdict is not None and (name, value.type) not in seen:
            seen.add((name, value.type))
            yield Finding(verdict, name, operator, reason, advice)
    if not has_int64(release):
        yield from _large_integers(every)


def _element(kind: str, release: Release, *, inside: bool) -> tuple[Verdict | None, str, str]:
    """What a release makes of an element type; no verdict when it is just read."""
    if kind == "FLOAT16" and release < (8, 4):
        # The changelog of 8.4: "native FP16 support for importing initializers".
        return (
            "unknown",
            "FLOAT16 in the graph is read natively from 8.4 on",
            "keep FLOAT and set a builder flag",
        )
    if (
        not kind
        or kind in _READ
        or (kind == "UINT8" and not inside)
        or (kind == "BFLOAT16" and release >= (9, 0))
    ):
        return None, "", ""
    if kind == "UINT8" and release >= (10, 10):
        return "unknown", "UINT8 inside a network; it is for inputs and outputs", "cast it to FLOAT first"
    if kind == "DOUBLE":
        return "noted", "DOUBLE is cast down to FLOAT, and clamped", "export in FLOAT"
    if kind.startswith(_GPU_TYPES):
        return (
            ("unknown" if release >= (9, 0) else "refused"),
            f"{kind} depends on the GPU",
            "use INT8 or FLOAT16",
        )
    later = {"UINT8": " inside a network, only as its input or output", "BFLOAT16": " before 9.0"}.get(
        kind, ""
    )
    return "refused", f"{kind} is not read{later}", "cast it to FLOAT, or keep it out of the network"


def _large_integers(every: Sequence[Site]) -> Iterator[Finding]:
    done: set[str] = set()
    for site in every:
        for name in site.node.input:
            held = site.scope.constant(name) if name and name not in done else None
            done.add(name)
            if held is None or held.dtype != np.int64 or not held.size:
                continue
            # Ends of slices are the largest integer on purpose, and clamping keeps their meaning.
            if site.node.op_type != "Slice" and (held.max() > _INT32.max or held.min() < _INT32.min):
                yield Finding(
                    "noted",
                    site.name,
                    site.node.op_type,
                    f"{name!r} is clamped to INT32",
                    "use smaller integers",
                )
