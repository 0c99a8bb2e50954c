"""The nodes that keep one box per object, as :func:`edgesynth.tasks.detection.boxes.suppressed` does.

NonMaxSuppression gives as many rows as boxes stay, and a builder need not have it: that of TensorRT for RTX
parses it and has nothing to run it. What stays is therefore reached from the overlaps of all candidates, by a
Loop that applies the one rule (a box goes if a better box of its class that stays overlaps it too much) until
nothing changes, in sizes that never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgesynth.deploy.inside_graph import Adding
from edgesynth.deploy.onnx_graph import value_of
from edgesynth.devices.release import parse_release

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from edgesynth.devices import Profile

__all__ = ["leaves_overlaps", "suppress"]

_SINCE: Final = (8, 5)
"""The first TensorRT that suppression is put into the graph for."""
_MOST: Final = 500
"""Objects of an image up to which it is: the table of overlaps grows with their square."""


def leaves_overlaps(profile: Profile, max_detections: int) -> str:
    """Why overlapping boxes are left to be suppressed after a device's engine; empty where they are not."""
    if max_detections > _MOST:
        return (
            f"suppression inside is for at most {_MOST} objects of an image, and these are {max_detections}"
        )
    release = parse_release(profile.software.tensorrt)
    if release is not None and release >= _SINCE:
        return ""
    known = f"has {profile.software.tensorrt}" if release is not None else "does not say which it has"
    return f"suppression inside is for TensorRT 8.5 and newer, and {profile.name} {known}"


def suppress(model: ModelProto, answer: Mapping[str, Any]) -> None:
    """Have a graph give objects where it gave the boxes and confidences of cells; changed in place.

    Args:
        model: Gives the ``cells`` of the answer, FLOAT ``[batch, cells, 4]`` and ``[batch, cells, classes]``.
        answer: The task's postprocessing, with ``cells`` and the ``names`` of what is to come out: boxes
            ``[batch, rows, 4]``, confidences ``[batch, rows]`` and class indices ``[batch, rows]``, best
            first. Rows that are no object are 0, of the class -1.
    """
    import onnx

    from edgesynth.tasks.detection.boxes import candidates_for

    graph = model.graph
    batch, cells, classes = value_of(graph.output[1].type).shape or ()
    assert isinstance(cells, int)
    assert isinstance(classes, int)
    most = int(answer["max_detections"])
    candidates = min(candidates_for(most), cells * classes)
    rows = min(most, candidates)
    add = _Objects(Adding(graph), batch, candidates)
    boxes, scores, labels = add.best(answer, cells, classes)
    kept = add.kept(add.rivals(boxes, labels, float(answer["nms_iou"])), add.valid)
    left = add.node("Mul", [scores, kept], "kept_scores")
    given = dict(zip(("boxes", "scores", "classes"), answer["names"], strict=True))
    add.rows(left, boxes, labels, rows, given)
    kinds = onnx.TensorProto
    add.adding.give(
        {
            given["boxes"]: (kinds.FLOAT, (batch, rows, 4)),
            given["scores"]: (kinds.FLOAT, (batch, rows)),
            given["classes"]: (kinds.INT32, (batch, rows)),
        }
    )


