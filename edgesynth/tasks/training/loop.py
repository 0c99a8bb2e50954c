"""One recipe for every network: Nesterov SGD, warm-up, cosine, and what keeps it honest."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from edgesynth.errors import InputError, TrainingError
from edgesynth.progress import NullProgress, Progress
from edgesynth.tasks.protocol import Batch, Outputs, Task
from edgesynth.tasks.training.memory_format import channels_last_kernels, has_images
from edgesynth.tasks.training.plan import EpochRecord, TrainingPlan, TrainingRecord
from edgesynth.tasks.training.recalibration import recalibrate_
from edgesynth.tasks.training.state import (
    TrainingState,
    random_state,
    restore_random_state,
    restore_tensors,
    tensors_of,
)
from edgesynth.tasks.training.teacher import TeacherCache, taught_loss
from edgesynth.tasks.trees import moved

__all__ = ["fit"]

_SETTLING_SAMPLES = 1024
_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, nn.RMSNorm)


def fit(
    module: nn.Module,
    task: Task,
    plan: TrainingPlan,
    *,
    teacher: nn.Module | TeacherCache | None = None,
    on_epoch: Callable[[EpochRecord, nn.Module], None] | None = None,
    keep: Callable[[TrainingState], None] | None = None,
    state: TrainingState | None = None,
    progress: Progress | None = None,
) -> TrainingRecord:
    """Train ``module`` in place on the training split; validation and test samples are never read.

    The same plan on the same machine with the same number of threads gives the same weights, bit for bit. The
    global random state is left as it was.

    Args:
        module: What to train, on whichever device it is; left in evaluation mode, with batch-norm
            statistics estimated for its final weights.
        task: Gives batches and losses.
        plan: How long and how hard.
        teacher: Its outputs on the same inputs enter ``task.distillation_loss``; it is not changed. One
            that remembers its answers also decides how epochs are shuffled and augmented, and how many of
            them are taught.
        on_epoch: Called after every pass with the record and the module as it is being trained (the average
            of ``plan.ema`` replaces its weights only at the end).
        keep: Given after every pass what the rest of the training depends on.
        state: What ``keep`` was given by a training of the same network, task and plan. It goes on from
            there, to the weights that it would have come to without a stop.
        progress: Told of every step.

    Raises:
        InputError: The module does not accept the task's samples, its outputs do not fit the task's loss, it
            has nothing to train, or the state is that of another training.
        TrainingError: The loss became NaN or infinite; the message gives epoch, step and learning rate.
    """
    device = _device(module)
    _rehearse(module, task, device, "network")
    if teacher is not None:
        _rehearse(_module(teacher), task, _device(_module(teacher)), "teacher")
    samples = task.size("train")
    per_epoch, steps = plan.steps_per_epoch(samples), plan.steps(samples)
    if state is not None:
        state.check(plan, samples)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True))
        torch.manual_seed(plan.seed)
        if teacher is not None:
            stack.enter_context(_frozen(_module(teacher)))
        if plan.channels_last and len(task.input_shape) == 3:
            stack.enter_context(_channels_last(module))
        phase = stack.enter_context((progress or NullProgress()).phase("training", steps))
        loop = _Loop(module, task, plan, teacher, steps)
        records = loop.restore(state) if state is not None else []
        if records:
            phase.advance(sum(record.steps for record in records))
        for epoch, first in enumerate(range(0, steps, per_epoch), start=1):
            if epoch <= len(records):
                continue
            record = loop.run(epoch, first, min(per_epoch, steps - first), phase.advance)
            records.append(record)
            if on_epoch is not None:
                on_epoch(record, module)
            if keep is not None:
                keep(loop.state(records))
        loop.finish()
        _settle(module, task, plan)
    module.eval()
    return TrainingRecord(tuple(records), loop.samples)


def _settle(module: nn.Module, task: Task, plan: TrainingPlan) -> None:
    """Estimate batch-norm statistics for the final weights.

    The running average forgets slowly: after a few dozen steps, which is all that a small data set gives,
    it still describes weights of long ago, and the network is worth nothing in evaluation mode.
    """
    # Whole batches only: a rest of one sample has no variance.
    limit = max(1, _SETTLING_SAMPLES // plan.batch_size) * plan.batch_size
    recalibrate_(
        module, task.batches("train", batch_size=plan.batch_size, seed=plan.seed, shuffle=True, limit=limit)
    )


class _Loop:
    """The state that lives from the first step to the last."""

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        plan: TrainingPlan,
        teacher: nn.Module | TeacherCache | None,
        steps: int,
    ) -> None:
        self.module, self.task, self.plan, self.teacher, self.steps = module, task, plan, teacher, steps
        self.device = device = _device(module)
        self.samples = 0
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.SGD(
            _groups(module, plan.weight_decay),
            lr=plan.learning_rate,
            momentum=plan.momentum,
            nesterov=plan.momentum > 0,
        )
        self.average = _Average(module, plan.ema) if plan.ema is not None else None
        self.reduced = (
            plan.mixed_precision
            and device.type == "cuda"
            and torch.cuda.is_bf16_supported(including_emulation=False)
        )

    def run(self, epoch: int, first: int, count: int, advance: Callable[..., None]) -> EpochRecord:
        """Take ``count`` steps, the first of which is step ``first`` of all."""
        started = time.perf_counter()
        self.module.train()
        total, rate, done = 0.0, 0.0, 0
        cache = self.teacher if isinstance(self.teacher, TeacherCache) else None
        view = cache.view(epoch - 1) if cache is not None else _mixed(self.plan.seed, epoch)
        batches = self.task.batches(
            "train", batch_size=self.plan.batch_size, seed=view, shuffle=True, augment=self.plan.augment
        )
        for step, batch in zip(range(first, first + count), batches, strict=False):
            rate = self.plan.rate(step, self.steps)
            loss = self._step(batch, (self.plan.batch_size, view, step - first), rate)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch}, step {step + 1} of {self.steps}, at learning "
                    f"rate {rate:.4g}; lower the learning rate, or look for NaN in the data"
                )
            total += loss
            done += 1
            advance(1, loss=loss)
        if done == 0:
            raise InputError(f"task {self.task.name!r} gave no training batch in epoch {epoch}")
        return EpochRecord(epoch, done, total / done, rate, time.perf_counter() - started)

    def _step(self, batch: Batch, place: tuple[int, int, int], rate: float) -> float:
        inputs = batch.inputs.to(self.device, non_blocking=True)
        targets = moved(batch.targets, self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.reduced):
            outputs = self.module(inputs)
            loss = taught_loss(self.task, outputs, self._said(batch.inputs, place), targets)
        value = float(loss.detach())
        if math.isfinite(value):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if self.plan.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.parameters, self.plan.clip_norm)
            self.optimizer.step()
            self.samples += len(batch.inputs)
            if self.average is not None:
                self.average.update()
        return value

    def _said(self, inputs: Tensor, place: tuple[int, int, int]) -> Outputs | None:
        if self.teacher is None:
            return None
        inputs = inputs.to(_device(_module(self.teacher)))
        if isinstance(self.teacher, TeacherCache):
            said = self.teacher.outputs(place, inputs)
        else:
            with torch.no_grad():
                said = self.teacher(inputs)
        return None if said is None else moved(said, self.device)

    def state(self, records: Sequence[EpochRecord]) -> TrainingState:
        """What the steps to come depend on, after these passes."""
        mean, updates = (self.average.mean, self.average.updates) if self.average is not None else ([], 0)
        tensors = tensors_of(self.module, self.optimizer, mean) | random_state(self.device)
        size = self.task.size("train")
        return TrainingState(self.plan, size, tuple(records), self.samples, updates, tensors)

    def restore(self, state: TrainingState) -> list[EpochRecord]:
        """Stand where another loop stood; returns the records of its passes."""
        restore_tensors(
            state.tensors, self.module, self.optimizer, self.average.mean if self.average is not None else []
        )
        if self.average is not None:
            self.average.updates = state.updates
        self.samples = state.samples
        restore_random_state(state.tensors, self.device)
        return list(state.epochs)

    def finish(self) -> None:
        """Hand over the averaged weights, where an average was asked for."""
        if self.average is not None:
            self.average.apply()


class _Average:
    """Exponential moving average of parameters and running statistics.

    The decay grows with the steps taken, ``min(decay, (1 + t) / (10 + t))``, so that short trainings do not
    remember their first weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        tensors = [*module.parameters(), *module.buffers()]
        self.live = [tensor for tensor in tensors if tensor.dtype.is_floating_point]
        self.mean = [tensor.detach().clone() for tensor in self.live]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.mean, self.live, 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Replace the present weights by the average."""
        for live, mean in zip(self.live, self.mean, strict=True):
            live.copy_(mean)


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: normalisation layers and all vectors have none."""
    bare = {id(p) for m in module.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (free if id(parameter) in bare or parameter.ndim < 2 else decayed).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise InputError(
            f"{type(module).__name__} has no parameter that requires a gradient: nothing to train; "
            "unfreeze some with requires_grad_(True)"
        )
    return groups


def _rehearse(module: nn.Module, task: Task, device: torch.device, role: str) -> None:
    """Run two samples through, so that a misfit is told before any time is spent."""
    batch: object = next(iter(task.batches("train", batch_size=2, limit=2)), None)
    if not isinstance(batch, Batch):
        raise InputError(
            f"task {task.name!r} gave {'nothing' if batch is None else type(batch).__name__} as a batch of "
            "train; yield edgesynth.tasks.Batch(inputs, targets)"
        )
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            outputs = module(batch.inputs.to(device))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the {role} {type(module).__name__} does not accept a batch of shape {list(batch.inputs.shape)} "
            f"from task {task.name!r}: {reason}"
        ) from error
    finally:
        module.train(was_training)
    loss: object = task.loss(outputs, moved(batch.targets, device))
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError(f"task {task.name!r} gave {got} as loss; return a tensor with one number")


@contextlib.contextmanager
def _channels_last(module: nn.Module) -> Iterator[None]:
    """Channels-last kernels for the duration: faster convolutions, the same values."""
    if not has_images(module):
        yield
        return
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        with channels_last_kernels():
            yield
    finally:
        # Files of weights hold contiguous tensors only.
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextlib.contextmanager
def _frozen(teacher: nn.Module) -> Iterator[None]:
    was_training = teacher.training
    teacher.eval()
    try:
        yield
    finally:
        teacher.train(was_training)


def _module(teacher: nn.Module | TeacherCache) -> nn.Module:
    return teacher.module if isinstance(teacher, TeacherCache) else teacher


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _mixed(seed: int, epoch: int) -> int:
    """One seed per epoch, unlikely to meet another plan's."""
    return (seed * 1_000_003 + epoch) % (1 << 63)
