"""What a report shows of the answers themselves: pictures of a few test samples, and details of every score.

Nothing here decides anything: networks were chosen on validation data before.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesynth.runs.details import Confusion, CurvePoints, Details
from edgesynth.runs.pictures import Picture, PictureRow, PictureSet, write_pictures
from edgesynth.tasks import Batch, Illustrated
from edgesynth.tasks.protocol import Coloured, Compared
from edgesynth.tasks.trees import mapped, moved

if TYPE_CHECKING:
    from edgesynth.tasks import Answer, Score, Task

__all__ = ["NETWORKS", "details_of", "illustrate"]

NETWORKS: Final = 5
"""Reported networks that pictures show beside the prototype."""

_ROWS: Final = 12
_CANDIDATES: Final = 240
"""Test samples that pictures are chosen from."""
_BATCH: Final = 32
_SIDES: Final = (320, 256, 192, 128, 96, 64)
"""Longest side of a picture in pixels: the first with which all fit into the bytes below."""
_BYTES: Final = 2_500_000

_CLASSES: Final = 100
"""Classes up to which a confusion matrix is kept whole."""
_PAIRS: Final = 50
_POINTS: Final = 101
_CURVES: Final = 100

RULE: Final = (
    "Of {candidates} test samples, always the same: {part} on which the networks' loss differs most from "
    "the prototype's, {part} others on which it is greatest, and {rest} spread evenly over the rest."
)
RULE_ALONE: Final = (
    "Of {candidates} test samples, always the same: {part} on which the prototype's loss is greatest, and "
    "{rest} spread evenly over the rest."
)


def details_of(score: Score, classes: Sequence[str]) -> Details:
    """The part of a score that a run keeps: whole up to a size, the greatest of it beyond."""
    curves = {name: _thinned(curve.recall, curve.precision) for name, curve in score.curves.items()}
    return Details(
        metric=score.metric,
        others=score.others,
        per_class={name: float(value) for name, value in score.per_class.items()},
        confusion=None if score.confusion is None else _confusion(score.confusion, _names(score, classes)),
        curves=dict(list(curves.items())[:_CURVES]),
    )


def illustrate(task: Task, networks: Mapping[str, nn.Module], run_dir: Path) -> PictureSet | None:
    """Draw what networks say about some test samples, and write it to the run's folder.

    The same networks give the same files.

    Args:
        task: Nothing is drawn unless it is :class:`~edgesynth.tasks.Illustrated`, of pictures.
        networks: By label, the prototype first.
        run_dir: The run's folder.

    Returns:
        What was written; ``None`` where there is nothing to draw.

    Raises:
        RunError: The disk is full, or the folder cannot be written.
    """
    if not isinstance(task, Illustrated):
        return None
    first = next(iter(task.batches("test", batch_size=1, limit=1)), None)
    if first is None or task.images(first.inputs) is None:
        return None
    losses = _losses(task, networks)
    chosen = _chosen(losses)
    truths: list[Answer] = []
    answers: list[list[Answer]] = []
    drawn: list[list[Tensor]] = []
    for sample in _samples(task, sorted(chosen)):
        image = task.images(sample.inputs)
        assert image is not None  # the others were pictures
        truths.append(task.truths(sample.targets)[0])
        answers.append(
            [
                _against(task.answers(_run(module, sample.inputs))[0], truths[-1])
                for module in networks.values()
            ]
        )
        drawn.append([said.drawn_on(image[0].clone()) for said in (truths[-1], *answers[-1])])
    encoded, (height, width) = _encoded(drawn)
    files: dict[str, bytes] = {}
    rows = []
    for row, sample_index in enumerate(sorted(chosen)):
        pictures = []
        for data, said in zip(encoded[row], (truths[row], *answers[row]), strict=True):
            name = f"{sample_index}-{hashlib.sha256(data).hexdigest()[:12]}.png"
            files[name] = data
            pictures.append(Picture(name, said.caption(truths[row])))
        rows.append(PictureRow(sample_index, chosen[sample_index], pictures[0], tuple(pictures[1:])))
    # Grouped by why they are shown, in the order in which the rule says so.
    rows.sort(key=lambda row: list(chosen.values()).index(row.chosen))
    part = _ROWS // 3
    alone = len(networks) == 1
    rule = (RULE_ALONE if alone else RULE).format(
        candidates=losses.shape[1], part=part, rest=len(rows) - (1 if alone else 2) * part
    )
    found = PictureSet(
        source=f"{task.name} test",
        rule=rule if losses.shape[1] > _ROWS else "All test samples.",
        networks=tuple(networks),
        rows=tuple(rows),
        width=width,
        height=height,
        legend=_legend((*truths, *(said for row in answers for said in row)), task.classes),
        # The longest: one picture alone may show what the others do not.
        reading=max((said.reading for said in truths if isinstance(said, Coloured)), key=len, default=""),
    )
    write_pictures(run_dir, found, files)
    return found


def _legend(shown: Sequence[Answer], classes: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Colours by class, in the order of the classes, of those that some picture shows."""
    found: dict[str, str] = {}
    for said in shown:
        if isinstance(said, Coloured):
            for name, colour in said.colours().items():
                found[name] = "#{:02x}{:02x}{:02x}".format(*colour) if colour else ""
    order = {name: index for index, name in enumerate(classes)}
    return tuple(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))


