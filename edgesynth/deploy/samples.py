"""Inputs to try a network on: the user's own from a file, a data set by name, or generated ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.judging import AnswerScore, ClassScore, TaskScore
from edgesynth.deploy.runners import NUMPY_TYPES, Arrays, first_line
from edgesynth.errors import DataError, InputError

if TYPE_CHECKING:
    from edgesynth.tasks import Task

__all__ = ["Inputs", "Samples", "generated_samples", "load_samples"]

Inputs = Mapping[str, tuple[str, tuple[int | str | None, ...]]]
"""Element type and shape of each input, as ONNX Runtime gives them."""

_LABELS: Final = "labels"
_FEWEST: Final = 32
"""Samples of a task that are taken however large they are."""
_MOST_NUMBERS: Final = 1 << 27
"""Of inputs that are held at once: half a gigabyte."""
_MOST_GENERATED: Final = 1 << 29
"""Of one input that is generated: two gigabytes, and four on the way."""


@dataclass(frozen=True)
class Samples:
    """Inputs, and what they are labelled if that is known.

    Attributes:
        data: By input, axis 0 the batch.
        source: Where they are from, for tables.
        score: Judges outputs by what is true of the samples; ``None`` when that is not known.
        real: Whether they are the user's own, and not generated.
        classes: Names of the classes that outputs are about; none when they are not known.
        normalisation: What was done to each channel: ``(scale * stored - mean) / std``, as JSON; ``None``
            when it is not known.
        postprocessing: What is to be done with the outputs, as JSON; ``None`` when the task does not say.
        pictures: What pictures in files were brought to before that, as JSON; ``None`` when it is not known.
    """

    data: Arrays
    source: str
    score: ClassScore | TaskScore | AnswerScore | None = field(default=None, repr=False)
    real: bool = True
    classes: tuple[str, ...] = ()
    normalisation: Mapping[str, Any] | None = None
    postprocessing: Mapping[str, Any] | None = None
    pictures: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.data.values())))

    def in_multiples_of(self, batch: int) -> Samples:
        """The most samples that a fixed batch divides.

        Raises:
            DataError: There are fewer than one batch.
        """
        count = len(self) - len(self) % batch
        if not count:
            raise DataError(
                f"{self.source} has {len(self)} samples, one call takes {batch}; give more of them"
            )
        return self.part(0, count)

    def apart(self, batch: int, most: int) -> tuple[Samples, Samples]:
        """Samples to calibrate on, half of them and at most so many, and others to judge by.

        The same ones where there are too few to part.
        """
        middle = min(len(self) // 2, max(most, batch))
        middle -= middle % batch
        return (self.part(0, middle), self.part(middle, len(self))) if middle else (self, self)

    def part(self, start: int, end: int) -> Samples:
        """Some of them."""
        data = {name: value[start:end] for name, value in self.data.items()}
        return replace(self, data=data, score=None if self.score is None else self.score.part(start, end))


def load_samples(source: str | Task, inputs: Inputs, limit: int) -> Samples:
    """Read inputs.

    Args:
        source: An ``.npz`` file with one array per input and perhaps ``labels`` of classes, an ``.npy`` file
            for the only input, or a task or the name of a data set, whose validation data are taken and
            whose judge scores the outputs.
        inputs: What the network takes.
        limit: The most samples to take.

    Raises:
        InputError: There is no such file or data set.
        DataError: It cannot be read, or does not fit the inputs.
    """
    if not isinstance(source, str) or not source.endswith((".npy", ".npz")):
        return _of_task(source, inputs, limit)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no file {source}; check the path")
    try:
        arrays = _arrays(path)
    except Exception as error:
        raise DataError(
            f"{source} cannot be read: {first_line(error)}; write it with numpy.save or savez"
        ) from error
    labels = arrays.pop(_LABELS, None)
    if len(arrays) == len(inputs) == 1:
        arrays = {next(iter(inputs)): next(iter(arrays.values()))}
    samples = _fitted(arrays, labels, path.name, inputs, limit)
    if labels is None:
        return samples
    return replace(samples, score=ClassScore(_class_indices(labels, path.name)[:limit]))


def generated_samples(inputs: Inputs, count: int) -> Samples:
    """Normally distributed numbers, or zeros for integers: they prove arithmetic, and calibrate nothing.

    Raises:
        InputError: An input has free sizes besides the batch, or a type there are no numbers of; or they
            would not fit into memory.
    """
    generator, data = np.random.default_rng(0), {}
    for name, (kind, shape) in inputs.items():
        if kind not in NUMPY_TYPES or any(not isinstance(size, int) for size in shape[1:]):
            raise InputError(f"no numbers for input {name!r}, {kind} {list(shape)}; give --data or --input")
        sizes = [count, *(int(size) for size in shape[1:] if isinstance(size, int))]
        if math.prod(sizes) > _MOST_GENERATED:
            shape_text = "x".join(map(str, sizes))
            raise InputError(
                f"{shape_text} numbers for input {name!r} do not fit into memory here; give a smaller --batch"
            )
        floating = np.issubdtype(np.dtype(NUMPY_TYPES[kind]), np.floating)
        made = generator.standard_normal(sizes) if floating else np.zeros(sizes)
        data[name] = made.astype(NUMPY_TYPES[kind])
    return Samples(data, "generated inputs", real=False)


def _of_task(source: str | Task, inputs: Inputs, limit: int) -> Samples:
    from edgesynth.tasks import Postprocessed, load_task

    if len(inputs) != 1:
        raise InputError(f"the network has {len(inputs)} inputs; give a .npz file with one array each")
    task = load_task(source) if isinstance(source, str) else source
    pixels = max(1, math.prod(task.input_shape))
    limit = min(limit, max(_FEWEST, _MOST_NUMBERS // pixels))
    batch = next(iter(task.batches("validation", batch_size=limit, shuffle=True, limit=limit)))
    data = {next(iter(inputs)): batch.inputs.numpy()}
    samples = _fitted(data, None, task.name, inputs, limit)
    normalisation = getattr(task, "normalization", None)
    return replace(
        samples,
        score=TaskScore(task, batch),
        classes=tuple(task.classes),
        normalisation=None if normalisation is None else normalisation.to_json(),
        postprocessing=dict(task.postprocessing) if isinstance(task, Postprocessed) else None,
        pictures=getattr(getattr(task, "description", None), "pictures", None),
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What a file of NumPy holds, by name; the only array of an ``.npy`` file has none.

    Raises:
        ValueError: It is no such file.
    """
    with path.open("rb") as file:
        if file.read(2) not in (b"PK", b"\x93N"):
            raise ValueError("it is no file of NumPy")
        file.seek(0)
        held = np.load(file, allow_pickle=False)
        return {name: held[name] for name in held.files} if path.suffix == ".npz" else {"": held}


