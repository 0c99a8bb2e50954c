"""PyCUDA of a board that is not there, over the same library."""

import ctypes
import os

MemoryError = type("MemoryError", (Exception,), {})  # noqa: A001
_CUDA = ctypes.CDLL(
    os.environ.get("FAKE_CUDA")
    or os.path.join(os.environ["EDGESYNTH_ROOT"], "usr/local/cuda/lib64/libcudart.so")
)


class device_attribute:  # noqa: N801
    INTEGRATED = 18


def _make(name):
    pointer = ctypes.c_void_p()
    getattr(_CUDA, name)(ctypes.byref(pointer))
    return pointer


def _attribute(number):
    value = ctypes.c_int()
    _CUDA.cudaDeviceGetAttribute(ctypes.byref(value), number, 0)
    return value.value


def init():
    pass


class Device:
    def __init__(self, index):
        pass

    def get_attribute(self, number):
        return _attribute(number)

    def compute_capability(self):
        return _attribute(75), _attribute(76)

    def make_context(self):
        return self

    def pop(self):
        pass


class Stream:
    def __init__(self):
        self._stream = _make("cudaStreamCreate")
        self.handle = self._stream.value

    def synchronize(self):
        _CUDA.cudaStreamSynchronize(self._stream)

    def __del__(self):
        _CUDA.cudaStreamDestroy(self._stream)


class Event:
    def __init__(self):
        self._event = _make("cudaEventCreate")

    def record(self, stream):
        _CUDA.cudaEventRecord(self._event, stream._stream)

    def synchronize(self):
        _CUDA.cudaEventSynchronize(self._event)

    def time_till(self, later):
        elapsed = ctypes.c_float()
        _CUDA.cudaEventElapsedTime(ctypes.byref(elapsed), self._event, later._event)
        return elapsed.value

    def __del__(self):
        _CUDA.cudaEventDestroy(self._event)


class DeviceAllocation:
    def __init__(self, address):
        self._address = address

    def __int__(self):
        return self._address.value

    def __del__(self):
        _CUDA.cudaFree(self._address)


def mem_alloc(size):
    if size > int(os.environ.get("FAKE_CUDA_LIMIT", size)):
        raise MemoryError("cuMemAlloc failed: out of memory")
    address = ctypes.c_void_p()
    _CUDA.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(size))
    return DeviceAllocation(address)


def pagelocked_empty(shape, dtype):
    """An array of NumPy in the real one; what is needed of it is its buffer, and that it frees itself."""
    (size,) = shape
    assert dtype == "u1"
    address = ctypes.c_void_p()
    if _CUDA.cudaHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), ctypes.c_uint(0)):
        raise MemoryError("cuMemHostAlloc failed: out of memory")

    class Pinned(ctypes.c_ubyte * size):
        def __del__(self):
            _CUDA.cudaFreeHost(address)

    return Pinned.from_address(address.value)


def _place(data):
    """Where a buffer is; what may not be written to is copied, which the real one need not do."""
    view = memoryview(data).cast("B")
    if view.readonly:
        return ctypes.c_char_p(bytes(view))
    return (ctypes.c_char * len(view)).from_buffer(view)


def memcpy_htod(target, data):
    _CUDA.cudaMemcpy(ctypes.c_void_p(target), _place(data), ctypes.c_size_t(len(data)), 1)


def memcpy_dtoh(data, source):
    _CUDA.cudaMemcpy(_place(data), ctypes.c_void_p(source), ctypes.c_size_t(len(data)), 2)


def memcpy_htod_async(target, data, stream):
    size = ctypes.c_size_t(len(data))
    assert not _CUDA.cudaMemcpyAsync(ctypes.c_void_p(target), _place(data), size, 1, stream._stream)


def memcpy_dtoh_async(data, source, stream):
    size = ctypes.c_size_t(len(data))
    assert not _CUDA.cudaMemcpyAsync(_place(data), ctypes.c_void_p(source), size, 2, stream._stream)
