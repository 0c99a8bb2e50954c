"""Boxes from the text files of YOLO: ``images/``, ``labels/``, ``data.yaml`` or ``classes.txt``."""

from __future__ import annotations

from pathlib import Path

from edgesynth.errors import DataError
from edgesynth.tasks.detection.annotations.files import entries, entries_below, pictures_below
from edgesynth.tasks.detection.annotations.names import yaml_entries, yaml_names
from edgesynth.tasks.detection.annotations.record import BadEntry, BoxRecord
from edgesynth.tasks.images import SPLIT_NAMES, Corrupt, by_name, listed_names, read_text
from edgesynth.tasks.protocol import Split

__all__ = ["read_yolo", "yolo_folders"]


def yolo_folders(root: Path) -> list[tuple[Path, Path, Split | None]]:
    """Folders of pictures, of labels, and their split; empty where the layout is another.

    ``images/<split>`` beside ``labels/<split>``, ``<split>/images`` beside ``<split>/labels``, or undivided.
    """
    found: list[tuple[Path, Path, Split | None]] = []
    for word, split in SPLIT_NAMES.items():
        for images, labels in (
            (root / "images" / word, root / "labels" / word),
            (root / word / "images", root / word / "labels"),
        ):
            if images.is_dir() and labels.is_dir():
                found.append((images, labels, split))
    if not found and (root / "images").is_dir() and (root / "labels").is_dir():
        found.append((root / "images", root / "labels", None))
    return found


def read_yolo(
    root: Path, classes: tuple[str, ...] | None
) -> tuple[list[BoxRecord], tuple[str, ...], list[Corrupt]]:
    """Read a folder.

    A line is ``class x y width height``: a class index, the centre and the size in shares of the sides.
    Folders inside those of pictures and labels, and those that links lead to, are read as well.

    Returns:
        The records, the classes in the order of their indices, and what cannot be read or used.

    Raises:
        DataError: The classes have no names, two pictures have one name, or a split has pictures and no
            folder of labels.
    """
    names = classes or _names(root)
    folders = yolo_folders(root)
    _check_labelled(root, [images for images, _, _ in folders])
    records: list[BoxRecord] = []
    corrupt: list[Corrupt] = []
    for images, labels, split in folders:
        pictures = by_name(images, pictures_below(images))
        written = [path for path in entries_below(labels, ".txt") if path.name.lower() != "classes.txt"]
        texts = by_name(labels, written)
        for stem in sorted(texts.keys() - pictures.keys()):
            corrupt.append(
                Corrupt(texts[stem], f"{texts[stem]} is about the picture {stem!r}, which is not in {images}")
            )
        for stem, path in pictures.items():
            if stem not in texts:
                records.append(BoxRecord(path, path, (), (), split))
                continue
            try:
                record, bad = _record(texts[stem], path, split, names)
            except Corrupt as error:
                corrupt.append(error)
            else:
                records.append(record)
                corrupt += bad
    return records, names, corrupt


def _check_labelled(root: Path, known: list[Path]) -> None:
    """Refuse splits that have pictures and no folder of labels; those of others are read."""
    for word in SPLIT_NAMES:
        for images in (root / "images" / word, root / word / "images"):
            inside = any(images.is_relative_to(folder) for folder in known)
            if not inside and pictures_below(images):
                raise DataError(
                    f"{images} holds pictures, and no folder of labels is there for them; add one, empty "
                    "where no picture shows an object, or call the folder otherwise"
                )


def _record(
    file: Path, image: Path, split: Split | None, names: tuple[str, ...]
) -> tuple[BoxRecord, list[BadEntry]]:
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[str] = []
    bad: list[BadEntry] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, x, y, width, height = (float(word) for word in line.split())
            index = int(label)
            if index != label or not all(abs(value) < 1e6 for value in (x, y, width, height)):
                raise ValueError(line)  # noqa: TRY301 - told like the others
        except (ValueError, OverflowError):
            raise Corrupt(
                file, f"{file}, line {number}: {line.strip()[:60]!r} is not 'class x y width height'"
            ) from None
        if 0 <= index < len(names):
            boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
            labels.append(names[index])
        else:
            bad.append(
                BadEntry(
                    file,
                    f"{file}, line {number}: class index {index}, but there are {len(names)} classes "
                    f"(0 to {len(names) - 1})",
                )
            )
    return BoxRecord(image, file, tuple(boxes), tuple(labels), split, relative=True), bad


def _names(root: Path) -> tuple[str, ...]:
    for folder in (root, root / "labels"):
        for file in entries(folder, "classes.txt"):
            return listed_names(file)
    for file in (root / "data.yaml", root / "data.yml", root / "dataset.yaml"):
        if file.is_file():
            return yaml_names(file, yaml_entries(file))
    raise DataError(f"{root} has neither data.yaml nor classes.txt; add one, or give classes")
