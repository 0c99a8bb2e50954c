"""The ``[task]`` table's data: a named data set, or a folder of the user's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.errors import JobError
from edgesynth.job.tables import TaskTable

if TYPE_CHECKING:
    from edgesynth.tasks import Task

__all__ = ["FOLDERS", "check_own", "open_data"]

IMAGE_FOLDER: Final = "image-folder"
MASK_FOLDER: Final = "mask-folder"
BOXES: Final = "boxes"
FOLDERS: Final = (IMAGE_FOLDER, MASK_FOLDER, BOXES)
"""What ``data`` may say for a folder of the user's own."""

_TAKEN_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "size": FOLDERS,
    "fit": FOLDERS,
    "colour": FOLDERS,
    "mirror": FOLDERS,
    "turn": FOLDERS,
    "skip_corrupt": FOLDERS,
    "classes": (MASK_FOLDER, BOXES),
    "ignore_label": (MASK_FOLDER,),
    "class_weights": (MASK_FOLDER,),
    "format": (BOXES,),
    "head": (BOXES,),
    "metric": (BOXES,),
}
"""Which of :data:`FOLDERS` a key is for; named detection sets take the last two besides."""

_FITS: Final[Mapping[str, tuple[str, ...]]] = {
    IMAGE_FOLDER: ("crop", "stretch"),
    MASK_FOLDER: ("crop", "stretch"),
    BOXES: ("letterbox", "stretch"),
}
"""What ``fit`` may say for each of :data:`FOLDERS`, its default first."""

_HEADS: Final[Mapping[str, str]] = {"detectnet": "grid"}
"""What the outputs of the zoo's detectors mean, where it is not ``centre``."""


def open_data(table: TaskTable, folder: Path, prototype: str) -> Task:
    """Open what the table names, unless that is a callable of the user's own.

    Args:
        table: The ``[task]`` table.
        folder: Where relative paths are looked up.
        prototype: The name of the prototype; decides what a detector's outputs mean where the table does not.

    Raises:
        JobError: The data set is unknown, or a key is missing or of no use to it.
        DataError: The data are missing, empty or unusable.
    """
    from edgesynth.tasks import dataset_names, load_task

    if table.arguments:
        raise JobError(f"[task] arguments are for your own callable; {table.data!r} takes none")
    path = folder / table.path if table.path else None
    if table.data in FOLDERS:
        _check_folder(table)
        assert path is not None
        return _open_folder(table, path, prototype)
    if table.data not in dataset_names():
        known = [*dataset_names(), *FOLDERS]
        near = difflib.get_close_matches(table.data, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        raise JobError(f'[task] unknown data {table.data!r}; {hint} Your own is "package.module:callable"')
    detects = table.data in dataset_names("detection")
    for key, takers in _TAKEN_BY.items():
        if _given(table, key) and not (detects and key in ("head", "metric")):
            raise JobError(f"[task] {key} is for data = {_listed(takers)}; {table.data!r} has its own")
    options: dict[str, Any] = {}
    if detects:
        options = {"head": _head(table, prototype), "metric": table.metric or "map50"}
    return load_task(table.data, root=path, train_size=table.train_size, **options)


def check_own(table: TaskTable) -> None:
    """Refuse what says how data of ours or in a folder are opened, where a callable of the user's own does.

    Raises:
        JobError: Names the key, and what it is for.
    """
    used = {key: f"data = {_listed(takers)}" for key, takers in _TAKEN_BY.items()}
    used |= {"path": "named data sets and folders", "train_size": "named data sets"}
    for key, takers in used.items():
        if _given(table, key):
            raise JobError(
                f"[task] {key} is for {takers}, not for {table.data!r}; remove it (what your own callable "
                "takes is given in arguments)"
            )


def _check_folder(table: TaskTable) -> None:
    for key in ("path", "size"):
        if getattr(table, key) is None:
            raise JobError(f'[task] data = "{table.data}" needs the key {key!r}')
    if table.train_size is not None:
        raise JobError(f'[task] train_size is for named data sets; data = "{table.data}" uses all')
    for key, takers in _TAKEN_BY.items():
        if _given(table, key) and table.data not in takers:
            raise JobError(f'[task] {key} is for data = {_listed(takers)}, not for "{table.data}"; remove it')
    if table.fit not in (None, *_FITS[table.data]):
        raise JobError(
            f'[task] fit = "{table.fit}" is not for "{table.data}"; choose {_listed(_FITS[table.data])}'
        )
    if table.data == BOXES and isinstance(table.classes, dict):
        raise JobError(
            f'[task] colours of classes are for data = "{MASK_FOLDER}"; give "{BOXES}" their names'
        )


def _open_folder(table: TaskTable, path: Path, prototype: str) -> Task:
    from edgesynth.tasks import load_boxes, load_image_folder, load_mask_folder

    assert table.size is not None
    fit: Any = table.fit or _FITS[table.data][0]
    if table.data == IMAGE_FOLDER:
        return load_image_folder(
            path,
            size=table.size,
            fit=fit,
            colour=table.colour,
            mirror=table.mirror,
            turn=bool(table.turn),
            skip_corrupt=table.skip_corrupt,
        )
    if table.data == MASK_FOLDER:
        return load_mask_folder(
            path,
            size=table.size,
            fit=fit,
            classes=table.classes,
            ignore_label=255 if table.ignore_label is None else table.ignore_label,
            class_weights=table.class_weights,
            colour=table.colour,
            mirror=table.mirror,
            turn=bool(table.turn),
            skip_corrupt=table.skip_corrupt,
        )
    return load_boxes(
        path,
        size=table.size,
        fit=fit,
        format=table.format,
        classes=None if table.classes is None else tuple(table.classes),
        head=_head(table, prototype),
        metric=table.metric or "map50",
        colour=table.colour,
        mirror=table.mirror,
        turn=bool(table.turn),
        skip_corrupt=table.skip_corrupt,
    )


def _head(table: TaskTable, prototype: str) -> Any:  # noqa: ANN401
    plain = prototype.lower().replace("-", "").replace("_", "")
    return table.head or _HEADS.get(plain, "centre")


def _given(table: TaskTable, key: str) -> bool:
    """Whether a key has another value than its default; a run's manifest names the defaults as well."""
    return bool(getattr(table, key) != TaskTable.model_fields[key].default)


def _listed(takers: tuple[str, ...]) -> str:
    return " or ".join(f'"{name}"' for name in takers)
