"""The nodes that normalise before a network, and that answer behind it.

Operators are those that every parser since TensorRT 8.2 reads at opset 13: Cast, Sub, Mul, Softmax, ArgMax,
Resize, Sigmoid, Softplus, Sqrt, Add, Max, Min, Transpose, Reshape, Slice and Concat. What is put behind the
boxes of a detector stands in :mod:`edgesynth.deploy.inside_suppression`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike

from edgesynth.deploy.onnx_graph import FreeNames, subgraphs, value_of
from edgesynth.devices.half import Kept
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

__all__ = ["Adding", "exact_nodes", "give_answer", "ranking_tensors", "take_stored"]

_OURS: Final = "inside_"
_EXACT: Final = "inside_exact_"
"""Names of nodes begin so that are to stay in FP32 in a graph of FP16."""
_SENSITIVE: Final = "its values are pixels, or decide between classes"
_TENSORS: Final[Mapping[str, int]] = {"centre": 3, "grid": 2}
"""Of each level of a detector, by its head."""


def exact_nodes(model: ModelProto) -> tuple[Kept, ...]:
    """Nodes of this module that stay in FP32 whatever the rest of the graph computes in."""
    return tuple(
        Kept(node.name, node.op_type, _SENSITIVE)
        for node in model.graph.node
        if node.name.startswith(_EXACT) and node.op_type != "Cast"
    )


def ranking_tensors(model: ModelProto) -> dict[str, str]:
    """What each output of class indices is the largest of: the tensor's name, by the output's."""
    made = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for value in model.graph.output:
        node = made.get(value.name)
        while node is not None and node.op_type == "Cast" and node.name.startswith(_OURS):
            node = made.get(node.input[0])
        if node is not None and node.op_type == "ArgMax" and node.name.startswith(_OURS):
            found[value.name] = node.input[0]
    return found


def take_stored(model: ModelProto, normalisation: Mapping[str, Any], *, as_bytes: bool) -> None:
    """Have a graph take stored values where it took normalised ones; changed in place.

    Args:
        model: With one input FLOAT ``[batch, channels, ...]``, which keeps its name and shape.
        normalisation: ``mean``, ``std`` and ``scale``, done per channel.
        as_bytes: Whether the input becomes UINT8.

    Raises:
        InputError: The graph takes something else.
    """
    import onnx

    graph = model.graph
    if len(graph.input) != 1:
        names = ", ".join(value.name for value in graph.input)
        raise InputError(
            f"--inside normalise: the network has {len(graph.input)} inputs ({names}), and a normalisation "
            "is of one; normalise in the module that is exported"
        )
    taken = graph.input[0]
    known, channels = value_of(taken.type), len(normalisation["mean"])
    shape = known.shape or ()
    if known.type != "FLOAT" or len(shape) < 2 or channels not in (1, shape[1]):
        raise InputError(
            f"--inside normalise: the input {taken.name!r} is {known.type} {list(shape)}, and the data are "
            f"normalised in {channels} channels; it is for FLOAT [batch, {channels}, ...]"
        )
    add = Adding(graph)
    mean, std = (np.asarray(normalisation[name], np.float64) for name in ("mean", "std"))
    scale = float(normalisation["scale"])
    sizes = (1, channels) + (1,) * (len(shape) - 2)
    ready = add.free(f"{taken.name}_normalised")
    _rename(graph, taken.name, ready)
    source, before = taken.name, len(graph.node)
    if as_bytes:
        taken.type.tensor_type.elem_type = onnx.TensorProto.UINT8
        source = add.node("Cast", [source], "stored", to=onnx.TensorProto.FLOAT)
    centred = add.node("Sub", [source, add.constant("mean", (mean / scale).reshape(sizes))], "centred")
    add.node("Mul", [centred, add.constant("factor", (scale / std).reshape(sizes))], "factor", output=ready)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes[before:], *nodes[:before]])


def give_answer(model: ModelProto, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Have a graph give the task's answer where it gave outputs; changed in place.

    Args:
        model: Gives what the task's networks give.
        answer: The task's postprocessing.

    Returns:
        ``names`` of the outputs there are now; of a segmentation the ``channels`` there were, of a detector
        the ``levels``, rows and columns. Of a detector whose overlaps are to be ``suppressed``, the outputs
        there are now are its ``cells``, and ``names`` are free for what
        :func:`edgesynth.deploy.inside_suppression.suppress` makes of them.

    Raises:
        InputError: The graph gives something else.
    """
    kinds = {"classification": _classify, "segmentation": _segment, "detection": _detect}
    return kinds[str(answer["kind"])](model.graph, answer)


