"""Jobs that outlive the link: their events go to a file, and whoever comes back reads it from the start.

A job holds a lock on its file while it runs, so one that died is told from one that is slow. Whoever follows
it holds a shared lock on a second file, so a job that nobody will ever fetch notices, and ends.

Work that ends with its link has such a file too, for what it could not put back and nobody heard any more.
"""

import fcntl
import glob
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from edgesynth.agent.asks import take, take_names, work_folder
from edgesynth.agent.cache import EngineCache
from edgesynth.agent.duties import make_up, unfinished
from edgesynth.agent.errors import FULL_DISK, Interrupted, Refusal
from edgesynth.agent.events import Outbox, write_all

__all__ = ["attached", "be_job", "fetch", "follow", "make_up_left", "start_job", "tidy"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_POLL_S = 0.1
_LOOK_S = 0.5  # how often a job looks whether it is followed
_ABANDON_S = 600.0
_START_S = 10.0  # for a job to tell its process
_STOP_S = 60.0  # for a stopped job to put the board back
_EVENTS, _FOLLOWED = ".jsonl", ".followed"
_ENDS = ('{"event":"end"', '{"event":"failed"', '{"event":"error"')


def _path(request: Dict[str, Any], name: Any) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refusal("request", "a job's name has letters, digits, '.', '_' and '-', not {!r}".format(name))
    return os.path.join(work_folder(request), "jobs", name + _EVENTS)


def start_job(verb: str, request: Dict[str, Any], outbox: Outbox) -> None:
    """Start a verb as a job that does not end with this process, and follow it.

    Args:
        verb: What to do.
        request: Its request; ``job`` is the name. With ``again`` a job of this name is followed instead;
            ``forget`` names ended jobs to remove; ``abandon_s`` is how long nobody need follow it.
        outbox: Where its events go besides the file.

    Raises:
        Refusal: There is a job of this name already.
    """
    path = _path(request, request["job"])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    take(request, "abandon_s", float, _ABANDON_S)
    for name in take_names(request, "forget"):
        _remove(_path(request, name))
    if request.get("again") and os.path.exists(path):
        if os.path.getsize(path) or _is_locked(path):
            follow(path, outbox)
            return
        _remove(path)  # whoever made it was ended before the job began
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
    except FileExistsError:
        raise Refusal(
            "request", "there is a job {!r} already; fetch it, or take another name".format(request["job"])
        ) from None
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # the job inherits it: there is no moment in which it seems dead
    with tempfile.TemporaryFile() as asked:  # a file: the job has all of it, whatever becomes of us
        asked.write(json.dumps({key: request[key] for key in request if key != "job"}).encode())
        asked.seek(0)
        subprocess.Popen(
            [sys.executable, sys.argv[0], "_job", verb, path, str(descriptor)],
            stdin=asked,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(descriptor,),
        )
    os.close(descriptor)
    follow(path, outbox)


def attached(work: Callable[[Dict[str, Any], Outbox], None], request: Dict[str, Any], outbox: Outbox) -> None:
    """Do what ends with its link; whoever comes next can end it, and hear of what it leaves behind.

    Args:
        work: What to do.
        request: Its request.
        outbox: Where its events go. What nobody hears goes to a file beside those of jobs.
    """
    path = _path(request, "attached-{}-{}".format(os.getpid(), int(1e3 * time.time())))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # the work itself says what is wrong with the disk
        work(request, outbox)
        return
    outbox.file, outbox.lock = path, descriptor
    try:
        outbox.leave("start", pid=os.getpid())
        make_up_left(path, outbox)
        work(request, outbox)
    finally:
        if not _complaints(path):
            _remove(path)
        os.close(descriptor)


def make_up_left(path: str, outbox: Outbox) -> None:
    """Put back what other work has left that was killed together with its guard, before anything is changed.

    Args:
        path: The file of this work; those of the others lie beside it.
        outbox: Told what could not be put back.
    """
    for complaint in _made_up(os.path.dirname(path)):
        outbox.tell("start", not_put_back=complaint)


def _made_up(folder: str) -> Iterator[str]:
    """Put back what work that was cut off has left in this folder; what went wrong."""
    for left in sorted(glob.glob(unfinished(os.path.join(glob.escape(folder), "*" + _EVENTS)))):
        if not _is_locked(os.path.splitext(left)[0] + _EVENTS):
            complaint = make_up(left)
            if complaint:
                yield complaint


class _JobOutbox(Outbox):
    """Writes to the file of a job, and ends the job once nobody has followed it for too long."""

    def __init__(self, descriptor: int, followed: str, abandon_s: float) -> None:
        super().__init__(descriptor)
        self._followed = followed
        self._abandon_s = abandon_s
        self._looked_s = self._seen_s = time.monotonic()

    def keep_alive(self) -> None:
        super().keep_alive()
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        if _is_locked(self._followed, fcntl.LOCK_EX):
            self._seen_s = now_s
        elif now_s - self._seen_s > self._abandon_s:
            self._abandon_s = float("inf")  # said once; the board is put back undisturbed
            raise Interrupted("nobody has followed the job for {:g} s".format(now_s - self._seen_s))


def be_job(path: str, descriptor: int, request: Dict[str, Any]) -> Outbox:
    """Be the job whose file this descriptor has locked, and write events to it from now on."""
    os.set_inheritable(descriptor, False)  # what the job leaves behind must not pass for it
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the end of the session is no reason to stop
    outbox = _JobOutbox(descriptor, _followed(path), float(request.get("abandon_s", _ABANDON_S)))
    outbox.file, outbox.lock = os.path.abspath(path), descriptor
    return outbox


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
        raise Refusal("job", "there is no job {!r} in {}".format(request.get("job"), os.path.dirname(path)))
    if request.get("stop"):
        _stop(path)
    follow(path, outbox)


def follow(path: str, outbox: Outbox) -> None:
    """Copy a job's events until its last; that the job is alive it says itself."""
    with open(_followed(path), "w") as sign, open(path, "rb") as file:
        fcntl.flock(sign, fcntl.LOCK_SH)
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
                raise _broken_off(path)
            if line and not line.endswith(b"\n"):
                file.seek(-len(line), os.SEEK_CUR)
            time.sleep(_POLL_S)


def _broken_off(path: str) -> Refusal:
    """Why a job ended without a result."""
    if os.statvfs(path).f_bavail == 0:
        return Refusal("disk", FULL_DISK)
    return Refusal("interrupted", "the job ended without a result: it was killed, or the board restarted")


def tidy(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``clean``: remove kept engines, their models, ended jobs, and what was on its way.

    Args:
        request: ``engines`` and ``jobs``: what to remove, both by default; ``older_than_s``: keep younger
            jobs and models; ``stop``: end jobs that run, and remove them too.
        outbox: Told what was removed, and what the ended jobs could not put back. What those that were killed
            together with their guard have left is put back now.
    """
    folder = work_folder(request)
    spared_s = take(request, "older_than_s", float, 0.0)
    # All of them are all of them, also what is written just now, or was under a clock that went back since.
    eldest_s = time.time() - spared_s if spared_s else math.inf
    freed = 0
    if request.get("engines", True):
        freed += EngineCache(os.path.join(folder, "engines"), 0).clear()
        for path in _older(os.path.join(folder, "models"), eldest_s):
            freed += os.path.getsize(path)
            os.remove(path)
    jobs = []
    complaints: List[str] = []
    if request.get("jobs", True):
        for path in _older(os.path.join(folder, "jobs"), eldest_s, _EVENTS):
            unheard = _is_locked(path) or not _has_ended(path)
            if request.get("stop"):
                _stop(path)
                _wait_until_ended(path, outbox)
            if not _is_locked(path):
                complaints += _complaints(path) if unheard else []
                _remove(path)
                jobs.append(os.path.basename(path)[: -len(_EVENTS)])
        complaints += _made_up(os.path.join(folder, "jobs"))
    shutil.rmtree(os.path.join(folder, "scratch"), ignore_errors=True)
    outbox.tell("end", freed_bytes=freed, jobs=jobs, not_put_back=complaints)


def _has_ended(path: str) -> bool:
    """Whether a job told its end, and with it whatever it could not put back."""
    return any(line.startswith(tuple(end.encode() for end in _ENDS)) for line in _lines(path))


def _complaints(path: str) -> List[str]:
    """What a job could not put back."""
    found = []
    for line in _lines(path):
        if b'"not_put_back"' in line:
            try:
                found.append(str(json.loads(line.decode())["not_put_back"]))
            except (ValueError, KeyError):  # cut short by a kill
                continue
    return found


def _lines(path: str) -> Iterator[bytes]:
    """What is in the file of a job; nothing where it has removed it itself."""
    try:
        with open(path, "rb") as file:
            for line in file:
                yield line
    except FileNotFoundError:
        return


def _older(folder: str, eldest_s: float, suffix: str = "") -> List[str]:
    """Files of a folder that were last written before an instant."""
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "*" + suffix)))
    found = []
    for path in paths:
        try:
            if os.path.getmtime(path) <= eldest_s:
                found.append(path)
        except FileNotFoundError:  # it has ended meanwhile, and left nothing
            continue
    return found


def _followed(path: str) -> str:
    """The file that whoever follows a job holds a lock on."""
    return path[: -len(_EVENTS)] + _FOLLOWED


def _remove(path: str) -> None:
    for place in (path, _followed(path), unfinished(path) + ".new"):
        try:
            os.remove(place)
        except FileNotFoundError:
            continue


def _is_locked(path: str, kind: int = fcntl.LOCK_SH) -> bool:
    """Whether somebody holds a lock that a lock of this kind would have to wait for."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:  # another user's
        return True
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _stop(path: str) -> None:
    """Ask the job to end; it tells its own end."""
    until_s = time.monotonic() + _START_S
    pid = _owner(path)
    while pid is None and _is_locked(path) and time.monotonic() < until_s:
        time.sleep(_POLL_S)
        pid = _owner(path)
    if pid is not None and _is_locked(path):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:  # what puts the board back has outlived it
            return


def _wait_until_ended(path: str, outbox: Outbox) -> None:
    """Give a stopped job the time to put the board back."""
    until_s = time.monotonic() + _STOP_S
    while _is_locked(path) and time.monotonic() < until_s:
        outbox.keep_alive()
        time.sleep(_POLL_S)


def _owner(path: str) -> Optional[int]:
    """The process of a job, from its first event."""
    try:
        return int(json.loads(next(_lines(path), b"").decode())["pid"])
    except (ValueError, KeyError):
        return None
