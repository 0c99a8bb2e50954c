"""Boxes from the text files of YOLO: ``images/``, ``labels/``, ``data.yaml`` or ``classes.txt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesynth.errors import DataError
from edgesynth.tasks.detection.annotations.names import yaml_entries, yaml_names
from edgesynth.tasks.detection.annotations.record import BadEntry, BoxRecord
from edgesynth.tasks.images import (
    SPLIT_NAMES,
    Corrupt,
    by_name,
    entries,
    files_below,
    listed_names,
    pictures_in,
    read_text,
)
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

    A line is ``class x y width height``: a class index, the centre and the size in shares of the sides. Of
    an outline, ``class x y x y x y`` and so on, the box around it is taken, except where ``data.yaml`` has
    ``kpt_shape``, with which such numbers are key points. Folders inside those of pictures and labels, and
    those that links lead to, are read as well.

    Returns:
        The records, the classes in the order of their indices, and what cannot be read or used.

    Raises:
        DataError: The classes have no names, two pictures have one name, or a split has pictures and no
            folder of labels.
    """
    files = (root / "data.yaml", root / "data.yml", root / "dataset.yaml")
    described = next((file for file in files if file.is_file()), None)
    names = classes or _listed(root)
    try:
        told = yaml_entries(described) if described else {}
    except DataError:
        # Where the classes are known, what the file says besides is no reason to refuse the folder.
        if not names:
            raise
        told = {}
    names = names or _names(root, described, told)
    folders = yolo_folders(root)
    _check_labelled(root, [images for images, _, _ in folders])
    records: list[BoxRecord] = []
    corrupt: list[Corrupt] = []
    for images, labels, split in folders:
        pictures = by_name(images, pictures_in(images, "**/*"))
        written = [path for path in sorted(files_below(labels)) if path.suffix.lower() == ".txt"]
        written = [path for path in written if path.name.lower() != "classes.txt"]
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
                record, bad = _record(texts[stem], path, split, names, outlines="kpt_shape" not in told)
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
            if not inside and pictures_in(images, "**/*"):
                raise DataError(
                    f"{images} holds pictures, and no folder of labels is there for them; add one, empty "
                    "where no picture shows an object, or call the folder otherwise"
                )


def _record(
    file: Path, image: Path, split: Split | None, names: tuple[str, ...], *, outlines: bool
) -> tuple[BoxRecord, list[BadEntry]]:
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[str] = []
    bad: list[BadEntry] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, *numbers = (float(word) for word in line.split())
            index = int(label)
            if index != label or not all(abs(value) < 1e6 for value in numbers):
                raise ValueError(line)  # noqa: TRY301 - told like the others
            box = _box(numbers, outlines=outlines)
        except (ValueError, OverflowError):
            raise Corrupt(
                file, f"{file}, line {number}: {line.strip()[:60]!r} is not 'class x y width height'"
            ) from None
        if 0 <= index < len(names):
            boxes.append(box)
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


def _box(numbers: list[float], *, outlines: bool) -> tuple[float, float, float, float]:
    """Of a centre and a size, or around the three or more points of an outline."""
    if outlines and len(numbers) >= 6 and len(numbers) % 2 == 0:
        across, down = numbers[::2], numbers[1::2]
        return min(across), min(down), max(across), max(down)
    x, y, width, height = numbers
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _listed(root: Path) -> tuple[str, ...]:
    """The names in ``classes.txt``; empty where there is none."""
    for folder in (root, root / "labels"):
        for file in entries(folder, "classes.txt"):
            return listed_names(file)
    return ()


def _names(root: Path, described: Path | None, told: dict[str, Any]) -> tuple[str, ...]:
    if described is None:
        raise DataError(f"{root} has neither data.yaml nor classes.txt; add one, or give classes")
    return yaml_names(described, told)
