"""The user's own pictures, each with a mask file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edgesynth.errors import DataError
from edgesynth.tasks.description import DataDescription
from edgesynth.tasks.images import (
    ImageFormat,
    check_readable,
    fitted,
    held_out,
    in_parallel,
    read_images,
    read_measured,
    readable,
)
from edgesynth.tasks.segmentation.augmentation import PairedAugmentation
from edgesynth.tasks.segmentation.layouts import Pair, find_layout
from edgesynth.tasks.segmentation.legend import IGNORED, Colour, Legend, find_legend, packed
from edgesynth.tasks.segmentation.samples import VALUES, MaskedSamples, MaskedTensors
from edgesynth.tasks.segmentation.task import ClassWeights, SegmentationTask
from edgesynth.tasks.splits import MEMORY_LIMIT_BYTES

__all__ = ["MaskedFiles", "load_mask_folder", "read_mask"]


@dataclass(frozen=True)
class MaskedFiles:
    """Pictures and masks decoded each time they are needed, by several threads.

    Attributes:
        pairs: One picture and mask per sample.
        form: What every one is brought to.
        legend: What the masks mean.
        counts: How often every value occurs in each mask, int64 ``[samples, 256]``.
    """

    pairs: tuple[Pair, ...]
    form: ImageFormat
    legend: Legend
    counts: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self.form.shape

    def take(self, indices: Tensor) -> Tensor:
        """Decode the pictures at ``indices``.

        Raises:
            DataError: A file cannot be read.
        """
        paths = [self.pairs[index].image for index in indices.tolist()]
        return read_images(paths, self.form)

    def masks(self, indices: Tensor) -> Tensor:
        """Decode their masks.

        Raises:
            DataError: A file cannot be read.
        """
        paths = [self.pairs[index].mask for index in indices.tolist()]
        stored = in_parallel(lambda path: read_mask(path, self.form, self.legend)[0], paths)
        return self.legend.table[torch.stack(stored).long()]

    def subset(self, indices: Tensor) -> MaskedFiles:
        """The samples at ``indices``, still decoded when needed."""
        pairs = tuple(self.pairs[index] for index in indices.tolist())
        return MaskedFiles(pairs, self.form, self.legend, self.counts[indices])


def load_mask_folder(
    root: str | Path,
    *,
    size: int | tuple[int, int],
    classes: Sequence[str] | Mapping[str, Colour] | None = None,
    ignore_label: int = 255,
    colour: Literal["rgb", "grey"] = "rgb",
    fit: Literal["crop", "stretch"] = "crop",
    mirror: bool = True,
    augmentation: PairedAugmentation | None = None,
    class_weights: ClassWeights = None,
    skip_corrupt: bool = False,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    name: str | None = None,
) -> SegmentationTask:
    """Make a task of a folder of pictures and masks.

    One of: ``images/`` and ``masks/`` (or ``labels/``), perhaps inside ``train/``, ``validation/`` and
    ``test/``; ``train/`` and ``trainannot/`` and so on (CamVid); ``JPEGImages/``, ``SegmentationClass/`` and
    lists in ``ImageSets/Segmentation/`` (VOC); ``leftImg8bit/`` and ``gtFine/`` (Cityscapes). A mask has the
    name of its picture, perhaps with ``_L`` or ``_mask`` appended, and holds class indices, a palette, or the
    colours of ``label_colors.txt``. Splits that the folder does not have are held out of ``train`` by a hash
    of the picture's name, about 15 % each.

    Args:
        root: The folder.
        size: Height and width everything is brought to; one number for a square. Masks take the nearest
            pixel.
        classes: The names of the classes in the order of the masks' values, or a colour for each name; by
            default what the folder says (``label_colors.txt``, ``classes.txt``), what the layout says (VOC,
            Cityscapes), or one class for every value. Where the folder has colours for names, or is
            Cityscapes, it picks some of those classes and ignores all others.
        ignore_label: The value of pixels that do not count; in the task they have 255, and classes their
            indices.
        colour: ``rgb`` or ``grey``, of pictures.
        fit: ``crop`` or ``stretch``, see :class:`ImageFormat`.
        mirror: Whether a mirrored picture is as good as the picture, and may be trained on.
        augmentation: Random variation in training; by default shifts by an eighth of the size, magnification
            by 0.75 to 1.33, colours by a fifth, and what ``mirror`` says.
        class_weights: See :class:`SegmentationTask`.
        skip_corrupt: Leave out pictures that cannot be read, or whose mask cannot, instead of refusing.
        memory_limit_bytes: Decode once and keep everything up to this size; decode when needed beyond it.
        name: What reports call it; the folder's name when not given.

    Raises:
        DataError: The folder is missing or has no known layout, pictures and masks do not pair or differ in
            size, a mask holds a value or a colour that means nothing (named with the file), a split is empty,
            there is one class only, or files cannot be read (counted and named).
        InputError: The size or the ignore label is impossible.
    """
    folder = Path(root)
    height, width = (size, size) if isinstance(size, int) else size
    form = ImageFormat(height, width, colour, fit)
    layout = find_layout(folder)
    legend = find_legend(folder, layout, classes, ignore_label)
    divided, division = held_out(layout.pairs, lambda pair: pair.draw)
    keep = sum(map(len, divided.values())) * (form.channels + 1) * height * width <= memory_limit_bytes
    read = {split: _read(pairs, form, legend, keep=keep) for split, pairs in divided.items()}
    corrupt = [path for part in read.values() for path in part.corrupt]
    division += layout.note + check_readable(folder, corrupt, "files", skip_corrupt=skip_corrupt)
    for split, part in read.items():
        if not part.pairs:
            raise DataError(f"{folder} leaves no picture for {split}; add pictures, or splits of your own")
    legend = legend.completed(
        sorted({value for part in read.values() for seen in part.seen for value in seen})
    )
    for part in read.values():
        part.check(legend)
    if len(legend.classes or ()) < 2:
        raise DataError(
            f"the masks in {folder} show one class beside the ignored value {ignore_label}; segmentation "
            "needs at least two (if that value is a class, set ignore_label to another one)"
        )
    parts = {split: part.samples(form, legend) for split, part in read.items()}
    if augmentation is None:
        shift = max(1, min(height, width) // 8)
        augmentation = PairedAugmentation(shift, (0.75, 4 / 3), flip=mirror, colour=0.2)
    title = name or folder.resolve().name
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
        description=DataDescription(title, "user", f"pictures and masks in {folder}", "", sizes, division),
    )


def read_mask(
    path: Path, form: ImageFormat, legend: Legend
) -> tuple[Tensor, tuple[int, int], tuple[int, ...]]:
    """Read one mask: values of any whole type, a palette's indices, or colours that the legend knows.

    Returns:
        The stored values at the size asked for, uint8 ``[height, width]``; the height and width in the file;
        the distinct values of the whole file.

    Raises:
        DataError: The file is damaged, or no picture.
    """
    values = _stored(path, legend)
    if values.max(initial=0) >= VALUES or values.min(initial=0) < 0:
        strange = values[(values >= VALUES) | (values < 0)]
        raise _Meaningless(f"mask {path} holds the value {int(strange[0])}; classes have values of 0 to 255")
    small = fitted(Image.fromarray(values.astype(np.uint8)), form, smooth=False)
    seen = np.flatnonzero(np.bincount(values.ravel(), minlength=VALUES))
    return torch.from_numpy(np.array(small)), (values.shape[0], values.shape[1]), tuple(seen.tolist())


class _Meaningless(DataError):
    """A mask that can be read, and holds what no class is."""


def _stored(path: Path, legend: Legend) -> NDArray[np.int64]:
    """The values of a whole mask, ``[height, width]``."""
    with readable(path), Image.open(path) as picture:
        if picture.mode in ("1", "L", "P", "I;16", "I;16B", "I;16L", "I") and not (
            picture.mode == "P" and legend.colours
        ):
            # A palette says how indices are shown, not what they are.
            return np.asarray(picture).astype(np.int64)
        if picture.mode == "F":
            raise _Meaningless(f"mask {path} holds fractions; save classes as whole numbers of 8 bits")
        if picture.mode == "LA":
            return np.asarray(picture)[..., 0].astype(np.int64)
        found = packed(np.asarray(picture.convert("RGB")))
    if not legend.colours:
        raise _Meaningless(
            f"mask {path} holds colours and nothing says which class they mean; add label_colors.txt with "
            "lines of red, green, blue and a name, or give classes with colours"
        )
    known = np.array(sorted(legend.colours))
    place = np.searchsorted(known, found).clip(max=len(known) - 1)
    strange = found[known[place] != found]
    if len(strange):
        value = int(strange[0])
        raise _Meaningless(
            f"mask {path} holds the colour {value >> 16, value >> 8 & 255, value & 255} "
            f"({len(strange)} pixels are of no known class); add it to the classes, or repair the mask"
        )
    values = np.array([legend.colours[int(key)] for key in known], dtype=np.int64)
    return np.asarray(values[place])


@dataclass(frozen=True)
class _Part:
    """What was read of one split.

    Attributes:
        pairs: Those that could be read.
        kept: Pictures and the stored values of their masks, unless they are to stay in their files.
        counts: How often each mask holds every stored value, int64 ``[256]`` each.
        seen: The distinct values of each mask.
        corrupt: Files that could not be read.
    """

    pairs: tuple[Pair, ...]
    kept: tuple[tuple[Tensor, Tensor], ...] | None
    counts: tuple[Tensor, ...]
    seen: tuple[tuple[int, ...], ...]
    corrupt: tuple[Path, ...]

    def check(self, legend: Legend) -> None:
        """Refuse values that mean nothing, with the first file that holds one."""
        for pair, seen in zip(self.pairs, self.seen, strict=True):
            unknown = legend.unknown(seen)
            if unknown:
                raise DataError(
                    f"mask {pair.mask} holds the value {unknown[0]}, which is none of the "
                    f"{len(legend.classes or ())} classes; name more classes, or set ignore_label to it"
                )

    def samples(self, form: ImageFormat, legend: Legend) -> MaskedSamples:
        """In memory, or in their files."""
        if self.kept is not None:
            pictures, stored = (torch.stack(part) for part in zip(*self.kept, strict=True))
            return MaskedTensors(pictures, legend.table[stored.long()])
        counts = torch.zeros(len(self.pairs), VALUES, dtype=torch.int64)
        counts.index_add_(1, legend.table.long(), torch.stack(self.counts))
        return MaskedFiles(self.pairs, form, legend, counts)


@dataclass(frozen=True)
class _Decoded:
    pair: Pair
    picture: Tensor
    stored: Tensor
    seen: tuple[int, ...]


def _read(pairs: Sequence[Pair], form: ImageFormat, legend: Legend, *, keep: bool) -> _Part:
    """Decode everything once; pictures and masks of different size are refused."""

    def decode(pair: Pair) -> tuple[_Decoded, Tensor] | Path:
        found = _decoded(pair, form, legend)
        if isinstance(found, Path):
            return found
        counts = torch.bincount(found.stored.flatten(), minlength=VALUES)
        if not keep:
            nothing = torch.empty(0, dtype=torch.uint8)
            found = replace(found, picture=nothing, stored=nothing)
        return found, counts

    read = in_parallel(decode, pairs)
    good = [found for found in read if not isinstance(found, Path)]
    return _Part(
        tuple(found.pair for found, _ in good),
        tuple((found.picture, found.stored) for found, _ in good) if keep else None,
        tuple(counts for _, counts in good),
        tuple(found.seen for found, _ in good),
        tuple(found for found in read if isinstance(found, Path)),
    )


def _decoded(pair: Pair, form: ImageFormat, legend: Legend) -> _Decoded | Path:
    """A picture and its mask, or the file that cannot be read."""
    path = pair.image
    try:
        picture, taken = read_measured(path, form)
        path = pair.mask
        stored, drawn, seen = read_mask(path, form, legend)
    except _Meaningless:
        raise
    except DataError:
        return path
    if taken != drawn:
        raise DataError(
            f"picture {pair.image} has {taken[1]}x{taken[0]} pixels and its mask {pair.mask.name} "
            f"{drawn[1]}x{drawn[0]}; give a mask of the picture's size"
        )
    return _Decoded(pair, picture, stored, seen)
