"""A class for every pixel, as reports show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.tasks.images import HUES
from edgesynth.tasks.protocol import Answer
from edgesynth.tasks.segmentation.overlap import Overlap, confusions

__all__ = ["MaskAnswer", "class_colours"]

_HUES = (*HUES, (153, 153, 153))  # grey for black, which would hide the picture
_OPACITY = 0.55


def class_colours(count: int) -> Tensor:
    """The colour of each class by its index alone, uint8 ``[count, 3]``.

    Eight hues that every kind of colour vision tells apart; the next eight classes have them darker, the
    eight after those paler, and from the 25th on they begin again.
    """
    hues = torch.tensor(_HUES, dtype=torch.float32)
    shades = torch.cat([hues, hues * 0.5, (hues + 255) / 2]).round().to(torch.uint8)
    return shades[torch.arange(count) % len(shades)]


@dataclass(frozen=True, eq=False)
class MaskAnswer:
    """A class for every pixel of a picture.

    Attributes:
        mask: Class indices, uint8 ``[height, width]``.
        classes: The names of the classes.
        ignore_label: Marks pixels that do not count.
        given: Whether it is the truth.
    """

    mask: Tensor
    classes: Sequence[str]
    ignore_label: int = 255
    given: bool = False

    def drawn_on(self, image: Tensor) -> Tensor:
        """The picture, uint8 ``[3, height, width]``, under the colours of its classes.

        A picture of another size gets the mask at its own size, pixels repeated.
        """
        mask = self.mask.cpu()
        if mask.shape != image.shape[1:]:
            mask = F.interpolate(mask[None, None].float(), size=image.shape[1:], mode="nearest")[0, 0]
        mask = mask.long()
        counts = mask != self.ignore_label
        colours = class_colours(len(self.classes))[mask.masked_fill(~counts, 0)].permute(2, 0, 1)
        mixed = (1 - _OPACITY) * image.cpu().float() + _OPACITY * colours.float()
        return torch.where(counts, mixed.round().to(torch.uint8), image.cpu())

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
