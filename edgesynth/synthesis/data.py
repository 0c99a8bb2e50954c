"""What a run says of its data, and whether those it goes on with are still the same.

Figures of other data cannot be compared with those that a run has. A few samples of every split are therefore
read when it begins, and again whenever it is opened with data. Whole numbers, as labels are, are compared bit
by bit; others but for rounding, which threads and versions of libraries may change.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import torch
from torch import Tensor

from edgesynth.errors import RunError
from edgesynth.runs import Run
from edgesynth.tasks import Split, Task
from edgesynth.tasks.trees import leaves

__all__ = ["Digest", "check_begun", "check_data", "described", "differing", "digests", "lasting_digests"]

_SAMPLES: Final = 64
_BYTES: Final = 16 << 20
"""At most so many samples of a split are read, and so much of them, but always one."""

_BATCH: Final = 16
_ROUNDING: Final = 1e-3
"""How far two sums may lie apart, as a share of the values' norm, that differ by rounding alone."""

_STEP: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Digest:
    """What is kept of some samples' inputs, or of their targets.

    Attributes:
        exact: A hash of every tensor's type and shape, and of what tensors of whole numbers hold.
        sums: Of every floating-point tensor its values' weighted sum, and their norm.
    """

    exact: str
    sums: tuple[float, ...] = ()

    def alike(self, other: Digest) -> bool:
        """Whether both are of the same values, but for rounding."""
        if self.exact != other.exact or len(self.sums) != len(other.sums):
            return False
        allowed = [_ROUNDING * norm for norm in self.sums[1::2] for _ in range(2)]
        return all(
            abs(one - two) <= most for one, two, most in zip(self.sums, other.sums, allowed, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON form that a run's manifest keeps."""
        return {"exact": self.exact, "sums": list(self.sums)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Digest:
        """Read what :meth:`to_json` wrote."""
        return cls(data["exact"], tuple(data["sums"]))


class _Digesting:
    """Makes a digest of trees of tensors, one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._sums: list[float] = []

    def add(self, tree: Any) -> None:  # noqa: ANN401 - a tree
        """Take what a batch holds."""
        for leaf in leaves(tree):
            tensor = leaf.detach().cpu()
            self._hash.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
            values = tensor.contiguous().flatten()
            if values.is_floating_point():
                self._sums += _sums(values)
            else:
                self._hash.update(values.view(torch.uint8).numpy().tobytes())

    def digest(self) -> Digest:
        """Of everything so far."""
        return Digest(self._hash.hexdigest(), tuple(self._sums))


def digests(task: Task) -> dict[str, Digest]:
    """What is kept of a task's data, by the split and the part of its samples: ``train targets``.

    Args:
        task: Perhaps the user's own. No network is run, nothing is varied as in training.
    """
    count = max(1, min(_SAMPLES, _BYTES // max(1, 4 * math.prod(task.input_shape))))
    found: dict[str, Digest] = {}
    for split in get_args(Split):
        if not task.size(split):
            continue
        inputs, targets, seen = _Digesting(), _Digesting(), 0
        for batch in task.batches(split, batch_size=min(_BATCH, count), limit=count):
            inputs.add(batch.inputs)
            targets.add(batch.targets)
            seen += len(batch.inputs)
            if seen >= count:
                break
        found |= {f"{split} inputs": inputs.digest(), f"{split} targets": targets.digest()}
    return found


def lasting_digests(task: Task) -> dict[str, Any]:
    """What to know a task's data by, as JSON.

    What a user's task gives otherwise each time it is asked, as noise or random crops, has no digest.
    """
    # One stream of random numbers for both, or noise drawn from it would look the same twice.
    with torch.random.fork_rng(devices=[]):
        first, second = digests(task), digests(task)
    return {part: digest.to_json() for part, digest in first.items() if digest.alike(second[part])}


def differing(before: Mapping[str, Any], task: Task) -> list[str]:
    """The splits of which a task gives something else than when :func:`lasting_digests` were taken."""
    if not before:
        return []
    with torch.random.fork_rng(devices=[]):
        now = digests(task)
    kept = {part: Digest.from_json(digest) for part, digest in before.items()}
    parts = [part for part, digest in kept.items() if part not in now or not digest.alike(now[part])]
    return list(dict.fromkeys(part.split()[0] for part in parts))


def described(task: Task) -> dict[str, Any]:
    """What a run's manifest says of its data: their description, their sizes, and what to know them by."""
    return {**_about(task), "digests": lasting_digests(task)}


def check_data(run_dir: Path, manifest: Mapping[str, Any], task: Task) -> None:
    """Refuse other data than a run began with: its figures could not be compared with new ones.

    Args:
        run_dir: The run folder, for the message.
        manifest: Of the run; what an earlier version did not keep is not compared.
        task: What it is to go on with.

    Raises:
        RunError: Names the split and both sizes, or what is different.
    """
    before = manifest.get("data", {})
    sizes = _about(task).get("sizes", {})
    for split, had in before.get("sizes", {}).items():
        if sizes.get(split, had) != had:
            raise RunError(
                f"the data of the run in {run_dir} have changed: {split} had {had} samples and has "
                f"{sizes[split]}; restore them, or begin a new run in another folder"
            )
    splits = differing(before.get("digests", {}), task)
    if splits:
        raise RunError(
            f"the data of the run in {run_dir} have changed: as many samples as before, but other inputs or "
            f"targets, in {', '.join(splits)}; restore them, and how they are read, or begin a new run in "
            "another folder"
        )


def check_begun(run_dir: Path, task: Task) -> None:
    """:func:`check_data` for a folder that may hold a run.

    Raises:
        RunError: It holds a run of other data, or a damaged one.
    """
    if Run.exists(run_dir):
        with Run.open(run_dir) as run:
            check_data(run_dir, run.manifest, task)


def _about(task: Task) -> dict[str, Any]:
    """The task's own description, or in its place a name and sizes."""
    description = getattr(task, "description", None)
    if description is not None:
        return dict(description.to_json())
    return {"name": task.name, "sizes": {split: int(task.size(split)) for split in get_args(Split)}}


def _sums(values: Tensor) -> list[float]:
    """The values' sum under fixed weights without a pattern, and their norm."""
    finite = values.double().nan_to_num(0.0, 0.0, 0.0)
    weights = torch.arange(len(finite), dtype=torch.float64).square_().mul_(_STEP).frac_().sub_(0.5)
    return [float(finite @ weights), float(finite.norm())]
