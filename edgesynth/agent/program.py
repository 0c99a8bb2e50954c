"""The program: a verb on the command line, one JSON request on standard input, JSON lines on standard output.

    python3 agent.pyz VERB < request.json

======= ==================================================================================================
verb    what it does
======= ==================================================================================================
info    says what this board is and has
bench   measures latency and power of a network; what it changes on the board is put back
build   builds an engine from an ONNX file, or finds the one it built before
run     runs an engine on arrays of files
install, bundles, rollback, remove
        keep what is deployed here; see ``bundles.py``
fetch   gives the events of a ``job`` again, and the rest as they come; with ``stop`` it ends the job
clean   removes kept engines, their models, and ended jobs; with ``stop`` it ends jobs that run
======= ==================================================================================================

The request ends with the input or with a line end. ``bench``, ``build`` and ``run`` take ``job``: a name
under which the work goes on when the link drops, until nobody has followed it for ``abandon_s``. Without it
the work ends with the link: when standard output is closed, on SIGTERM, SIGHUP and SIGINT, and, with
``watch_input``, when standard input closes after the request's line.

``EDGESYNTH_ROOT`` has it look for the board's files and programs below another root; see ``board.py``.
The exit status is 0 whenever a result was told, be it a failure; 1 when the link was gone; 2 for bad usage.
"""

import errno
import json
import os
import signal
import sys
import traceback
from typing import Any, Callable, Dict, List

from edgesynth.agent import bench, board, build, bundles, info, jobs, run
from edgesynth.agent.errors import FULL_DISK, Interrupted, LinkGone, Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.guard import ENDING

__all__ = ["main", "serve_job"]

_LONGEST_REQUEST = 1 << 20
_VERBS: Dict[str, Callable[[Dict[str, Any], Outbox], None]] = {
    "info": info.tell_info,
    "bench": bench.tell_bench,
    "build": build.tell_build,
    "run": run.tell_run,
    "install": bundles.tell_install,
    "bundles": bundles.tell_bundles,
    "rollback": bundles.tell_rollback,
    "remove": bundles.tell_remove,
    "fetch": jobs.fetch,
    "clean": jobs.tidy,
}
_NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_DETACHABLE = ("bench", "build", "run")


def main(arguments: List[str]) -> int:
    """Run one verb."""
    verb = arguments[0] if arguments else ""
    if verb not in _VERBS:
        print("usage: agent VERB < request.json; verbs: " + ", ".join(sorted(_VERBS)), file=sys.stderr)
        return 2
    outbox = Outbox(1)
    try:
        request = _read_request()
    except Refusal as refusal:
        outbox.tell(refusal.event, kind=refusal.kind, reason=refusal.reason)
        return 2
    if verb in _DETACHABLE and "job" in request:
        return _serve(lambda asked, told: jobs.start_job(verb, asked, told), request, outbox)
    outbox.watched = 0 if request.get("watch_input") else None
    if verb in _DETACHABLE:
        return _serve(lambda asked, told: jobs.attached(_VERBS[verb], asked, told), request, outbox)
    return _serve(_VERBS[verb], request, outbox)


def serve_job(verb: str, path: str, descriptor: int) -> int:
    """Do a verb without a link: the request from standard input, the events to a file that is locked."""
    request = _read_request()
    outbox = jobs.be_job(path, descriptor, request)
    outbox.tell("start", pid=os.getpid())

    def work(asked: Dict[str, Any], told: Outbox) -> None:
        jobs.make_up_left(path, told)
        _VERBS[verb](asked, told)

    return _serve(work, request, outbox)


def _read_request() -> Dict[str, Any]:
    text = b""
    while b"\n" not in text and len(text) < _LONGEST_REQUEST:
        block = os.read(0, 65536)  # unbuffered: what follows the line may be watched for its end
        if not block:
            break
        text += block
    if b"\n" not in text and len(text) >= _LONGEST_REQUEST:
        raise Refusal("request", "the request is longer than {} bytes".format(_LONGEST_REQUEST))
    try:
        request = json.loads(text.decode() or "{}")
    except (ValueError, RecursionError) as error:
        raise Refusal("request", "the request is no JSON: {}".format(error)) from error
    if not isinstance(request, dict):
        raise Refusal("request", "the request is no JSON object")
    return request


def _serve(work: Callable[[Dict[str, Any], Outbox], None], request: Dict[str, Any], outbox: Outbox) -> int:
    """Do the work and tell how it ended."""
    board.while_waiting.append(outbox.keep_alive)
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        try:
            work(request, outbox)
        except Refusal as refusal:
            outbox.tell(refusal.event, kind=refusal.kind, reason=refusal.reason)
        except LinkGone:
            return 1
        except Exception as error:
            reason = _of_the_disk(error)
            if reason:
                outbox.tell("error", kind="disk", reason=reason)
                return 0
            traceback.print_exc()
            outbox.tell("error", kind="fault", reason="a fault of the agent: {!r}".format(error))
            return 1
    except LinkGone:
        return 1
    return 0


def _of_the_disk(error: Exception) -> str:
    """What is wrong with the board's disk; empty when it is something else."""
    if not isinstance(error, OSError):
        return ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FULL_DISK
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of tempfile
        return "{}: free some space there, or let one of them be written".format(error.strerror)
    if error.errno in _NO_ACCESS and error.filename:
        return "cannot use {}: {}; check who owns it, or give this user another work folder".format(
            error.filename, error.strerror
        )
    return ""


def _interrupt(number: int, frame: Any) -> None:
    """End the work once; what happens while the board is put back is not interrupted."""
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted("stopped by signal {}".format(number))
