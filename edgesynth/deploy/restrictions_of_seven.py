"""What the parser of TensorRT 7 does not take besides, by onnx-tensorrt's table ``operators.md`` for 7.2.

Earlier ones take no more; 8.0 is between two tables and is judged by the later one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from edgesynth.deploy.finding import Verdict
    from edgesynth.deploy.onnx_graph import Site

__all__ = ["objections_of_seven"]

_RESIZE: Final[Mapping[str, str]] = MappingProxyType(
    {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
)


def objections_of_seven(site: Site) -> Iterator[tuple[Verdict, str, str]]:
    """Verdict, reason and what to do, of a node whose operator is read."""
    operator = site.node.op_type
    if operator == "Resize" and site.node.input[2:]:  # with two, of opset 10, it can be no other than these
        linear = _text(site, "mode") == "linear"
        for key, only in _RESIZE.items():
            found = _text(site, key) or "by default"
            if found != only and not (linear and key == "nearest_mode"):
                yield "refused", f"{key} {found}; before 8 only {only} is read", f"export with {only}"
    elif operator == "Pad":
        yield from _pad(site)
    elif operator == "Clip":
        for index, what in ((1, "min"), (2, "max")):
            if site.input(index) and not site.scope.is_constant(site.input(index)):
                yield "refused", f"its {what} is computed, and must be an initializer", "clip to constants"
    elif operator in ("QuantizeLinear", "DequantizeLinear"):
        yield (
            "refused",
            "explicit quantisation is read from 8.0 on",
            "deploy the network that is not quantised",
        )


def _pad(site: Site) -> Iterator[tuple[Verdict, str, str]]:
    """Zeros around the last two axes."""
    pads = site.scope.constant(site.input(1))
    if pads is None and "pads" in site.attributes:  # before opset 11
        pads = np.asarray(site.attributes["pads"])
    own = np.asarray(site.attributes.get("value", 0.0))  # before opset 11, too
    value = site.scope.constant(site.input(2)) if site.input(2) else own
    half = 0 if pads is None else pads.size // 2
    outer = [] if pads is None else [*pads[: max(0, half - 2)], *pads[half : max(half, pads.size - 2)]]
    other = value is not None and np.any(value)
    if any(outer) or other or _text(site, "mode") not in ("", "constant"):
        yield "refused", "it pads other axes than the last two, or not with zeros", "pad with zeros there"
    elif pads is None or value is None:
        yield "unknown", "its pads or value are computed", "export with fixed sizes"


def _text(site: Site, key: str) -> str:
    value: Any = site.attributes.get(key)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
