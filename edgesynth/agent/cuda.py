"""The dozen CUDA calls an engine needs: through PyCUDA where it is installed, else libcudart by ctypes.

Both offer the same few methods. Device memory and copies are used rather than mapped host memory, which is
uncached on TX2 and Nano.
"""

import ctypes
import ctypes.util
from typing import Any, List, Union

from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.places import paths

__all__ = ["Cudart", "PyCuda", "open_cuda"]

_TO_DEVICE, _TO_HOST = 1, 2  # of cudaMemcpyKind
_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation
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


class Cudart:
    """libcudart through ctypes.

    Args:
        path: The library.
    """

    name = "libcudart"

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.CDLL(path)
        except OSError as error:
            raise Refusal("cuda", "cannot load {}: {}".format(path, error)) from error
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._call("cudaFree", None)  # makes the context, so that its time is not the first copy's

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status == 0:
            return
        text = self._library.cudaGetErrorString(status).decode("utf-8", "replace")
        said = "{} gave error {}: {}".format(name, status, text)
        if status == _OUT_OF_MEMORY:
            raise NetworkFailure("out_of_memory", "out of device memory: " + said)
        raise Refusal("cuda", said)

    def allocate(self, size: int) -> int:
        """Device memory; the address."""
        address = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(address), ctypes.c_size_t(max(1, size)))
        return int(address.value or 0)

    def fill(self, address: int, data: bytes) -> None:
        """Copy bytes to device memory."""
        self._call(
            "cudaMemcpy",
            ctypes.c_void_p(address),
            ctypes.c_char_p(data),
            ctypes.c_size_t(len(data)),
            _TO_DEVICE,
        )

    def read(self, address: int, size: int) -> bytearray:
        """A copy of device memory."""
        data = bytearray(size)
        target = (ctypes.c_char * size).from_buffer(data)
        self._call("cudaMemcpy", target, ctypes.c_void_p(address), ctypes.c_size_t(size), _TO_HOST)
        return data

    def stream(self) -> ctypes.c_void_p:
        """A new stream. The default one would serialise TensorRT's own."""
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        return stream

    def handle(self, stream: ctypes.c_void_p) -> int:
        """What TensorRT must be given for a stream."""
        return int(stream.value or 0)

    def event(self) -> ctypes.c_void_p:
        """A new event."""
        handle = ctypes.c_void_p()
        self._call("cudaEventCreate", ctypes.byref(handle))
        return handle

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

    def close(self) -> None:
        """Nothing to do: the context ends with the process."""


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
        self._context = driver.Device(0).make_context()
        self._kept: List[Any] = []  # memory is freed with its object

    def allocate(self, size: int) -> int:
        """Device memory; the address."""
        try:
            memory = self._driver.mem_alloc(max(1, size))
        except self._driver.MemoryError as error:
            raise NetworkFailure("out_of_memory", "out of device memory: {}".format(error)) from error
        self._kept.append(memory)
        return int(memory)

    def fill(self, address: int, data: bytes) -> None:
        """Copy bytes to device memory."""
        self._driver.memcpy_htod(address, data)

    def read(self, address: int, size: int) -> bytearray:
        """A copy of device memory."""
        data = bytearray(size)
        if size:
            self._driver.memcpy_dtoh(data, address)
        return data

    def stream(self) -> Any:
        """A new stream."""
        return self._driver.Stream()

    def handle(self, stream: Any) -> int:
        """What TensorRT must be given for a stream."""
        return int(stream.handle)

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

    def close(self) -> None:
        """Leave the context: PyCUDA aborts the process if it is left at the end."""
        del self._kept[:]
        self._context.pop()
