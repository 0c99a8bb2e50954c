"""The user's own pictures, each with a mask file."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from edgesynth.errors import DataError, InputError, printable
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.images import (
    ImageFormat,
    PictureFiles,
    check_filled,
    corrupt_names,
    exchanged,
    first_few,
    held_out,
    in_parallel,
    left_out,
    not_read,
    picked,
    read_measured,
    read_splits,
)
from edgesynth.tasks.protocol import Split
from edgesynth.tasks.segmentation.augmentation import PairedAugmentation
from edgesynth.tasks.segmentation.layouts import Pair, find_layout
from edgesynth.tasks.segmentation.legend import IGNORED, Colour, Legend, find_legend
from edgesynth.tasks.segmentation.mask_files import read_mask, unfit
from edgesynth.tasks.segmentation.samples import VALUES, MaskedSamples, MaskedTensors
from edgesynth.tasks.segmentation.task import ClassWeights, SegmentationTask
from edgesynth.tasks.splits import MEMORY_LIMIT_BYTES

__all__ = ["MaskedFiles", "load_mask_folder"]


@dataclass(frozen=True)
class MaskedFiles(PictureFiles):
    """Pictures and masks decoded each time they are needed.

    Attributes:
        paths: One picture per sample.
        mask_paths: Their masks.
        form: What every one is brought to.
        legend: What the masks mean.
        counts: How often every value occurs in each mask, int64 ``[samples, 256]``.
    """

    paths: tuple[Path, ...]
    mask_paths: tuple[Path, ...]
    form: ImageFormat
    legend: Legend
    counts: Tensor

    def masks(self, indices: Tensor) -> Tensor:
        """Decode the masks at ``indices``.

        Raises:
            DataError: A file cannot be read.
        """
        paths = picked(self.mask_paths, indices)
        stored = in_parallel(lambda path: read_mask(path, self.form, self.legend)[0], paths)
        return self.legend.table[torch.stack(stored).long()]

    def subset(self, indices: Tensor) -> MaskedFiles:
        """The samples at ``indices``, still decoded when needed."""
        paths, masks = picked(self.paths, indices), picked(self.mask_paths, indices)
        return MaskedFiles(paths, masks, self.form, self.legend, self.counts[indices])


def load_mask_folder(
    root: str | Path,
    *,
    size: int | tuple[int, int],
    classes: Sequence[str] | Mapping[str, Colour] | None = None,
    ignore_label: int = 255,
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["crop", "stretch"] = "crop",
    mirror: bool = True,
    turn: bool = False,
    augmentation: PairedAugmentation | None = None,
    class_weights: ClassWeights = None,
    skip_corrupt: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    name: str | None = None,
) -> SegmentationTask:
    """Make a task of a folder of pictures and masks.

    One of: ``images/`` and ``masks/`` (or ``labels/``), perhaps inside ``train/``, ``validation/`` and
    ``test/``, or with these inside them; ``train/`` and ``trainannot/`` and so on, or
    ``701_StillsRaw_full/`` and ``LabeledApproved_full/`` (CamVid); ``JPEGImages/``,
    ``SegmentationClass/`` and lists in ``ImageSets/Segmentation/`` (VOC); ``leftImg8bit/`` and ``gtFine/``
    (Cityscapes). A mask has the name of its picture, perhaps with ``_L`` or ``_mask`` appended, and holds
    class indices, a palette, or the colours of ``label_colors.txt`` or ``class_dict.csv``. Splits that the
    folder does not have are held out of ``train`` by a hash of the picture's name, about 15 % each.

    Args:
        root: The folder.
        size: Height and width everything is brought to; one number for a square. Masks take the nearest
            pixel.
        classes: The names of the classes in the order of the masks' values, or a colour for each name; by
            default what the folder says (``label_colors.txt``, ``class_dict.csv``, ``classes.txt``), what the
            layout says (VOC, Cityscapes), or one class for every value. Where the folder has colours for
            names, or is Cityscapes, it picks some of those classes and ignores all others. What is called
            ``void``, ``unlabelled`` or ``ignore`` is never a class: its pixels do not count.
        ignore_label: The value of pixels that do not count; in the task they have 255, and classes their
            indices. Where it lies among the values that names stand for, the name in its place must be
            ``void``, ``unlabelled`` or ``ignore``; the others keep their values.
        colour: ``rgb`` or ``grey``, of pictures.
        fit: ``crop`` or ``stretch``, see :class:`ImageFormat`.
        mirror: Whether a mirrored picture is as good as the picture, and may be trained on.
        turn: Whether a picture turned by quarters is too, as one taken from straight above.
        augmentation: Random variation in training; by default shifts by an eighth of the size, magnification
            by 0.75 to 1.33, colours by a fifth, and what ``mirror`` and ``turn`` say.
        class_weights: See :class:`SegmentationTask`.
        skip_corrupt: Leave out pictures that cannot be used, or whose mask cannot, instead of refusing.
        memory_limit_bytes: Decode once and keep everything up to this size; decode when needed beyond it.
        name: What reports call it; the folder's name when not given.

    Raises:
        DataError: The folder is missing or has no known layout, a split is empty, there is one class only, a
            class is in another split and not in ``train``, or files cannot be used (counted and named): they
            cannot be read, a picture and its mask differ in size or one of them is missing, or a mask holds a
            value or a colour that means nothing.
        InputError: The size, the fit or the ignore label is impossible, the ignore label is the value of a
            class, or there are classes, but none.
    """
    folder = Path(root)
    if fit not in ("crop", "stretch"):
        raise InputError(f"fit is 'crop' or 'stretch' for pictures with masks, got {fit!r}")
    form = ImageFormat.of(size, colour, fit)
    layout = find_layout(folder)
    legend = find_legend(folder, layout, classes, ignore_label)
    divided, division = held_out(layout.pairs, lambda pair: pair.draw)
    sample_bytes = form.size_bytes + form.height * form.width
    keep = sum(map(len, divided.values())) * sample_bytes <= memory_limit_bytes
    found, corrupt = read_splits(divided, lambda pair: _read(pair, form, legend, keep=keep))
    complaint = f"files in {folder} cannot be used: {corrupt_names(folder, corrupt)}"
    skipped = left_out(
        corrupt,
        complaint,
        # Where nothing would be left, the reason is what helps.
        skip_corrupt=skip_corrupt and any(found.values()),
        called="pictures or masks that cannot be used",
    )
    pairs = [pair for part in layout.pairs.values() for pair in part]
    folders = {path.parent for pair in pairs for path in (pair.image, pair.mask) if path.parent.is_dir()}
    division += layout.note + not_read(folders) + skipped
    check_filled(folder, found)
    seen = {split: {value for _, read in part for value in read.seen} for split, part in found.items()}
    legend = legend.completed(sorted(set().union(*seen.values())))
    if len(legend.classes or ()) < 2:
        raise DataError(
            f"the masks in {folder} show {'one' if legend.classes else 'no'} class beside the ignored value "
            f"{ignore_label}; segmentation needs at least two (if that value is a class, set ignore_label to "
            "another one)"
        )
    _check_trained(folder, seen, legend)
    parts = {split: _samples(part, form, legend) for split, part in found.items()}
    if augmentation is None:
        shift = max(1, min(form.height, form.width) // 8)
        augmentation = PairedAugmentation(shift, (0.75, 4 / 3), flip=mirror, colour=0.2, turn=turn)
    title = name or printable(folder.resolve().name)
    sizes: dict[str, int] = {split: len(part.counts) for split, part in parts.items()}
    return SegmentationTask(
        title,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        classes=legend.classes or (),
        ignore_label=IGNORED,
        class_weights=class_weights,
        augmentation=augmentation,
        description=DataDescription(
            title,
            "user",
            f"pictures and masks in {printable(folder)}, {form.described}",
            sizes=sizes,
            division=division,
            pictures=form.to_json(),
        ),
    )


@dataclass(frozen=True)
class _Read:
    """What was read of a picture and its mask.

    Attributes:
        kept: The picture and the values of its mask as stored, unless they are to stay in their files.
        counts: How often the mask holds every value at that size, int64 ``[256]``.
        seen: The distinct values of the whole mask.
    """

    kept: tuple[Tensor, Tensor] | None
    counts: Tensor
    seen: tuple[int, ...]


_Part = Sequence[tuple[Pair, _Read]]


def _read(pair: Pair, form: ImageFormat, legend: Legend, *, keep: bool) -> _Read:
    """Decode both.

    Raises:
        Corrupt: One of them is missing or cannot be read, they differ in size, or the mask holds values that
            mean nothing.
    """
    for path, other, missed in ((pair.image, pair.mask, "mask"), (pair.mask, pair.image, "picture")):
        if not os.path.lexists(other):
            raise unfit(path, f"without a {missed} in {other.parent.name}")
    picture, taken = read_measured(pair.image, form)
    stored, drawn, seen = read_mask(pair.mask, form, legend)
    if taken != drawn:
        turned = " once its EXIF orientation turns it" if exchanged(pair.image) else ""
        raise unfit(
            pair.image,
            f"{taken[1]}x{taken[0]} pixels{turned}, its mask {pair.mask.name} {drawn[1]}x{drawn[0]}",
        )
    unknown = legend.unknown(seen)
    if unknown:
        raise unfit(
            pair.mask,
            f"holds the value {unknown[0]}, which is none of the {len(legend.classes or ())} classes; name "
            "more classes, or set ignore_label to it",
        )
    counts = torch.bincount(stored.flatten(), minlength=VALUES)
    return _Read((picture, stored) if keep else None, counts, seen)


def _check_trained(folder: Path, seen: Mapping[Split, Collection[int]], legend: Legend) -> None:
    """Refuse classes that are judged and never shown in training.

    Args:
        folder: Where the masks are.
        seen: The values in the masks of each split.
        legend: What they mean.
    """
    shown = {
        split: {legend.meanings.get(value, IGNORED) for value in values} - {IGNORED}
        for split, values in seen.items()
    }
    for split, classes in shown.items():
        untrained = [repr((legend.classes or ())[index]) for index in sorted(classes - shown["train"])]
        if untrained:
            raise DataError(
                f"{folder}: the masks of {split} show {first_few(untrained)} and no training mask does; add "
                "some, or divide the pictures otherwise"
            )


def _samples(part: _Part, form: ImageFormat, legend: Legend) -> MaskedSamples:
    """In memory where pictures were kept, else in their files."""
    kept = [read.kept for _, read in part if read.kept is not None]
    if kept:
        pictures, stored = (torch.stack(each) for each in zip(*kept, strict=True))
        return MaskedTensors(pictures, legend.table[stored.long()])
    counts = torch.zeros(len(part), VALUES, dtype=torch.int64)
    counts.index_add_(1, legend.table.long(), torch.stack([read.counts for _, read in part]))
    paths = tuple(pair.image for pair, _ in part)
    return MaskedFiles(paths, tuple(pair.mask for pair, _ in part), form, legend, counts)
