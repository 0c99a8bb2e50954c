"""A class for every pixel, as reports show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.tasks.images import class_colours
from edgesynth.tasks.protocol import Answer
from edgesynth.tasks.segmentation.overlap import Overlap, confusions

__all__ = ["MaskAnswer"]

_OPACITY = 0.62
_GREY_FROM, _GREY_SPAN = 64, 0.5
_HATCH = 40
"""Lines of the hatching across the shorter side of a large picture."""


@dataclass(frozen=True, eq=False)
class MaskAnswer:
    """A class for every pixel of a picture.

    Attributes:
        mask: Class indices, uint8 ``[height, width]``.
        classes: The names of the classes.
        ignore_label: Marks pixels that do not count.
        given: Whether it is the truth.
        wrong: Which pixels are, bool ``[height, width]``; ``None`` where that was not asked.
    """

    mask: Tensor
    classes: Sequence[str]
    ignore_label: int = 255
    given: bool = False
    wrong: Tensor | None = None

    @property
    def reading(self) -> str:
        """How wrong pixels are told from right ones."""
        return "Hatched: the network is wrong there."

    def colours(self) -> Mapping[str, tuple[int, int, int] | None]:
        """By name, of the classes in the mask; a class called ``background`` has none."""
        palette = class_colours(len(self.classes)).tolist()
        found = torch.unique(self.mask[self.mask != self.ignore_label]).tolist()
        return {
            self.classes[index]: None if _is_background(self.classes[index]) else tuple(palette[index])
            for index in found
        }

    def against(self, truth: Answer) -> MaskAnswer:
        """The same, knowing which pixels are wrong; those that do not count never are."""
        if not isinstance(truth, MaskAnswer) or truth.mask.shape != self.mask.shape:
            return self
        counts = truth.mask.cpu() != truth.ignore_label
        return replace(self, wrong=(self.mask.cpu() != truth.mask.cpu()) & counts)

    def drawn_on(self, image: Tensor) -> Tensor:
        """The picture in grey, uint8 ``[3, height, width]``, under the colours of its classes.

        Grey, since the picture's own colours would change those of the classes. A picture of another size
        gets the mask at its own size, pixels repeated. Wrong pixels are hatched.
        """
        image, size = image.cpu(), image.shape[1:]
        mask = _sized(self.mask, size).long()
        counts = mask != self.ignore_label
        index = mask.masked_fill(~counts, 0)
        colours = class_colours(len(self.classes))[index].permute(2, 0, 1)
        grey = _GREY_FROM + _GREY_SPAN * image.float().mean(0)
        mixed = (1 - _OPACITY) * grey + _OPACITY * colours.float()
        plain = torch.tensor([_is_background(name) for name in self.classes])[index]
        mixed = torch.where(plain, grey, mixed)
        if self.wrong is not None:
            pitch = max(4, min(size) // _HATCH)
            y, x = torch.arange(size[0])[:, None], torch.arange(size[1])[None, :]
            lines = ((x + y) % pitch) < max(1, pitch // 4)
            mixed = torch.where(lines & _sized(self.wrong, size).bool(), 0.0, mixed)
        return torch.where(counts, mixed.round().to(torch.uint8), image)

    def caption(self, truth: Answer) -> str:
        """The picture's own mean IoU and pixel accuracy; for the truth, its classes by falling area."""
        if self.given or not isinstance(truth, MaskAnswer):
            return ", ".join(self._names())
        confusion = confusions(
            truth.mask.cpu()[None], self.mask.cpu()[None], len(self.classes), truth.ignore_label
        )
        overlap = Overlap.of(confusion)
        if not overlap.pixels[0]:
            return "no pixel counts"
        return f"mIoU {overlap.mean():.0%}, pixels {overlap.accuracy():.0%}"

    def _names(self) -> list[str]:
        found, areas = torch.unique(self.mask[self.mask != self.ignore_label], return_counts=True)
        return [self.classes[int(found[place])] for place in areas.argsort(descending=True).tolist()]


def _sized(mask: Tensor, size: torch.Size) -> Tensor:
    """The mask at another size, pixels repeated."""
    mask = mask.cpu()
    if mask.shape == size:
        return mask
    return F.interpolate(mask[None, None].float(), size=size, mode="nearest")[0, 0]


def _is_background(name: str) -> bool:
    return name.lower() == "background"
