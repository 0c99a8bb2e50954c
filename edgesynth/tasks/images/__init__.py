"""Pictures, whatever the task: read from files, found in folders, shown in reports.

Files become tensors of one size, several at a time; the folders they lie in say which split they belong to,
or a hash of their names does; those that cannot be read are set apart, and where they are too many for the
memory they stay in their files. What a network read becomes a picture again, with colours to draw on it.
"""

from __future__ import annotations

from edgesynth.tasks.images.display import pictures
from edgesynth.tasks.images.files import (
    IMAGE_SUFFIXES,
    LETTERBOX,
    Corrupt,
    ImageFormat,
    exchanged,
    fitted,
    in_parallel,
    opened,
    read_image,
    read_images,
    read_measured,
)
from edgesynth.tasks.images.folders import (
    NAMED,
    SPLIT_NAMES,
    by_name,
    check_filled,
    directories,
    draw,
    entries,
    files_below,
    first_few,
    held_out,
    not_read,
    pictures_in,
    split_directories,
)
from edgesynth.tasks.images.palette import class_colours
from edgesynth.tasks.images.reading import PictureFiles, corrupt_names, left_out, picked, read_splits
from edgesynth.tasks.images.text import check_named, listed_names, read_text
from edgesynth.tasks.images.turning import quarter_turns, turned

__all__ = [
    "IMAGE_SUFFIXES",
    "LETTERBOX",
    "NAMED",
    "SPLIT_NAMES",
    "Corrupt",
    "ImageFormat",
    "PictureFiles",
    "by_name",
    "check_filled",
    "check_named",
    "class_colours",
    "corrupt_names",
    "directories",
    "draw",
    "entries",
    "exchanged",
    "files_below",
    "first_few",
    "fitted",
    "held_out",
    "in_parallel",
    "left_out",
    "listed_names",
    "not_read",
    "opened",
    "picked",
    "pictures",
    "pictures_in",
    "quarter_turns",
    "read_image",
    "read_images",
    "read_measured",
    "read_splits",
    "read_text",
    "split_directories",
    "turned",
]
