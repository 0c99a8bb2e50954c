"""Which nodes of a network leave the range of FP16, found by running it in FP32 on calibration inputs.

What is inside a branch or a loop cannot be looked at from outside, and a loop makes it anew in every turn. So
each graph inside is given one more output: the largest magnitude of all that its nodes make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from edgesynth.deploy.onnx_graph import Site, sites, subgraphs, with_types
from edgesynth.deploy.runners import WITH_TAPS, Arrays, OnnxRunner, each_part, together
from edgesynth.devices.half import HALF_MAX, Kept

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["find_overflows"]

_REACH: Final = "largest_inside"


def find_overflows(model: ModelProto, data: Arrays) -> tuple[Kept, ...]:
    """Nodes whose tensors leave the range of FP16 when the model runs on these inputs.

    Of branches and loops it is the node that holds them.

    Args:
        model: In FP32.
        data: Calibration inputs by name, axis 0 the batch.

    Raises:
        InputError: The model cannot run on them.
    """
    outer = [site for site in sites(model) if site.depth == 0]
    names = [
        name
        for site in outer
        for name in site.node.output
        if site.scope.value(name).type in {"FLOAT", ""} and name
    ]
    told, inside = _with_reach(model)
    largest: dict[str, float] = {}
    runner = OnnxRunner(told, [*names, *inside.values()], optimise=False)
    for made in each_part(runner, data, together(data, WITH_TAPS)):
        for name, value in made.items():
            if value.dtype.kind == "f":
                reach = float(np.max(np.abs(value), initial=0.0))
                # A NaN compares false, and is no overflow of ours: the FP32 model has it.
                largest[name] = reach if reach > largest.get(name, 0.0) else largest.get(name, 0.0)
    return tuple(_found(outer, largest, inside))


def _found(outer: Iterable[Site], largest: dict[str, float], inside: dict[int, str]) -> Iterator[Kept]:
    for index, site in enumerate(outer):
        taken = {*site.node.input, *(name for graph in subgraphs(site.node) for name in _taken(graph))}
        for names, reason in (
            (site.node.output, "its result"),
            (taken, "its input"),
            ((inside.get(index, ""),), "a tensor inside it"),
        ):
            reach = max((largest.get(name, 0.0) for name in names), default=0.0)
            if reach > HALF_MAX:
                yield Kept(site.name, site.node.op_type, f"{reason} leaves the range of FP16", reach)
                break


def _taken(graph: GraphProto) -> Iterator[str]:
    """Names of all that is taken in a graph, from around it as well."""
    for node in graph.node:
        yield from node.input
        for inner in subgraphs(node):
            yield from _taken(inner)


def _with_reach(model: ModelProto) -> tuple[ModelProto, dict[int, str]]:
    """A copy in which nodes with graphs inside tell the largest magnitude in there: by their index, where."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(with_types(model))
    inside = {
        index: _tell_reach(node, f"{index}_{_REACH}")
        for index, node in enumerate(copy.graph.node)
        if any(True for _ in subgraphs(node))
    }
    for told, declared in zip(copy.graph.output, model.graph.output, strict=True):
        told.CopyFrom(declared)
    return copy, inside


def _tell_reach(node: NodeProto, name: str) -> str:
    """Give a node one more output: a number, or one per turn."""
    import onnx

    for graph in subgraphs(node):
        wanted = onnx.TensorProto.FLOAT
        floats = {
            value.name
            for value in (*graph.value_info, *graph.output)
            if value.type.tensor_type.elem_type == wanted
        }
        made = [
            output
            for inner in graph.node
            if inner.op_type != "Constant"
            for output in inner.output
            if output in floats
        ]
        below = [
            _tell_reach(inner, f"{name}_{index}")
            for index, inner in enumerate(graph.node)
            if any(True for _ in subgraphs(inner))
        ]
        last = f"{name}_of_{graph.name}"
        graph.node.extend(_largest_of([*made, *below], last))
        graph.output.append(onnx.helper.make_tensor_value_info(last, wanted, ()))
    for entry in node.attribute:  # of a Scan: how the rows of every output are put together
        if entry.name in ("scan_output_axes", "scan_output_directions"):
            entry.ints.append(0)
    node.output.append(name)
    return name


def _largest_of(tensors: Iterable[str], target: str) -> Iterator[NodeProto]:
    """Nodes that find the largest magnitude in some tensors."""
    import onnx

    zero = f"{target}_zero"
    yield onnx.helper.make_node(
        "Constant", [], [zero], value=onnx.helper.make_tensor(zero, onnx.TensorProto.FLOAT, (), [0.0])
    )
    every = [zero]
    for index, tensor in enumerate(tensors):
        size, most = f"{target}_{index}_abs", f"{target}_{index}_max"
        yield onnx.helper.make_node("Abs", [tensor], [size])
        yield onnx.helper.make_node("ReduceMax", [size], [most], keepdims=0)
        every.append(most)
    yield onnx.helper.make_node("Max", every, [target])
