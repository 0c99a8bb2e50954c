"""What a failure of TensorRT was, from what it said and how its process ended."""

import re
import signal
from typing import List, Match, Optional

from edgesynth.agent.errors import NetworkFailure

__all__ = ["classify", "tells_full_disk", "tells_no_memory", "tells_unreadable", "tells_unsaved"]

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|insuff?icient memory|not enough memory|Cuda failure: 2\b|cudaMalloc"
    r"|MemoryError|bad_alloc|Requested amount of (?:GPU )?memory|memory is insufficient|oom error",
    re.IGNORECASE,
)  # with one f in what 8.2 says of a kernel that it leaves out
_SHORT_OF_MEMORY = re.compile(
    r"NvMapMem\w+: .*error 12\b"
)  # from Jetson's driver, and often of no consequence
_NO_KERNEL = re.compile(r"could not find any implementation", re.IGNORECASE)
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|no importer registered|UNSUPPORTED_NODE|INVALID[_ ]NODE|no plugin"
    r"|plugin not found|could not find any|failed to parse|parseFromFile|int8 calibrat",
    re.IGNORECASE,
)
_UNREADABLE = re.compile(
    r"serializ|(?:version|magic) tag|incompatible device|plan file is not compatible|Got invalid engine"
    r"|Error (?:opening|loading) engine file",
    re.IGNORECASE,
)
_LEVEL = re.compile(r"\[(?:TRT\] \[)?([EWIV])\]|\[TensorRT\] (ERROR|WARNING|INFO|VERBOSE):")
_CONSEQUENCES = re.compile(
    r"Engine (?:set up|creation|deserialization) failed|Engine could not be created|Building engine failed"
    r"|Parsing model failed|Failed to create engine from model|Inference set up failed|Got invalid engine"
    r"|--- (?:Begin|End) node ---|&&&& FAILED"
)  # what trtexec says of every failure, after the reason
_NO_MEMORY_REMEDY = "end other programs on the board, or use a smaller batch or network"
_SIGNALS = {number.value: number.name for number in signal.Signals}


def tells_no_memory(said: str) -> bool:
    """Whether TensorRT or CUDA said that memory ran out: as an error, or of all kernels that a layer has.

    A builder that leaves out kernels for want of memory warns of each, and may well find others.
    """
    plain = "\n".join(_plain(said))
    if _OUT_OF_MEMORY.search(plain) is not None:
        return True
    hinted = _OUT_OF_MEMORY.search(said) or _SHORT_OF_MEMORY.search(said)
    return hinted is not None and _NO_KERNEL.search(plain) is not None


def tells_unsaved(said: str) -> bool:
    """Whether trtexec built an engine and could not write it."""
    return "Saving engine to file failed" in said


def tells_unreadable(said: str) -> bool:
    """Whether trtexec could not load an engine, for another reason than memory.

    Only errors count: that an engine was deserialized is told of every one that is loaded.
    """
    return _UNREADABLE.search("\n".join(_plain(said))) is not None and not tells_no_memory(said)


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
    tail = "; ".join(_errors(said)[-4:])[-1000:]
    memory = "" if available_mb is None else " with {} MB free at its start".format(available_mb)
    if status is not None and -status == signal.SIGKILL:
        reason = "out of memory: the {} was killed{}, which only the kernel's memory killer does; {}".format(
            doing, memory, _NO_MEMORY_REMEDY
        )
        return NetworkFailure("out_of_memory", reason)
    crashed = status is not None and status < 0
    if tells_no_memory(said) or (crashed and _SHORT_OF_MEMORY.search(said)):
        reason = "out of memory in the {}{}; {}: {}".format(doing, memory, _NO_MEMORY_REMEDY, tail)
        return NetworkFailure("out_of_memory", reason)
    if _UNSUPPORTED.search("\n".join(_plain(said))):
        return NetworkFailure("unsupported", "TensorRT does not support this network: " + tail)
    if status is None:
        how = "did not end"
    elif status < 0:
        how = "crashed with {}".format(_SIGNALS.get(-status, "signal {}".format(-status)))
    else:
        how = "failed with status {}".format(status)
    return NetworkFailure("crash", "the {} {}: {}".format(doing, how, tail or "it said nothing"))


def _is_error(level: "Match[str]") -> bool:
    return (level.group(1) or level.group(2)).startswith("E")


def _plain(said: str) -> List[str]:
    """Its lines but for warnings and lesser ones, which tell of what did not end it."""
    levels = ((line, _LEVEL.search(line)) for line in said.splitlines())
    return [line for line, level in levels if level is None or _is_error(level)]


def _errors(said: str) -> List[str]:
    """The lines of the reason: errors with what continues them, else whatever there is."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    found, inside = [], False
    for line in lines:
        level = _LEVEL.search(line)
        if level is not None:
            inside = _is_error(level)
        elif "error" in line.lower():
            inside = True
        if inside:
            found.append(line)
    return [line for line in found if not _CONSEQUENCES.search(line)] or found or lines
