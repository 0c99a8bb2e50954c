"""What a failure of TensorRT was, from what it said and how its process ended."""

import re
import signal
from typing import Optional

from edgesynth.agent.errors import NetworkFailure

__all__ = ["classify", "tells_full_disk", "tells_no_memory"]

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|insufficient memory|not enough memory|Cuda failure: 2\b|cudaMalloc"
    r"|MemoryError|bad_alloc|Requested amount of GPU memory",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|no importer registered|UNSUPPORTED_NODE|INVALID_NODE|no plugin"
    r"|plugin not found|could not find any implementation|failed to parse|parseFromFile|int8 calibrat",
    re.IGNORECASE,
)
_SIGNALS = {number.value: number.name for number in signal.Signals}


def tells_no_memory(said: str) -> bool:
    """Whether TensorRT or CUDA said that memory ran out."""
    return _OUT_OF_MEMORY.search(said) is not None


def tells_full_disk(said: str) -> bool:
    """Whether something could not be written: that is no fault of the network."""
    return "No space left on device" in said or "Disk quota exceeded" in said


def classify(
    doing: str, said: str, status: Optional[int], available_mb: Optional[int] = None
) -> NetworkFailure:
    """The failure of a process that did something for a network.

    Args:
        doing: What was being done: ``build`` or ``run``.
        said: The end of its error output.
        status: How it ended; negative for a signal, ``None`` if it did not.
        available_mb: Free memory before it started.
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line or "rror" in line] or lines
    tail = "; ".join(errors[-4:])[-1000:]
    memory = "" if available_mb is None else " with {} MB free at its start".format(available_mb)
    if status is not None and -status == signal.SIGKILL:
        reason = "out of memory: the {} was killed{}, which only the kernel's memory killer does".format(
            doing, memory
        )
        return NetworkFailure("out_of_memory", reason)
    if tells_no_memory(said):
        return NetworkFailure("out_of_memory", "out of memory in the {}{}: {}".format(doing, memory, tail))
    if _UNSUPPORTED.search(said):
        return NetworkFailure("unsupported", "TensorRT does not support this network: " + tail)
    if status is None:
        how = "did not end"
    elif status < 0:
        how = "crashed with {}".format(_SIGNALS.get(-status, "signal {}".format(-status)))
    else:
        how = "failed with status {}".format(status)
    return NetworkFailure("crash", "the {} {}: {}".format(doing, how, tail or "it said nothing"))
