"""What is put inside a graph, done by this machine: to prove the graph, and to judge its answers.

Nothing here knows how :mod:`edgesynth.deploy.inside_graph` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.inside_objects import objects_of
from edgesynth.deploy.output_check import TOLERANCES
from edgesynth.deploy.runners import Arrays

__all__ = ["answered", "as_outputs", "normalised", "ranked", "undone"]

_TIE: Final = 2 * TOLERANCES["fp32"].worst
"""How near the second class may be to the first, relative to the largest output of the sample, for either to
be right: each of the two may be off by half of it."""
_CERTAIN: Final = 40.0
"""A logit whose probability is 1 in FP32."""
_NOTHING: Final = -100.0
"""What the softplus of is 0 in FP32."""


def normalised(stored: NDArray[Any], normalisation: Mapping[str, Any]) -> NDArray[np.float32]:
    """``(scale * stored - mean) / std`` per channel, in double precision; ``[batch, channels, ...]``."""
    mean, std = (_per_channel(normalisation[name], stored.ndim) for name in ("mean", "std"))
    found: NDArray[np.float32] = (
        (float(normalisation["scale"]) * stored.astype(np.float64) - mean) / std
    ).astype(np.float32)
    return found


def undone(value: NDArray[Any], normalisation: Mapping[str, Any]) -> NDArray[np.float64]:
    """Stored values of normalised ones, in double precision."""
    mean, std = (_per_channel(normalisation[name], value.ndim) for name in ("mean", "std"))
    found: NDArray[np.float64] = (value.astype(np.float64) * std + mean) / float(normalisation["scale"])
    return found


def answered(outputs: Arrays, answer: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What the network's own outputs mean, by the names that the graph gives it.

    Args:
        outputs: In the order in which the network returns them.
        answer: The task's postprocessing, with ``names``.

    Returns:
        As the graph has it; class indices are masked arrays, see :func:`ranked`. Objects are
        :class:`~edgesynth.deploy.inside_objects.Objects`.
    """
    import torch
    from torch.nn import functional

    names = answer["names"]
    tensors = [torch.from_numpy(np.ascontiguousarray(value)) for value in outputs.values()]
    if answer["kind"] == "classification":
        shares = tensors[0].double().softmax(1).float().numpy()
        return dict(zip(names, (shares, ranked(tensors[0].numpy())), strict=True))
    if answer["kind"] == "segmentation":
        size = tuple(answer["size_pixels"])
        masks = [
            # One after another: at full size the logits of many would not fit into memory.
            ranked(functional.interpolate(part[None], size=size, mode="bilinear").numpy())
            for part in tensors[0]
        ]
        return {names[0]: np.ma.concatenate(masks)}  # type: ignore[no-untyped-call]
    from edgesynth.tasks.detection.heads import head_by_name
    from edgesynth.tasks.trees import leaves, structured

    # As the task takes them, which goes by names.
    parts = tuple(leaves(structured(dict(zip(outputs, tensors, strict=True)))))
    head, size = head_by_name(answer["head"]), tuple(answer["input_size"])
    predictions = head.predictions(parts, len(answer["classes"]), size)
    boxes, scores = head.boxes(predictions, size).numpy(), head.scores(predictions).numpy()
    if answer.get("suppressed"):
        return objects_of(boxes, scores, answer)
    return dict(zip(names, (boxes, scores), strict=True))


def ranked(logits: NDArray[Any]) -> NDArray[np.int32]:
    """The index of the largest along axis 1, masked where the second is as good as it.

    Args:
        logits: ``[batch, classes, ...]``.

    Returns:
        A masked array ``[batch, ...]``: what is masked may be either class.
    """
    best = logits.argmax(1).astype(np.int32)
    if logits.shape[1] < 2:
        return np.ma.masked_array(best, np.zeros(best.shape, np.bool_))
    two = np.partition(logits, -2, axis=1)[:, -2:]
    scale = np.abs(logits).reshape(len(logits), -1).max(1).reshape((-1,) + (1,) * (logits.ndim - 2))
    return np.ma.masked_array(best, two[:, 1] - two[:, 0] <= _TIE * scale)


def as_outputs(outputs: Arrays, answer: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Outputs of a network that would be answered so: what a task judges, which knows no answers.

    The class is that of the answer itself, not of the probabilities beside it. What the task says of their
    loss means nothing.

    Args:
        outputs: Answers, by ``names``.
        answer: The task's postprocessing, with ``names``, ``channels`` and ``levels`` of the graph.
    """
    parts = [np.asarray(outputs[name]) for name in answer["names"]]
    if answer["kind"] == "classification":
        logits = np.log(np.maximum(parts[0], np.finfo(np.float32).tiny))
        rows, classes = np.arange(len(logits)), np.clip(parts[1], 0, logits.shape[1] - 1)
        behind = logits.argmax(1) != classes
        logits[rows[behind], classes[behind]] = logits.max(1)[behind] + 1
        return {"output": logits}
    if answer["kind"] == "segmentation":
        # Of a class that there is not, no output is the largest: a task takes the first.
        classes = np.arange(int(answer["channels"]))[:, None, None]
        return {"output": (parts[0][:, None] == classes).astype(np.float32)}
    if answer.get("suppressed"):
        # The task hears them as they are: what a cell says is not told of an object.
        there = (parts[1] > 0) & (parts[2] >= 0) & (parts[2] < len(answer["classes"]))
        parts[2] = np.where(there, parts[2], -1).astype(np.int64)
        return {f"output_{index}": part for index, part in enumerate(parts)}
    return _cells(parts[0], parts[1], answer)


def _cells(boxes: NDArray[Any], scores: NDArray[Any], answer: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """What a head's cells say of boxes and confidences, level by level."""
    height = int(answer["input_size"][0])
    found, start = [], 0
    for down, across in answer["levels"]:
        stride, cells = height / down, slice(start, start + down * across)
        start = cells.stop
        y, x = np.meshgrid(*((np.arange(length) + 0.5) * stride for length in (down, across)), indexing="ij")
        corner = np.stack([x, y, x, y], -1).reshape(-1, 4)
        away = (boxes[:, cells].astype(np.float64) - corner) / stride
        shares = np.clip(scores[:, cells].astype(np.float64), 1e-30, 1 - 1e-12)
        if answer["head"] == "centre":
            distances = np.maximum(away * (-1, -1, 1, 1), 0)
            with np.errstate(divide="ignore"):
                away = np.maximum(distances + np.log(-np.expm1(-distances)), _NOTHING)
            shares = shares**2
        parts = [np.log(shares) - np.log1p(-shares), away]
        if answer["head"] == "centre":
            parts.append(np.full((*shares.shape[:2], 1), _CERTAIN))
        for part in parts:
            grid = part.transpose(0, 2, 1).reshape(len(part), part.shape[2], down, across)
            found.append(grid.astype(np.float32))
    return {f"output_{index}": value for index, value in enumerate(found)}


def _per_channel(values: Any, axes: int) -> NDArray[np.float64]:  # noqa: ANN401 - a list of JSON
    return np.asarray(values, np.float64).reshape((1, -1) + (1,) * (axes - 2))
