"""Pictures, whatever the task: read from files, found in folders, shown in reports.

Files become tensors of one size, several at a time; the folders they lie in say which split they belong to,
or a hash of their names does; what a network read becomes a picture again, with colours to draw on it.
"""

from __future__ import annotations

from edgesynth.tasks.images.display import pictures
from edgesynth.tasks.images.files import (
    IMAGE_SUFFIXES,
    LETTERBOX,
    ImageFormat,
    fitted,
    in_parallel,
    picture_size,
    read_image,
    read_images,
    read_measured,
    readable,
)
from edgesynth.tasks.images.folders import SPLIT_NAMES, check_readable, directories, draw, held_out
from edgesynth.tasks.images.palette import class_colours

__all__ = [
    "IMAGE_SUFFIXES",
    "LETTERBOX",
    "SPLIT_NAMES",
    "ImageFormat",
    "check_readable",
    "class_colours",
    "directories",
    "draw",
    "fitted",
    "held_out",
    "in_parallel",
    "picture_size",
    "pictures",
    "read_image",
    "read_images",
    "read_measured",
    "readable",
]
