"""One TensorRT engine that can be called, on any TensorRT from 7.1 on.

What an installation offers is found with ``hasattr``, never from its version: bindings are addressed by index
up to 8.4 and by name from 8.5 on, and products beside TensorRT count their versions differently.
"""

import array
import random
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from edgesynth.agent.cuda import open_cuda
from edgesynth.agent.dla import place_engine
from edgesynth.agent.errors import NetworkFailure, Refusal

__all__ = ["Engine", "Tensor", "kind_of", "known_size", "with_batch"]

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


class Engine:
    """An engine, its memory and a stream.

    Args:
        path: The plan.
        batch: What an axis of free size becomes.
        dla_core: The core of the DLA that it was built for, if any.

    Attributes:
        tensors: Its inputs and outputs.
        memory_bytes: Plan (its weights), activations and tensors; the CUDA context itself is not counted.
        cuda: Name of the CUDA access.

    Raises:
        Refusal: There is no CUDA, or no such core, or the plan was made by another TensorRT or for another
            GPU.
        NetworkFailure: It does not fit into memory, or not to the batch.
    """

    def __init__(self, path: str, batch: int = 1, dla_core: Optional[int] = None) -> None:
        import tensorrt

        with open(path, "rb") as file:
            plan = file.read()
        self._cuda = open_cuda()
        self.cuda = self._cuda.name
        logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        if hasattr(tensorrt, "init_libnvinfer_plugins"):
            tensorrt.init_libnvinfer_plugins(logger, "")
        self._runtime = tensorrt.Runtime(logger)
        place_engine(self._runtime, dla_core, tensorrt.__version__)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise Refusal(
                "engine",
                "TensorRT {} cannot load {}: it was built by another version or for another GPU; build it "
                "on this board".format(tensorrt.__version__, path),
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise NetworkFailure("out_of_memory", "TensorRT cannot allocate the engine's activations")
        self._named = hasattr(self._engine, "num_io_tensors")
        tensors = self._name_tensors(tensorrt, batch) if self._named else self._index_tensors(batch)
        self.tensors = tensors
        self._addresses = [self._cuda.allocate(tensor.size) for tensor in tensors]
        for tensor, address in zip(tensors, self._addresses):
            if tensor.is_input:
                self._cuda.fill(address, example(tensor))
            if self._named:
                self._context.set_tensor_address(tensor.name, address)
        self._stream = self._cuda.stream()
        self._handle = self._cuda.handle(self._stream)
        self._begin, self._end = self._cuda.event(), self._cuda.event()
        self.memory_bytes = len(plan) + self._activations() + sum(tensor.size for tensor in tensors)

    def call(self) -> Tuple[float, float]:
        """Run once and wait for it; GPU time and time of the caller, in ms."""
        begin_s = time.perf_counter()
        self._cuda.record(self._begin, self._stream)
        if self._named:
            accepted = self._context.execute_async_v3(self._handle)
        else:
            accepted = self._context.execute_async_v2(self._addresses, self._handle)
        self._cuda.record(self._end, self._stream)
        self._cuda.wait(self._end)
        end_s = time.perf_counter()
        if accepted is False:
            raise NetworkFailure("crash", "TensorRT refused to run the engine")
        return self._cuda.elapsed_ms(self._begin, self._end), 1e3 * (end_s - begin_s)

    def layers(self, runs: int) -> List[Tuple[str, float]]:
        """Name and mean time in ms of every layer as TensorRT runs it, fused; later calls are slower for it.

        Raises:
            Refusal: This TensorRT has no profiler that Python can be told by.
            NetworkFailure: It does not run.
        """
        import tensorrt

        if not hasattr(tensorrt, "IProfiler") or not hasattr(self._context, "profiler"):
            raise Refusal("tensorrt", "this TensorRT tells no times of layers to Python")

        class Listener(tensorrt.IProfiler):  # type: ignore[misc, name-defined, unused-ignore]
            """Adds up what it is told."""

            def __init__(self) -> None:
                tensorrt.IProfiler.__init__(self)
                self.total_ms: Dict[str, float] = {}

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                """Called by TensorRT after every call, once per layer."""
                self.total_ms[layer_name] = self.total_ms.get(layer_name, 0.0) + ms

        listener = Listener()
        self._context.profiler = listener
        if hasattr(self._context, "enqueue_emits_profile"):
            self._context.enqueue_emits_profile = True
        for call in range(runs + 1):
            if call == 1:  # the first one also loads kernels
                listener.total_ms.clear()
            # The call that waits tells times on every version; the other one did not before 8.2.
            if hasattr(self._context, "execute_v2"):
                if self._context.execute_v2(self._addresses) is False:
                    raise NetworkFailure("crash", "TensorRT refused to run the engine")
            else:
                self.call()
        return [(name, total_ms / runs) for name, total_ms in listener.total_ms.items()]

    def infer(self, feed: Any) -> Dict[str, Any]:
        """Outputs by name.

        Args:
            feed: By input name, or the only input itself: NumPy arrays, or any buffer of the input's type or
                of its bytes.

        Returns:
            NumPy arrays where NumPy is installed, else views of the same type and shape; of a type that
            neither has, the bytes.

        Raises:
            Refusal: An input is missing, unknown, or of another type or shape; kind ``data``.
        """
        inputs = [tensor for tensor in self.tensors if tensor.is_input]
        if not isinstance(feed, Mapping):
            feed = {inputs[0].name: feed}
        names = [tensor.name for tensor in inputs]
        if sorted(feed) != sorted(names):
            raise Refusal("data", "the engine takes {}, not {}".format(sorted(names), sorted(feed)))
        found = self.run({tensor.name: raw_bytes(tensor, feed[tensor.name]) for tensor in inputs})
        return {
            tensor.name: shaped(tensor, found[tensor.name]) for tensor in self.tensors if not tensor.is_input
        }

    def run(self, feed: Mapping[str, bytes]) -> Dict[str, bytearray]:
        """The same on the bytes of every input, of its exact size; gives the bytes of every output."""
        for tensor, address in zip(self.tensors, self._addresses):
            if tensor.is_input:
                self._cuda.fill(address, feed[tensor.name])
        self.call()
        return {
            tensor.name: self._cuda.read(address, tensor.size)
            for tensor, address in zip(self.tensors, self._addresses)
            if not tensor.is_input
        }

    def close(self) -> None:
        """Let go of TensorRT before CUDA."""
        del self._context, self._engine, self._runtime, self._stream, self._begin, self._end
        self._cuda.close()

    def _name_tensors(self, tensorrt: Any, batch: int) -> List[Tensor]:
        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = {name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT}
        for name in names:
            if name in inputs:
                context.set_input_shape(name, with_batch(name, tuple(engine.get_tensor_shape(name)), batch))
        return [
            known_size(
                Tensor(
                    name,
                    name in inputs,
                    tuple(context.get_tensor_shape(name)),
                    kind_of(engine.get_tensor_dtype(name)),
                )
            )
            for name in names
        ]

    def _index_tensors(self, batch: int) -> List[Tensor]:
        engine, context = self._engine, self._context
        indices = range(engine.num_bindings)
        for index in indices:
            if engine.binding_is_input(index):
                shape = tuple(engine.get_binding_shape(index))
                context.set_binding_shape(index, with_batch(engine.get_binding_name(index), shape, batch))
        return [
            known_size(
                Tensor(
                    engine.get_binding_name(index),
                    engine.binding_is_input(index),
                    tuple(context.get_binding_shape(index)),
                    kind_of(engine.get_binding_dtype(index)),
                )
            )
            for index in indices
        ]

    def _activations(self) -> int:
        for name in ("device_memory_size_v2", "device_memory_size"):
            if hasattr(self._engine, name):
                return int(getattr(self._engine, name))
        return 0


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


def raw_bytes(tensor: Tensor, value: Any) -> bytes:
    """The bytes of an input as its user has it.

    Raises:
        Refusal: It is of another type or shape; kind ``data``.
    """
    try:
        view = memoryview(value)
    except TypeError as error:
        raise Refusal("data", "input {!r} is no array: {!r}".format(tensor.name, type(value))) from error
    is_bytes = view.format == "B" and view.ndim == 1
    form = "q" if view.format == "l" and view.itemsize == 8 else view.format
    fits = is_bytes or (form == _FORMATS.get(tensor.kind) and view.shape in (tensor.shape, (len(view),)))
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
    return view.tobytes()


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


def example(tensor: Tensor) -> bytes:
    """Random numbers in [0, 1) for floating-point inputs, zeros (valid indices) for others."""
    noise = random.Random(0)
    if tensor.kind == "FLOAT":
        pattern = array.array("f", [noise.random() for _ in range(_PATTERN)]).tobytes()
    elif tensor.kind in ("HALF", "BF16"):  # the upper byte 0x30..0x3b keeps the number between 0.1 and 1
        pattern = bytes(
            byte for _ in range(_PATTERN) for byte in (noise.randrange(256), noise.randrange(0x30, 0x3B))
        )
    else:
        pattern = bytes(_PATTERN)
    repeats = tensor.size // len(pattern) + 1
    return (pattern * repeats)[: tensor.size]
