"""An engine on files: arrays of any number of samples in, arrays out, in as many calls as that takes."""

import array
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

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


def infer_files(engine: Any, inputs: Mapping[str, str], folder: str) -> List[OutputFile]:
    """Run an engine on files.

    Args:
        engine: An ``Engine``, or what has its ``tensors`` and ``run``. It may
            take fewer samples at a time than there are.
        inputs: The ``.npy`` file of every input; one input needs no name, which is then empty.
        folder: Where the outputs go, as ``output-0.npy`` and so on.

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
    calls = _calls(takes, arrays)
    parts: Dict[str, List[bytearray]] = {tensor.name: [] for tensor in engine.tensors if not tensor.is_input}
    for call in range(calls):
        feed = {
            tensor.name: memoryview(arrays[tensor.name].data)[call * tensor.size : (call + 1) * tensor.size]
            for tensor in takes
        }
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


def _calls(takes: List[Tensor], arrays: Mapping[str, Array]) -> int:
    """How many calls all samples take."""
    counts = {
        (len(arrays[tensor.name].data) // tensor.size, len(arrays[tensor.name].data) % tensor.size)
        for tensor in takes
    }
    calls, rest = min(counts, default=(1, 0))
    if len(counts) > 1 or rest or not calls:
        samples = [arrays[tensor.name].shape[:1] for tensor in takes]
        batch = next((tensor.shape[0] for tensor in takes if tensor.shape), 1)
        raise Refusal(
            "data",
            "the inputs have {} samples; every input needs the same number, a multiple of {}".format(
                " and ".join(sorted({_text(sample) for sample in samples})), batch
            ),
        )
    return calls


def _write(tensor: Tensor, parts: List[bytearray], path: str) -> OutputFile:
    shape = tensor.shape
    if len(parts) > 1:
        if not shape:
            raise Refusal("data", "output {!r} has no batch; give one call's samples".format(tensor.name))
        shape = (shape[0] * len(parts),) + shape[1:]
    write_npy(path, Array(type_of(tensor), shape, b"".join(parts)))
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
