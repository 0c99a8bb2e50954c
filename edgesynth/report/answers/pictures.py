"""Pictures with the networks' answers, side by side."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from edgesynth.runs.pictures import Picture, read_pictures
from edgesynth.runs.run import Run

__all__ = ["Group", "Pictures", "Shown", "shown_pictures"]

_TINY: Final = 64
"""Pixels up to which a picture is enlarged as it is, without smoothing."""
_WORDS: Final = re.compile(r"(?P<said>.*?)(?: (?P<sure>\d+%))?(?: (?P<mark>[✓✗]))?")


@dataclass(frozen=True)
class Shown:
    """One picture on the page.

    Attributes:
        label: Whose answer it is.
        caption: The answer in words.
        uri: The PNG file itself, as a data URI.
        said: The words without how sure the network is and whether it is right.
        sure: How sure it is; empty where that is not told.
        mark: ``✓`` or ``✗``; empty likewise.
    """

    label: str
    caption: str
    uri: str
    said: str
    sure: str
    mark: str

    @classmethod
    def of(cls, label: str, picture: Picture, uri: str) -> Shown:
        """With the words taken apart, so that they can stand in columns."""
        parts = _WORDS.fullmatch(picture.caption)
        said, sure, mark = parts.group("said", "sure", "mark") if parts else (picture.caption, None, None)
        sure = (sure or "").replace("%", "\N{NARROW NO-BREAK SPACE}%")
        return cls(label, picture.caption, uri, said, sure, mark or "")


@dataclass(frozen=True)
class Group:
    """Samples that were chosen for one reason.

    Attributes:
        chosen: The reason.
        rows: Per sample the truth, then the answers.
    """

    chosen: str
    rows: tuple[tuple[Shown, ...], ...]


@dataclass(frozen=True)
class Pictures:
    """Answers side by side.

    Attributes:
        source: The data.
        rule: How samples were chosen.
        labels: ``truth``, ``prototype``, then the networks.
        groups: The samples.
        alike: Whether no answer changes the picture, so that one picture and words are enough.
        tiny: Whether pictures have so few pixels that each should be seen.
        legend: Classes and their colours; no colour for those that leave the picture as it is.
        reading: What else is drawn.
    """

    source: str
    rule: str
    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    alike: bool
    tiny: bool
    legend: tuple[tuple[str, str], ...]
    reading: str


def shown_pictures(run: Run) -> Pictures | None:
    """The pictures that a run keeps; ``None`` where it keeps none.

    Raises:
        RunError: A file is damaged.
    """
    read = read_pictures(run.path)
    if read is None or not read[0].rows:
        return None
    found, files = read
    uris = {name: f"data:image/png;base64,{base64.b64encode(data).decode()}" for name, data in files.items()}

    def shown(label: str, picture: Picture) -> Shown:
        return Shown.of(label, picture, uris[picture.file])

    groups: dict[str, list[tuple[Shown, ...]]] = {}
    for row in found.rows:
        answers = (shown(label, answer) for label, answer in zip(found.networks, row.answers, strict=True))
        groups.setdefault(row.chosen, []).append((shown("truth", row.truth), *answers))
    alike = all(answer.file == row.truth.file for row in found.rows for answer in row.answers)
    return Pictures(
        source=found.source,
        rule=found.rule,
        labels=("truth", *found.networks),
        groups=tuple(Group(chosen, tuple(rows)) for chosen, rows in groups.items()),
        alike=alike,
        tiny=max(found.width, found.height) <= _TINY,
        legend=found.legend,
        reading=found.reading,
    )