def _class_indices(labels: NDArray[Any], source: str) -> NDArray[Any]:
    """One whole number from 0 on per sample, ``[samples]``; a last axis of size 1 is left out."""
    flat = labels.reshape(-1) if labels.shape[1:] in ((), (1,)) else labels
    whole = flat.dtype.kind in "iub" or (flat.dtype.kind == "f" and bool(np.all(flat == np.round(flat))))
    if flat.ndim != 1 or not whole or int(flat.min(initial=0)) < 0:
        found = "x".join(map(str, labels.shape))
        raise DataError(
            f"{source}: labels are one class index per sample, from 0 on, not {labels.dtype} {found}"
            + ("; give labels.argmax(1)" if labels.ndim == 2 and whole else "")
        )
    return flat.astype(np.int64)


def _fitted(
    arrays: dict[str, NDArray[Any]], labels: NDArray[Any] | None, source: str, inputs: Inputs, limit: int
) -> Samples:
    if set(arrays) != set(inputs):
        raise DataError(f"{source} has arrays for {sorted(arrays)}, the network takes {sorted(inputs)}")
    counts = {
        len(value) if value.ndim else 0 for value in (*arrays.values(), *([] if labels is None else [labels]))
    }
    if len(counts) != 1 or not next(iter(counts)):
        raise DataError(
            f"{source} has arrays of {sorted(counts)} samples; each needs the same number, at least 1"
        )
    data = {}
    for name, value in arrays.items():
        kind, shape = inputs[name]
        fits = len(shape) == value.ndim and all(
            not isinstance(size, int) or size == found
            for size, found in zip(shape[1:], value.shape[1:], strict=True)
        )
        if not fits or value.dtype.kind not in "fiub":
            found = "x".join(map(str, value.shape))
            raise DataError(
                f"{source}: {value.dtype} {found} does not fit the input {name!r}, {kind} {list(shape)}"
            )
        if value.dtype.kind == "f" and not np.isfinite(value[:limit]).all():
            sample = int(np.argwhere(~np.isfinite(value))[0][0])
            raise DataError(
                f"{source}: sample {sample} of {name!r} holds NaN or infinite numbers, on which any two "
                "networks agree; leave such samples out"
            )
        data[name] = np.ascontiguousarray(value[:limit].astype(NUMPY_TYPES.get(kind, value.dtype)))
    return Samples(data, source)
