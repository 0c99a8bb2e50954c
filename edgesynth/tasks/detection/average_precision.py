"""Average precision as the COCO benchmark defines it, and how sure of it one can be.

T.-Y. Lin et al., "Microsoft COCO", ECCV 2014; the matching of detections to objects is that of pycocotools.
What it matched is kept per image, so that precision can be summed up again for any resampling of the images
without matching twice.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.errors import MissingDependencyError
from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.protocol import Curve

__all__ = [
    "IOU_THRESHOLDS",
    "ClassMatches",
    "ImageBoxes",
    "average_precision",
    "class_means",
    "class_precision",
    "curve",
    "matches",
]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps from which a detection counts as right: .5, .55, ... .95."""

_RECALLS: NDArray[np.float64] = np.linspace(0.0, 1.0, 101)

_CROWD = "crowd"
"""Of an annotation: whether overlap is told by the detection's area alone."""

Array = NDArray[Any]


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of one image: found, or true.

    Attributes:
        boxes: ``[rows, 4]``, left, top, right, bottom.
        labels: Class indices ``[rows]``.
        scores: Confidences ``[rows]``; ``None`` for the truth.
        marks: Of the truth, a :class:`BoxMark` per box ``[rows]``; ``None`` where all are to be found.
    """

    boxes: Array
    labels: Array
    scores: Array | None = None
    marks: Array | None = None


@dataclass(frozen=True)
class ClassMatches:
    """What was matched of one class.

    Attributes:
        image: The image of every detection, best detection first, int64 ``[detections]``.
        right: Whether it matched an object, at each of :data:`IOU_THRESHOLDS`, bool ``[10, detections]``.
        objects: How many objects to be found each image has, int64 ``[images]``.
        judged: Whether it is right or wrong, ``[10, detections]``; neither is what matched a crowd or a
            difficult object.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    objects: NDArray[np.int64]
    judged: NDArray[np.bool_]


