"""Inputs and outputs of an engine: their shapes, types and bytes."""

import array
import random
from typing import Any, Iterable, Mapping, NamedTuple, Tuple

from edgesynth.agent.batches import Batches
from edgesynth.agent.errors import NetworkFailure, Refusal

__all__ = [
    "Tensor",
    "example",
    "flat_bytes",
    "kind_of",
    "known_size",
    "samples_of",
    "shaped",
    "with_batch",
]

_BYTES = {
    "FLOAT": 4.0,
    "HALF": 2.0,
    "BF16": 2.0,
    "INT8": 1.0,
    "INT32": 4.0,
    "INT64": 8.0,
    "BOOL": 1.0,
    "UINT8": 1.0,
    "FP8": 1.0,
    "INT4": 0.5,
    "FP4": 0.5,
}
_FORMATS = {"FLOAT": "f", "HALF": "e", "INT8": "b", "INT32": "i", "INT64": "q", "BOOL": "?", "UINT8": "B"}
_PATTERN = 1 << 16  # numbers of random data that are repeated to fill an input


class Tensor(NamedTuple):
    """One input or output.

    Attributes:
        name: As the network calls it.
        is_input: Whether it is an input.
        shape: With the batch filled in.
        kind: TensorRT's name of its type, e.g. ``FLOAT``.
    """

    name: str
    is_input: bool
    shape: Tuple[int, ...]
    kind: str

    @property
    def size(self) -> int:
        """Bytes."""
        count = 1
        for length in self.shape:
            count *= length
        return int(count * _BYTES.get(self.kind, 4.0) + 0.5)

    def of(self, samples: int) -> "Tensor":
        """The same of so many samples; of an input without a batch, as it is."""
        return self._replace(shape=(samples,) + self.shape[1:]) if self.shape else self


def with_batch(name: str, shape: Tuple[int, ...], batch: int) -> Tuple[int, ...]:
    """The shape of an input with its batch filled in.

    Raises:
        NetworkFailure: Its batch is fixed to another size, or another axis is free.
    """
    if not shape:
        return shape
    if shape[0] not in (-1, batch):
        raise NetworkFailure(
            "unsupported", "input {!r} has a fixed batch of {}, not {}".format(name, shape[0], batch)
        )
    if -1 in shape[1:]:
        raise NetworkFailure(
            "unsupported",
            "input {!r} has the shape {}: only the batch may be free; export it with fixed sizes".format(
                name, "x".join(map(str, shape))
            ),
        )
    return (batch,) + shape[1:]


def flat_bytes(tensor: Tensor, value: Any) -> memoryview:
    """The bytes of an input where its user has them; copied only where they do not lie in one piece.

    Raises:
        Refusal: It is of another type or shape; kind ``data``.
    """
    view = _view(tensor, value)
    is_bytes = view.format == "B" and view.ndim == 1
    form = "q" if view.format == "l" and view.itemsize == 8 else view.format
    fits = is_bytes or (form == _FORMATS.get(tensor.kind) and (view.shape == tensor.shape or view.ndim == 1))
    if not fits or view.nbytes != tensor.size:
        raise Refusal(
            "data",
            "input {!r} is {} of type {!r}; the engine takes {} of {}".format(
                tensor.name,
                "x".join(map(str, view.shape or ())),
                view.format,
                "x".join(map(str, tensor.shape)),
                tensor.kind,
            ),
        )
    try:
        return view.cast("B")
    except (TypeError, ValueError):  # in pieces, empty, or of a type that this Python does not know
        return memoryview(view.tobytes())


def _view(tensor: Tensor, value: Any) -> memoryview:
    try:
        return memoryview(value)
    except TypeError as error:
        raise Refusal("data", "input {!r} is no array: {!r}".format(tensor.name, type(value))) from error


def samples_of(inputs: Iterable[Tensor], feed: Mapping[str, Any], batches: Batches) -> int:
    """How many samples a call is of, by what the first input with a batch is given.

    Args:
        inputs: As they are of the most samples.
        feed: Arrays or bytes by name.
        batches: What the engine takes; of one size it is that, whatever it is given.

    Raises:
        Refusal: The engine does not take so many; kind ``data``.
    """
    first = next((tensor for tensor in inputs if tensor.shape), None)
    if batches.fixed or first is None:
        return batches.most
    view = _view(first, feed[first.name])
    each = first.of(1).size
    shaped_so = view.ndim == len(first.shape) > 1
    samples = view.shape[0] if shaped_so and view.shape else view.nbytes // max(1, each)
    if not batches.takes(samples):
        raise Refusal(
            "data",
            "input {!r} is of batch {}; one call takes {} to {} samples".format(
                first.name, samples, batches.least, batches.most
            ),
        )
    return samples


def shaped(tensor: Tensor, data: bytearray) -> Any:
    """The bytes of an output as an array."""
    form = _FORMATS.get(tensor.kind)
    if form is None:
        return data
    try:
        import numpy
    except ImportError:
        view = memoryview(data)
        return data if form == "e" or not data else view.cast(form, tensor.shape or (1,))  # type: ignore[call-overload]
    return numpy.frombuffer(data, form).reshape(tensor.shape)


def kind_of(dtype: Any) -> str:
    """TensorRT's name of a type."""
    return str(getattr(dtype, "name", str(dtype).rpartition(".")[2]))


def known_size(tensor: Tensor) -> Tensor:
    """The tensor itself.

    Raises:
        NetworkFailure: Its size depends on the data.
    """
    if min(tensor.shape, default=1) < 0:
        raise NetworkFailure(
            "unsupported", "output {!r} has a size that depends on the data".format(tensor.name)
        )
    return tensor


def example(tensor: Tensor, seed: int = 0) -> bytes:
    """Random numbers in [0, 1) for floating-point inputs, any bytes for pictures, else zeros (as indices)."""
    noise = random.Random(seed)
    if tensor.kind == "FLOAT":
        pattern = array.array("f", [noise.random() for _ in range(_PATTERN)]).tobytes()
    elif tensor.kind in ("HALF", "BF16"):  # the upper byte 0x30..0x3b keeps the number between 0.1 and 1
        pattern = bytes(
            byte for _ in range(_PATTERN) for byte in (noise.randrange(256), noise.randrange(0x30, 0x3B))
        )
    elif tensor.kind == "UINT8":  # TensorRT reads them as numbers alone
        pattern = bytes(noise.randrange(256) for _ in range(_PATTERN))
    else:
        pattern = bytes(_PATTERN)
    repeats = tensor.size // len(pattern) + 1
    return (pattern * repeats)[: tensor.size]
