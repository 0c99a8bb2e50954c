"""Boxes from the XML of Pascal VOC: ``Annotations/``, ``JPEGImages/``, ``ImageSets/Main/``."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from edgesynth.errors import DataError
from edgesynth.tasks.detection.annotations.record import BoxRecord
from edgesynth.tasks.detection.samples import BoxMark
from edgesynth.tasks.images import SPLIT_NAMES, Corrupt, by_name, entries, pictures_in, read_text
from edgesynth.tasks.protocol import Split

__all__ = ["read_voc"]

_FOLDERS = ("JPEGImages", "images")


def read_voc(root: Path) -> tuple[list[BoxRecord], list[Corrupt]]:
    """Read a folder.

    Corners are counted from 1 and belong to the box, so a box from 1 to 10 is 10 pixels wide. Objects whose
    ``difficult`` is 1 are marked so. The lists in ``ImageSets/Main`` named after splits say which pictures
    are used, and where; without them all are used.

    Returns:
        The records, and what is wrong with annotations that cannot be read, or whose picture is not there.

    Raises:
        DataError: Two pictures or two annotations have one name, or a picture is in two lists.
    """
    folder = next((root / name for name in _FOLDERS if pictures_in(root / name)), root / _FOLDERS[0])
    images = by_name(folder, pictures_in(folder))
    annotations = by_name(root / "Annotations", entries(root / "Annotations", "*.xml"))
    listed = _listed(root / "ImageSets" / "Main", images.keys())
    chosen = listed or dict.fromkeys(sorted(images.keys() | annotations.keys()))
    records: list[BoxRecord] = []
    corrupt: list[Corrupt] = []
    for stem, split in chosen.items():
        if stem not in images:
            source = annotations.get(stem, root / "ImageSets" / "Main")
            corrupt.append(
                Corrupt(source, f"{source} is about the picture {stem!r}, which is not in {folder}")
            )
            continue
        if stem not in annotations:
            records.append(BoxRecord(images[stem], images[stem], (), (), split))
            continue
        try:
            records.append(_record(annotations[stem], images[stem], split))
        except Corrupt as error:
            corrupt.append(error)
    return records, corrupt


def _listed(folder: Path, known: Container[str]) -> dict[str, Split | None]:
    """The split of each picture; lines may have more words after the name, which may have several."""
    listed: dict[str, Split | None] = {}
    for file in entries(folder, "*.txt"):
        if file.stem.lower() in SPLIT_NAMES:
            for line in read_text(file).splitlines():
                if line.strip():
                    whole, split = line.strip(), SPLIT_NAMES[file.stem.lower()]
                    stem = whole if whole in known else whole.split()[0]
                    if listed.setdefault(stem, split) != split:
                        raise DataError(f"{file} lists {stem!r}, which is in {listed[stem]} as well")
    return listed


def _record(file: Path, image: Path, split: Split | None) -> BoxRecord:
    tree = _parsed(file)
    boxes: list[tuple[float, float, float, float]] = []
    labels: list[str] = []
    marks: list[BoxMark] = []
    for thing in tree.iter("object"):
        corners = [_number(file, thing, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax")]
        boxes.append((corners[0] - 1, corners[1] - 1, corners[2], corners[3]))
        labels.append(_text(file, thing, "name"))
        difficult = (thing.findtext("difficult") or "").strip() == "1"
        marks.append(BoxMark.DIFFICULT if difficult else BoxMark.OBJECT)
    size = tree.find("size")
    stated = None
    if size is not None:
        stated = (round(_number(file, size, "height")), round(_number(file, size, "width")))
    # Some tools write 0 where they do not know.
    return BoxRecord(
        image,
        file,
        tuple(boxes),
        tuple(labels),
        split,
        stated if stated and all(stated) else None,
        marks=tuple(marks),
    )


def _parsed(file: Path) -> ElementTree.Element:
    """Parse without document types: entities are how a small file becomes a large one, or reads another."""

    def refuse(*_: object) -> NoReturn:
        raise Corrupt(file, f"{file} declares a document type, which annotations do not need; remove it")

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        data = file.read_bytes()
        guard.Parse(data, True)
        return ElementTree.fromstring(data)
    except OSError as error:
        raise Corrupt(file, f"cannot read {file}: {error.strerror}") from error
    # Of an encoding that it does not know, Python says that it cannot be looked up.
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise Corrupt(file, f"cannot read {file} as XML: {error}") from error


def _text(file: Path, element: ElementTree.Element, path: str) -> str:
    text: Sequence[str] = (element.findtext(path) or "").split()
    if not text:
        raise Corrupt(file, f"{file}: {element.tag} has no {path}")
    return " ".join(text)


def _number(file: Path, element: ElementTree.Element, path: str) -> float:
    text = _text(file, element, path)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if abs(value) < 1e9:
        return value
    raise Corrupt(file, f"{file}: {path} of {element.tag} is {text!r}; give a number")
