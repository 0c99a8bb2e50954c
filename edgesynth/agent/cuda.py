"""The two dozen CUDA calls an engine needs: through PyCUDA where it is installed, else libcudart by ctypes.

Both offer the same few methods. Inputs and outputs are in device memory, and are staged through pinned host
memory where the CPU caches that: on TX2 and Nano it does not. Sources: CUDA for Tegra, "Memory Management";
CUDA C++ Programming Guide, "Page-Locked Host Memory".
"""

import ctypes
import ctypes.util
from typing import Any, List, Tuple, Union

from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.places import paths

__all__ = ["Cudart", "PyCuda", "open_cuda"]

_TO_DEVICE, _TO_HOST = 1, 2  # of cudaMemcpyKind
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
_INTEGRATED, _MAJOR, _MINOR = 18, 75, 76  # of cudaDeviceAttr
_COHERENT = (7, 2)  # Xavier
_LIBRARIES = (
    "/usr/local/cuda/lib64/libcudart.so*",
    "/usr/local/cuda/targets/*/lib/libcudart.so*",
    "/usr/local/cuda-*/lib64/libcudart.so*",
    "/usr/lib/aarch64-linux-gnu/libcudart.so*",
)


def open_cuda() -> "Union[PyCuda, Cudart]":
    """The CUDA runtime of this board.

    Raises:
        Refusal: There is none; kind ``cuda``.
    """
    try:
        return PyCuda()
    except ImportError:
        return Cudart(_find_library())


def _find_library() -> str:
    for pattern in _LIBRARIES:
        for path in paths(pattern):
            return path
    name = ctypes.util.find_library("cudart")
    if name is None:
        raise Refusal("cuda", "no libcudart in /usr/local/cuda/lib64; install CUDA of this JetPack")
    return name


def _load(path: str) -> Any:
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise Refusal("cuda", "cannot load {}: {}".format(path, error)) from error


def _caches_pinned(integrated: bool, capability: Tuple[int, int]) -> bool:
    """Whether the CPU caches pinned memory: not on a Jetson without I/O coherency."""
    return not integrated or capability >= _COHERENT


def _pointer(data: Any) -> Any:
    """Where a buffer is, for C; what may not be written to must be copied for that."""
    view = memoryview(data)
    if view.readonly or not view.nbytes:
        return ctypes.c_char_p(bytes(view))
    return (ctypes.c_char * view.nbytes).from_buffer(view)


class Cudart:
    """libcudart through ctypes.

    Args:
        path: The library.

    Attributes:
        caches_pinned: Whether the CPU caches pinned memory.
    """

    name = "libcudart"

    def __init__(self, path: str) -> None:
        self._library = _load(path)
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._made: List[Tuple[str, ctypes.c_void_p]] = []  # what frees it, and what
        self._call("cudaFree", None)  # makes the context, so that its time is not the first copy's
        integrated, major, minor = map(self._attribute, (_INTEGRATED, _MAJOR, _MINOR))
        self.caches_pinned = _caches_pinned(bool(integrated), (major, minor))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status == 0:
            return
        self._library.cudaGetLastError()  # else TensorRT may be told of it
        text = self._library.cudaGetErrorString(status).decode("utf-8", "replace")
        said = "{} gave error {}: {}".format(name, status, text)
        if status == _OUT_OF_MEMORY:
            raise NetworkFailure("out_of_memory", "out of device memory: " + said)
        raise Refusal("cuda", said)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cudaDeviceGetAttribute", ctypes.byref(value), number, 0)
        return value.value

    def _make(self, end: str, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Something that is CUDA's own, and let go of by ``end``."""
        handle = ctypes.c_void_p()
        self._call(name, ctypes.byref(handle), *arguments)
        self._made.append((end, handle))
        return handle

    def allocate(self, size: int) -> int:
        """Device memory; the address."""
        return int(self._make("cudaFree", "cudaMalloc", ctypes.c_size_t(max(1, size))).value or 0)

    def pin(self, size: int) -> memoryview:
        """Pinned host memory; bytes that are there until :meth:`close`."""
        memory = self._make("cudaFreeHost", "cudaHostAlloc", ctypes.c_size_t(max(1, size)), ctypes.c_uint(0))
        whole = (ctypes.c_ubyte * max(1, size)).from_address(int(memory.value or 0))
        return memoryview(whole).cast("B")[:size]

    def fill(self, address: int, data: Any) -> None:
        """Copy bytes to device memory, and wait for it."""
        size = ctypes.c_size_t(memoryview(data).nbytes)
        self._call("cudaMemcpy", ctypes.c_void_p(address), _pointer(data), size, _TO_DEVICE)

    def read(self, address: int, size: int) -> bytearray:
        """A copy of device memory."""
        data = bytearray(size)
        self._call("cudaMemcpy", _pointer(data), ctypes.c_void_p(address), ctypes.c_size_t(size), _TO_HOST)
        return data

    def send(self, address: int, pinned: memoryview, stream: ctypes.c_void_p) -> None:
        """Have the stream copy pinned memory to device memory."""
        self._copy(ctypes.c_void_p(address), _pointer(pinned), pinned.nbytes, _TO_DEVICE, stream)

    def fetch(self, address: int, pinned: memoryview, stream: ctypes.c_void_p) -> None:
        """Have the stream copy device memory to pinned memory."""
        self._copy(_pointer(pinned), ctypes.c_void_p(address), pinned.nbytes, _TO_HOST, stream)

    def _copy(self, to: Any, source: Any, size: int, kind: int, stream: ctypes.c_void_p) -> None:
        self._call("cudaMemcpyAsync", to, source, ctypes.c_size_t(size), kind, stream)

    def stream(self) -> ctypes.c_void_p:
        """A new stream. The default one would serialise TensorRT's own."""
        return self._make("cudaStreamDestroy", "cudaStreamCreate")

    def handle(self, stream: ctypes.c_void_p) -> int:
        """What TensorRT must be given for a stream."""
        return int(stream.value or 0)

    def finish(self, stream: ctypes.c_void_p) -> None:
        """Block until the stream has done everything."""
        self._call("cudaStreamSynchronize", stream)

    def event(self) -> ctypes.c_void_p:
        """A new event."""
        return self._make("cudaEventDestroy", "cudaEventCreate")

    def record(self, event: ctypes.c_void_p, stream: ctypes.c_void_p) -> None:
        """Have the stream stamp the event when it gets there."""
        self._call("cudaEventRecord", event, stream)

    def wait(self, event: ctypes.c_void_p) -> None:
        """Block until the event is stamped."""
        self._call("cudaEventSynchronize", event)

    def elapsed_ms(self, begin: ctypes.c_void_p, end: ctypes.c_void_p) -> float:
        """Time between two stamps."""
        elapsed = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), begin, end)
        return float(elapsed.value)

    def runtime(self) -> Any:
        """The library itself, for what is done with it alone."""
        return self._library

    def close(self) -> None:
        """Let go of all that was made, the last first; the context ends with the process."""
        while self._made:
            end, handle = self._made.pop()
            getattr(self._library, end)(handle)


