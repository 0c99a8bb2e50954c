"""Boxes from the outputs of a detector: what a program on the board does after the network.

Standard library only. The same as :meth:`edgesynth.tasks.DetectionTask.detections` on the host, which the
tests hold it to.
"""

import math
import re
from typing import Any, Dict, List, Mapping, Sequence, Tuple

__all__ = ["detections"]

Values = Tuple[List[int], Sequence[float]]
Box = Tuple[float, float, float, float]
Found = Tuple[float, float, float, float, float, int]
Candidate = Tuple[float, int, int, Box]

_CANDIDATES = 300
_TENSORS = {"centre": 3, "grid": 2}


def detections(outputs: Mapping[str, Values], postprocessing: Dict[str, Any]) -> List[List[Found]]:
    """Decode the outputs of a network and keep one box per object and class.

    Args:
        outputs: By name, ``(shape, values)``: the shape, the batch first, and all values in one flat
            sequence, the last axis fastest. Names that end in a number (``output_0``, ``output_1``, ...) are
            taken in the order of the numbers, other names in the order of the dict.
        postprocessing: What the bundle says: ``kind`` is ``detection``; ``head`` is ``centre`` or ``grid``
            for the raw outputs of a network, ``decoded`` for boxes and scores that it decoded itself,
            ``suppressed`` for boxes, scores and classes of which it kept one per object itself;
            ``input_size`` is height and width in pixels, the rest are thresholds.

    Returns:
        Per image, a list of ``(x0, y0, x1, y1, score, class)``, best first: pixels of the network's input, a
        confidence from 0 to 1, a class index.

    Raises:
        ValueError: The outputs are not those of the head, or the postprocessing is of another kind.
    """
    if postprocessing.get("kind") != "detection":
        raise ValueError("postprocessing is of kind %r, not 'detection'" % postprocessing.get("kind"))
    head = postprocessing["head"]
    tensors = [_checked(name, outputs[name]) for name in _ordered(outputs)]
    batch = tensors[0][0][0] if tensors else 0
    classes = len(postprocessing["classes"])
    found = []
    for image in range(batch):
        parts = [_of_image(shape, values, image) for shape, values in tensors]
        if head == "suppressed":
            found.append(_kept(parts, classes))
            continue
        if head == "decoded":
            candidates = _decoded(parts, classes, postprocessing)
        elif head in _TENSORS:
            candidates = _raw(parts, head, classes, postprocessing)
        else:
            raise ValueError("unknown detection head %r" % head)
        found.append(_suppressed(candidates, postprocessing))
    return found


def _ordered(outputs: Mapping[str, Values]) -> List[str]:
    names = list(outputs)
    numbers = [re.search(r"(\d+)$", name) for name in names]
    found = [(int(number.group(1)), name) for number, name in zip(numbers, names) if number]
    return [name for _, name in sorted(found)] if len(found) == len(names) else names


def _checked(name: str, output: Values) -> Values:
    shape, values = output
    count = 1
    for size in shape:
        count *= size
    if count != len(values):
        raise ValueError("output %r has %d values, shape %s needs %d" % (name, len(values), shape, count))
    return shape, values


def _of_image(shape: List[int], values: Sequence[float], image: int) -> Values:
    """The shape and values of one image of a batch."""
    count = len(values) // shape[0]
    return list(shape[1:]), values[image * count : (image + 1) * count]


def _sigmoid(value: float) -> float:
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    grown = math.exp(value)
    return grown / (1 + grown)


def _softplus(value: float) -> float:
    # Above 20 it is the value itself, to the last digit of single precision.
    return value if value > 20 else math.log1p(math.exp(value))


