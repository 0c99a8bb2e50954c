"""Before a board is asked: can the TensorRT of a device read this ONNX file?

What is known about each release is in :mod:`edgesynth.deploy.parser_facts` and
:mod:`edgesynth.deploy.restrictions`, with its sources. Where a fact is not known the verdict is ``unknown``,
never ``read``. Only a build on the device, or by a builder of the same release, proves that a network runs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.element_types import operator_types, tensor_types
from edgesynth.deploy.finding import Finding, Verdict
from edgesynth.deploy.onnx_graph import (
    Site,
    all_initializers,
    default_opset,
    read_model,
    shape_text,
    sites,
    value_of,
)
from edgesynth.deploy.parser_facts import (
    came_with,
    has_int64,
    opset_is_closed,
    opset_range,
    standing,
)
from edgesynth.deploy.restrictions import objections
from edgesynth.deploy.restrictions_of_seven import objections_of_seven
from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.devices.release import Release, parse_release
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgesynth.devices import Profile

__all__ = ["Finding", "Preflight", "preflight"]

_ORDER: Final[Mapping[Verdict, int]] = {"refused": 0, "unknown": 1, "noted": 2}


@dataclass(frozen=True)
class Preflight:
    """What is known about one file on one device; true exactly when nothing is refused.

    Attributes:
        file: The file's name.
        device: The profile's name.
        tensorrt: Its release; ``""`` when the profile does not say.
        opset: The file's default operator set.
        nodes: How many nodes there are, those of subgraphs included.
        operators: How often each operator occurs.
        findings: What was found, refusals first.
    """

    file: str
    device: str
    tensorrt: str
    opset: int
    nodes: int
    operators: Mapping[str, int]
    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return not self.refusals

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that stop a build."""
        return tuple(finding for finding in self.findings if finding.verdict == "refused")

    @property
    def verdict(self) -> str:
        """``refused``, ``unknown`` or ``read``: the worst that was found."""
        known = {finding.verdict for finding in self.findings}
        return "refused" if "refused" in known else "unknown" if "unknown" in known else "read"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "verdict": self.verdict}

    def rows(self) -> list[list[str]]:
        """One row per different finding: verdict, node (and how many more), operator, reason, what to do."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for found in self.findings:
            alike.setdefault((found.verdict, found.operator, found.reason, found.advice), []).append(
                found.node
            )
        return [
            [
                verdict,
                nodes[0] + (f" and {len(nodes) - 1} more" if nodes[1:] else ""),
                operator,
                reason,
                advice,
            ]
            for (verdict, operator, reason, advice), nodes in alike.items()
        ]


def preflight(
    model: str | os.PathLike[str] | ModelProto,
    profile: Profile,
    *,
    precision: str = "fp32",
    batch: int | None = None,
    folder: Path | None = None,
) -> Preflight:
    """Judge a file by what is known about the TensorRT of a device.

    Args:
        model: An ONNX file, or a model that was read from one.
        profile: The device.
        precision: What it is to run in.
        batch: The batch size wanted; ``None`` when any will do.
        folder: Where external data of a model that was read already lie; the file's folder by default.

    Raises:
        InputError: The file is missing, damaged or no ONNX model, the device runs no TensorRT, or it does
            not compute in this precision.
    """
    if profile.family == "host":
        raise InputError(
            f"{profile.name} runs no TensorRT, so there is nothing to check; choose a Jetson profile"
        )
    profile.precision(precision)
    name, where = "model", folder
    if isinstance(model, str | os.PathLike):
        name, where = Path(model).name, Path(model).parent
        model = read_model(model)
    release, every = parse_release(profile.software.tensorrt), sites(model)
    findings = [*_file(model, where, release, profile), *_inputs(model, release, batch)]
    if release is not None:
        for site in every:
            findings += _node(site, release, model)
        findings += tensor_types(every, model, release)
        findings += _quantised(every, profile)
    return Preflight(
        file=name,
        device=profile.name,
        tensorrt=profile.software.tensorrt,
        opset=default_opset(model),
        nodes=len(every),
        operators=dict(sorted(Counter(site.node.op_type for site in every).items())),
        findings=tuple(sorted(findings, key=lambda found: _ORDER[found.verdict])),
    )


def _file(
    model: ModelProto, folder: Path | None, release: Release | None, profile: Profile
) -> Iterator[Finding]:
    yield from _external(model, folder)
    if release is None:
        yield Finding(
            "unknown",
            "",
            "",
            f"the profile {profile.name} does not say which TensorRT it runs",
            "add software.tensorrt",
        )
        return
    if opset_range(release) is None:
        yield Finding(
            "unknown",
            "",
            "",
            f"nothing is known here about TensorRT {profile.software.tensorrt}",
            "build on the board",
        )
        return
    yield from _opset(default_opset(model), release, profile)
    if model.functions and not has_int64(release):
        names = ", ".join(sorted({function.name for function in model.functions}))
        yield Finding(
            "refused", names, "", "local functions are read from 9.0 on", "inline them before the export"
        )


def _opset(opset: int, release: Release, profile: Profile) -> Iterator[Finding]:
    lowest, highest = opset_range(release) or (0, 0)
    highest, own = max(highest, profile.compiler.opset), profile.compiler.opset
    known = f"opset {opset}; TensorRT {profile.software.tensorrt} reads {lowest} to {highest}"
    advice = f"edgesynth export converts it to opset {own} where that is possible; or export in it"
    if not opset:
        yield Finding("refused", "", "", "it declares no operator set", "export it again")
    elif opset < lowest:
        # Documented from 9 on since TensorRT 10, yet a builder of that generation read files of 7 and 8.
        yield Finding("unknown", "", "", known, advice)
    elif opset > highest:
        yield Finding("refused" if opset_is_closed(release) else "unknown", "", "", known, advice)


def _external(model: ModelProto, folder: Path | None) -> Iterator[Finding]:
    """Tensors the file keeps in other files: is each of them there, and long enough?"""
    import onnx

    for tensor in all_initializers(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        target = (folder or Path()) / location
        if not target.is_file():
            yield Finding(
                "refused",
                tensor.name,
                "",
                f"its data file {location!r} is missing",
                "copy it beside the model",
            )
        elif int(entries.get("offset", 0)) + int(entries.get("length", 0)) > target.stat().st_size:
            yield Finding(
                "refused", tensor.name, "", f"its data file {location!r} is cut off", "copy it again"
            )


def _inputs(model: ModelProto, release: Release | None, batch: int | None) -> Iterator[Finding]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if not inputs:
        yield Finding("refused", "", "", "it takes no inputs, so its outputs are constants", "store them")
    for value in inputs:
        known = value_of(value.type)
        if known.shape is None:
            # Without axes nobody can choose the sizes an engine is built for.
            yield Finding("refused", value.name, "", "an input without a shape", "declare one in the export")
            continue
        free = [axis for axis, size in enumerate(known.shape) if axis and not isinstance(size, int)]
        if free:
            yield Finding(
                "refused",
                value.name,
                "",
                f"free axes {free} besides the batch, in {shape_text(known.shape)}; engines have fixed sizes",
                "fix them: edgesynth export --input with every size",
            )
        first = known.shape[0] if known.shape else None
        if batch is not None and isinstance(first, int) and first != batch:
            yield Finding(
                "refused",
                value.name,
                "",
                f"its batch is fixed at {first}, not {batch}",
                f"export with a free batch or {batch}",
            )
        if known.type == "UINT8" and release is not None and release < (8, 5):
            yield Finding("refused", value.name, "", "UINT8 inputs are read from 8.5 on", "feed FLOAT")


def _node(site: Site, release: Release, model: ModelProto) -> Iterator[Finding]:
    operator, domain = site.node.op_type, site.node.domain
    if domain not in DEFAULT_DOMAINS:
        if not any(entry.name == operator and entry.domain == domain for entry in model.functions):
            yield Finding(
                "unknown" if domain.startswith("trt") else "refused",
                site.name,
                operator,
                f"an operator of {domain!r}, read only where a plugin of this name is installed",
                "export with standard operators",
            )
        return
    known = standing(operator, release)
    if known != "read":
        yield Finding(known, site.name, operator, *_missing(operator, release, known))
        if known == "unknown" and release < (8, 0):  # it may be there, yet it takes no more than later ones
            for verdict, reason, advice in objections_of_seven(site):
                yield Finding(verdict, site.name, operator, reason, advice)
        return
    for verdict, reason, advice in objections(site, release):
        yield Finding(verdict, site.name, operator, reason, advice)
    yield from operator_types(site, release)


def _missing(operator: str, release: Release, known: str) -> tuple[str, str]:
    version, since = ".".join(map(str, release)), came_with(operator)
    later = f"; known from {'.'.join(map(str, since))} on" if since else ""
    advice = "export it as smaller operators, or in an opset that has none"
    if known == "refused":
        return f"TensorRT {version} does not read it{later}", advice
    return f"not known whether TensorRT {version} reads it{later}", "build on the board to find out"


def _quantised(every: Sequence[Site], profile: Profile) -> Iterator[Finding]:
    compute = profile.precisions.get("int8")
    if compute is not None and compute.supported:
        return
    for site in every:
        if site.node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            reason = compute.reason if compute else "the profile does not list int8"
            yield Finding(
                "refused", site.name, site.node.op_type, reason, "deploy the network that is not quantised"
            )
