"""A teacher that does not answer the same question twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesynth.tasks.protocol import Outputs
from edgesynth.tasks.training.memory_format import channels_last_kernels
from edgesynth.tasks.trees import leaves, mapped

__all__ = ["TeacherCache"]


class TeacherCache:
    """A teacher's outputs on augmented batches, computed once and used in several epochs.

    An epoch is named by its augmentation seed, and equal seeds give equal batches. With ``views``
    seeds used in turn, the teacher runs ``views`` epochs in all instead of one beside each of the
    student's, which would cost more than a ten times smaller student. Students trained one after
    another on the same task share the answers. Answers with a value per pixel are kept, and given, in half
    precision: a thousand masks of 96x96 pixels and six classes would take 1.3 GB otherwise.

    Args:
        module: The teacher, used in evaluation mode.
        seed: Decides the augmentation seeds.
        views: How many differently augmented epochs there are.
        limit_bytes: Outputs beyond this are computed anew each time instead of kept.
    """

    def __init__(
        self, module: nn.Module, *, seed: int = 0, views: int = 6, limit_bytes: int = 1 << 30
    ) -> None:
        self.module = module.eval()
        self.views = views
        self._seed = seed
        self._limit = limit_bytes
        self._held = 0
        self._outputs: dict[tuple[int, int, int], Outputs] = {}

    def view(self, epoch: int) -> int:
        """The augmentation seed of an epoch, counted from 0."""
        return self._seed * 1009 + epoch % self.views

    def outputs(self, batch: tuple[int, int, int], inputs: Tensor) -> Outputs:
        """What the teacher says about a batch.

        Args:
            batch: Which one: the batch size of its pass, its view, and its place in that.
            inputs: Its samples, where the teacher is.
        """
        if batch in self._outputs:
            return mapped(_restored, self._outputs[batch])
        # Under the same conditions whoever asks, so that the first to ask makes no difference.
        with torch.no_grad(), channels_last_kernels(), torch.autocast(inputs.device.type, enabled=False):
            said = mapped(_compact, self.module(inputs))
        size = sum(part.numel() * part.element_size() for part in leaves(said))
        if self._held + size <= self._limit:
            self._outputs[batch] = said
            self._held += size
        return mapped(_restored, said)


def _compact(output: Tensor) -> Tensor:
    """Half precision for what has a value per place; the little that a classifier says stays as it is."""
    if output.ndim < 3 or output.dtype != torch.float32:
        return output
    most = torch.finfo(torch.float16).max
    return output.clamp(-most, most).half()


def _restored(output: Tensor) -> Tensor:
    return output.float() if output.dtype == torch.float16 else output