class PyCuda:
    """The same through PyCUDA.

    Raises:
        ImportError: It is not installed, or does not fit this CUDA.
    """

    name = "pycuda"

    def __init__(self) -> None:
        from pycuda import driver

        driver.init()
        self._driver = driver
        device = driver.Device(0)
        integrated = bool(device.get_attribute(driver.device_attribute.INTEGRATED))
        self.caches_pinned = _caches_pinned(integrated, tuple(device.compute_capability()))
        self._context = device.make_context()
        self._kept: List[Any] = []  # memory is freed with its object

    def allocate(self, size: int) -> int:
        """Device memory; the address."""
        try:
            memory = self._driver.mem_alloc(max(1, size))
        except self._driver.MemoryError as error:
            raise NetworkFailure("out_of_memory", "out of device memory: {}".format(error)) from error
        self._kept.append(memory)
        return int(memory)

    def pin(self, size: int) -> memoryview:
        """Pinned host memory; bytes that are there until :meth:`close`."""
        try:
            memory = self._driver.pagelocked_empty((max(1, size),), "u1")
        except self._driver.MemoryError as error:
            raise NetworkFailure("out_of_memory", "out of pinned memory: {}".format(error)) from error
        return memoryview(memory).cast("B")[:size]  # keeps what it is of

    def fill(self, address: int, data: Any) -> None:
        """Copy bytes to device memory, and wait for it."""
        if memoryview(data).nbytes:
            self._driver.memcpy_htod(address, data)

    def read(self, address: int, size: int) -> bytearray:
        """A copy of device memory."""
        data = bytearray(size)
        if size:
            self._driver.memcpy_dtoh(data, address)
        return data

    def send(self, address: int, pinned: memoryview, stream: Any) -> None:
        """Have the stream copy pinned memory to device memory."""
        if pinned.nbytes:
            self._driver.memcpy_htod_async(address, pinned, stream)

    def fetch(self, address: int, pinned: memoryview, stream: Any) -> None:
        """Have the stream copy device memory to pinned memory."""
        if pinned.nbytes:
            self._driver.memcpy_dtoh_async(pinned, address, stream)

    def stream(self) -> Any:
        """A new stream."""
        return self._driver.Stream()

    def handle(self, stream: Any) -> int:
        """What TensorRT must be given for a stream."""
        return int(stream.handle)

    def finish(self, stream: Any) -> None:
        """Block until the stream has done everything."""
        stream.synchronize()

    def event(self) -> Any:
        """A new event."""
        return self._driver.Event()

    def record(self, event: Any, stream: Any) -> None:
        """Have the stream stamp the event when it gets there."""
        event.record(stream)

    def wait(self, event: Any) -> None:
        """Block until the event is stamped."""
        event.synchronize()

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Time between two stamps."""
        return float(begin.time_till(end))

    def runtime(self) -> Any:
        """libcudart, which works in the context that PyCUDA made: PyCUDA has no graphs.

        Raises:
            Refusal: There is none; kind ``cuda``.
        """
        return _load(_find_library())

    def close(self) -> None:
        """Leave the context: PyCUDA aborts the process if it is left at the end."""
        del self._kept[:]
        self._context.pop()
