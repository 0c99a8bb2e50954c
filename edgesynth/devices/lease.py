"""Who may measure on a board: a file in its work folder that names one run, for a while.

The file is only ever replaced as a whole, under a lock of the board's kernel, and only while it is still the
one that was judged; a lock that dies with its holder cannot be left behind. Time is the board's uptime:
boards without a battery start in 1970, and their date jumps when the network comes up.

A lease binds those who share the work folder. Another user of the board has another one, and so has a link to
this machine that was given none.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edgesynth.devices.link import Link
from edgesynth.devices.message import DAMAGED
from edgesynth.errors import DeviceError, InputError, LinkError

__all__ = ["Lease"]

FILE: Final = "lease.json"

_POLL_S: Final = 1.0
_VERSION: Final = """
text() { head -c 4096 <"$1" 2>/dev/null; }
version() { printf %s "$(text "$1")" | cksum; }
"""
_READ: Final = (
    _VERSION
    + """
cat /proc/sys/kernel/random/boot_id /proc/uptime || exit 1
now=$(text "$1")
printf %s "$now" | cksum
printf "%s\\n" "$now"
"""
)
_SWAP: Final = (
    _VERSION
    + """
lease=$1 expected=$2 text=$3
[ "$(version "$lease")" = "$expected" ] || { echo other; exit; }
if [ -n "$text" ]; then
    printf "%s\\n" "$text" >"$lease.new" && mv -f -- "$lease.new" "$lease" || exit 1
else
    rm -f -- "$lease" || exit 1
