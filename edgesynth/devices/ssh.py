"""The link to a board through the OpenSSH client: nothing to install on either side.

The user's own configuration, agent, jump hosts and known hosts work as they are; only what would ask a
question is turned into a refusal. A board needs an ssh server and what every Ubuntu has: ``sh``, coreutils
and ``setsid``.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from edgesynth.devices.clock import SystemClock
from edgesynth.devices.link import Completed
from edgesynth.devices.process import Child
from edgesynth.devices.ssh_address import SshAddress
from edgesynth.devices.ssh_connection import SshConnection
from edgesynth.devices.supervisor import Supervised, SupervisedStream, shell_line
from edgesynth.errors import LinkError

__all__ = ["SshLink"]

_START_S: Final = 30.0  # a busy board needs this long at most to start a shell
_FILE_S: Final = 60.0  # for a file of no size
_SLOWEST_BYTES_PER_S: Final = 50_000.0

# A file is complete, or it is not there: the size is checked before the new name is given. Nothing is left
# of it when the host is gone and nobody listens to the complaint.
_PUT: Final = """
export LC_ALL=C
mark=$1 size=$2 folder=$3 target=$4 part=$3/.part-$1
trap "" PIPE
trap 'rm -f -- "$part"' EXIT
mkdir -p -- "$folder" || exit 1
[ ! -d "$target" ] || { echo "it is a folder there" >&2; exit 1; }
cat >"$part" || exit 1
[ "$(wc -c <"$part")" -eq "$size" ] || { echo "not all of it arrived" >&2; exit 1; }
mv -f -- "$part" "$target" && echo "$mark done"
"""
_SIZE: Final = """
[ -f "$1" ] || { echo "there is no such file" >&2; exit 1; }
exec wc -c <"$1"
"""
_GET: Final = """
echo "$1"
exec cat -- "$2"
"""


class SshLink:
    """A board behind ``ssh``, connected when it is made and again when the connection has dropped.

    An exit status above 128 is taken for the signal that a shell reports that way.

    Args:
        url: ``ssh://[user@]host[:port]``; the host may be an alias of the user's ``~/.ssh/config``.
        config: Read instead of the user's own and the system's configuration.
        connect_timeout_s: How long the board may take to answer.

    Raises:
        InputError: The URL is malformed.
        LinkError: There is no ``ssh`` here, the board cannot be reached or let us in, or its host key is
            unknown or not the known one.
    """

    def __init__(self, url: str, *, config: Path | None = None, connect_timeout_s: float = 10.0) -> None:
        self.clock = SystemClock()
        self._url = url
        self._address = SshAddress.parse(url)
        self._config = config
        self._connect_timeout_s = connect_timeout_s
        self._streams: list[SupervisedStream] = []
        self._closed = False
        self._lock = threading.Lock()
        self._connection = self._connect()
        self._folder = posixpath.join(self._connection.cache, "edgesynth")

    @property
    def name(self) -> str:
        """The URL."""
        return self._url

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run one command to its end."""
        connection = self._connected()
        supervised = Supervised(command, stdin)
        child = connection.start(supervised)
        try:
            _, output, said = child.collect(timeout_s)
        except TimeoutError as error:
            raise LinkError(
                f"{command[0]} did not end within {timeout_s:g} s on {self._url} and was stopped"
            ) from error
        errors = said.decode(errors="replace")
        if supervised.is_absent(output):
            raise self._absent(command)
        ended = supervised.read(output)
        if ended is None:
            raise connection.why(errors)
        status, text = ended
        return Completed(status, text.decode(errors="replace"), errors)

    def stream(self, command: Sequence[str], *, stdin: str = "", silence_s: float = 30.0) -> SupervisedStream:
        """Start one command and follow its output."""
        connection = self._connected()
        supervised = Supervised(command, stdin)
        child = connection.start(supervised)
        stream = SupervisedStream(child, supervised, self.clock, silence_s, connection.why)
        with self._lock:
            self._streams = [*(open_ for open_ in self._streams if open_.running), stream]
        if not stream.wait_ready(_START_S):
            stream.close()
            raise self._absent(command)
        return stream

    def put(self, source: Path, target: str) -> None:
        """Copy a file to the work folder; whoever opens it there sees the old one or the whole new one."""
        connection = self._connected()
        place = self.path(target)
        mark = secrets.token_hex(8)
        task = f"copy {source} to {target!r} on {self._url}"
        try:
            with Path(source).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                line = shell_line(_PUT, mark, str(size), posixpath.dirname(place), place)
                output, said = self._transfer(connection.transfer(line, file), size, task)
        except OSError as error:
            raise LinkError(f"cannot {task}: {error.strerror}") from error
        if f"{mark} done\n".encode() not in output:
            raise self._refusal(connection, task, size, said)

    def get(self, source: str, target: Path) -> None:
        """Copy a file out of the work folder."""
        connection = self._connected()
        place = self.path(source)
        mark = secrets.token_hex(8)
        task = f"copy {source!r} of {self._url} to {target}"
        asked = self.run(["sh", "-c", _SIZE, "sh", place])
        if asked.returncode:
            raise LinkError(f"cannot {task}: {_last_line(asked.stderr)}")
        size = int(asked.stdout)
        part = Path(target).with_name(f".part-{mark}")
        try:
            with tempfile.TemporaryFile(dir=part.parent) as raw:
                child = connection.transfer(shell_line(_GET, mark, place), stdout=raw)
                _, said = self._transfer(child, size, task)
                if not _extract(raw, mark, size, part):
                    raise self._refusal(connection, task, size, said)
            part.replace(target)
        except OSError as error:
            raise LinkError(f"cannot {task}: {error.strerror}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)

    def path(self, target: str) -> str:
        """The absolute path of a file of the work folder on the board.

        Raises:
            LinkError: The path leads out of the work folder.
        """
        place = posixpath.normpath(posixpath.join(self._folder, target))
        if place != self._folder and not place.startswith(self._folder + "/"):
            raise LinkError(f"{target!r} leads out of the work folder; give a path inside it")
        return place

    def close(self) -> None:
        """End every stream and the connection."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for stream in self._streams:
            stream.close()
        self._connection.close()

    def _connect(self) -> SshConnection:
        return SshConnection(self._url, self._address, self._config, self._connect_timeout_s)

    def _connected(self) -> SshConnection:
        """The connection, made anew if the last one dropped."""
        with self._lock:
            if self._closed:
                raise LinkError(f"the link to {self._url} is closed; open the device again")
            if not self._connection.alive:
                self._connection.close()
                self._connection = self._connect()
            return self._connection

    def _absent(self, command: Sequence[str]) -> LinkError:
        return LinkError(f"there is no program {command[0]!r} on {self._url}; install it, or check its path")

    def _transfer(self, child: Child, size: int, task: str) -> tuple[bytes, str]:
        """Output and error output of a transfer of so many bytes."""
        limit_s = _FILE_S + size / _SLOWEST_BYTES_PER_S
        try:
            _, output, said = child.collect(limit_s)
        except TimeoutError as error:
            raise LinkError(
                f"cannot {task}: {size} bytes took more than {limit_s:.0f} s; check the network"
            ) from error
        return output, said.decode(errors="replace")

    def _refusal(self, connection: SshConnection, task: str, size: int, said: str) -> LinkError:
        """Why a transfer failed."""
        if "No space left on device" in said:
            return LinkError(f"cannot {task}: no space left for its {size} bytes; free some and repeat")
        if not said.strip() or not connection.alive:
            return LinkError(f"cannot {task}: {connection.why(said)}")
        return LinkError(f"cannot {task}: {_last_line(said)}")


def _extract(raw: IO[bytes], mark: str, size: int, target: Path) -> bool:
    """Write what follows the line of the mark (a login shell may talk first); whether it has that size."""
    raw.seek(0)
    for line in raw:
        if line.endswith(f"{mark}\n".encode()):
            break
    with target.open("wb") as file:
        shutil.copyfileobj(raw, file, 1 << 20)
        return file.tell() == size


def _last_line(said: str) -> str:
    return said.strip().rpartition("\n")[2]