def _raw(parts: List[Values], head: str, classes: int, postprocessing: Dict[str, Any]) -> List[Candidate]:
    """Candidates ``(score, order, class, box)`` of every level's cells."""
    each = _TENSORS[head]
    if not parts or len(parts) % each:
        raise ValueError("a %s head has %d tensors a level, got %d" % (head, each, len(parts)))
    height, width = postprocessing["input_size"]
    threshold = postprocessing["score_threshold"]
    # A score is at most the class's own probability, for the centre head the root of it.
    least = threshold * threshold if head == "centre" else threshold
    floor = math.log(least / (1 - least)) - 1e-3
    found = []  # type: List[Candidate]
    before = 0
    for first in range(0, len(parts), each):
        (channels, rows, columns), logits = parts[first]
        box_shape, raw = parts[first + 1]
        if channels != classes or box_shape != [4, rows, columns]:
            raise ValueError(
                "level %d has shapes %s and %s; expected %d classes and 4 sides of equal size"
                % (first // each, parts[first][0], box_shape, classes)
            )
        stride = height / rows
        cells = rows * columns
        for label in range(classes):
            for cell in range(cells):
                logit = logits[label * cells + cell]
                if logit < floor:
                    continue
                score = _sigmoid(logit)
                if head == "centre":
                    score = math.sqrt(score * _sigmoid(parts[first + 2][1][cell]))
                if score < threshold:
                    continue
                sides = [raw[side * cells + cell] for side in range(4)]
                x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
                if head == "centre":
                    left, up, right, down = [_softplus(side) * stride for side in sides]
                    box = (x - left, y - up, x + right, y + down)
                else:
                    left, up, right, down = [side * stride for side in sides]
                    box = (x + left, y + up, x + right, y + down)
                found.append((score, (before + cell) * classes + label, label, _inside(box, height, width)))
        before += cells
    return found


def _decoded(parts: List[Values], classes: int, postprocessing: Dict[str, Any]) -> List[Candidate]:
    """Candidates of a network that decodes: boxes ``[n, 4]``, scores ``[n, classes]``."""
    if len(parts) != 2 or parts[0][0][1:] != [4] or parts[1][0] != [parts[0][0][0], classes]:
        raise ValueError(
            "decoded outputs are boxes [n, 4] and scores [n, %d], got shapes %s"
            % (classes, [shape for shape, _ in parts])
        )
    boxes, scores = parts[0][1], parts[1][1]
    threshold = postprocessing["score_threshold"]
    return [
        (score, index, index % classes, _box(boxes, index // classes))
        for index, score in enumerate(scores)
        if score >= threshold
    ]


def _kept(parts: List[Values], classes: int) -> List[Found]:
    """Objects of a network that suppresses overlaps: boxes ``[n, 4]``, scores ``[n]``, classes ``[n]``."""
    rows = parts[0][0][0] if parts else 0
    if [shape for shape, _ in parts] != [[rows, 4], [rows], [rows]]:
        raise ValueError(
            "outputs without overlaps are boxes [n, 4], scores [n] and classes [n], got shapes %s"
            % [shape for shape, _ in parts]
        )
    (_, boxes), (_, scores), (_, labels) = parts
    found = []  # type: List[Found]
    for row, score in enumerate(scores):
        label = int(labels[row])
        if score > 0 and 0 <= label < classes:
            found.append((*_box(boxes, row), score, label))
    return found


def _box(values: Sequence[float], row: int) -> Box:
    x0, y0, x1, y1 = values[4 * row : 4 * row + 4]
    return x0, y0, x1, y1


def _inside(box: Box, height: float, width: float) -> Box:
    x0, y0, x1, y1 = box
    return (
        min(max(x0, 0.0), width),
        min(max(y0, 0.0), height),
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
    )


def _suppressed(candidates: List[Candidate], postprocessing: Dict[str, Any]) -> List[Found]:
    """Greedy non-maximum suppression per class."""
    overlap, most = postprocessing["nms_iou"], postprocessing["max_detections"]
    # The best first; equal scores in the order of the outputs.
    best = sorted(candidates, key=lambda one: (-one[0], one[1]))[: max(_CANDIDATES, 3 * most)]
    kept = []  # type: List[Found]
    for score, _, label, box in best:
        if len(kept) == most:
            break
        if all(other[5] != label or _iou(box, other[:4]) <= overlap for other in kept):
            kept.append((box[0], box[1], box[2], box[3], score, label))
    return kept


def _iou(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    if across <= 0 or down <= 0:
        return 0.0
    common = across * down
    return common / (_area(one) + _area(other) - common)


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
