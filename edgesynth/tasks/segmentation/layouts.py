"""Where folders keep pictures and masks: plain folders, and the layouts of CamVid, VOC and Cityscapes.

Where a picture has no mask, or a mask no picture, the pair says where it should be: reading tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgesynth.errors import DataError
from edgesynth.tasks.images import (
    SPLIT_NAMES,
    by_name,
    draw,
    first_few,
    pictures_in,
    read_text,
    split_directories,
)
from edgesynth.tasks.protocol import Split

__all__ = ["CITYSCAPES_IDS", "VOC_CLASSES", "Layout", "Pair", "find_layout"]

VOC_CLASSES: Final = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train",
    "tv/monitor",
)  # fmt: skip
"""The classes of Pascal VOC, in the order of its masks' values."""

CITYSCAPES_IDS: Final[Mapping[str, int]] = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
    "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
"""The 19 classes that Cityscapes evaluates, with their values in files ``*_labelIds.png``; the order is that
of ``*_labelTrainIds.png``."""

_EXPECTED = (
    "expected images/ and masks/ (or labels/), the same inside train/, validation/ and test/, train/ and "
    "trainannot/ or 701_StillsRaw_full/ and LabeledApproved_full/ (CamVid), JPEGImages/ and "
    "SegmentationClass/ (VOC), or leftImg8bit/ and gtFine/ (Cityscapes)"
)
_CAMVID = ("701_StillsRaw_full", "LabeledApproved_full")
_FRAMES = "; frames of one video may lie in different splits"
_MASK_FOLDERS = ("masks", "labels", "annotations")
_ANNOTATED = ("annot", "_labels", "_masks")
_MASK_ENDINGS = ("", "_L", "_mask")
_LOSSY = frozenset({".jpg", ".jpeg", ".jfif", ".webp"})


@dataclass(frozen=True)
class Pair:
    """A picture and its mask.

    Attributes:
        image: The picture, or where it should be.
        mask: The mask, or where it should be.
        name: The picture's name inside its folder of pictures, without ending.
    """

    image: Path
    mask: Path
    name: str

    @property
    def draw(self) -> float:
        """A number in [0, 1) that depends on the name alone."""
        return draw(self.name)


@dataclass(frozen=True)
class Layout:
    """What a folder holds.

    Attributes:
        pairs: Pictures and masks of each split there is.
        classes: The names of the classes, where the layout has its own; a default only.
        values: The value of each class in the masks, where that is not its index; all others are ignored.
        note: What is worth knowing about the splits.
    """

    pairs: Mapping[Split, Sequence[Pair]]
    classes: tuple[str, ...] | None = None
    values: tuple[int, ...] | None = None
    note: str = ""


