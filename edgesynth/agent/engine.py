"""One TensorRT engine that can be called, on any TensorRT from 7.1 on.

What an installation offers is found with ``hasattr``, never from its version: bindings are addressed by index
up to 8.4 and by name from 8.5 on, and products beside TensorRT count their versions differently.
"""

import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from edgesynth.agent.batches import batches_of
from edgesynth.agent.cuda import open_cuda
from edgesynth.agent.cuda_graph import CudaGraph, NoGraph, proven_graph
from edgesynth.agent.dla import place_engine
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.tensors import (
    Tensor,
    example,
    flat_bytes,
    kind_of,
    known_size,
    samples_of,
    shaped,
    with_batch,
)

__all__ = ["Engine"]

_SPOILT = b"\x55"  # of outputs before a call that must write them
_ONE_SIZE = (
    "a graph holds calls of one size, and recording one for every size takes an execution context, with its "
    "memory, for each; this engine takes {} samples a call"
)


class Engine:
    """An engine, its memory and a stream.

    Args:
        path: The plan.
        batch: What an axis of free size becomes: samples per call, or the least, the usual and the most of
            an engine that was built for a range. Memory is allocated for the most.
        cuda_graph: Whether calls are to be launched as a CUDA graph, if the engine can be recorded; one for a
            range of sizes is not.
        dla_core: The core of the DLA that it was built for, if any.

    Attributes:
        batches: Samples per call.
        tensors: Its inputs and outputs, in a call of the most samples.
        called: The same in the last call.
        memory_bytes: On the device: plan (its weights), activations and tensors. Neither the CUDA context nor
            a graph is counted, and no pinned memory.
        pinned_bytes: Pinned host memory that inputs and outputs are staged in; 0 where the CPU would not
            cache it, as on TX2 and Nano.
        cuda: Name of the CUDA access.
        cuda_graph: Whether calls are launched as a graph.
        no_graph: Why not, where they were to be.

    Raises:
        Refusal: There is no CUDA, or no such core, or the plan was made by another TensorRT or for another
            GPU.
        NetworkFailure: It does not fit into memory, or not to the batch.
    """

    def __init__(
        self, path: str, batch: Any = 1, *, cuda_graph: bool = False, dla_core: Optional[int] = None
    ) -> None:
        import tensorrt

        self.batches = batches_of(batch)
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
        self._samples = 0  # of a call, as the context is set
        self.tensors: List[Tensor] = []
        self._resize(self.batches.least)
        self._resize(self.batches.most)
        tensors = self.tensors = self.called
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
        self._pinned = self._pin()
        self.pinned_bytes = sum(memory.nbytes for memory in self._pinned)
        self._graph: Optional[CudaGraph] = None
        self.no_graph: Optional[NoGraph] = None
        if cuda_graph and not self.batches.fixed:
            self.no_graph = NoGraph(_ONE_SIZE.format(self.batches.text))
        elif cuda_graph:
            self._record()

    @property
    def cuda_graph(self) -> bool:
        """Whether calls are launched as a graph."""
        return self._graph is not None

    def call(self) -> Tuple[float, float]:
        """Run once and wait for it; GPU time and time of the caller, in ms."""
        return self._timed(self._put)

    def _timed(self, put: Callable[[], Any]) -> Tuple[float, float]:
        begin_s = time.perf_counter()
        self._cuda.record(self._begin, self._stream)
        accepted = put()
        self._cuda.record(self._end, self._stream)
        self._cuda.wait(self._end)
        end_s = time.perf_counter()
        _check(accepted)
        return self._cuda.elapsed_ms(self._begin, self._end), 1e3 * (end_s - begin_s)

    def layers(self, runs: int) -> List[Tuple[str, float]]:
        """Name and mean time in ms of every layer as TensorRT runs it, fused; later calls are slower for it.

        A graph is not used: in one there are no layers.

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
                _check(self._context.execute_v2(self._addresses))
            else:
                self._timed(self._execute)
        return [(name, total_ms / runs) for name, total_ms in listener.total_ms.items()]

    def infer(self, feed: Any) -> Dict[str, Any]:
        """Outputs by name.

        Args:
            feed: By input name, or the only input itself: NumPy arrays, or any buffer of the input's type or
                of its bytes. Of an engine for a range of sizes the first input with a batch says how many
                samples there are.

        Returns:
            NumPy arrays where NumPy is installed, else views of the same type and shape; of a type that
            neither has, the bytes. They are the caller's own: no later call changes them.

        Raises:
            Refusal: An input is missing, unknown, or of another type or shape; kind ``data``.
        """
        inputs = [tensor for tensor in self.tensors if tensor.is_input]
        if not isinstance(feed, Mapping):
            feed = {inputs[0].name: feed}
        names = [tensor.name for tensor in inputs]
        if sorted(feed) != sorted(names):
            raise Refusal("data", "the engine takes {}, not {}".format(sorted(names), sorted(feed)))
        samples = samples_of(inputs, feed, self.batches)
        sized = [tensor.of(samples) for tensor in inputs]
        found = self.run({tensor.name: flat_bytes(tensor, feed[tensor.name]) for tensor in sized})
        return {
            tensor.name: shaped(tensor, found[tensor.name]) for tensor in self.called if not tensor.is_input
        }

    def run(self, feed: Mapping[str, Any]) -> Dict[str, bytearray]:
        """The same on the bytes of every input, of its exact size; gives the bytes of every output."""
        self._resize(samples_of((tensor for tensor in self.tensors if tensor.is_input), feed, self.batches))
        places = list(zip(self.called, self._addresses))
        if not self._pinned:
            for tensor, address in places:
                if tensor.is_input:
                    self._cuda.fill(address, feed[tensor.name])
            self.call()
            return {
                tensor.name: self._cuda.read(address, tensor.size)
                for tensor, address in places
                if not tensor.is_input
            }
        staged = [pinned[: tensor.size] for tensor, pinned in zip(self.called, self._pinned)]
        for (tensor, address), pinned in zip(places, staged):
            if tensor.is_input:
                pinned[:] = feed[tensor.name]
                self._cuda.send(address, pinned, self._stream)
        accepted = self._put()
        for (tensor, address), pinned in zip(places, staged):
            if not tensor.is_input:
                self._cuda.fetch(address, pinned, self._stream)
        self._cuda.finish(self._stream)
        _check(accepted)
        return {
            tensor.name: bytearray(pinned)
            for tensor, pinned in zip(self.called, staged)
            if not tensor.is_input
        }

    def close(self) -> None:
        """Let go of TensorRT before CUDA."""
        if self._graph is not None:
            self._graph.close()
        del self._graph, self._pinned
        del self._context, self._engine, self._runtime, self._stream, self._begin, self._end
        self._cuda.close()

    def _put(self) -> Any:
        """Put one call into the stream; ``False`` if TensorRT refuses it."""
        return self._execute() if self._graph is None else self._graph.launch()

    def _execute(self) -> Any:
        if self._named:
            return self._context.execute_async_v3(self._handle)
        return self._context.execute_async_v2(self._addresses, self._handle)

    def _pin(self) -> List[memoryview]:
        """Pinned memory for every tensor; none where it would be slow, or there is not enough."""
        if not self._cuda.caches_pinned:
            return []
        try:
            return [self._cuda.pin(tensor.size) for tensor in self.tensors]
        except Refusal:  # without it calls take longer, and go well
            return []

    def _record(self) -> None:
        """Have calls launched as a graph from now on, if that gives what they give without."""
        try:
            library = self._cuda.runtime()
            self._graph = proven_graph(library, self._handle, self._execute, self._answers)
        except NoGraph as why:
            self.no_graph = why
        except Refusal as refusal:
            self.no_graph = NoGraph(refusal.reason, of_board=True)
        self._answers(self._put, 0)  # the noise that calls without a graph have; and they still go well

    def _answers(self, put: Callable[[], Any], seed: int) -> List[bytes]:
        """The outputs of what is put into the stream, for noise of this seed."""
        for tensor, address in zip(self.tensors, self._addresses):
            self._cuda.fill(address, example(tensor, seed) if tensor.is_input else _SPOILT * tensor.size)
        self._timed(put)
        return [
            bytes(self._cuda.read(address, tensor.size))
            for tensor, address in zip(self.tensors, self._addresses)
            if not tensor.is_input
        ]

    def _resize(self, samples: int) -> None:
        """Have calls take so many samples from now on; the memory stays where it is.

        Raises:
            NetworkFailure: The engine does not take so many.
        """
        if samples == self._samples:
            return
        self._samples = 0
        self.called = self._name_tensors(samples) if self._named else self._index_tensors(samples)
        larger = [tensor.name for tensor, most in zip(self.called, self.tensors) if tensor.size > most.size]
        if larger:
            raise NetworkFailure("unsupported", "{!r} is larger in a smaller call".format(larger[0]))
        self._samples = samples

    def _name_tensors(self, batch: int) -> List[Tensor]:
        import tensorrt

        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = {name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT}
        for name in names:
            if name in inputs:
                free = tuple(engine.get_tensor_shape(name))
                shape = with_batch(name, free, batch)
                _check_shape(name, free, shape, context.set_input_shape(name, shape))
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
                name, free = engine.get_binding_name(index), tuple(engine.get_binding_shape(index))
                shape = with_batch(name, free, batch)
                _check_shape(name, free, shape, context.set_binding_shape(index, shape))
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


def _check_shape(name: str, free: Tuple[int, ...], shape: Tuple[int, ...], accepted: Any) -> None:
    """Nothing, unless an input of free size does not take this one: then the context keeps the one before."""
    if accepted is False and free != shape:
        raise NetworkFailure(
            "unsupported",
            "the engine was not built for the input {!r} as {}; build it for as many samples".format(
                name, "x".join(map(str, shape))
            ),
        )


def _check(accepted: Any) -> None:
    if accepted is False:
        raise NetworkFailure("crash", "TensorRT refused to run the engine")
