"""An engine on files: arrays of any number of samples in, arrays out, in as many calls as that takes."""

import array
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from edgesynth.agent.batches import Batches
from edgesynth.agent.errors import Refusal
from edgesynth.agent.npy import Array, read_npy, write_npy
from edgesynth.agent.tensors import Tensor

__all__ = ["TYPES", "OutputFile", "infer_files", "told_inputs", "type_of"]

TYPES = {
    "FLOAT": "<f4",
    "HALF": "<f2",
    "INT8": "|i1",
    "INT32": "<i4",
    "INT64": "<i8",
    "BOOL": "|b1",
    "UINT8": "|u1",
}
"""NumPy's names of the types that TensorRT names so."""
_NARROWER = {("<i8", "<i4"): ("q", "i")}  # TensorRT before 10 keeps 64-bit integers in 32 bits


class OutputFile(NamedTuple):
    """An output that was written.

    Attributes:
        name: As the network calls it.
        path: Its file.
        shape: Of all samples.
        type: NumPy's name of its type, e.g. ``<f4``.
        call_shape: Of one call's samples.
    """

    name: str
    path: str
    shape: Tuple[int, ...]
    type: str
    call_shape: Tuple[int, ...]


def infer_files(
    engine: Any, inputs: Mapping[str, str], folder: str, calls: Sequence[int] = ()
) -> List[OutputFile]:
    """Run an engine on files.

    Args:
        engine: An ``Engine``, or what has its ``batches``, ``tensors`` and ``run``. It may
            take fewer samples at a time than there are.
        inputs: The ``.npy`` file of every input; one input needs no name, which is then empty.
        folder: Where the outputs go, as ``output-0.npy`` and so on.
        calls: Samples of every call; as few calls as can be by default.

    Raises:
        Refusal: A file cannot be read or does not fit; kind ``data``.
    """
    takes = [tensor for tensor in engine.tensors if tensor.is_input]
    if len(takes) == 1 and list(inputs) == [""]:
        inputs = {takes[0].name: inputs[""]}
    if sorted(inputs) != sorted(tensor.name for tensor in takes):
        raise Refusal(
            "data",
            "the engine takes the inputs {}, there are files for {}".format(
                sorted(tensor.name for tensor in takes), sorted(inputs)
            ),
        )
    arrays = {tensor.name: _read(tensor, inputs[tensor.name]) for tensor in takes}
    parts: Dict[str, List[bytearray]] = {tensor.name: [] for tensor in engine.tensors if not tensor.is_input}
    begin = 0
    for samples in _calls(engine.batches, takes, arrays, calls):
        feed = {
            tensor.name: _part(memoryview(arrays[tensor.name].data), tensor, begin, samples)
            for tensor in takes
        }
        begin += samples
        for name, data in engine.run(feed).items():
            parts[name].append(data)
    os.makedirs(folder, exist_ok=True)
    return [
        _write(tensor, parts[tensor.name], os.path.join(folder, "output-{}.npy".format(index)))
        for index, tensor in enumerate(tensor for tensor in engine.tensors if not tensor.is_input)
    ]


def told_inputs(engine: Any) -> List[Dict[str, Any]]:
    """Name, type and shape of one call of every input of an engine that :func:`infer_files` has run."""
    return [
        {"name": tensor.name, "type": type_of(tensor), "shape": tensor.shape}
        for tensor in engine.tensors
        if tensor.is_input
    ]


def _read(tensor: Tensor, path: str) -> Array:
    found, wanted = read_npy(path), type_of(tensor)
    if (found.descr, wanted) in _NARROWER:
        wide, narrow = _NARROWER[found.descr, wanted]
        try:
            data = array.array(narrow, array.array(wide, found.data)).tobytes()
        except OverflowError as error:
            raise Refusal(
                "data", "input {!r} has numbers that do not fit into 32 bits".format(tensor.name)
            ) from error
        found = Array(wanted, found.shape, data)
    if found.descr != wanted or found.shape[1:] != tensor.shape[1:] or len(found.shape) != len(tensor.shape):
        raise Refusal(
            "data",
            "{} holds {} {}, which does not fit the input {!r}, {} {}".format(
                path, found.descr, _text(found.shape), tensor.name, wanted, _text(tensor.shape)
            ),
        )
    return found


def _part(data: memoryview, tensor: Tensor, begin: int, samples: int) -> memoryview:
    """The bytes of some samples of an input, or of one that has no batch."""
    each = tensor.of(1).size
    return data[begin * each : (begin + samples) * each] if tensor.shape else data


def _calls(
    batches: Batches, takes: List[Tensor], arrays: Mapping[str, Array], wanted: Sequence[int]
) -> List[int]:
    """How many samples each call is of, which have all of them."""
    shapes = {arrays[tensor.name].shape[:1] for tensor in takes}
    counts = {shape[0] for shape in shapes if shape}
    samples = min(counts, default=batches.most)
    found = list(wanted) or batches.calls(samples)
    if len(counts) > 1 or sum(found) != samples or not found or (len(found) > 1 and () in shapes):
        raise Refusal(
            "data",
            "the inputs have {} samples; every input needs the same number, {}".format(
                " and ".join(sorted({_text(shape) for shape in shapes})),
                "a multiple of {}".format(batches.most)
                if batches.fixed
                else "which calls of {} to {} can have".format(batches.least, batches.most),
            ),
        )
    return found


def _write(tensor: Tensor, parts: List[bytearray], path: str) -> OutputFile:
    shape, data = tensor.shape, b"".join(parts)
    if len(parts) > 1 and not shape:
        shape = (len(parts),)  # a scalar is one per call
    elif shape and tensor.size:  # of one call it may be less than of the most samples
        shape = (len(data) * shape[0] // tensor.size,) + shape[1:]
    elif shape:
        shape = (shape[0] * len(parts),) + shape[1:]
    write_npy(path, Array(type_of(tensor), shape, data))
    return OutputFile(tensor.name, path, shape, type_of(tensor), tensor.shape)


def type_of(tensor: Tensor) -> str:
    """NumPy's name of a tensor's type.

    Raises:
        Refusal: NumPy has none; kind ``data``.
    """
    if tensor.kind not in TYPES:
        raise Refusal(
            "data", "{!r} is of the type {}, which no .npy file has".format(tensor.name, tensor.kind)
        )
    return TYPES[tensor.kind]


def _text(shape: Tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
