"""What the outputs of a network mean, as ``processing.json`` of its bundle says.

Standard library; NumPy makes it faster where it is installed.
"""

import array
import math
import struct
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from edgesynth.agent.detections import detections
from edgesynth.agent.errors import Refusal

__all__ = ["BoxAnswer", "ClassAnswer", "MaskAnswer", "answers_of", "floats_of", "told"]

_TYPES = {"<f4": "f", "<f8": "d", "<i4": "i", "<i8": "q", "|i1": "b", "|u1": "B", "|b1": "B"}
_MOST_CLASSES = 256  # a mask has one byte per pixel

Outputs = Mapping[str, Tuple[Sequence[int], Sequence[float]]]


class ClassAnswer(NamedTuple):
    """One class for one sample.

    Attributes:
        number: Of the class, from 0.
        label: Its name; the number as text where the bundle has no names.
        confidence: Its probability, from 0 to 1.
    """

    number: int
    label: str
    confidence: float


class MaskAnswer(NamedTuple):
    """One class per pixel of one sample.

    Attributes:
        height: Pixels.
        width: Pixels.
        classes: Index of the class of every pixel, row by row, one byte each.
    """

    height: int
    width: int
    classes: bytes


class BoxAnswer(NamedTuple):
    """One object in one picture.

    Attributes:
        box: Left, top, right and bottom in pixels of the network's input.
        number: Of the class, from 0.
        label: Its name; the number as text where the bundle has no names.
        confidence: From 0 to 1.
    """

    box: Tuple[float, float, float, float]
    number: int
    label: str
    confidence: float


def answers_of(
    outputs: Outputs, postprocessing: Any, labels: Sequence[str] = (), order: Sequence[str] = ()
) -> List[Any]:
    """One answer per sample.

    Args:
        outputs: By name, shape and numbers in C order.
        postprocessing: That of ``processing.json``.
        labels: Names of the classes.
        order: The names of the outputs as the network returns them; an engine may have them in another order.

    Returns:
        :class:`ClassAnswer`, :class:`MaskAnswer`, or a list of :class:`BoxAnswer`, by the kind of task.

    Raises:
        Refusal: The bundle does not say what outputs mean, or they do not fit what it says; kind ``data``.
    """
    kind = postprocessing.get("kind") if isinstance(postprocessing, dict) else None
    if kind in ("classification", "segmentation") and postprocessing.get("inside"):
        return _given(outputs, kind, list(postprocessing.get("outputs", ())), labels)
    if kind == "classification":
        return _classes(_only(outputs, 2), labels)
    if kind == "segmentation":
        return _masks(_only(outputs, 4), postprocessing)
    if kind == "detection":
        named = [outputs[name] for name in (order if sorted(order) == sorted(outputs) else outputs)]
        return _boxes(named, postprocessing, labels)
    said = "of the kind {!r}".format(kind) if kind else "not given in processing.json"
    raise Refusal(
        "data", "what the outputs mean is {}, which this program does not know; use infer()".format(said)
    )


