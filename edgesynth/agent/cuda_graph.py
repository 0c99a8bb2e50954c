"""A CUDA graph: what one call of an engine puts into a stream, recorded once and then launched at once.

A small network is bound by the time its kernels take to launch, one after the other; a graph launches all of
them together. Not every engine can be recorded: one that waits for the GPU in the midst of a call, as loops,
conditions and sizes that depend on the data make it, is refused by CUDA.

Recorded is as trtexec does it, after a call in which TensorRT sets itself up, in the mode of the thread.
Sources: CUDA C++ Programming Guide, "CUDA Graphs"; NVIDIA/TensorRT, ``samples/common/sampleDevice.h`` and
``sampleInference.cpp``.
"""

import ctypes
from typing import Any, Callable, List, Tuple

from edgesynth.agent.errors import Refusal

__all__ = ["CudaGraph", "NoGraph", "proven_graph"]

_THREAD_LOCAL = 1  # cudaStreamCaptureModeThreadLocal: what other threads do does not matter


class NoGraph(Exception):
    """A call cannot be launched as a graph.

    Attributes:
        reason: Why.
        of_board: Whether that holds for every engine here: there is no CUDA with graphs.
    """

    def __init__(self, reason: str, of_board: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_board = of_board


class CudaGraph:
    """What was put into a stream, ready to be launched.

    Args:
        library: libcudart.
        stream: The stream's handle.
        put: Puts it there; gives ``False`` if it cannot.

    Raises:
        NoGraph: It cannot be recorded. The stream is as it was.
    """

    def __init__(self, library: Any, stream: int, put: Callable[[], Any]) -> None:
        self._library = library
        self._stream = ctypes.c_void_p(stream)
        self._executable = ctypes.c_void_p()
        if not hasattr(library, "cudaStreamBeginCapture") or not hasattr(library, "cudaGraphInstantiate"):
            raise NoGraph("this CUDA has no graphs; they came with 10.1", of_board=True)
        library.cudaGetErrorString.restype = ctypes.c_char_p
        graph = self._record(put)
        try:
            self._instantiate(graph)
        finally:
            library.cudaGraphDestroy(graph)

    def launch(self) -> None:
        """Put it into the stream.

        Raises:
            Refusal: CUDA does not take it; kind ``cuda``.
        """
        status = self._library.cudaGraphLaunch(self._executable, self._stream)
        if status != 0:
            raise Refusal("cuda", self._said("cudaGraphLaunch", status))

    def close(self) -> None:
        """Let go of it."""
        self._library.cudaGraphExecDestroy(self._executable)

    def _record(self, put: Callable[[], Any]) -> ctypes.c_void_p:
        """The graph of what is put into the stream; whatever happens, the stream records no more after it."""
        graph = ctypes.c_void_p()
        status = self._library.cudaStreamBeginCapture(self._stream, _THREAD_LOCAL)
        self._check("cudaStreamBeginCapture", status, of_board=True)
        accepted, what = False, "TensorRT refused the call"
        try:
            accepted = put()
        except Exception as error:  # whatever it is, the call goes well without a graph or says so itself
            what = repr(error)
        finally:
            status = self._library.cudaStreamEndCapture(self._stream, ctypes.byref(graph))
            if status != 0:
                self._library.cudaGetLastError()  # else the next call is told of it
        if accepted is False or status != 0 or not graph.value:
            if graph.value:
                self._library.cudaGraphDestroy(graph)
            what = self._said("cudaStreamEndCapture", status) if status else what
            raise NoGraph("the engine does what CUDA cannot record in a graph ({})".format(what))
        return graph

    def _instantiate(self, graph: ctypes.c_void_p) -> None:
        """CUDA 12 gave the function of old other arguments, and not the one that came with 11.4."""
        name = "cudaGraphInstantiateWithFlags"
        more: Tuple[Any, ...] = (ctypes.c_ulonglong(0),)
        if not hasattr(self._library, name):
            name, more = "cudaGraphInstantiate", (None, None, ctypes.c_size_t(0))
        target = ctypes.byref(self._executable)
        self._check(name, getattr(self._library, name)(target, graph, *more))

    def _check(self, name: str, status: int, of_board: bool = False) -> None:
        if status != 0:
            self._library.cudaGetLastError()
            raise NoGraph(self._said(name, status), of_board)

    def _said(self, name: str, status: int) -> str:
        text = self._library.cudaGetErrorString(status).decode("utf-8", "replace")
        return "{} gave error {}: {}".format(name, status, text)


def proven_graph(
    library: Any,
    stream: int,
    put: Callable[[], Any],
    answers: Callable[[Callable[[], Any], int], List[bytes]],
) -> CudaGraph:
    """A graph of one call that is seen to give what the call gives, to the last bit, on other inputs.

    Args:
        library: libcudart.
        stream: The stream's handle.
        put: Puts one call into it.
        answers: Fills the inputs with noise of a seed, spoils the outputs, has something put into the stream,
            waits for it, and gives the bytes of every output.

    Raises:
        NoGraph: There is none that can be trusted.
    """
    answers(put, 0)
    graph = CudaGraph(library, stream, put)
    try:
        doubt = _doubt(graph, put, answers)
    except BaseException:
        graph.close()
        raise
    if doubt:
        graph.close()
        raise NoGraph(doubt)
    return graph


def _doubt(
    graph: CudaGraph, put: Callable[[], Any], answers: Callable[[Callable[[], Any], int], List[bytes]]
) -> str:
    """Why the graph cannot be trusted; empty when it can."""
    expected = answers(put, 1)
    try:
        found = answers(graph.launch, 1)
    except Refusal as refusal:
        return refusal.reason
    if found == expected:
        return ""
    if answers(put, 1) != expected:
        return "two calls on the same inputs differ already, so a graph cannot be compared with them"
    return "as a graph the engine gave other outputs than without one"