class _Objects:
    """Adds the nodes, part by part.

    Args:
        adding: To the graph.
        batch: Samples; a name or nothing where their number is free.
        candidates: Of each sample.
    """

    def __init__(self, adding: Adding, batch: int | str | None, candidates: int) -> None:
        self.adding, self.batch, self.candidates = adding, batch, candidates
        self.node = adding.node
        self.axis = [adding.constant(f"axis_{index}", [index], np.int64) for index in range(4)]
        self.half = adding.constant("half", 0.5)
        self.valid = ""

    def best(self, answer: Mapping[str, Any], cells: int, classes: int) -> tuple[str, str, str]:
        """The best pairs of cell and class, best first; what is below the threshold is not ``valid``."""
        boxes, scores = answer["cells"]
        constant, node = self.adding.constant, self.node
        sizes = constant("pairs", [-1, cells * classes], np.int64)
        flat = node("Reshape", [scores, sizes], "flat")
        wanted = constant("candidates", [self.candidates], np.int64)
        found, place = self.adding.pair("TopK", [flat, wanted], ("best_scores", "best"), axis=1, exact=True)
        per_cell = constant("classes", classes, np.int64)
        cell = node("Div", [place, per_cell], "cell", exact=False)
        first = node("Mul", [cell, per_cell], "first", exact=False)
        labels = node("Sub", [place, first], "labels", exact=False)
        least = constant("score_threshold", float(answer["score_threshold"]))
        enough = node("GreaterOrEqual", [found, least], "enough")
        self.valid = self._number(enough, "valid")
        return self._picked(boxes, cell, "best_boxes"), found, labels

    def rivals(self, boxes: str, labels: str, most: float) -> str:
        """Whether one would have another go if it stayed, ``[batch, candidates, candidates]``."""
        constant, node = self.adding.constant, self.node
        halves, ones = (constant(f"parts_of_{size}", [size, size], np.int64) for size in (2, 1))
        low, high = self.adding.pair("Split", [boxes, halves], ("low", "high"), axis=2, exact=True)
        start = node("Max", self._crossed(low, "low"), "start")
        end = node("Min", self._crossed(high, "high"), "end")
        both = node("Relu", [node("Sub", [end, start], "between")], "common_sides")
        sides = self.adding.pair("Split", [both, ones], ("across", "down"), axis=3, exact=True)
        common = node("Squeeze", [node("Mul", sides, "common_area"), self.axis[3]], "common")
        size = node("Relu", [node("Sub", [high, low], "size")], "sides_of_boxes")
        sides = self.adding.pair("Split", [size, ones], ("width", "height"), axis=2, exact=True)
        area = node("Mul", sides, "area")
        areas = node("Add", [area, node("Transpose", [area], "area_of_second", perm=[0, 2, 1])], "areas")
        union = node("Max", [node("Sub", [areas, common], "covered"), constant("some", 1e-9)], "union")
        overlap = node("Div", [common, union], "overlap")
        much = self._number(node("Greater", [overlap, constant("nms_iou", most)], "much"), "overlapping")
        alike = node("Equal", self._crossed(labels, "label", exact=False), "alike", exact=False)
        better = constant("better", np.triu(np.ones((self.candidates, self.candidates)), 1))
        of_class = node("Mul", [much, self._number(alike, "of_class")], "overlapping_of_class")
        return node("Mul", [of_class, better], "rivals")

    def kept(self, rivals: str, valid: str) -> str:
        """Which candidates stay, 1 or 0; in numbers that FP16 tells apart."""
        import onnx

        make, free = onnx.helper, self.adding.free
        kinds = onnx.TensorProto
        turn, go, before, after, more = (
            free(f"inside_{name}") for name in ("turn", "go", "before", "after", "more")
        )
        body: list[NodeProto] = []

        def node(operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:  # noqa: ANN401
            made = output or free(f"inside_turn_{operator.lower()}")
            body.append(make.make_node(operator, inputs, [made], name=f"{made}_node", **attributes))
            return made

        against = node("Mul", [rivals, node("Unsqueeze", [before, self.axis[2]])])
        count = node("ReduceSum", [against, self.axis[1]], keepdims=0)
        unbeaten = node("Cast", [node("Less", [count, self.half])], to=kinds.FLOAT)
        node("Mul", [unbeaten, valid], after)
        change = node("Sub", [after, before])
        changes = node("ReduceSum", [node("Mul", [change, change])], keepdims=0)
        node("Greater", [changes, self.half], more)

        def value(name: str, kind: int, *shape: int | str | None) -> Any:  # noqa: ANN401
            return make.make_tensor_value_info(name, kind, list(shape))

        graph = make.make_graph(
            body,
            "inside_turn",
            [
                value(turn, kinds.INT64),
                value(go, kinds.BOOL),
                value(before, kinds.FLOAT, self.batch, self.candidates),
            ],
            [value(more, kinds.BOOL), value(after, kinds.FLOAT, self.batch, self.candidates)],
        )
        constant = self.adding.constant
        # One more candidate is settled in every turn, at the least.
        turns, yes = constant("turns", self.candidates, np.int64), constant("yes", True, np.bool_)
        return self.node("Loop", [turns, yes, valid], "kept", exact=False, body=graph)

    def rows(self, scores: str, boxes: str, labels: str, rows: int, names: Mapping[str, str]) -> None:
        """The best of those that stay, and rows of nothing where there are fewer."""
        import onnx

        node, constant = self.node, self.adding.constant
        wanted = constant("rows", [rows], np.int64)
        outputs = (names["scores"], self.adding.free("inside_row"))
        best, place = self.adding.pair("TopK", [scores, wanted], outputs, axis=1, exact=True, named=True)
        there = node("Greater", [best, constant("nothing", 0.0)], "there")
        box = self._picked(boxes, place, "object_boxes")
        present = node("Unsqueeze", [self._number(there, "present"), self.axis[2]], "present_box")
        node("Mul", [box, present], "boxes", output=names["boxes"])
        label = self._picked(labels, place, "object_labels", exact=False)
        none = constant("no_class", -1, np.int64)
        known = node("Where", [there, label, none], "known", exact=False)
        node("Cast", [known], "classes", output=names["classes"], to=onnx.TensorProto.INT32)

    def _number(self, truth: str, name: str) -> str:
        import onnx

        return self.node("Cast", [truth], name, to=onnx.TensorProto.FLOAT)

    def _picked(self, values: str, places: str, name: str, *, exact: bool = True) -> str:
        """Of every sample what stands at its own places."""
        column = self.node("Unsqueeze", [places, self.axis[2]], f"{name}_places", exact=False)
        return self.node("GatherND", [values, column], name, exact=exact, batch_dims=1)

    def _crossed(self, values: str, name: str, *, exact: bool = True) -> list[str]:
        """For all pairs: of the first candidate, and of the second."""
        return [
            self.node("Unsqueeze", [values, self.axis[axis]], f"{name}_{which}", exact=exact)
            for axis, which in ((2, "of_first"), (1, "of_second"))
        ]
