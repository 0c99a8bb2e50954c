"""Boxes from the JSON of the COCO benchmark: ``annotations/instances_*.json``, one a split, or one file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgesynth.errors import DataError
from edgesynth.tasks.detection.annotations.names import check_class_name
from edgesynth.tasks.detection.annotations.record import BadEntry, BoxRecord
from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.images import SPLIT_NAMES, Corrupt, entries, read_text, split_directories
from edgesynth.tasks.protocol import Split

__all__ = ["coco_files", "read_coco"]

_OWN = "annotations"
"""The folder of the annotations of all splits, beside those of the pictures."""

_BESIDE = "_annotations.coco.json"
"""What Roboflow calls the annotations of a split, in the folder of its pictures."""

_SHOWN = 80
"""Characters of a value that a message shows."""


class _Object(NamedTuple):
    """One annotation: left, top, right, bottom, its class by name, and what it means."""

    box: tuple[float, float, float, float]
    label: str
    mark: BoxMark


def coco_files(root: Path) -> list[Path]:
    """The annotation files of a folder, or of the one file given; empty where there is none."""
    if root.is_file():
        return [root] if root.suffix.lower() == ".json" else []
    if not root.is_dir():
        return []
    own = root / _OWN
    beside = [file for _, folder in split_directories(root) for file in entries(folder, _BESIDE)]
    return entries(own, "instances_*.json") or entries(own, "*.json") or beside or entries(root, "*.json")


def read_coco(root: Path) -> tuple[list[BoxRecord], tuple[str, ...], list[Corrupt]]:
    """Read every annotation file.

    Boxes are left, top, width, height. Regions whose ``iscrowd`` is 1 are marked as crowds. The files of
    several splits have its name, ``instances_train.json``, or the folder they lie in has.

    Returns:
        The records, the classes in the order of their ids, and what is wrong with annotations that cannot be
        used and pictures that are not there.

    Raises:
        DataError: A file is no such JSON, or the id of a picture or class is no whole number, or used twice.
    """
    files = coco_files(root)
    folder = root if root.is_dir() else root.parent
    if root.is_file() and folder.name == _OWN:
        folder = folder.parent
    named: dict[int, str] = {}
    records: list[BoxRecord] = []
    corrupt: list[Corrupt] = []
    for file in files:
        data = _loaded(file)
        try:
            categories = _categories(file, data)
            objects, bad = _objects(file, data, categories)
            found, unusable = _records(file, data, objects, folder, _split(file, folder, len(files)))
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
        corrupt += [*unusable, *bad]
    return records, tuple(named[identity] for identity in sorted(named)), corrupt


def _loaded(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(file))
    except ValueError as error:
        raise DataError(f"cannot read {file} as JSON: {error}") from error
    except RecursionError:
        raise DataError(f"{file} is nested too deeply to be read as JSON") from None
    if not isinstance(data, dict):
        raise DataError(f"{file} holds a {type(data).__name__}, the COCO format an object")
    return data


def _split(file: Path, folder: Path, files: int) -> Split | None:
    if file.parent != folder and file.parent.name.lower() in SPLIT_NAMES:
        return SPLIT_NAMES[file.parent.name.lower()]
    words = re.findall(r"[a-z]+", file.stem.lower())
    named = next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
    if named is None and files > 1:
        raise DataError(f"cannot tell the split of {file}; call it instances_train, _val or _test")
    return named if files > 1 else None


def _categories(file: Path, data: dict[str, Any]) -> dict[int, str]:
    """The names of the classes by id; both are used once."""
    found: dict[int, str] = {}
    for each in data["categories"]:
        identity, name = _whole(file, "a class", "id", each["id"]), str(each["name"])
        check_class_name(file, name)
        if identity in found or name in found.values():
            raise DataError(
                f"{file} lists class {identity} {name!r} after one of that id or name; remove one"
            )
        found[identity] = name
    return found


def _objects(
    file: Path, data: dict[str, Any], categories: dict[int, str]
) -> tuple[dict[int, list[_Object]], list[BadEntry]]:
    """The objects of each image by its id, and what is wrong with others."""
    found: dict[int, list[_Object]] = {}
    for each in data["images"]:
        identity = _whole(file, "an image", "id", each["id"])
        if identity in found:
            raise DataError(f"{file} lists two images with the id {identity}; give each its own")
        found[identity] = []
    bad: list[BadEntry] = []
    for each in data["annotations"]:
        try:
            image, thing = _object(file, each, found, categories)
        except BadEntry as error:
            bad.append(error)
        else:
            found[image].append(thing)
    return found, bad


def _object(
    file: Path, given: dict[str, Any], images: Container[int], categories: dict[int, str]
) -> tuple[int, _Object]:
    """The id of its image, and what an annotation says."""
    which = f"annotation {_shown(given.get('id'))}"
    where = f"{file}: {which}"
    image = _whole(file, which, "image_id", given.get("image_id"))
    category = _whole(file, which, "category_id", given.get("category_id"))
    if image not in images:
        raise BadEntry(file, f"{where} is of image {image}, which is not listed among the images")
    if category not in categories:
        raise BadEntry(file, f"{where} has class id {category}; known are {sorted(categories)}")
    crowd = given.get("iscrowd")
    if crowd not in (None, 0, 1):
        raise BadEntry(file, f"{where} has iscrowd {_shown(crowd)}; give 0 or 1")
    try:
        left, top, width, height = (float(value) for value in given["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError):
        left = top = width = height = math.nan
    if not all(map(math.isfinite, (left, top, width, height))):
        raise BadEntry(
            file,
            f"{where} has the box {_shown(given.get('bbox'))}; give left, top, width and height as finite "
            "numbers",
        )
    mark = BoxMark.CROWD if crowd else BoxMark.OBJECT
    return image, _Object((left, top, left + width, top + height), categories[category], mark)


def _records(
    file: Path, data: dict[str, Any], objects: dict[int, list[_Object]], folder: Path, split: Split | None
) -> tuple[list[BoxRecord], list[Corrupt]]:
    """What is said of the pictures, and what is wrong with those that cannot be used."""
    records: list[BoxRecord] = []
    unusable: list[Corrupt] = []
    for each in data["images"]:
        identity = _whole(file, "an image", "id", each["id"])
        mine = objects[identity]
        try:
            path = _picture(folder, file, str(each["file_name"]))
            size = _size(file, identity, each)
        except Corrupt as error:
            # Whatever it is, it is wrong with the picture, not with one object.
            unusable.append(Corrupt(file, str(error)))
            continue
        boxes, labels = tuple(thing.box for thing in mine), tuple(thing.label for thing in mine)
        marks = tuple(thing.mark for thing in mine)
        records.append(BoxRecord(path, file, boxes, labels, split, size, marks=marks))
    return records, unusable


def _size(file: Path, identity: int, given: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width of an image; ``None`` where they are not told."""
    if "height" not in given or "width" not in given:
        return None
    height, width = (_whole(file, f"image {identity}", key, given[key]) for key in ("height", "width"))
    return height, width


def _whole(file: Path, which: str, key: str, value: Any) -> int:  # noqa: ANN401 - whatever the file holds
    """A whole number, which some programs write as ``1.0`` or ``"1"``."""
    if (isinstance(value, float) and value.is_integer()) or (isinstance(value, str) and value.isdecimal()):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadEntry(file, f"{file}: {which} has the {key} {_shown(value)}; give a whole number")
    return value


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever the file holds
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _picture(folder: Path, file: Path, name: str) -> Path:
    """The picture of a name, which leads out of the folder by links only."""
    words: Sequence[str] = file.stem.split("_")
    places = [folder, folder / "images", folder / words[-1], folder / "images" / words[-1]]
    if file.parent != folder:
        places.insert(0, file.parent)
    base = folder.resolve()
    for place in places:
        path = Path(os.path.normpath(base / place.relative_to(folder) / name))
        with contextlib.suppress(OSError):
            if path.is_relative_to(base) and path.is_file():
                return folder / path.relative_to(base)
    raise Corrupt(
        file,
        f"{file} lists the picture {_shown(name)}, which is not in {folder}; looked in "
        f"{', '.join(str(place.relative_to(folder)) for place in places)}",
    )
