"""Files and programs of the board, wherever its root is.

``EDGESYNTH_ROOT`` names another root: files under ``/sys``, ``/proc``, ``/etc``, ``/usr`` and ``/var`` are
then sought below it, and programs nowhere else. There the agent never counts as root: it asks that root's own
``sudo``. This is how a board that is not there is tested.
"""

import os
import selectors
import shutil
import signal
import subprocess
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from edgesynth.agent.places import model, paths, place, read_text, root, soc

__all__ = [
    "Finished",
    "as_root",
    "communicate",
    "find_program",
    "gpu_clock_mhz",
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
_FOLDERS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/src/tensorrt/bin")
_GPU_NAMES = ("gp10b", "gv11b", "ga10b", "gm20b", "gpu")  # parts of the names of devfreq entries


def find_program(name: str) -> Optional[str]:
    """The full path of a program: ssh sessions often lack ``/usr/sbin`` and TensorRT's folder in PATH."""
    folders = [place(folder) for folder in _FOLDERS]
    if not root():
        folders = os.environ.get("PATH", "").split(os.pathsep) + folders
    return shutil.which(name, path=os.pathsep.join(folders))


def is_root() -> bool:
    """Whether the agent may do everything; never under another root."""
    return os.geteuid() == 0 and not root()


def as_root(command: List[str]) -> Optional[List[str]]:
    """The command with root rights, never asking for a password; ``None`` without ``sudo``."""
    if is_root():
        return command
    sudo = find_program("sudo")
    return None if sudo is None else [sudo, "-n"] + command


Finished = NamedTuple("Finished", [("output", str), ("errors", str), ("problem", str)])
Finished.__doc__ = "A program that has ended; ``problem`` says why it failed and is empty when it did not."


def run(command: List[str], text: str = "", timeout_s: float = 15.0) -> Finished:
    """Run a program to its end; whatever goes wrong comes back as ``problem``."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # whatever it started is ended with it
        )
    except OSError as error:
        return Finished("", "", "cannot run {}: {}".format(command[0], error.strerror))
    problem = ""
    try:
        out, err = communicate(process, text.encode(), timeout_s)
    except subprocess.TimeoutExpired as late:
        out, err = (before + more for before, more in zip((late.output, late.stderr), _abandon(process)))
        problem = "{} did not end within {:g} s".format(command[0], timeout_s)
    except BaseException:  # somebody stopped the agent
        _abandon(process)
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
                chunks.append(found)
                if not found:
                    selector.unregister(stream)
                    stream.close()
            for tell in while_waiting:
                tell()
    return b"".join(out), b"".join(err)


def _wait_a_little(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def _abandon(process: "subprocess.Popen[bytes]") -> Tuple[bytes, bytes]:
    try:
        os.killpg(process.pid, signal.SIGKILL)
        return communicate(process, None, 1.0)
    except (OSError, subprocess.TimeoutExpired):  # not ours to kill (it runs as root), or stuck in the kernel
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
