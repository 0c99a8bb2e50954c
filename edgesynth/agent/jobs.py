"""Jobs that outlive the link: their events go to a file, and whoever comes back reads it from the start.

A job holds a lock on its file while it runs, so one that died is told from one that is slow.
"""

import fcntl
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional

from edgesynth.agent.asks import work_folder
from edgesynth.agent.cache import EngineCache
from edgesynth.agent.errors import Refusal
from edgesynth.agent.events import Outbox, write_all

__all__ = ["fetch", "follow", "open_job", "start_job", "tidy"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_POLL_S = 0.1
_ENDS = ('{"event":"end"', '{"event":"failed"', '{"event":"error"')


def _path(request: Dict[str, Any], name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refusal("request", "a job's name has letters, digits, '.', '_' and '-', not {!r}".format(name))
    return os.path.join(work_folder(request), "jobs", name + ".jsonl")


def start_job(verb: str, request: Dict[str, Any], outbox: Outbox) -> None:
    """Start a verb as a job that does not end with this process, and follow it.

    Args:
        verb: What to do.
        request: Its request; ``job`` is the name.
        outbox: Where its events go besides the file.

    Raises:
        Refusal: There is a job of this name already.
    """
    path = _path(request, request["job"])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise Refusal(
            "request", "there is a job {!r} already; fetch it, or take another name".format(request["job"])
        ) from None
    process = subprocess.Popen(
        [sys.executable, sys.argv[0], "_job", verb, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({key: request[key] for key in request if key != "job"}).encode())
    process.stdin.close()
    process.stdout.read()  # closed by the job when it holds the lock
    follow(path, outbox)


def open_job(path: str) -> Outbox:
    """Be a job: lock its file, and write events to it from now on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the end of the session is no reason to stop
    return Outbox(descriptor)


def fetch(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``fetch``: all events of a job from its start until it ends.

    Args:
        request: ``job``: its name; ``stop`` ends it first.
        outbox: Where they go.

    Raises:
        Refusal: There is no such job.
    """
    path = _path(request, request.get("job"))
    if not os.path.exists(path):
        raise Refusal(
            "request", "there is no job {!r} in {}".format(request.get("job"), os.path.dirname(path))
        )
    if request.get("stop"):
        _stop(path)
    follow(path, outbox)


def follow(path: str, outbox: Outbox) -> None:
    """Copy a job's events until its last."""
    with open(path, "rb") as file:
        while True:
            running = _is_locked(path)  # asked first: what was written before it ended is read below
            line = b""
            for line in file:
                if not line.endswith(b"\n"):
                    break
                write_all(outbox.descriptor, line)
            if line.startswith(tuple(end.encode() for end in _ENDS)):
                return
            if not running:
                raise Refusal(
                    "interrupted", "the job ended without a result: it was killed, or the board restarted"
                )
            if line and not line.endswith(b"\n"):
                file.seek(-len(line), os.SEEK_CUR)
            outbox.keep_alive()
            time.sleep(_POLL_S)


def tidy(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``clean``: remove kept engines, the models they came from, and ended jobs.

    Args:
        request: ``engines`` and ``jobs``: what to remove, both by default; ``older_than_s``: keep younger
            jobs and models.
        outbox: Told what was removed.
    """
    folder = work_folder(request)
    eldest_s = time.time() - float(request.get("older_than_s", 0))
    freed = 0
    if request.get("engines", True):
        freed += EngineCache(os.path.join(folder, "engines"), 0).clear()
        for path in _older(os.path.join(folder, "models"), eldest_s):
            freed += os.path.getsize(path)
            os.remove(path)
    jobs = []
    if request.get("jobs", True):
        for path in _older(os.path.join(folder, "jobs"), eldest_s):
            if not _is_locked(path):
                os.remove(path)
                jobs.append(os.path.basename(path)[: -len(".jsonl")])
    outbox.tell("end", freed_bytes=freed, jobs=jobs)


def _older(folder: str, eldest_s: float) -> List[str]:
    """Files of a folder that were last written before an instant."""
    paths = sorted(glob.glob(os.path.join(folder, "*")))
    return [path for path in paths if os.path.getmtime(path) <= eldest_s]


def _is_locked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _stop(path: str) -> None:
    """Ask the job to end; it tells its own end."""
    pid = _owner(path)
    if pid is not None and _is_locked(path):
        os.kill(pid, signal.SIGTERM)


def _owner(path: str) -> Optional[int]:
    """The process of a job, from its first event."""
    with open(path, "rb") as file:
        try:
            return int(json.loads(file.readline().decode())["pid"])
        except (ValueError, KeyError):
            return None
