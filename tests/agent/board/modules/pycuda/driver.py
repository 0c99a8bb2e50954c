"""PyCUDA of a board that is not there, over the same library."""

import ctypes
import os

MemoryError = type("MemoryError", (Exception,), {})  # noqa: A001
_CUDA = ctypes.CDLL(os.path.join(os.environ["EDGESYNTH_ROOT"], "usr/local/cuda/lib64/libcudart.so"))


def _make(name):
    pointer = ctypes.c_void_p()
    getattr(_CUDA, name)(ctypes.byref(pointer))
    return pointer


def init():
    pass


class Device:
    def __init__(self, index):
        pass

    def make_context(self):
        return self

    def pop(self):
        pass


class Stream:
    def __init__(self):
        self._stream = _make("cudaStreamCreate")
        self.handle = self._stream.value


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


def mem_alloc(size):
    if size > int(os.environ.get("FAKE_CUDA_LIMIT", size)):
        raise MemoryError("cuMemAlloc failed: out of memory")
    address = ctypes.c_void_p()
    _CUDA.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(size))
    return address.value


def memcpy_htod(target, data):
    assert isinstance(data, bytes)
    _CUDA.cudaMemcpy(ctypes.c_void_p(target), ctypes.c_char_p(data), ctypes.c_size_t(len(data)), 1)


def memcpy_dtoh(data, source):
    target = (ctypes.c_char * len(data)).from_buffer(data)
    _CUDA.cudaMemcpy(target, ctypes.c_void_p(source), ctypes.c_size_t(len(data)), 2)
