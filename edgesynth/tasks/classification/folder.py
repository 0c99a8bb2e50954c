"""The user's own pictures: one directory per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.classification.augmentation import Augmentation
from edgesynth.tasks.classification.samples import LabelledSamples, TensorSamples
from edgesynth.tasks.classification.task import ClassificationTask
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.images import (
    IMAGE_SUFFIXES,
    SPLIT_NAMES,
    ImageFormat,
    check_readable,
    directories,
    draw,
    held_out,
    in_parallel,
    read_image,
    read_images,
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
class FileSamples:
    """Pictures decoded each time they are needed, by several threads.

    Attributes:
        paths: One file per sample.
        labels: Class indices, int64 ``[samples]``.
        form: What every picture is brought to.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    form: ImageFormat

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.form.shape

    def take(self, indices: Tensor) -> Tensor:
        """Decode the pictures at ``indices``.

        Raises:
            DataError: A file cannot be read.
        """
        paths = [self.paths[index] for index in indices.tolist()]
        return read_images(paths, self.form)

    def subset(self, indices: Tensor) -> FileSamples:
        """The pictures at ``indices``, still decoded when needed."""
        return FileSamples(
            tuple(self.paths[index] for index in indices.tolist()), self.labels[indices], self.form
        )


def load_image_folder(
    root: str | Path,
    *,
    size: int | tuple[int, int],
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["crop", "stretch"] = "crop",
    mirror: bool = True,
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
        augmentation: Random variation of training pictures; by default shifts by an eighth of the size and
            what ``mirror`` says.
        label_smoothing: Share of the target spread over all classes.
        skip_corrupt: Leave out files that cannot be read, instead of refusing the folder.
        memory_limit_bytes: Decode once and keep everything up to this size; decode when needed beyond it.
        name: What reports call it; the folder's name when not given.

    Raises:
        DataError: The folder is missing, a split is empty, there is one class only, a class is in one split
            and not in ``train``, or files cannot be read (counted and named).
    """
    folder = Path(root)
    height, width = (size, size) if isinstance(size, int) else size
    form = ImageFormat(height, width, colour, fit)
    divided, division = _divided(folder)
    classes = sorted({file.label for file in divided["train"]})
    _check_classes(folder, divided, classes)
    skipped: list[Path] = []
    keep = sum(map(len, divided.values())) * form.channels * height * width <= memory_limit_bytes
    parts = {
        split: _samples(files, classes, form, keep=keep, corrupt=skipped) for split, files in divided.items()
    }
    division += check_readable(folder, skipped, "pictures", skip_corrupt=skip_corrupt)
    title = name or folder.resolve().name
    sizes = {split: len(parts[split].labels) for split in ("train", "validation", "test")}
    if augmentation is None:
        augmentation = Augmentation(shift=max(1, min(height, width) // 8), border="reflect", flip=mirror)
    return ClassificationTask(
        title,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=classes,
        augmentation=augmentation,
        label_smoothing=label_smoothing,
        description=DataDescription(title, "user", f"pictures in {folder}", "", sizes, division),
    )


def _divided(folder: Path) -> tuple[dict[Split, list[_File]], str]:
    """The files of each split, and how they came there."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give a directory that holds one directory per class")
    given = {
        SPLIT_NAMES[part.name.lower()]: _files(part)
        for part in directories(folder)
        if part.name.lower() in SPLIT_NAMES and directories(part)
    }
    if given and "train" not in given:
        raise DataError(f"{folder} holds {', '.join(given)} but no train directory; add one")
    if not given:
        given["train"] = _files(folder)
    if not given["train"]:
        raise DataError(
            f"{folder} holds no pictures; expected <class>/<file> ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return held_out(given, lambda file: file.draw)


def _files(folder: Path) -> list[_File]:
    return [
        _File(path, part.name)
        for part in directories(folder)
        for path in sorted(part.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]


def _check_classes(folder: Path, divided: dict[Split, list[_File]], classes: Sequence[str]) -> None:
    empty = [split for split, files in divided.items() if not files]
    if empty:
        raise DataError(
            f"{folder} leaves no picture for {empty[0]}; add pictures, or directories train, validation and "
            "test of your own"
        )
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
    files: Sequence[_File], classes: Sequence[str], form: ImageFormat, *, keep: bool, corrupt: list[Path]
) -> LabelledSamples:
    """Decode every file once; files that cannot be read are appended to ``corrupt`` and left out."""
    index = {label: position for position, label in enumerate(classes)}

    def decode(file: _File) -> Tensor | None:
        try:
            picture = read_image(file.path, form)
        except DataError:
            return None
        return picture if keep else torch.empty(0, dtype=torch.uint8)

    pictures = in_parallel(decode, files)
    corrupt.extend(file.path for file, picture in zip(files, pictures, strict=True) if picture is None)
    readable = [(f, p) for f, p in zip(files, pictures, strict=True) if p is not None]
    labels = torch.tensor([index[file.label] for file, _ in readable], dtype=torch.int64)
    if not keep or not readable:
        return FileSamples(tuple(file.path for file, _ in readable), labels, form)
    return TensorSamples(torch.stack([picture for _, picture in readable]), labels)
