"""Pictures of a run: what the prototype and the networks say about a few test samples, side by side.

The folder ``pictures`` of a run holds PNG files and, written last, ``index.json``, which names them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgesynth.errors import RunError
from edgesynth.runs.atomic import write_atomic, write_json_atomic
from edgesynth.runs.faults import disk_faults

__all__ = ["PICTURES", "Picture", "PictureRow", "PictureSet", "read_pictures", "write_pictures"]

PICTURES: Final = "pictures"
"""The folder in that of the run."""

_INDEX: Final = "index.json"
_FORMAT: Final = 1
_COLOUR: Final = re.compile("#[0-9a-f]{6}")


@dataclass(frozen=True)
class Picture:
    """What one network says about one sample.

    Attributes:
        file: PNG in the folder of the pictures; answers that look alike share one.
        caption: The same in words.
    """

    file: str
    caption: str


@dataclass(frozen=True)
class PictureRow:
    """One sample.

    Attributes:
        sample: Its index in the samples that pictures were chosen from.
        chosen: Why it was.
        truth: What is true of it.
        answers: What the networks say, in the order of :attr:`PictureSet.networks`.
    """

    sample: int
    chosen: str
    truth: Picture
    answers: tuple[Picture, ...]


@dataclass(frozen=True)
class PictureSet:
    """All pictures of a run.

    Attributes:
        source: The data, e.g. ``digits test``.
        rule: How the samples were chosen, a sentence.
        networks: ``prototype`` first, then ``seed 0`` and so on.
        rows: One per sample.
        width: Pixels of every picture.
        height: Likewise.
        legend: Every class that has a colour in a picture, and the colour as ``#rrggbb``; empty for a class
            that leaves the picture without colour.
        reading: What else is drawn, in words.
    """

    source: str
    rule: str
    networks: tuple[str, ...]
    rows: tuple[PictureRow, ...]
    width: int
    height: int
    legend: tuple[tuple[str, str], ...] = ()
    reading: str = ""


def write_pictures(run_dir: Path, pictures: PictureSet, files: Mapping[str, bytes]) -> None:
    """Write them so that a reader finds none of them, or all.

    Args:
        run_dir: The run's folder.
        pictures: What they show.
        files: PNG files by name.

    Raises:
        RunError: The disk is full, or the folder cannot be written.
    """
    folder = run_dir / PICTURES
    with disk_faults(folder):
        folder.mkdir(exist_ok=True)
    for name, data in files.items():
        write_atomic(folder / name, data)
    write_json_atomic(folder / _INDEX, {"format": _FORMAT, **asdict(pictures)})


def read_pictures(run_dir: Path) -> tuple[PictureSet, Mapping[str, bytes]] | None:
    """What :func:`write_pictures` wrote; ``None`` for a run without pictures.

    Raises:
        RunError: They are damaged.
    """
    index = run_dir / PICTURES / _INDEX
    if not index.is_file():
        return None
    try:
        found = _decoded(json.loads(index.read_text()))
        names = {Path(picture.file).name: None for row in found.rows for picture in (row.truth, *row.answers)}
        return found, {name: (index.parent / name).read_bytes() for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"the pictures in {index.parent} are damaged ({error!r}); remove that folder, or restore it"
        ) from error


def _decoded(data: Mapping[str, Any]) -> PictureSet:
    if data["format"] != _FORMAT:
        raise ValueError(f"format {data['format']}, this version reads {_FORMAT}")
    rows = tuple(
        PictureRow(
            int(row["sample"]),
            str(row["chosen"]),
            Picture(**row["truth"]),
            tuple(Picture(**answer) for answer in row["answers"]),
        )
        for row in data["rows"]
    )
    return PictureSet(
        str(data["source"]),
        str(data["rule"]),
        tuple(map(str, data["networks"])),
        rows,
        int(data["width"]),
        int(data["height"]),
        # Runs of before have neither.
        tuple((str(name), _colour(str(colour))) for name, colour in data.get("legend", ())),
        str(data.get("reading", "")),
    )


def _colour(text: str) -> str:
    if text and not _COLOUR.fullmatch(text):
        raise ValueError(f"{text!r} is no colour")
    return text
