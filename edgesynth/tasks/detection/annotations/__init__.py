"""What annotations of pictures with boxes say, in the formats of COCO, Pascal VOC and YOLO."""

from __future__ import annotations

from edgesynth.tasks.detection.annotations.coco import coco_files, read_coco
from edgesynth.tasks.detection.annotations.placing import PlacedBoxes, placed_boxes
from edgesynth.tasks.detection.annotations.record import BadEntry, BoxRecord
from edgesynth.tasks.detection.annotations.voc import read_voc
from edgesynth.tasks.detection.annotations.yolo import read_yolo, yolo_folders

__all__ = [
    "BadEntry",
    "BoxRecord",
    "PlacedBoxes",
    "coco_files",
    "placed_boxes",
    "read_coco",
    "read_voc",
    "read_yolo",
    "yolo_folders",
]