def _against(answer: Answer, truth: Answer) -> Answer:
    """The answer, knowing the truth, where its kind draws what is wrong otherwise than what is right."""
    return answer.against(truth) if isinstance(answer, Compared) else answer


def _samples(task: Task, wanted: Sequence[int]) -> Iterator[Batch]:
    """Some of the candidates by their index, rising, each as a batch of its own."""
    start = 0
    for batch in _batches(task):
        for index in wanted:
            if start <= index < start + len(batch.inputs):
                inside = index - start
                yield Batch(batch.inputs[inside : inside + 1], _one(batch.targets, inside))
        start += len(batch.inputs)


def _batches(task: Task) -> Iterator[Batch]:
    return task.batches("test", batch_size=_BATCH, limit=_CANDIDATES)


def _run(module: nn.Module, inputs: Tensor) -> Any:  # noqa: ANN401 - whatever a network returns
    was_training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.inference_mode():
            return moved(module(inputs.to(device)), torch.device("cpu"))
    finally:
        module.train(was_training)


def _losses(task: Task, networks: Mapping[str, nn.Module]) -> NDArray[Any]:
    """The loss of every candidate alone, ``[networks, samples]``; of one that has none, zero."""
    columns = []
    for batch in _batches(task):
        rows = []
        for module in networks.values():
            outputs = _run(module, batch.inputs)
            with torch.inference_mode():
                rows.append(
                    [
                        float(task.loss(_one(outputs, index), _one(batch.targets, index)))
                        for index in range(len(batch.inputs))
                    ]
                )
        columns.append(np.array(rows))
    losses: NDArray[Any] = np.nan_to_num(np.concatenate(columns, axis=1), posinf=0.0, neginf=0.0)
    return losses


def _chosen(losses: NDArray[Any]) -> dict[int, str]:
    """Samples by index, and why they are shown: see :data:`RULE` and :data:`RULE_ALONE`."""
    samples, part = losses.shape[1], _ROWS // 3
    if samples <= _ROWS:
        return dict.fromkeys(range(samples), "all samples")
    networks = losses[1:]
    reasons = (
        {
            "the networks differ most from the prototype": np.abs(networks - losses[0]).mean(0),
            "the networks' loss is greatest": networks.mean(0),
        }
        if len(networks)
        else {"the prototype's loss is greatest": losses[0]}
    )
    chosen: dict[int, str] = {}
    for why, order in reasons.items():
        ranked = [int(index) for index in np.argsort(-order, kind="stable") if int(index) not in chosen]
        chosen |= dict.fromkeys(sorted(ranked[:part]), why)
    others = [index for index in range(samples) if index not in chosen]
    rest = _ROWS - len(chosen)
    spread = (others[(2 * k + 1) * len(others) // (2 * rest)] for k in range(rest))
    return chosen | dict.fromkeys(spread, "spread evenly over the rest")


def _one(tree: Any, index: int) -> Any:  # noqa: ANN401 - a tree of tensors
    """One sample of a batch, as a batch of its own."""
    return mapped(lambda tensor: tensor[index : index + 1], tree)


def _encoded(drawn: Sequence[Sequence[Tensor]]) -> tuple[list[list[bytes]], tuple[int, int]]:
    """PNG files as large as fit into the bytes that a report should have, and their height and width."""
    for side in _SIDES:
        smaller = [[_shrunk(image, side) for image in row] for row in drawn]
        files = [[_png(image) for image in row] for row in smaller]
        if side == _SIDES[-1] or sum(len(data) for row in files for data in set(row)) <= _BYTES:
            height, width = smaller[0][0].shape[1:]
            return files, (height, width)
    raise AssertionError("the last side is always taken")


def _shrunk(image: Tensor, side: int) -> Tensor:
    height, width = image.shape[1:]
    if max(height, width) <= side:
        return image
    size = [max(1, round(length * side / max(height, width))) for length in (height, width)]
    return F.interpolate(image[None].float(), size=size, mode="area")[0].round().to(torch.uint8)


def _png(image: Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = image.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _names(score: Score, classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the rows of a confusion matrix, which may have one for what belongs to no class."""
    assert score.confusion is not None
    size = len(score.confusion)
    numbered = itertools.chain(("background",), (f"background {number}" for number in itertools.count(2)))
    free = (name for name in numbered if name not in classes)
    return (*classes[:size], *itertools.islice(free, max(0, size - len(classes))))


def _confusion(counts: Tensor, names: tuple[str, ...]) -> Confusion:
    values = counts.to(torch.int64).cpu().numpy()
    wrong = values.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = tuple(
        (names[row], names[column], int(wrong[row, column]))
        for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[row, column] > 0
    )
    whole = tuple(tuple(int(value) for value in row) for row in values) if len(values) <= _CLASSES else ()
    return Confusion(names, whole, pairs, tuple(int(total) for total in values.sum(1)))


def _thinned(recall: Sequence[float], precision: Sequence[float]) -> CurvePoints:
    """At most so many points of a curve, both ends among them, to four digits."""
    kept = sorted({round(at) for at in np.linspace(0, len(recall) - 1, min(_POINTS, len(recall)))})
    return CurvePoints(
        tuple(round(float(recall[index]), 4) for index in kept),
        tuple(round(float(precision[index]), 4) for index in kept),
    )
