"""The user's own pictures: one directory per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from edgesynth.errors import DataError, printable
from edgesynth.tasks.classification.augmentation import Augmentation
from edgesynth.tasks.classification.samples import LabelledSamples, TensorSamples
from edgesynth.tasks.classification.task import ClassificationTask
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.images import (
    IMAGE_SUFFIXES,
    ImageFormat,
    PictureFiles,
    check_filled,
    corrupt_names,
    directories,
    draw,
    held_out,
    left_out,
    not_read,
    picked,
    pictures_in,
    read_image,
    read_splits,
    split_directories,
)
from edgesynth.tasks.protocol import Split
from edgesynth.tasks.splits import MEMORY_LIMIT_BYTES

__all__ = ["FileSamples", "load_image_folder"]


@dataclass(frozen=True)
class _File:
    path: Path
    label: str
    """The name of its class."""

    @property
    def draw(self) -> float:
        """A number in [0, 1) that depends on the file's class and name alone, wherever the folder lies."""
        return draw(f"{self.label}/{self.path.name}")


@dataclass(frozen=True)
class FileSamples(PictureFiles):
    """Pictures decoded each time they are needed.

    Attributes:
        paths: One file per sample.
        labels: Class indices, int64 ``[samples]``.
        form: What every picture is brought to.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    form: ImageFormat

    def subset(self, indices: Tensor) -> FileSamples:
        """The pictures at ``indices``, still decoded when needed."""
        return FileSamples(picked(self.paths, indices), self.labels[indices], self.form)


def load_image_folder(
    root: str | Path,
    *,
    size: int | tuple[int, int],
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["crop", "stretch"] = "crop",
    mirror: bool = True,
    turn: bool = False,
    augmentation: Augmentation | None = None,
    label_smoothing: float = 0.1,
    skip_corrupt: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    name: str | None = None,
) -> ClassificationTask:
    """Make a task of a folder of pictures.

    Either ``root/{train,validation,test}/<class>/*`` (``val`` and ``valid`` mean validation), or
    ``root/<class>/*``. What the folder does not divide is divided by a hash of class and file name: about
    15 % test and 15 % validation, whatever the machine, and a file added later moves no other. Missing test
    or validation pictures are held out of ``train``, never the one of the other.

    Args:
        root: The folder.
        size: Height and width every picture is brought to; one number for a square.
        colour: ``rgb`` or ``grey``.
        fit: ``crop`` or ``stretch``, see :class:`ImageFormat`.
        mirror: Whether a mirrored picture means the same, and may be trained on.
        turn: Whether a picture turned by quarters does too, as one taken from straight above.
        augmentation: Random variation of training pictures; by default shifts by an eighth of the size and
            what ``mirror`` and ``turn`` say.
        label_smoothing: Share of the target spread over all classes.
        skip_corrupt: Leave out files that cannot be read, instead of refusing the folder.
        memory_limit_bytes: Decode once and keep everything up to this size; decode when needed beyond it.
        name: What reports call it; the folder's name when not given.

    Raises:
        DataError: The folder is missing, a split is empty, there is one class only, a class is in one split
            and not in ``train``, or files cannot be read (counted and named).
    """
    folder = Path(root)
    form = ImageFormat.of(size, colour, fit)
    divided, division = _divided(folder)
    classes = sorted({file.label for file in divided["train"]})
    _check_classes(folder, divided, classes)
    keep = sum(map(len, divided.values())) * form.size_bytes <= memory_limit_bytes

    def read(file: _File) -> Tensor | None:
        picture = read_image(file.path, form)
        return picture if keep else None

    found, corrupt = read_splits(divided, read)
    complaint = f"pictures in {folder} cannot be read: {corrupt_names(folder, corrupt)}"
    division += left_out(corrupt, complaint, skip_corrupt=skip_corrupt)
    parts = {split: _samples(part, classes, form) for split, part in found.items()}
    title = name or printable(folder.resolve().name)
    source = f"pictures in {printable(folder)}, {form.described}"
    sizes: dict[str, int] = {split: len(part.labels) for split, part in parts.items()}
    if augmentation is None:
        shift = max(1, min(form.height, form.width) // 8)
        augmentation = Augmentation(shift, border="reflect", flip=mirror, turn=turn)
    return ClassificationTask(
        title,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=tuple(map(printable, classes)),
        augmentation=augmentation,
        label_smoothing=label_smoothing,
        description=DataDescription(title, "user", source, "", sizes, division, form.to_json()),
    )


def _divided(folder: Path) -> tuple[dict[Split, list[_File]], str]:
    """The files of each split, and how they came there."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give a directory that holds one directory per class")
    parts: dict[Split, list[Path]] = {}
    for split, part in split_directories(folder):
        if labels := directories(part):
            parts.setdefault(split, []).extend(labels)
    given = {split: _files(labels) for split, labels in parts.items()}
    if given and "train" not in given:
        raise DataError(f"{folder} holds {', '.join(given)} but no train directory; add one")
    if not given:
        parts = {"train": directories(folder)}
        given["train"] = _files(parts["train"])
    note = not_read(label for labels in parts.values() for label in labels)
    if not given["train"]:
        raise DataError(
            f"{folder} holds no pictures{note}; expected <class>/<file> ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    divided, division = held_out(given, lambda file: file.draw)
    return divided, division + note


def _files(labels: Sequence[Path]) -> list[_File]:
    return [_File(path, label.name) for label in labels for path in pictures_in(label)]


def _check_classes(folder: Path, divided: dict[Split, list[_File]], classes: Sequence[str]) -> None:
    check_filled(folder, divided, "directories train, validation and test")
    if len(classes) < 2:
        raise DataError(
            f"{folder} shows one class ({classes[0]}) to train on; "
            "classification needs at least two directories of pictures"
        )
    for split, files in divided.items():
        unknown = sorted({file.label for file in files} - set(classes))
        if unknown:
            raise DataError(
                f"{folder}: class {unknown[0]!r} is in {split} but has no training picture; "
                "add some, or remove the class"
            )


def _samples(
    part: Sequence[tuple[_File, Tensor | None]], classes: Sequence[str], form: ImageFormat
) -> LabelledSamples:
    """In memory where pictures were kept, else in their files."""
    index = {label: position for position, label in enumerate(classes)}
    labels = torch.tensor([index[file.label] for file, _ in part], dtype=torch.int64)
    kept = [picture for _, picture in part if picture is not None]
    if kept:
        return TensorSamples(torch.stack(kept), labels)
    return FileSamples(tuple(file.path for file, _ in part), labels, form)
