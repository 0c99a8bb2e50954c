"""Boxes from the JSON of the COCO benchmark: ``annotations/instances_*.json``, or one file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from edgesynth.errors import DataError
from edgesynth.tasks.detection.annotations.files import entries
from edgesynth.tasks.detection.annotations.record import BoxRecord
from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.images import SPLIT_NAMES, read_text
from edgesynth.tasks.protocol import Split

__all__ = ["coco_files", "read_coco"]

_Sides: TypeAlias = tuple[float, float, float, float]


def coco_files(root: Path) -> list[Path]:
    """The annotation files of a folder, or of the one file given; empty where there is none."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    own = root / "annotations"
    return entries(own, "instances_*.json") or entries(own, "*.json") or entries(root, "*.json")


def read_coco(root: Path) -> tuple[list[BoxRecord], tuple[str, ...]]:
    """Read every annotation file.

    Boxes are left, top, width, height. Regions whose ``iscrowd`` is 1 are marked as crowds.

    Returns:
        The records, and the classes in the order of their ids.

    Raises:
        DataError: A file is no such JSON, names a picture, picture id or class id that is not there, or lists
            one of them twice.
    """
    files = coco_files(root)
    folder = root if root.is_dir() else root.parent
    named: dict[int, str] = {}
    records: list[BoxRecord] = []
    for file in files:
        data = _loaded(file)
        try:
            categories = _categories(file, data)
            found = _records(file, data, categories, folder, _split(file, len(files)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{file} is not in the COCO format: {type(error).__name__} {error}; it needs images (id, "
                "file_name), annotations (image_id, category_id, bbox) and categories (id, name)"
            ) from error
        for identity, name in categories.items():
            if named.setdefault(identity, name) != name:
                raise DataError(
                    f"{file} calls class {identity} {name!r}, another file calls it {named[identity]!r}"
                )
        records += found
    return records, tuple(named[identity] for identity in sorted(named))


def _loaded(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(file))
    except ValueError as error:
        raise DataError(f"cannot read {file} as JSON: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{file} holds a {type(data).__name__}, the COCO format an object")
    return data


def _split(file: Path, files: int) -> Split | None:
    words = re.findall(r"[a-z]+", file.stem.lower())
    named = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
    if named is None and files > 1:
        raise DataError(f"cannot tell the split of {file}; call it instances_train, _val or _test")
    return named if files > 1 else None


def _records(
    file: Path, data: dict[str, Any], categories: dict[int, str], folder: Path, split: Split | None
) -> list[BoxRecord]:
    boxes: dict[int, list[tuple[_Sides, str, BoxMark]]] = {}
    for each in data["images"]:
        if int(each["id"]) in boxes:
            raise DataError(f"{file} lists two images with the id {each['id']}; give each its own")
        boxes[int(each["id"])] = []
    for each in data["annotations"]:
        image, category = int(each["image_id"]), int(each["category_id"])
        where = f"{file}: annotation {each.get('id')}"
        if image not in boxes:
            raise DataError(f"{where} is of image {image}, which is not listed among the images")
        if category not in categories:
            raise DataError(f"{where} has class id {category}; known are {sorted(categories)}")
        mark = BoxMark.CROWD if each.get("iscrowd") else BoxMark.OBJECT
        x, y, width, height = _box(where, each["bbox"])
        boxes[image].append(((x, y, x + width, y + height), categories[category], mark))
    records = []
    for each in data["images"]:
        mine = boxes[int(each["id"])]
        size = (int(each["height"]), int(each["width"])) if "height" in each and "width" in each else None
        records.append(
            BoxRecord(
                _picture(folder, file, str(each["file_name"])),
                file,
                tuple(box for box, _, _ in mine),
                tuple(label for _, label, _ in mine),
                split,
                size,
                marks=tuple(mark for _, _, mark in mine),
            )
        )
    return records


def _categories(file: Path, data: dict[str, Any]) -> dict[int, str]:
    """The names of the classes by id; both are used once."""
    found: dict[int, str] = {}
    for each in data["categories"]:
        identity, name = int(each["id"]), str(each["name"])
        if identity in found or name in found.values():
            raise DataError(
                f"{file} lists class {identity} {name!r} after one of that id or name; remove one"
            )
        found[identity] = name
    return found


def _box(where: str, given: Any) -> _Sides:  # noqa: ANN401 - whatever the file holds
    """Left, top, width and height."""
    try:
        left, top, width, height = (float(value) for value in given)
    except (TypeError, ValueError):
        left = top = width = height = math.nan
    if not all(map(math.isfinite, (left, top, width, height))):
        raise DataError(f"{where} has the box {given}; give left, top, width and height as finite numbers")
    return left, top, width, height


def _picture(folder: Path, file: Path, name: str) -> Path:
    words: Sequence[str] = file.stem.split("_")
    places = [folder, folder / "images", folder / words[-1], folder / "images" / words[-1]]
    for place in places:
        path = place / name
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    raise DataError(
        f"{file} lists the picture {name!r}, which is not in {folder}; looked in "
        f"{', '.join(str(place.relative_to(folder)) for place in places)}"
    )
