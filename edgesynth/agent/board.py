"""Files and programs of the board, wherever its root is.

``EDGESYNTH_ROOT`` names another root: files under ``/sys``, ``/proc``, ``/etc``, ``/usr`` and ``/var`` are
then sought below it, and programs nowhere else. There the agent never counts as root: it asks that root's own
``sudo``. This is how a board that is not there is tested.
"""

import os
import select
import selectors
import subprocess
import time
from typing import IO, Callable, Dict, List, NamedTuple, Optional, Tuple

from edgesynth.agent.ending import Terminal, end_group
from edgesynth.agent.places import model, paths, place, read_text, soc
from edgesynth.agent.programs import as_root, find_program, is_root, needs_terminal

__all__ = [
    "Finished",
    "as_root",
    "communicate",
    "find_program",
    "gpu_clock_mhz",
    "is_readable",
    "is_root",
    "memory_mb",
    "model",
    "offer_to_memory_killer",
    "paths",
    "place",
    "read_text",
    "run",
    "soc",
    "while_waiting",
]

while_waiting: List[Callable[[], None]] = []
"""Called about once per second while a program runs, so that a slow one does not look like a dead agent."""

_TICK_S = 1.0
_LONGEST_OUTPUT = 1 << 20  # bytes that are kept of one; a program that asks in a loop prints for ever
_GPU_NAMES = ("gp10b", "gv11b", "ga10b", "gm20b", "gpu")  # parts of the names of devfreq entries


Finished = NamedTuple("Finished", [("output", str), ("errors", str), ("problem", str)])
Finished.__doc__ = "A program that has ended; ``problem`` says why it failed and is empty when it did not."


def run(command: List[str], text: str = "", timeout_s: float = 15.0) -> Finished:
    """Run a program to its end; whatever goes wrong comes back as ``problem``."""
    terminal = Terminal() if needs_terminal(command) else None
    try:
        return _run(command, text, timeout_s, terminal)
    finally:
        if terminal is not None:
            terminal.hang_up()


def _run(command: List[str], text: str, timeout_s: float, terminal: Optional[Terminal]) -> Finished:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # whatever it started is ended with it
            preexec_fn=None if terminal is None else terminal.adopt,  # noqa: PLW1509 - there are no threads
        )
    except OSError as error:
        return Finished("", "", "cannot run {}: {}".format(command[0], error.strerror))
    problem = ""
    try:
        out, err = communicate(process, text.encode(), timeout_s)
    except subprocess.TimeoutExpired as late:
        left = end_group(process.pid, terminal)
        out, err = (before + more for before, more in zip((late.output, late.stderr), _last_words(process)))
        problem = "{} did not end within {:g} s".format(" ".join(command), timeout_s)
        problem += ", and " + left if left else ""
    except BaseException:  # somebody stopped the agent
        end_group(process.pid, terminal)
        raise
    output, errors = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
    if not problem and process.returncode != 0:
        said = (errors.strip() or output.strip()).splitlines()
        problem = "{} ended with status {}".format(" ".join(command), process.returncode)
        problem += ": " + said[-1] if said else ""
    return Finished(output, errors, problem)


def communicate(
    process: "subprocess.Popen[bytes]", data: Optional[bytes], timeout_s: float
) -> Tuple[bytes, bytes]:
    """Feed a process and collect its output, saying meanwhile that the agent is alive.

    Raises:
        TimeoutExpired: It did not end in time.
    """
    # Not by process.communicate(): Python 3.6 cannot go on with it once an output was closed.
    until_s = time.monotonic() + timeout_s
    if process.stdin is not None and not process.stdin.closed:
        try:
            process.stdin.write(data or b"")  # far less than a pipe holds
            process.stdin.close()
        except BrokenPipeError:
            pass
    out: List[bytes] = []
    err: List[bytes] = []
    with selectors.DefaultSelector() as selector:
        for stream, chunks in ((process.stdout, out), (process.stderr, err)):
            if stream is not None and not stream.closed:
                selector.register(stream, selectors.EVENT_READ, (stream, chunks))
        while selector.get_map() or process.poll() is None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(process.args, timeout_s, b"".join(out), b"".join(err))
            if not selector.get_map():
                _wait_a_little(process, min(left_s, _TICK_S))
            for key, _ in selector.select(min(left_s, _TICK_S)) if selector.get_map() else ():
                stream, chunks = key.data
                found = os.read(key.fd, 1 << 15)
                if sum(map(len, chunks)) < _LONGEST_OUTPUT:
                    chunks.append(found)
                if not found:
                    selector.unregister(stream)
                    stream.close()
            for tell in while_waiting:
                tell()
    return b"".join(out), b"".join(err)


def is_readable(stream: IO[bytes], timeout_s: float) -> bool:
    """Whether there is something to read, or its end, in time; says meanwhile that the agent is alive."""
    until_s = time.monotonic() + timeout_s
    while True:
        left_s = until_s - time.monotonic()
        if left_s <= 0 or select.select([stream], [], [], min(left_s, _TICK_S))[0]:
            return left_s > 0
        for tell in while_waiting:
            tell()


def _wait_a_little(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _last_words(process: "subprocess.Popen[bytes]") -> Tuple[bytes, bytes]:
    """What a process that was ended had still printed."""
    try:
        return communicate(process, None, 1.0)
    except (OSError, subprocess.TimeoutExpired):  # it could not be ended, or is stuck in the kernel
        return b"", b""


def offer_to_memory_killer() -> None:
    """When memory runs out, let this process be the one that is killed, and not the agent or the desktop."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("900")
    except OSError:  # a container may forbid it
        return


def memory_mb() -> Dict[str, int]:
    """``total`` and ``available`` memory in MiB; empty when the kernel does not say."""
    text = read_text(place("/proc/meminfo")) or ""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable") and rest.split():
            found[name[3:].lower()] = int(rest.split()[0]) // 1024
    return found


def gpu_clock_mhz() -> Optional[int]:
    """The present GPU clock, where the kernel tells it without root rights."""
    for folder in paths("/sys/class/devfreq/*"):
        name = os.path.basename(folder)
        text = read_text(os.path.join(folder, "cur_freq"))
        if text and text.isdigit() and any(part in name for part in _GPU_NAMES):
            return int(text) // 1000000
    return None