fi
version "$lease"
"""
)
_LOCKED: Final = 'mkdir -p -- "$1" && exec flock "$1/lease.lock" sh -c "$2" sh "$3" "$4" "$5"'


@dataclass(frozen=True)
class _Holder:
    """What the file says.

    Attributes:
        owner: ``user@host`` of the run.
        pid: Its process there.
        place: Which machine, since its start, and which of its containers ``pid`` belongs to.
        token: Tells two leases of one process apart.
        boot: Of the board; a lease does not outlive a restart.
        expires_s: Uptime of the board at which it ends.
    """

    owner: str
    pid: int
    place: str
    token: str
    boot: str
    expires_s: float

    @property
    def is_dead(self) -> bool:
        """Whether its process ran on this very machine and is gone."""
        if self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:
            return False
        return False


@dataclass(frozen=True)
class _Sight:
    """The board's lease at one moment.

    Attributes:
        boot: Of the board.
        uptime_s: Of the board.
        version: Of the file, for replacing it.
        holder: What it says; ``None`` when there is none or it is damaged, which a living run's never is.
    """

    boot: str
    uptime_s: float
    version: str
    holder: _Holder | None

    @property
    def left_s(self) -> float:
        """How long the holder still holds; 0 when the board is free."""
        holder = self.holder
        if holder is None or holder.boot != self.boot or holder.is_dead:
            return 0.0
        return max(0.0, holder.expires_s - self.uptime_s)


class Lease:
    """The right to measure on a board. Use it as a context manager.

    While it is held a thread renews it, so a measurement may take longer than the lease. It ends by itself
    when this process ends without giving it back, and at once for other runs of the same machine.

    Args:
        link: To the board, with a shell and ``flock`` on its other side.
        duration_s: How long the board stays reserved if this run vanishes.
        wait_s: How long to wait for another run to end.

    Raises:
        InputError: The duration is not positive.
    """

    def __init__(self, link: Link, *, duration_s: float = 300.0, wait_s: float = 0.0) -> None:
        if duration_s <= 0:
            raise InputError(f"a lease of {duration_s:g} s holds nothing; give a positive duration")
        self._link = link
        self._duration_s = duration_s
        self._wait_s = wait_s
        self._token = secrets.token_hex(8)
        self._version = ""
        self._held_until_s = 0.0  # on the clock of the link
        self._lost = ""
        self._changing = threading.Lock()
        self._released = threading.Event()
        self._renewer: threading.Thread | None = None

    def acquire(self) -> None:
        """Reserve the board and keep it reserved until :meth:`release`.

        Raises:
            DeviceError: Another run holds it, or the lease cannot be written.
            LinkError: The board cannot be reached.
        """
        clock = self._link.clock
        deadline_s = clock.monotonic() + self._wait_s
        while True:
            sight = self._look()
            if sight.left_s <= 0 and self._swap(sight):
                break
            if sight.left_s > 0 and clock.monotonic() >= deadline_s:
                raise DeviceError(
                    f"{self._link.name} is in use by {_name(sight.holder)}, for up to {sight.left_s:.0f} s "
                    "more if it does not renew; wait for that run (--wait SECONDS), or end it"
                )
            clock.sleep(min(_POLL_S, max(0.0, deadline_s - clock.monotonic())))
        self._renewer = threading.Thread(target=self._keep, daemon=True)
        self._renewer.start()

    def renew(self) -> None:
        """Hold the board for another full duration.

        Raises:
            DeviceError: The lease was lost.
            LinkError: The board cannot be reached.
        """
        with self._changing:
            sight = self._look()
            if sight.holder is None or sight.holder.token != self._token:
                self._lost = f"taken over by {_name(sight.holder)}"
            elif not self._swap(sight):
                self._lost = f"taken over by {_name(self._look().holder)}"
        self.check()

    def check(self) -> None:
        """Make sure that no other run can have measured since the lease was taken.

        Raises:
            DeviceError: The lease was taken over, or ran out unrenewed.
        """
        if not self._lost and self._link.clock.monotonic() > self._held_until_s:
            self._lost = "it ran out before it could be renewed"
        if self._lost:
            raise DeviceError(
                f"the lease of {self._link.name} was lost: {self._lost}; "
                "what was measured since may be disturbed, measure again"
            )

    def release(self) -> None:
        """Let others have the board. A board that cannot be reached frees itself when the lease ends."""
        self._released.set()
        if self._renewer is not None:
            self._renewer.join()
        self._renewer = None
        try:
            sight = self._look()
            if sight.holder is not None and sight.holder.token == self._token:
                self._replace(sight.version, "")
        except DeviceError:
            return

    def __enter__(self) -> Self:
        """Acquire it."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release it; complain if it was lost, unless something else went wrong."""
        try:
            if kind is None:
                self.check()
        finally:
            self.release()

    def _keep(self) -> None:
        """Renew until released; a dropped link is tried again, a lost lease is not."""
        while not self._released.wait(self._duration_s / 3):
            try:
                self.renew()
            except LinkError:
                continue
            except DeviceError:
                return

    def _look(self) -> _Sight:
        """Read the board's lease."""
        done = self._link.run(["sh", "-c", _READ, "sh", self._link.path(FILE)])
        lines = done.stdout.split("\n", 3)
        if done.returncode or len(lines) < 4:
            raise DeviceError(
                f"{self._link.name} does not tell its uptime, which leases need; it must run Linux"
            )
        boot, uptime, version, text = lines
        return _Sight(boot, float(uptime.split()[0]), version, _parse(text))

    def _swap(self, sight: _Sight) -> bool:
        """Put our name where the file still is as seen; whether it was."""
        holder = _Holder(
            owner=_owner(),
            pid=os.getpid(),
            place=_place(),
            token=self._token,
            boot=sight.boot,
            expires_s=round(sight.uptime_s + self._duration_s, 2),
        )
        asked_s = self._link.clock.monotonic()
        if not self._replace(sight.version, json.dumps(asdict(holder))):
            return False
        self._held_until_s = asked_s + self._duration_s
        return True

    def _replace(self, version: str, text: str) -> bool:
        """Replace the file if it still has that version; an empty text removes it."""
        place = self._link.path(FILE)
        folder = place.rpartition("/")[0]
        done = self._link.run(["sh", "-c", _LOCKED, "sh", folder, _SWAP, place, version, text])
        if done.returncode:
            said = done.stderr.strip().rpartition("\n")[2]
            raise DeviceError(
                f"the lease of {self._link.name} cannot be written: {said}; free some space there, let "
                "this user write to that folder, or set XDG_CACHE_HOME there to one that it may write to"
            )
        return done.stdout != "other\n"


def _parse(text: str) -> _Holder | None:
    try:
        holder = _Holder(**json.loads(text))
        return replace(holder, pid=int(holder.pid), expires_s=float(holder.expires_s))
    except DAMAGED:
        return None


def _name(holder: _Holder | None) -> str:
    return "an unknown run" if holder is None else f"{holder.owner} (process {holder.pid})"


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _place() -> str:
    """Within what a process id is unique: this start of this machine, and this container of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return secrets.token_hex(8)  # not known: never taken for the same
