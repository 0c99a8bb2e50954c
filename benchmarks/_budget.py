"""Equal budgets: what a method computes is counted as it happens, and what is left is spent on training.

One multiply-accumulate of a convolution or a matrix product, forward or backward, is 1, whatever it is done
for: a step of training, a teacher's answer, a score on validation data, a probe, statistics of batch norm.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from edgesynth.tasks import Task

SETTLING = 1024
"""Training samples that :func:`edgesynth.tasks.fit` reads after the last step, for batch-norm statistics."""


_aten = torch.ops.aten


def _convolution_backward(gradient: Tensor, image: Tensor, weight: Tensor, *rest: Any, **_: object) -> int:  # noqa: ANN401
    """Each of the two gradients costs what the forward pass does; torch forgets the weight's groups."""
    *_, transposed, _, _, wanted = rest
    positions = image if transposed else gradient
    return 2 * positions.numel() * math.prod(weight.shape[1:]) * sum(wanted[:2])


_COUNTS: dict[Any, Any] = {**flop_registry, _aten.convolution_backward: _convolution_backward}
_COMPOSITE = frozenset(
    {_aten.conv1d, _aten.conv2d, _aten.conv3d, _aten.linear, _aten.matmul, _aten.einsum}
    | {_aten.conv_transpose1d, _aten.conv_transpose2d, _aten.conv_transpose3d}
)
"""Operators that compute by calling others, which are those that ``flop_registry`` knows."""


class Meter(TorchDispatchMode):
    """Counts multiply-accumulates of everything torch executes inside its ``with`` block.

    Attributes:
        macs: The count so far; half of what ``torch.utils.flop_counter`` would say, except that the
            gradient of a grouped convolution's weight costs no more than its forward pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self._resting = False

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        count = _COUNTS.get(func._overloadpacket)
        if func._overloadpacket in _COMPOSITE and torch.is_inference_mode_enabled():
            # Outside of it, they have been taken apart before they come here.
            with self:
                return func.decompose(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if count is not None and not self._resting and _is_real(out):
            self.macs += count(*args, **(kwargs or {}), out_val=out) // 2
        return out

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing for the duration: what only reports is no part of a method."""
        self._resting, before = True, self._resting
        try:
            yield
        finally:
            self._resting = before


def _is_real(out: object) -> bool:
    """Whether anything was computed: a tracer runs operators on tensors that hold no data."""
    outs = out if isinstance(out, tuple | list) else (out,)
    # No gradient is taken of an image, so the first of several results may be absent.
    first = next((each for each in outs if isinstance(each, Tensor)), None)
    return first is not None and not isinstance(first, FakeTensor) and not first.is_meta


def forward_macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one sample.

    Args:
        module: Any network; its mode is restored.
        example: One sample with its batch axis of 1.
    """
    training = module.training
    with torch.no_grad(), Meter() as meter:
        module.eval()(example)
    module.train(training)
    return meter.macs


def step_macs(module: nn.Module, task: Task) -> float:
    """Multiply-accumulates per sample of one training step, forward and backward.

    It is a little less than three forward passes, because no gradient is taken of the image.
    """
    network = copy.deepcopy(module).train()
    batch = next(task.batches("train", batch_size=4, limit=4))
    with torch.random.fork_rng(devices=[]), Meter() as meter:
        task.loss(network(batch.inputs), batch.targets).backward()
    return meter.macs / len(batch.inputs)


@dataclass(frozen=True)
class Spending:
    """What training one network costs, in multiply-accumulates per sample.

    Attributes:
        step: Of a training step.
        forward: Of the network's forward pass.
        teacher: Of the teacher's forward pass; 0 without one.
        views: How many passes over the training data the teacher answers; 0 has it answer every pass.
    """

    step: float
    forward: float
    teacher: float = 0.0
    views: int = 0

    def macs(self, steps: int, samples: int, batch_size: int) -> float:
        """What ``steps`` training steps cost, with what ``fit`` runs before and after them.

        Args:
            steps: Optimizer steps.
            samples: Size of the training split.
            batch_size: As the plan has it; batches of a pass are equally large.
        """
        per_epoch = -(-samples // batch_size)
        batch = samples / per_epoch
        taught = min(steps, self.views * per_epoch) if self.views else steps
        around = (2 + SETTLING) * self.forward + 2 * self.teacher
        return around + batch * (steps * self.step + taught * self.teacher)

    def steps(self, left: float, samples: int, batch_size: int) -> int:
        """How many training steps fit into what is left; 0 if none does."""
        low, high = 0, 1
        while self.macs(high, samples, batch_size) <= left:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            if self.macs(middle, samples, batch_size) <= left:
                low = middle
            else:
                high = middle
        return low


class UncountedTest:
    """A task whose test scores are not counted: they are for the report.

    Args:
        task: Any task.
        meter: What to pause.
    """

    def __init__(self, task: Task, meter: Meter) -> None:
        self._task, self._meter = task, meter

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._task, name)

    def score(self, module: nn.Module, split: str, **options: int | None) -> Any:  # noqa: ANN401
        """See :meth:`edgesynth.tasks.Task.score`."""
        if split != "test":
            return self._task.score(module, split, **options)
        with self._meter.paused():
            return self._task.score(module, split, **options)
