"""A detector that decodes its own outputs, for runtimes that should be given boxes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from edgesynth.tasks.detection.task import DetectionTask

__all__ = ["DetectionExport"]


class DetectionExport(nn.Module):
    """A network with the decoding of its task behind it.

    Decoding takes Sigmoid, Softplus, Sqrt, Mul, Add, Clip, Min, Transpose, Reshape and Concat, which every
    parser since TensorRT 8.2 reads at opset 13. Overlaps are suppressed after the network, by
    :func:`edgesynth.agent.detections.detections`; what puts that inside for newer ones is
    :mod:`edgesynth.deploy.inside`.

    Args:
        module: Returns what the task's head says.
        task: Knows the head, the classes and the size of the input.
    """

    def __init__(self, module: nn.Module, task: DetectionTask) -> None:
        super().__init__()
        self.module = module
        self._head, self._classes = task.head, len(task.classes)
        self._size = (task.input_shape[1], task.input_shape[2])
        self._postprocessing = task.postprocessing

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Find objects in images ``[batch, channels, h, w]`` of the task's size.

        Returns:
            Boxes in pixels, inside the image, ``[batch, cells, 4]``, and confidences
            ``[batch, cells, classes]``.
        """
        predictions = self._head.predictions(self.module(x), self._classes, self._size)
        boxes = self._head.boxes(predictions, self._size)
        scores: Tensor = self._head.scores(predictions)
        return boxes, scores

    @property
    def postprocessing(self) -> dict[str, Any]:
        """How :func:`edgesynth.agent.detections.detections` goes on from boxes and confidences."""
        return {**self._postprocessing, "head": "decoded"}
