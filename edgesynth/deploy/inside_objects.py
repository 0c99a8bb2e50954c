"""Objects that a network finds, compared as what they are: rows that change places where two are as good.

Which boxes stay is decided by comparisons, and a little rounding turns those of near ties: another box of the
two stays, and with it others go or stay in turn. So what was found is held to the one rule that says what
stays, with the reference's own numbers, and to those numbers themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.output_check import Tolerance
from edgesynth.deploy.runners import Arrays

__all__ = ["Objects", "objects_of"]

_POOL: Final = 4
"""How many times as many pairs of cell and class may be what was found: a low precision prefers others."""
_ROUNDING: Final = 1e-5
"""By how much two machines differ in FP32 at the most, relative to the largest value."""


class Objects(dict[str, NDArray[Any]]):
    """The reference's objects by names of outputs, and the candidates that they were chosen from.

    Args:
        outputs: ``boxes [batch, rows, 4]``, ``scores`` and ``classes [batch, rows]`` in this order; what
            comes after them is compared as it is.
        pool: The best candidates likewise, best first.
        answer: The task's postprocessing.
    """

    def __init__(self, outputs: Arrays, pool: Sequence[NDArray[Any]], answer: Mapping[str, Any]) -> None:
        super().__init__(outputs)
        self.pool, self.answer = tuple(pool), answer

    @classmethod
    def joined(cls, parts: Sequence[Objects]) -> Objects:
        """Those of all samples, of those of some each."""
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        pool = [np.concatenate(values) for values in zip(*(part.pool for part in parts), strict=True)]
        return cls(outputs, pool, parts[0].answer)

    def of(self, samples: NDArray[np.int64]) -> Objects:
        """Those of some samples."""
        outputs = {name: value[samples] for name, value in self.items()}
        return Objects(outputs, [value[samples] for value in self.pool], self.answer)

    def beside(self, found: Arrays, limits: Tolerance) -> dict[str, NDArray[Any]]:
        """What the reference gives in the places of what was found, to be compared with it.

        Args:
            found: The outputs under suspicion.
            limits: How far they may be off.

        Returns:
            For each row that is right to be there, the reference's numbers. A row that is not, and a row for
            each object that is missing, has another class than was found. Classes are masked where neither
            has an object.
        """
        names = list(self)[:3]
        if any(name not in found or found[name].shape != self[name].shape for name in names):
            return dict(self)
        have = [np.asarray(found[name]) for name in names]
        boxes, scores, labels = (np.zeros(self[name].shape, self[name].dtype) for name in names)
        labels = np.full_like(labels, -1)
        settled = np.zeros(labels.shape, np.bool_)
        matched = [
            _matched([part[index] for part in have], [part[index] for part in self.pool])
            for index in range(len(labels))
        ]
        off = self._off(have, matched, limits)
        for index, rows in enumerate(matched):
            pool = [part[index] for part in self.pool]
            image = _Image(pool[0], pool[1], pool[2], self.answer, off[0], off[1], len(scores[index]), rows)
            right, missing = image.right(), image.missing()
            for row, candidate in rows.items():
                if candidate is not None:
                    boxes[index, row], scores[index, row] = image.boxes[candidate], image.scores[candidate]
                else:
                    boxes[index, row] = np.nan_to_num(have[0][index, row])
                    scores[index, row] = have[1][index, row]
                given = have[2][index, row]
                labels[index, row] = given if row in right else -1 if given != -1 else -2
                settled[index, row] = True
            empty = [row for row in range(len(scores[index])) if row not in rows]
            for row, candidate in zip([*empty, *reversed(rows)], missing, strict=False):
                other = image.labels[candidate]
                labels[index, row] = other if other != have[2][index, row] else -2
                settled[index, row] = True
        classes = np.ma.masked_array(labels, ~settled)
        return {**self, **dict(zip(names, (boxes, scores, classes), strict=True))}

    def _off(
        self, have: Sequence[NDArray[Any]], matched: Sequence[Mapping[int, int | None]], limits: Tolerance
    ) -> tuple[float, float]:
        """How far boxes and confidences may be from the reference's: as what was found is, within limits."""
        found = []
        for part, reference in zip(have[:2], self.pool[:2], strict=True):
            differences = [
                float(np.max(np.abs(part[index, row] - reference[index, candidate])))
                for index, rows in enumerate(matched)
                for row, candidate in rows.items()
                if candidate is not None
            ]
            scale = float(np.max(np.abs(reference), initial=0.0))
            most = limits.worst * scale
            found.append(min(most, max(2 * max(differences, default=most), _ROUNDING * scale)))
        return found[0], found[1]