def find_layout(folder: Path) -> Layout:
    """Recognise a layout by its directories, and pair pictures with masks.

    Raises:
        DataError: The folder is missing, has no known layout or no training pictures, or a list names a
            picture that is not there, or is in another list too.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; give a directory of pictures and masks")
    if (folder / "JPEGImages").is_dir():
        layout = _voc(folder)
    elif (folder / "leftImg8bit").is_dir():
        layout = _cityscapes(folder)
    elif all((folder / part).is_dir() for part in _CAMVID):
        layout = Layout({"train": _paired(*(folder / part for part in _CAMVID))}, note=_FRAMES)
    else:
        layout = Layout(_plain(folder) or _divided(folder) or _annotated(folder))
    if not layout.pairs:
        raise DataError(f"{folder} holds no pictures with masks in a known layout; {_EXPECTED}")
    if not layout.pairs.get("train"):
        raise DataError(f"{folder} holds {', '.join(layout.pairs)} but no pictures to train on; add some")
    return layout


def _plain(folder: Path) -> dict[Split, list[Pair]]:
    """One folder of pictures, one of masks; folders in them that are called as a split are one."""
    found: dict[Split, list[Pair]] = {}
    for pair in _side_by_side(folder) or ():
        first, *rest = pair.name.split("/")
        found.setdefault(SPLIT_NAMES.get(first.lower(), "train") if rest else "train", []).append(pair)
    return found


def _side_by_side(folder: Path) -> list[Pair] | None:
    """Pictures in ``images`` with the masks beside them; ``None`` where there are no such folders."""
    masks, images = _mask_folder(folder), folder / "images"
    return _paired(images, masks) if masks is not None and images.is_dir() else None


def _divided(folder: Path) -> dict[Split, list[Pair]]:
    """The plain layout inside each split."""
    found: dict[Split, list[Pair]] = {}
    for split, part in split_directories(folder):
        pairs = _side_by_side(part)
        if pairs is not None:
            found.setdefault(split, []).extend(pairs)
    return _complete(folder, found)


def _annotated(folder: Path) -> dict[Split, list[Pair]]:
    """A folder of pictures per split, the masks beside it."""
    found: dict[Split, list[Pair]] = {}
    for split, part in split_directories(folder):
        beside = [folder / f"{part.name}{ending}" for ending in _ANNOTATED]
        masks = next((path for path in beside if path.is_dir()), None)
        if masks is not None:
            found.setdefault(split, []).extend(_paired(part, masks))
    return _complete(folder, found)


def _complete(folder: Path, found: dict[Split, list[Pair]]) -> dict[Split, list[Pair]]:
    """Refuse splits that have pictures and no masks, where others have both."""
    for split, part in split_directories(folder) if found else ():
        if split not in found and pictures_in(part, "**/*"):
            raise DataError(
                f"{part} holds pictures, and no folder of masks is there for them; add the masks, or call "
                "the folder otherwise"
            )
    return found


def _voc(folder: Path) -> Layout:
    images, masks = folder / "JPEGImages", folder / "SegmentationClass"
    if not masks.is_dir():
        raise DataError(
            f"{folder} has JPEGImages/ but no SegmentationClass/; it holds no masks to learn from"
        )
    pictures, answers = _files(images), _files(masks)
    lists = folder / "ImageSets" / "Segmentation"
    found: dict[Split, list[Pair]] = {}
    for name in ("train", "val", "test"):
        path = lists / f"{name}.txt"
        if not path.is_file():
            continue
        # The test pictures of VOC come without masks.
        named = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        if name == "test" and not any(one in answers for one in named):
            continue
        _complain(folder, [one for one in named if one not in pictures], f"picture for a line of {path.name}")
        before = {pair.name for pairs in found.values() for pair in pairs}
        twice = [one for one in named if one in before]
        if twice:
            raise DataError(f"{path} lists {twice[0]!r}, which is in another list as well; leave it in one")
        found[SPLIT_NAMES[name]] = [
            Pair(pictures[one], answers.get(one, masks / f"{one}.png"), one) for one in dict.fromkeys(named)
        ]
    if not found:
        found["train"] = [
            Pair(pictures.get(one, images / f"{one}.jpg"), path, one) for one, path in answers.items()
        ]
    return Layout(found, VOC_CLASSES)


def _cityscapes(folder: Path) -> Layout:
    images, truths = folder / "leftImg8bit", folder / "gtFine"
    if not truths.is_dir():
        raise DataError(f"{folder} has leftImg8bit/ but no gtFine/; unpack gtFine_trainvaltest.zip there too")
    found: dict[Split, list[Pair]] = {}
    ids: set[str] = set()
    # The masks of the test pictures are withheld: their files say nothing.
    for name in ("train", "val"):
        pairs = []
        for path in sorted((images / name).glob("*/*_leftImg8bit.png")):
            stem = path.name.removesuffix("_leftImg8bit.png")
            beside = truths / name / path.parent.name
            kinds = [
                kind
                for kind in ("labelTrainIds", "labelIds")
                if (beside / f"{stem}_gtFine_{kind}.png").is_file()
            ]
            ids.update(kinds[:1])
            mask = beside / f"{stem}_gtFine_{(kinds or ['labelIds'])[0]}.png"
            pairs.append(Pair(path, mask, f"{path.parent.name}/{stem}"))
        if pairs:
            found[SPLIT_NAMES[name]] = pairs
    if len(ids) > 1:
        raise DataError(
            f"{folder}: some pictures have masks *_labelTrainIds.png, others only *_labelIds.png; "
            "remove the first, or make the rest of them"
        )
    values = tuple(CITYSCAPES_IDS.values()) if ids == {"labelIds"} else tuple(range(len(CITYSCAPES_IDS)))
    return Layout(found, tuple(CITYSCAPES_IDS), values, "; the masks of test are withheld by Cityscapes")


def _mask_folder(folder: Path) -> Path | None:
    found = [folder / name for name in _MASK_FOLDERS if (folder / name).is_dir()]
    if len(found) > 1 and (folder / "images").is_dir():
        raise DataError(
            f"{folder} holds both {found[0].name}/ and {found[1].name}/; leave the one with the masks"
        )
    return found[0] if found else None


def _paired(images: Path, masks: Path) -> list[Pair]:
    """Every picture with the mask of its name, ``_L`` or ``_mask`` appended or not."""
    pictures, answers = _files(images), _files(masks)
    pairs = []
    for name, path in pictures.items():
        mask = next((f"{name}{ending}" for ending in _MASK_ENDINGS if f"{name}{ending}" in answers), name)
        pairs.append(Pair(path, answers.pop(mask, masks / f"{name}.png"), name))
    pairs += [Pair(images / f"{name}.png", path, name) for name, path in answers.items()]
    lossy = [pair.mask.name for pair in pairs if pair.mask.suffix.lower() in _LOSSY]
    if lossy:
        raise DataError(
            f"{masks}: mask {lossy[0]} is stored with losses, which blurs classes; save masks as PNG "
            f"({len(lossy)} are not)"
        )
    return pairs


def _files(folder: Path) -> dict[str, Path]:
    """The pictures below a folder, by their path inside it without ending."""
    return by_name(folder, pictures_in(folder, "**/*"))


def _complain(folder: Path, names: Sequence[str], what: str) -> None:
    if names:
        raise DataError(
            f"{folder} has no {what}: {first_few(names)}; add what is missing, or remove the others"
        )