def floats_of(descr: str, data: Any) -> Sequence[float]:
    """The numbers of a ``.npy`` file's type in some bytes.

    Raises:
        Refusal: The type is another; kind ``data``.
    """
    if descr == "<f2":
        return struct.unpack("<{}e".format(len(data) // 2), data)
    if descr not in _TYPES:
        raise Refusal("data", "outputs of the type {} have no numbers to answer with".format(descr))
    return array.array(_TYPES[descr], bytes(data))


def _only(outputs: Outputs, axes: int) -> Tuple[Sequence[int], Sequence[float]]:
    found = list(outputs.values())
    if len(found) != 1 or len(found[0][0]) != axes:
        shapes = ", ".join(
            "{} {}".format(name, "x".join(map(str, shape))) for name, (shape, _) in outputs.items()
        )
        raise Refusal("data", "one output with {} axes is needed; there are {}".format(axes, shapes))
    return found[0]


def _given(outputs: Outputs, kind: str, names: List[str], labels: Sequence[str]) -> List[Any]:
    """Answers that the engine has made itself."""
    axes = (2, 1) if kind == "classification" else (3,)
    if [len(outputs[name][0]) for name in names if name in outputs] != list(axes):
        raise Refusal(
            "data",
            "the engine answers itself with {}, and its outputs {} are no such answers; deploy anew".format(
                " and ".join(names), ", ".join(outputs)
            ),
        )
    if kind == "classification":
        (_, classes), shares = outputs[names[0]]
        numbers = [int(number) for number in outputs[names[1]][1]]
        return [
            ClassAnswer(
                number,
                labels[number] if number < len(labels) else str(number),
                shares[sample * classes + number],
            )
            for sample, number in enumerate(numbers)
        ]
    (_, height, width), values = outputs[names[0]]
    size = height * width
    return [
        MaskAnswer(height, width, _bytes_of(values[start : start + size]))
        for start in range(0, len(values), size)
    ]


def _bytes_of(classes: Sequence[float]) -> bytes:
    try:
        return bytes([int(number) for number in classes])
    except ValueError as error:
        raise Refusal("data", "a mask has classes from 0 to {}".format(_MOST_CLASSES - 1)) from error


def _classes(output: Tuple[Sequence[int], Sequence[float]], labels: Sequence[str]) -> List[Any]:
    (samples, classes), values = output
    found = []
    for sample in range(samples):
        row = values[sample * classes : (sample + 1) * classes]
        index = max(range(classes), key=row.__getitem__)
        confidence = 1 / sum(math.exp(value - row[index]) for value in row)
        label = labels[index] if index < len(labels) else str(index)
        found.append(ClassAnswer(index, label, confidence))
    return found


def _boxes(
    outputs: List[Tuple[Sequence[int], Sequence[float]]],
    postprocessing: Dict[str, Any],
    labels: Sequence[str],
) -> List[Any]:
    named = {"output_%d" % index: (list(shape), values) for index, (shape, values) in enumerate(outputs)}
    try:
        found = detections(named, postprocessing)
    except (ValueError, KeyError) as error:
        raise Refusal("data", "the outputs are not those of a detector: {}".format(error)) from error
    return [
        [
            BoxAnswer(
                (x0, y0, x1, y1), number, labels[number] if number < len(labels) else str(number), score
            )
            for x0, y0, x1, y1, score, number in objects
        ]
        for objects in found
    ]


def _masks(output: Tuple[Sequence[int], Sequence[float]], postprocessing: Mapping[str, Any]) -> List[Any]:
    shape, values = output
    classes, low = shape[1], (shape[2], shape[3])
    height, width = postprocessing.get("size_pixels", low)
    if classes > _MOST_CLASSES:
        raise Refusal("data", "a mask has at most {} classes, not {}".format(_MOST_CLASSES, classes))
    rows, columns = _between(low[0], height), _between(low[1], width)
    try:
        import numpy
    except ImportError:
        size = classes * low[0] * low[1]
        return [
            MaskAnswer(height, width, _mask(values[start : start + size], classes, low, rows, columns))
            for start in range(0, shape[0] * size, size)
        ]
    grid = numpy.asarray(values, numpy.float32).reshape(shape)
    (top, bottom, below), (left, right, beside) = (
        [numpy.array(part) for part in zip(*places)] for places in (rows, columns)
    )
    found = []
    for sample in grid:
        tall = sample[:, top] * (1 - below)[None, :, None] + sample[:, bottom] * below[None, :, None]
        full = tall[:, :, left] * (1 - beside) + tall[:, :, right] * beside
        found.append(MaskAnswer(height, width, full.argmax(0).astype(numpy.uint8).tobytes()))
    return found


def _between(source: int, target: int) -> List[Tuple[int, int, float]]:
    """For every place of the target its two neighbours in the source, and how near it is to the second.

    Bilinear, with the middles of the outer pixels half a pixel inside (``align_corners=False`` of PyTorch).
    """
    places = []
    for index in range(target):
        at = max(0.0, (index + 0.5) * source / target - 0.5)
        first = min(int(at), source - 1)
        places.append((first, min(first + 1, source - 1), at - first))
    return places


def _mask(
    values: Sequence[float],
    classes: int,
    low: Tuple[int, int],
    rows: List[Tuple[int, int, float]],
    columns: List[Tuple[int, int, float]],
) -> bytes:
    width, size = low[1], low[0] * low[1]
    found = bytearray()
    for top, bottom, below in rows:
        tall = [
            [
                values[start + top * width + column] * (1 - below)
                + values[start + bottom * width + column] * below
                for column in range(width)
            ]
            for start in range(0, classes * size, size)
        ]
        for left, right, beside in columns:
            pixel = [line[left] * (1 - beside) + line[right] * beside for line in tall]
            found.append(max(range(classes), key=pixel.__getitem__))
    return bytes(found)


def told(answer: Any, labels: Sequence[str] = ()) -> Dict[str, Any]:
    """An answer as JSON; of a mask, how many pixels each class has."""
    if isinstance(answer, MaskAnswer):
        pixels = {
            labels[index] if index < len(labels) else str(index): answer.classes.count(bytes([index]))
            for index in sorted(set(answer.classes))
        }
        return {"height": answer.height, "width": answer.width, "pixels": pixels}
    if isinstance(answer, list):
        return {"boxes": [dict(box._asdict()) for box in answer]}
    return dict(answer._asdict())