def objects_of(boxes: NDArray[Any], scores: NDArray[Any], answer: Mapping[str, Any]) -> Objects:
    """The objects among boxes and confidences of cells, by this machine's own suppression.

    Args:
        boxes: ``[batch, cells, 4]``.
        scores: ``[batch, cells, classes]``.
        answer: The task's postprocessing, with ``names``.
    """
    import torch

    from edgesynth.tasks.detection.boxes import candidates_for, suppressed

    most = int(answer["max_detections"])
    kept = suppressed(
        *(torch.from_numpy(np.ascontiguousarray(part)) for part in (boxes, scores)),
        score_threshold=float(answer["score_threshold"]),
        nms_iou=float(answer["nms_iou"]),
        max_detections=most,
    )
    given = (kept.boxes.numpy(), kept.scores.numpy(), kept.labels.numpy().astype(np.int32))
    flat, classes = scores.reshape(len(scores), -1), scores.shape[2]
    size = min(_POOL * candidates_for(most), flat.shape[1])
    best = np.argpartition(-flat, size - 1, axis=1)[:, :size]
    order = np.argsort(-np.take_along_axis(flat, best, 1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, 1)
    cells = best // classes
    pool = (
        np.take_along_axis(boxes, cells[:, :, None], 1),
        np.take_along_axis(flat, best, 1),
        (best % classes).astype(np.int32),
    )
    return Objects(dict(zip(answer["names"], given, strict=True)), pool, answer)


def _matched(have: Sequence[NDArray[Any]], pool: Sequence[NDArray[Any]]) -> dict[int, int | None]:
    """By row of an object that was found the candidate that it is; ``None`` where it is none."""
    boxes, scores, labels = pool
    scale = float(np.max(np.abs(boxes), initial=0.0)) or 1.0
    free = np.ones(len(scores), np.bool_)
    matched: dict[int, int | None] = {}
    for row in np.flatnonzero(have[1] > 0):
        box, score = have[0][row], have[1][row]
        fits = np.flatnonzero(free & (labels == have[2][row]))
        matched[int(row)] = None
        if len(fits) and np.isfinite(box).all() and np.isfinite(score):
            away = np.abs(boxes[fits] - box).max(1) / scale + np.abs(scores[fits] - score)
            candidate = int(fits[away.argmin()])
            matched[int(row)], free[candidate] = candidate, False
    return matched


@dataclass(frozen=True)
class _Image:
    """The candidates of one image, best first, and which of them were found.

    Attributes:
        boxes: ``[candidates, 4]``.
        scores: ``[candidates]``.
        labels: ``[candidates]``.
        answer: The task's postprocessing.
        box_off: How far a side may be off.
        score_off: How far a confidence may be.
        most: Rows that there are for objects.
        rows: By row the candidate that was found; ``None`` for what is none.
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    labels: NDArray[Any]
    answer: Mapping[str, Any]
    box_off: float
    score_off: float
    most: int
    rows: Mapping[int, int | None]

    def right(self) -> set[int]:
        """The rows of what may stay: good enough, and no better one of its class overlaps it for certain."""
        rows = [row for row, candidate in self.rows.items() if candidate is not None]
        here = np.array([self.rows[row] for row in rows], np.int64)
        least, last = float(self.answer["score_threshold"]), self._last()
        good = (self.scores[here] >= least - self.score_off) & (
            self.scores[here] >= last - 2 * self.score_off
        )
        low, _ = self._overlaps(here, here)
        # Of the two the one that was found to be less.
        beaten = np.triu(low > float(self.answer["nms_iou"]), 1).any(0)
        return {row for row, fine in zip(rows, good & ~beaten, strict=True) if fine}

    def missing(self) -> list[int]:
        """Candidates that were not found, and that no better one excuses."""
        here = np.array([known for known in self.rows.values() if known is not None], np.int64)
        least = max(float(self.answer["score_threshold"]) + self.score_off, self._last() + 2 * self.score_off)
        if len(self.rows) >= self.most and len(here):
            least = max(least, float(self.scores[here].min()) + 2 * self.score_off)
        others = np.setdiff1d(np.flatnonzero(self.scores >= least), here)
        _, high = self._overlaps(here, others)
        better = self.scores[here][:, None] >= self.scores[others] - 2 * self.score_off
        excused = (better & (high > float(self.answer["nms_iou"]))).any(0)
        return [int(candidate) for candidate in others[~excused]]

    def _last(self) -> float:
        """The confidence of the best candidate that is not looked at any more."""
        from edgesynth.tasks.detection.boxes import candidates_for

        looked_at = candidates_for(int(self.answer["max_detections"]))
        return float(self.scores[looked_at]) if len(self.scores) > looked_at else 0.0

    def _overlaps(
        self, one: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The least and the most that two may overlap, ``[one, other]``; -1 where they are of two classes."""
        first, second = self.boxes[one][:, None].astype(np.float64), self.boxes[other].astype(np.float64)
        low, high = np.maximum(first[..., :2], second[..., :2]), np.minimum(first[..., 2:], second[..., 2:])
        common = np.clip(high - low, 0, None).prod(-1)
        sizes = [np.clip(box[..., 2:] - box[..., :2], 0, None) for box in (first, second)]
        union = np.maximum(sizes[0].prod(-1) + sizes[1].prod(-1) - common, 1e-9)
        # Each side of both may be off, along the whole of the others.
        doubt = 4 * self.box_off * (sizes[0].sum(-1) + sizes[1].sum(-1)) / union
        alike = self.labels[one][:, None] == self.labels[other]
        return tuple(np.where(alike, common / union + sign * doubt, -1.0) for sign in (-1, 1))  # type: ignore[return-value]
