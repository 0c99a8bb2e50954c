"""What the outputs of a detector mean: cells, the objects they answer for, the boxes they say.

A detector returns a tuple of tensors, level after level of its feature pyramid, finest first. The stride of a
level, pixels of the input from cell to cell, is the input's height over the level's; it is never told. Cell
``(i, j)`` stands at ``((j + 1/2) stride, (i + 1/2) stride)``.

``centre``: class logits ``[batch, classes, h, w]``, raw distances ``[batch, 4, h, w]`` and centreness logits
``[batch, 1, h, w]``. The sides of a box lie ``softplus(raw) * stride`` left of, above, right of and below the
cell; its confidence is the root of class probability times centreness.

``grid``: coverage logits ``[batch, classes, h, w]`` and raw offsets ``[batch, 4, h, w]``. The corners of a
box lie ``raw * stride`` from the cell; its confidence is the coverage, as a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesynth.errors import InputError
from edgesynth.tasks.detection.boxes import area, clipped, inside
from edgesynth.tasks.protocol import Outputs
from edgesynth.tasks.trees import leaves

__all__ = ["CentreHead", "DetectionHead", "GridHead", "HeadName", "Predictions", "head_by_name"]

HeadName = Literal["centre", "grid"]

_PAIRS = 1 << 24
"""Objects times cells that are compared at once."""


class Predictions(NamedTuple):
    """The outputs of all levels side by side; ``cells`` counts over levels.

    Attributes:
        logits: Class logits, or coverage logits, ``[batch, cells, classes]``.
        raw: Raw distances or offsets, ``[batch, cells, 4]``.
        centreness: Logits ``[batch, cells]``; ``None`` where the head has none.
        centres: Where the cells stand, in pixels, ``[cells, 2]``.
        strides: In pixels, ``[cells]``.
    """

    logits: Tensor
    raw: Tensor
    centreness: Tensor | None
    centres: Tensor
    strides: Tensor


@dataclass(frozen=True)
class DetectionHead:
    """What both heads share.

    Attributes:
        name: What bundles call it.
        channels: What a level's tensors are, in order.
    """

    name: ClassVar[HeadName]
    channels: ClassVar[tuple[str, ...]]

    def predictions(self, outputs: Outputs, classes: int, size: tuple[int, int]) -> Predictions:
        """Put the levels side by side.

        Args:
            outputs: What the network returned: a tensor per entry of :attr:`channels` and level.
            classes: How many.
            size: Height and width of the input.

        Raises:
            InputError: The outputs are not that.
        """
        parts = list(leaves(outputs))
        each = len(self.channels)
        self._check(parts, classes, size)
        rows = [_rows(part) for part in parts]
        centres, strides = zip(*(_cells(part, size) for part in parts[::each]), strict=True)
        joined = [torch.cat(rows[index::each], 1) for index in range(each)]
        return Predictions(
            joined[0],
            joined[1],
            joined[2][..., 0] if each > 2 else None,
            torch.cat(centres),
            torch.cat(strides),
        )

    def _check(self, parts: Sequence[Tensor], classes: int, size: tuple[int, int]) -> None:
        each = len(self.channels)
        expected = {"classes": classes, "distances": 4, "offsets": 4, "centreness": 1, "coverage": classes}
        wanted = [expected[name] for name in self.channels]
        names = ", ".join(f"{name} [batch, {expected[name]}, h, w]" for name in self.channels)
        problem = ""
        if not parts or len(parts) % each:
            problem = f"{len(parts)} tensors"
        for index, part in enumerate(parts):
            level = parts[index - index % each]
            if part.ndim != 4 or part.shape[1] != wanted[index % each] or part.shape[2:] != level.shape[2:]:
                problem = problem or f"shape {list(part.shape)} as output {index}"
        if problem:
            raise InputError(
                f"a detector with a {self.name} head returns, for every level, {names}; got {problem}; "
                "change the last layers or the task's head and classes"
            )
        for part in parts:
            rows, columns = part.shape[2:]
            if size[0] % rows or size[1] % columns or size[0] // rows != size[1] // columns:
                raise InputError(
                    f"the detector gives {rows}x{columns} cells for an input of {size[0]}x{size[1]}, which "
                    "is no one whole stride; give images whose sides are multiples of its coarsest stride"
                )

    def boxes(self, predictions: Predictions, size: tuple[int, int]) -> Tensor:
        """The box of every cell, inside the image, ``[batch, cells, 4]``."""
        return clipped(self.unclipped(predictions), *size)

    def unclipped(self, predictions: Predictions) -> Tensor:
        """The box of every cell, ``[batch, cells, 4]``."""
        raise NotImplementedError

    def scores(self, predictions: Predictions) -> Tensor:
        """Confidences ``[batch, cells, classes]``, 0 to 1."""
        raise NotImplementedError

    def assigned(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> Tensor:
        """Which object each cell answers for: its row in ``boxes``, or -1; int64 ``[batch, cells]``.

        Where several objects claim a cell, the smallest has it. The cell that holds the centre of an object
        always claims it, so that an object smaller than a cell has one.

        Args:
            predictions: Say where the cells are.
            boxes: ``[batch, rows, 4]``.
            labels: ``[batch, rows]``, -1 where there is no object.
        """
        cells = len(predictions.centres)
        if boxes.shape[0] * boxes.shape[1] * cells <= _PAIRS:
            least, row = self._least(predictions, boxes, labels)
            return torch.where(least < torch.inf, row, -1)
        # One image may have thousands of objects where the others have a few.
        return torch.cat([self._of_image(predictions, *pair) for pair in zip(boxes, labels, strict=True)])

    def _of_image(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> Tensor:
        """What the cells of one image answer for, ``[1, cells]``, some of its objects at a time."""
        rows = torch.nonzero(labels >= 0).flatten()
        cells = len(predictions.centres)
        best = boxes.new_full((1, cells), torch.inf)
        owner = torch.full_like(best, -1, dtype=torch.int64)
        most = max(1, _PAIRS // cells)
        for start in range(0, len(rows), most):
            part = rows[start : start + most]
            least, row = self._least(predictions, boxes[None, part], labels[None, part])
            smaller = least < best
            best, owner = torch.where(smaller, least, best), torch.where(smaller, part[row], owner)
        return owner

    def _least(self, predictions: Predictions, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The area of the smallest object that claims each cell, infinite for none, and its row."""
        centre = (boxes[..., :2] + boxes[..., 2:]) / 2
        apart = (predictions.centres - centre[:, :, None]).abs()
        holds = (apart <= predictions.strides[:, None] / 2).all(-1)
        claims = self._claims(predictions, boxes, apart, holds) & (labels >= 0)[:, :, None]
        least, row = torch.where(claims, area(boxes)[:, :, None], torch.inf).min(1)
        return least, row

    def _claims(self, predictions: Predictions, boxes: Tensor, apart: Tensor, holds: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class CentreHead(DetectionHead):
    """One point per object and level, without anchors.

    Z. Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, with the centre
    sampling of its journal version (TPAMI 2020); the cell of the centre is always one of them, as in X. Zhou
    et al., "Objects as Points", arXiv 1904.07850. An object belongs to one level, by its longer side.

    Attributes:
        reach: How far from an object's centre cells answer for it, in strides.
        span: A level takes objects whose longer side is up to twice this many strides; the coarsest takes the
            rest.
    """

    name = "centre"
    channels = ("classes", "distances", "centreness")
    reach: float = 1.5
    span: float = 4.0

    def unclipped(self, predictions: Predictions) -> Tensor:
        """The cell minus and plus its four distances."""
        away = F.softplus(predictions.raw) * predictions.strides[:, None]
        centres = predictions.centres
        return torch.cat([centres - away[..., :2], centres + away[..., 2:]], -1)

    def scores(self, predictions: Predictions) -> Tensor:
        """The root of class probability times centreness, so that it stays on the scale of a probability."""
        if predictions.centreness is None:
            raise InputError("a centre head needs centreness")
        return (predictions.logits.sigmoid() * predictions.centreness.sigmoid()[..., None]).sqrt()

    def _claims(self, predictions: Predictions, boxes: Tensor, apart: Tensor, holds: Tensor) -> Tensor:
        half = (boxes[..., 2:] - boxes[..., :2]).amax(-1)[:, :, None] / 2
        distinct = torch.unique(predictions.strides)
        level = torch.searchsorted(distinct, predictions.strides)
        ceilings = torch.cat([distinct[:-1] * self.span, distinct.new_tensor([torch.inf])])
        floors = torch.cat([distinct.new_zeros(1), ceilings[:-1]])
        fits = (half > floors[level]) & (half <= ceilings[level])
        near = (apart < self.reach * predictions.strides[:, None]).all(-1)
        return fits & ((near & inside(predictions.centres, boxes)) | holds)

    @staticmethod
    def centreness(predictions: Predictions, boxes: Tensor) -> Tensor:
        """How central each cell is in the box it answers for, FCOS equation 3: 1 in the middle, 0 at a side.

        Distances count as a quarter stride at least: the one cell of a tiny object may lie beside it.

        Args:
            predictions: Say where the cells are.
            boxes: One per cell, ``[batch, cells, 4]``.
        """
        least = predictions.strides[:, None] / 4
        before = torch.maximum(predictions.centres - boxes[..., :2], least)
        after = torch.maximum(boxes[..., 2:] - predictions.centres, least)
        return (torch.minimum(before, after) / torch.maximum(before, after)).prod(-1).sqrt()


@dataclass(frozen=True)
class GridHead(DetectionHead):
    """A grid of squares, each covered by an object or not, and the corners of that object.

    A. Tao, J. Barker, S. Sarathy, "DetectNet: Deep Neural Network for Object Detection in DIGITS", NVIDIA
    2016.

    Attributes:
        shrink: An object covers the cells inside its box shrunk by this factor about its centre.
    """

    name = "grid"
    channels = ("coverage", "offsets")
    shrink: float = 0.5

    def unclipped(self, predictions: Predictions) -> Tensor:
        """The cell plus its offsets."""
        return predictions.centres.repeat(1, 2) + predictions.raw * predictions.strides[:, None]

    def scores(self, predictions: Predictions) -> Tensor:
        """The coverage."""
        return predictions.logits.sigmoid()

    def _claims(self, predictions: Predictions, boxes: Tensor, apart: Tensor, holds: Tensor) -> Tensor:
        half = (boxes[..., 2:] - boxes[..., :2])[:, :, None] / 2
        return (apart < half * self.shrink).all(-1) | holds


def head_by_name(name: str) -> DetectionHead:
    """The head that tasks and bundles call ``name``.

    Raises:
        InputError: There is none.
    """
    heads: dict[str, DetectionHead] = {"centre": CentreHead(), "grid": GridHead()}
    try:
        return heads[name]
    except KeyError:
        raise InputError(f"unknown detection head {name!r}; there are {', '.join(heads)}") from None


def _rows(part: Tensor) -> Tensor:
    """``[batch, channels, h, w]`` as ``[batch, h * w, channels]``, in a way that exports as one reshape."""
    channels, height, width = part.shape[1:]
    return part.float().permute(0, 2, 3, 1).reshape(-1, int(height) * int(width), int(channels))


def _cells(part: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    rows, columns = int(part.shape[2]), int(part.shape[3])
    stride = size[0] / rows
    down = (torch.arange(rows, device=part.device) + 0.5) * stride
    across = (torch.arange(columns, device=part.device) + 0.5) * stride
    y, x = torch.meshgrid(down, across, indexing="ij")
    centres = torch.stack([x.flatten(), y.flatten()], 1)
    return centres, torch.full((rows * columns,), stride, device=part.device)
