"""The user's own pictures with boxes: COCO, Pascal VOC or YOLO, found by looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.detection.annotations import (
    BadEntry,
    BoxRecord,
    PlacedBoxes,
    coco_files,
    placed_boxes,
    read_coco,
    read_voc,
    read_yolo,
    yolo_folders,
)
from edgesynth.tasks.detection.augmentation import BoxAugmentation
from edgesynth.tasks.detection.heads import HeadName
from edgesynth.tasks.detection.samples import BoxedSamples, BoxedTensorSamples, BoxMark
from edgesynth.tasks.detection.task import DetectionTask
from edgesynth.tasks.images import (
    NAMED,
    Corrupt,
    ImageFormat,
    PictureFiles,
    check_filled,
    check_named,
    draw,
    held_out,
    left_out,
    not_read,
    picked,
    read_measured,
    read_splits,
)
from edgesynth.tasks.protocol import Split
from edgesynth.tasks.splits import MEMORY_LIMIT_BYTES

__all__ = ["BoxedFileSamples", "load_boxes"]

BoxFormat = Literal["coco", "voc", "yolo"]


@dataclass(frozen=True)
class BoxedFileSamples(PictureFiles):
    """Pictures decoded each time they are needed, with their boxes.

    Attributes:
        paths: One file per sample.
        boxes: One tensor per sample, ``[objects, 4]``, in pixels of ``form``.
        labels: One tensor per sample, class indices ``[objects]``.
        form: What every picture is brought to.
        marks: One tensor per sample, a :class:`BoxMark` per box ``[objects]``; ``None`` for objects only.
    """

    paths: tuple[Path, ...]
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    form: ImageFormat
    marks: tuple[Tensor, ...] | None = None

    def subset(self, indices: Tensor) -> BoxedFileSamples:
        """The pictures at ``indices``, still decoded when needed."""
        boxes, labels = picked(self.boxes, indices), picked(self.labels, indices)
        marks = None if self.marks is None else picked(self.marks, indices)
        return BoxedFileSamples(picked(self.paths, indices), boxes, labels, self.form, marks)


def load_boxes(
    root: str | Path,
    *,
    format: BoxFormat | None = None,  # noqa: A002 - the word of those who have such files
    size: int | tuple[int, int],
    classes: Sequence[str] | None = None,
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["letterbox", "stretch"] = "letterbox",
    head: HeadName = "centre",
    metric: Literal["map50", "map"] = "map50",
    mirror: bool = True,
    turn: bool = False,
    augmentation: BoxAugmentation | None = None,
    skip_corrupt: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    name: str | None = None,
) -> DetectionTask:
    """Make a task of a folder of pictures with boxes.

    ``coco``: ``annotations/instances_<split>.json``, ``<split>/_annotations.coco.json``, any one JSON file
    beside the pictures, or that file itself. ``voc``: ``Annotations/*.xml``, ``JPEGImages/`` and, where there
    are lists, ``ImageSets/Main/<split>.txt``. ``yolo``: ``images/<split>`` and ``labels/<split>``,
    ``<split>/images`` and ``<split>/labels``, or undivided, with boxes or outlines, and with the names of the
    classes in ``data.yaml`` or ``classes.txt``.

    Test or validation pictures that are not given are held out of ``train`` by a hash of the file names,
    about 15 % each; a file added later moves no other. Of files that share a name their paths decide, so that
    they do not all come into one split. Pictures without annotation are pictures without objects. Boxes that
    leave their picture are clipped. Boxes are of the picture as its EXIF orientation shows it. Crowds
    (``iscrowd`` of COCO) are no objects, and what is found in them counts as neither right nor wrong; objects
    that are ``difficult`` (VOC) are learnt, and not judged.

    Args:
        root: The folder.
        format: ``coco``, ``voc`` or ``yolo``; found by looking when not given.
        size: Height and width every picture is brought to; one number for a square.
        classes: The classes in order; by default those of the files, in the order of their ids (COCO), of the
            alphabet (VOC) or of the list of names (YOLO).
        colour: ``rgb`` or ``grey``.
        fit: ``letterbox`` keeps proportions and fills the rest with grey, ``stretch`` changes them.
        head: ``centre`` or ``grid``, see :class:`DetectionTask`.
        metric: ``map50`` or ``map``, see :class:`DetectionTask`.
        mirror: Whether a mirrored picture shows the same classes, and may be trained on.
        turn: Whether a picture turned by quarters does too, as one taken from straight above.
        augmentation: Random variation of training pictures; by default that of :class:`BoxAugmentation` and
            what ``mirror`` and ``turn`` say.
        skip_corrupt: Leave out pictures and single annotations that cannot be read, instead of refusing them.
        memory_limit_bytes: Decode once and keep everything up to this size; decode when needed beyond it.
        name: What reports call it; the folder's name when not given.

    Raises:
        InputError: The size is impossible, or there are classes, but none.
        DataError: The folder or the format is missing; a file that is about many pictures is damaged; a split
            is empty; or, counted and the first of them named, files cannot be read, annotations are about a
            picture or class that is not there, or have a box without area or wholly outside its picture.
    """
    folder = Path(root)
    form = ImageFormat.of(size, colour, fit)
    if classes is not None:
        check_named(classes)
    kind = format or _found_format(folder)
    records, known, corrupt = _records(folder, kind, tuple(classes) if classes else None)
    names = tuple(classes) if classes else known
    divided, division = _divided(folder, records)
    keep = len(records) * form.size_bytes <= memory_limit_bytes

    def read(record: BoxRecord) -> tuple[Tensor | None, PlacedBoxes]:
        picture, size = read_measured(record.path, form)
        return picture if keep else None, placed_boxes(record, size, form)

    pairs, unread = read_splits(divided, read)
    found = {split: [each for _, each in part] for split, part in pairs.items()}
    placed = [each for part in found.values() for _, each in part]
    corrupt = [*corrupt, *unread, *(bad for each in placed for bad in each.bad)]
    records = [each.record for each in placed]
    division += _told_of(records) + not_read(record.path.parent for record in records)
    division += _left_out(folder, corrupt, skip_corrupt=skip_corrupt)
    check_filled(folder, found)
    parts = {split: _samples(part, names, form) for split, part in found.items()}
    title = name or folder.resolve().stem
    sizes: dict[str, int] = {split: len(part.labels) for split, part in parts.items()}
    source = f"pictures with boxes ({kind}) in {folder}, {form.described}"
    return DetectionTask(
        title,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=names,
        head=head,
        metric=metric,
        augmentation=augmentation or BoxAugmentation(flip=mirror, turn=turn),
        description=DataDescription(title, "user", source, "", sizes, division, form.to_json()),
    )


def _found_format(folder: Path) -> BoxFormat:
    if not folder.exists():
        raise DataError(f"no folder {folder}; give a directory with pictures and boxes")
    if (folder / "Annotations").is_dir():
        return "voc"
    if yolo_folders(folder):
        return "yolo"
    if coco_files(folder):
        return "coco"
    raise DataError(
        f"{folder} is in no format that is known: COCO has annotations/*.json, Pascal VOC Annotations/ and "
        "JPEGImages/, YOLO images/ and labels/"
    )


def _records(
    folder: Path, kind: str, classes: tuple[str, ...] | None
) -> tuple[list[BoxRecord], tuple[str, ...], list[Corrupt]]:
    """The records, the classes, and what is damaged."""
    corrupt: list[Corrupt] = []
    if kind == "coco":
        if not coco_files(folder):
            raise DataError(f"{folder} has no COCO annotations; expected annotations/*.json")
        records, known, corrupt = read_coco(folder)
    elif kind == "voc":
        if not (folder / "Annotations").is_dir():
            raise DataError(f"{folder} has no Pascal VOC annotations; expected Annotations/*.xml")
        records, corrupt = read_voc(folder)
        known = tuple(sorted({label for record in records for label in record.labels}))
    elif kind == "yolo":
        if not yolo_folders(folder):
            raise DataError(f"{folder} has no YOLO annotations; expected images/ and labels/")
        records, known, corrupt = read_yolo(folder, classes)
    else:
        raise DataError(f"unknown format {kind!r}; there are coco, voc and yolo")
    if not records and not corrupt:
        raise DataError(f"{folder} holds no pictures")
    sources: dict[Path, Path] = {}
    for record in records:
        if record.path in sources:
            raise DataError(
                f"{record.source} lists {record.path.name}, which {sources[record.path]} lists before; "
                "list a picture once, with all of its objects"
            )
        sources[record.path] = record.source
    records, unknown = _known(records, classes or known)
    return records, known, [*corrupt, *unknown]


def _known(records: Sequence[BoxRecord], classes: tuple[str, ...]) -> tuple[list[BoxRecord], list[BadEntry]]:
    """The records with the objects of these classes, and what is to be said of others."""
    found: list[BoxRecord] = []
    unknown: list[BadEntry] = []
    for record in records:
        found.append(record.only([i for i, label in enumerate(record.labels) if label in classes]))
        unknown += [
            BadEntry(
                record.source,
                f"{record.source} has an object of class {label!r}; the classes are {', '.join(classes)}",
            )
            for label in record.labels
            if label not in classes
        ]
    return found, unknown


def _told_of(records: Sequence[BoxRecord]) -> str:
    """What a description should tell of crowds, difficult objects and pictures without annotation."""
    marks = Counter(mark for record in records for mark in record.marks)
    crowds, difficult = marks[BoxMark.CROWD], marks[BoxMark.DIFFICULT]
    bare = sum(record.source == record.path for record in records)
    return (
        (f"; {crowds} regions marked as crowds, in which nothing is judged" if crowds else "")
        + (f"; {difficult} objects marked as difficult, which are not judged" if difficult else "")
        + (f"; {bare} pictures without an annotation file, taken to show no object" if bare else "")
    )


def _left_out(folder: Path, corrupt: Sequence[Corrupt], *, skip_corrupt: bool) -> str:
    """Refuse files and single annotations that cannot be used, or say how many are left out."""
    files = [each for each in corrupt if not isinstance(each, BadEntry)]
    bad = len(corrupt) - len(files)
    if skip_corrupt:
        told = left_out(files, "", skip_corrupt=True)
        return told + (f"; {bad} annotations that cannot be used left out" if bad else "")
    what = "files" if not bad else "files and annotations" if files else "annotations"
    return left_out(corrupt, f"{what} in {folder} cannot be used: {_reasons(corrupt)}", skip_corrupt=False)


def _divided(folder: Path, records: Sequence[BoxRecord]) -> tuple[dict[Split, list[BoxRecord]], str]:
    """The records of each split, and how they came there."""
    told = {record.split for record in records if record.split is not None}
    if told and "train" not in told:
        raise DataError(f"{folder} holds {', '.join(sorted(told))} but no train split; add one")
    given: dict[Split, list[BoxRecord]] = {"train": []}
    for record in records:
        given.setdefault(record.split or "train", []).append(record)
    times = Counter(record.path.name for record in given["train"])
    base = folder if folder.is_dir() else folder.parent

    def drawn(record: BoxRecord) -> float:
        path = record.path
        return draw(path.name if times[path.name] == 1 else path.relative_to(base).as_posix())

    return held_out(given, drawn)


def _reasons(corrupt: Sequence[Corrupt]) -> str:
    """What is wrong with the first few."""
    more = f"; and {len(corrupt) - NAMED} more" if len(corrupt) > NAMED else ""
    return "; ".join(map(str, corrupt[:NAMED])) + more


def _samples(
    part: Sequence[tuple[Tensor | None, PlacedBoxes]],
    classes: Sequence[str],
    form: ImageFormat,
) -> BoxedSamples:
    """In memory where pictures were kept, else in their files."""
    index = {label: position for position, label in enumerate(classes)}
    records = [each.record for _, each in part]
    labels = [
        torch.tensor([index[label] for label in record.labels], dtype=torch.int64) for record in records
    ]
    boxes = [each.boxes for _, each in part]
    marks = [
        torch.tensor(record.marks or [BoxMark.OBJECT] * len(record.boxes), dtype=torch.int64)
        for record in records
    ]
    kept = [picture for picture, _ in part if picture is not None]
    if kept:
        return BoxedTensorSamples(torch.stack(kept), boxes, labels, marks)
    paths = tuple(record.path for record in records)
    return BoxedFileSamples(paths, tuple(boxes), tuple(labels), form, tuple(marks))