class Adding:
    """Adds nodes and constants with names that the graph has not.

    Args:
        graph: Where.
    """

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.free = FreeNames(graph).like

    def constant(self, name: str, value: ArrayLike, kind: type[np.generic] = np.float32) -> str:
        """A constant; its name in the graph."""
        import onnx

        held = np.asarray(value, dtype=kind)
        made = self.free(f"{_OURS}{name}")
        self.graph.initializer.append(onnx.numpy_helper.from_array(held, made))
        return made

    def node(
        self,
        operator: str,
        inputs: Sequence[str],
        name: str,
        *,
        output: str = "",
        exact: bool = True,
        **attributes: Any,  # noqa: ANN401 - as ONNX has them
    ) -> str:
        """A node; the name of what it makes."""
        import onnx

        made = output or self.free(f"{_OURS}{name}")
        called = (_EXACT if exact else _OURS) + made.removeprefix(_OURS)
        self.graph.node.append(
            onnx.helper.make_node(operator, list(inputs), [made], name=called, **attributes)
        )
        return made

    def pair(
        self,
        operator: str,
        inputs: Sequence[str],
        names: tuple[str, str],
        *,
        exact: bool,
        named: bool = False,
        **attributes: Any,  # noqa: ANN401 - as ONNX has them
    ) -> list[str]:
        """A node with two results, under names that are free unless they are ``named`` so already."""
        import onnx

        made = list(names) if named else [self.free(f"{_OURS}{name}") for name in names]
        called = (_EXACT if exact else _OURS) + made[0].removeprefix(_OURS)
        self.graph.node.append(onnx.helper.make_node(operator, list(inputs), made, name=called, **attributes))
        return made

    def give(self, outputs: Mapping[str, tuple[int, Sequence[int | str | None]]]) -> dict[str, Any]:
        """Have the graph give these, by element type and shape, and nothing else."""
        import onnx

        del self.graph.output[:]
        self.graph.output.extend(
            onnx.helper.make_tensor_value_info(name, kind, list(shape))
            for name, (kind, shape) in outputs.items()
        )
        return {"names": list(outputs)}


def _rename(graph: GraphProto, name: str, to: str) -> None:
    """Have all that takes a tensor take another one, inside branches and loops too."""
    for node in graph.node:
        for index, taken in enumerate(node.input):
            if taken == name:
                node.input[index] = to
        for inner in subgraphs(node):
            _rename(inner, name, to)
            for value in inner.output:
                if value.name == name:
                    value.name = to


def _shape(value: Any, what: str, wanted: str, rank: int) -> tuple[int | str | None, ...]:  # noqa: ANN401
    known = value_of(value.type)
    sizes = known.shape or ()
    if known.type != "FLOAT" or len(sizes) != rank or any(not isinstance(size, int) for size in sizes[1:]):
        raise InputError(
            f"--inside answer: {what} is answered from {wanted} of FLOAT and of fixed sizes, and the output "
            f"{value.name!r} is {known.type or 'of an unknown type'} {list(sizes)}"
        )
    return sizes


def _only(graph: GraphProto, what: str, wanted: str, rank: int) -> tuple[str, tuple[int | str | None, ...]]:
    if len(graph.output) != 1:
        names = ", ".join(value.name for value in graph.output)
        raise InputError(
            f"--inside answer: {what} is answered from one output, and the network has {len(graph.output)} "
            f"({names})"
        )
    return graph.output[0].name, _shape(graph.output[0], what, wanted, rank)


def _classify(graph: GraphProto, answer: Mapping[str, Any]) -> dict[str, Any]:
    import onnx

    del answer
    logits, (batch, classes) = _only(graph, "a classification", "[batch, classes]", 2)
    add = Adding(graph)
    shares, index = add.free("probabilities"), add.free("class")
    # Of the logits: probabilities of large ones are equal in FP16, and in FP32 the smaller ones are 0.
    best = add.node("ArgMax", [logits], "best", axis=1, keepdims=0)
    add.node("Softmax", [logits], "shares", output=shares, axis=1)
    add.node("Cast", [best], "class", output=index, to=onnx.TensorProto.INT32)
    kinds = onnx.TensorProto
    return add.give({shares: (kinds.FLOAT, (batch, classes)), index: (kinds.INT32, (batch,))})