def matches(
    found: Sequence[ImageBoxes], truth: Sequence[ImageBoxes], classes: int, *, max_detections: int
) -> tuple[tuple[ClassMatches, ...], Array]:
    """Match detections to objects, class by class, as pycocotools does.

    What overlaps a crowd, by the share of the detection that lies in it, is neither right nor wrong. Nor is
    what overlaps a difficult object, by intersection over union, as the Pascal VOC challenge has it; objects
    to be found come first.

    Args:
        found: One per image.
        truth: One per image, in the same order.
        classes: How many.
        max_detections: Of an image and class, best first.

    Returns:
        The matches per class, and the table of precision that pycocotools sums them up to: ``[10, 101,
        classes]`` over overlap, recall from 0 to 1 and class; -1 for a class without objects.

    Raises:
        MissingDependencyError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        raise MissingDependencyError(
            "scoring detectors needs pycocotools; install it with: pip install 'edgesynth[detection]'"
        ) from None
    # It tells about its progress on standard output, where results belong.
    with contextlib.redirect_stdout(io.StringIO()):
        objects, answers = COCO(), COCO()
        objects.dataset = _dataset(truth, classes)
        answers.dataset = _dataset(found, classes)
        objects.createIndex()
        answers.createIndex()
        evaluation = COCOeval(objects, answers, "bbox")
        evaluation.computeIoU = _overlap_of(evaluation)
        parameters = evaluation.params
        parameters.imgIds, parameters.catIds = list(range(len(truth))), list(range(classes))
        parameters.iouThrs, parameters.recThrs = np.array(IOU_THRESHOLDS), _RECALLS
        parameters.maxDets = [max_detections]
        parameters.areaRng, parameters.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    images = len(truth)
    per_class = tuple(
        _class_matches(evaluation.evalImgs[index * images : (index + 1) * images]) for index in range(classes)
    )
    return per_class, np.asarray(evaluation.eval["precision"])[:, :, :, 0, 0]


def class_precision(
    matched: ClassMatches, counts: NDArray[np.int64] | None = None, thresholds: slice = slice(None)
) -> NDArray[np.float64] | None:
    """The average precision of one class.

    It is the mean over recall 0, .01, ... 1 of the best precision at that recall or beyond.

    Precision is at its best right after a right detection, so only those are looked at.

    Args:
        matched: Of the class.
        counts: How often each image occurs, ``[images]``; once when not given.
        thresholds: Which of :data:`IOU_THRESHOLDS`.

    Returns:
        ``[thresholds]``; ``None`` when the images that occur hold no object of the class.
    """
    weight = np.ones_like(matched.objects) if counts is None else counts
    total = int((weight * matched.objects).sum())
    if total == 0:
        return None
    each = weight[matched.image]
    values = np.zeros(len(matched.right[thresholds]))
    for index, (right, judged) in enumerate(
        zip(matched.right[thresholds], matched.judged[thresholds], strict=True)
    ):
        places = np.flatnonzero(right)
        if len(places) == 0:
            continue
        answers = np.cumsum(each * judged)
        hits = np.cumsum(each[places]).astype(np.float64)
        # The spacing is what pycocotools adds, so that its figures are met.
        precision = hits / (answers[places] + np.spacing(1))
        best = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(_RECALLS, hits / total, side="right")
        values[index] = (best * np.diff(reached, prepend=0)).sum() / len(_RECALLS)
    return values


def class_means(
    matched: Sequence[ClassMatches],
    counts: NDArray[np.int64] | None = None,
    thresholds: slice = slice(None),
) -> NDArray[np.float64]:
    """The mean of :func:`class_precision` over overlap, ``[classes]``; NaN for a class without objects."""
    values = [class_precision(each, counts, thresholds) for each in matched]
    return np.array([np.nan if value is None else value.mean() for value in values])


def average_precision(
    matched: Sequence[ClassMatches],
    counts: NDArray[np.int64] | None = None,
    thresholds: slice = slice(None),
) -> float:
    """The mean of :func:`class_means` over the classes that have objects.

    Returns:
        NaN when no class has objects.
    """
    means = class_means(matched, counts, thresholds)
    known = means[~np.isnan(means)]
    return float(known.mean()) if len(known) else float("nan")


def curve(table: Array) -> Curve:
    """Precision against recall, up to the recall that was reached.

    Args:
        table: Of one class and overlap, ``[101]``.
    """
    reached = int((table > 0).sum())
    return Curve(tuple(_RECALLS[:reached].tolist()), tuple(table[:reached].tolist()))


def _dataset(images: Sequence[ImageBoxes], classes: int) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for index, image in enumerate(images):
        scores = image.scores if image.scores is not None else np.ones(len(image.labels))
        marks = image.marks if image.marks is not None else np.zeros(len(image.labels), np.int64)
        for box, label, score, mark in zip(
            image.boxes.tolist(), image.labels.tolist(), scores.tolist(), marks.tolist(), strict=True
        ):
            width, height = box[2] - box[0], box[3] - box[1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": label,
                    "bbox": [box[0], box[1], width, height],
                    # A box inside out is wrong, and not left out as one of a negative size would be.
                    "area": max(width, 0.0) * max(height, 0.0),
                    "iscrowd": int(mark != BoxMark.OBJECT),
                    _CROWD: int(mark == BoxMark.CROWD),
                    "score": score,
                }
            )
    return {
        "images": [{"id": index} for index in range(len(images))],
        "categories": [{"id": index} for index in range(classes)],
        "annotations": annotations,
    }


def _overlap_of(evaluation: Any) -> Callable[[int, int], Any]:  # noqa: ANN401 - pycocotools has no types
    """Its overlaps, by the share of a detection for crowds alone and not for everything that is ignored."""
    overlap: Callable[[int, int], Any] = evaluation.computeIoU

    def computed(image: int, category: int) -> Any:  # noqa: ANN401
        objects = evaluation._gts[image, category]
        ignored = [each["iscrowd"] for each in objects]
        for each in objects:
            each["iscrowd"] = each[_CROWD]
        found = overlap(image, category)
        for each, flag in zip(objects, ignored, strict=True):
            each["iscrowd"] = flag
        return found

    return computed


def _class_matches(images: Sequence[dict[str, Any] | None]) -> ClassMatches:
    """What pycocotools keeps per image, joined and ranked as it ranks."""
    objects = np.array(
        [0 if image is None else np.count_nonzero(np.asarray(image["gtIgnore"]) == 0) for image in images],
        dtype=np.int64,
    )
    kept = [(index, image) for index, image in enumerate(images) if image is not None]
    if not kept:
        none = np.zeros((len(IOU_THRESHOLDS), 0), np.bool_)
        return ClassMatches(np.zeros(0, np.int64), none, objects, none)
    scores = np.concatenate([np.asarray(image["dtScores"], dtype=np.float64) for _, image in kept])
    order = np.argsort(-scores, kind="mergesort")
    where = np.concatenate([np.full(len(image["dtScores"]), index, np.int64) for index, image in kept])
    matched = np.concatenate([np.asarray(image["dtMatches"]) > 0 for _, image in kept], axis=1)
    judged = np.concatenate([~np.asarray(image["dtIgnore"], dtype=np.bool_) for _, image in kept], axis=1)
    return ClassMatches(where[order], (matched & judged)[:, order], objects, judged[:, order])