def _segment(graph: GraphProto, answer: Mapping[str, Any]) -> dict[str, Any]:
    import onnx

    logits, shape = _only(graph, "a segmentation", "[batch, classes, rows, columns]", 4)
    low, size = [int(str(length)) for length in shape[2:]], [int(length) for length in answer["size_pixels"]]
    add = Adding(graph)
    if low != size:
        if answer.get("resize") != "bilinear" or answer.get("align_corners"):
            raise InputError(
                "--inside answer: outputs are magnified bilinearly, the middles of the outer pixels half a "
                f"pixel inside; the task says {dict(answer)}"
            )
        factors = np.asarray([1.0, 1.0, *(full / part for full, part in zip(size, low, strict=True))])
        # The size is cut down to whole pixels by whoever reads the file.
        reached = [
            int(part * factor) for part, factor in zip(low, factors[2:].astype(np.float32), strict=True)
        ]
        if reached != size:
            raise InputError(
                f"--inside answer: {low[0]} x {low[1]} cannot be magnified to {size[0]} x {size[1]} pixels "
                "by factors of 32 bits; give a network whose stride divides its input"
            )
        logits = add.node(
            "Resize",
            [logits, "", add.constant("factors", factors)],
            "full_size",
            exact=False,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
    mask = add.free("mask")
    best = add.node("ArgMax", [logits], "best", exact=False, axis=1, keepdims=0)
    add.node("Cast", [best], "mask", output=mask, exact=False, to=onnx.TensorProto.INT32)
    return {**add.give({mask: (onnx.TensorProto.INT32, (shape[0], *size))}), "channels": shape[1]}


def _detect(graph: GraphProto, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Boxes and confidences of every cell, as the heads of :mod:`edgesynth.tasks.detection.heads` say."""
    import onnx

    head, classes = str(answer["head"]), len(answer["classes"])
    each = _TENSORS.get(head, 0)
    if not each or not graph.output or len(graph.output) % each:
        raise InputError(
            f"--inside answer: {len(graph.output)} outputs are not those of a {head!r} head; known are "
            f"{', '.join(_TENSORS)} with {', '.join(map(str, _TENSORS.values()))} for each level"
        )
    height, width = (int(length) for length in answer["input_size"])
    add, levels, batch = Adding(graph), [], None
    rows: list[list[str]] = [[] for _ in range(each)]
    centres, strides = [], []
    wanted = (classes, 4, 1)
    for index, value in enumerate(list(graph.output)):
        shape = _shape(value, "a detection", "[batch, channels, rows, columns]", 4)
        down, across = (int(str(length)) for length in shape[2:])
        if shape[1] != wanted[index % each] or height % down or height // down * across != width:
            raise InputError(
                f"--inside answer: the output {value.name!r} is {list(shape)}, and a {head} head of "
                f"{classes} classes has {wanted[index % each]} channels there, in square cells on {height} x "
                f"{width} pixels"
            )
        cells = down * across
        flat = add.node("Transpose", [value.name], "by_cell", perm=[0, 2, 3, 1])
        sizes = add.constant("sizes", [-1, cells, shape[1]], np.int64)
        rows[index % each].append(add.node("Reshape", [flat, sizes], "rows"))
        if index % each == 0:
            batch = shape[0]
            levels.append([down, across])
            stride = height / down
            y, x = np.meshgrid(
                (np.arange(down) + 0.5) * stride, (np.arange(across) + 0.5) * stride, indexing="ij"
            )
            centres.append(np.stack([x.ravel(), y.ravel()], 1))
            strides.append(np.full((cells, 1), stride))
    joined = [add.node("Concat", part, "cells", axis=1) if len(part) > 1 else part[0] for part in rows]
    suppressed = bool(answer.get("suppressed"))
    before = f"{_OURS}cells_" if suppressed else ""
    confidences, boxes = add.free(f"{before}scores"), add.free(f"{before}boxes")
    places, steps = np.concatenate(centres), add.constant("strides", np.concatenate(strides)[None])
    if head == "centre":
        shares = [add.node("Sigmoid", [joined[part]], "shares") for part in (0, 2)]
        add.node("Sqrt", [add.node("Mul", shares, "product")], "scores", output=confidences)
        away = add.node("Mul", [add.node("Softplus", [joined[1]], "distances"), steps], "away")
        # Left and up go the other way.
        away = add.node("Mul", [away, add.constant("signs", [-1.0, -1.0, 1.0, 1.0])], "signed")
    else:
        add.node("Sigmoid", [joined[0]], "scores", output=confidences)
        away = add.node("Mul", [joined[1], steps], "away")
    sides = add.node("Add", [away, add.constant("centres", np.tile(places, 2)[None])], "sides")
    inner = add.node("Max", [sides, add.constant("least", np.zeros(4))], "inner")
    add.node("Min", [inner, add.constant("most", [width, height, width, height])], "boxes", output=boxes)
    count, floating = len(places), onnx.TensorProto.FLOAT
    given = add.give({boxes: (floating, (batch, count, 4)), confidences: (floating, (batch, count, classes))})
    if suppressed:
        free = [add.free(name) for name in ("boxes", "scores", "classes")]
        given = {"cells": given["names"], "names": free}
    return {**given, "levels": levels}
