"""One authenticated connection to a board, which every command and file shares.

It is an ``ssh`` client in master mode whose own session does nothing but wait for the end of its input. So
the master ends with this process, however this process ends, and no socket outlives it in use.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from edgesynth.devices.clock import SystemClock
from edgesynth.devices.process import Child, ProcessStream
from edgesynth.devices.ssh_address import SshAddress
from edgesynth.devices.supervisor import LINGER_S, Supervised, shell_line
from edgesynth.errors import LinkError
from edgesynth.scratch import PREFIX, Scratch

__all__ = ["SshConnection"]

_LOGIN_S: Final = 20.0  # for key exchange, jump hosts and login, after the connection timeout
_FAREWELL_S: Final = 1.0  # for the master to say why it ended
_SOCKET_BYTES: Final = 104 - 20  # the kernel's limit, less what ssh appends while it makes the socket

_OPTIONS: Final = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
    # Parts of a user's configuration that are meant for a person at a terminal.
    "ClearAllForwardings=yes",
    "ControlPersist=no",
    "EscapeChar=none",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)

# What the supervisor and the transfers need beyond a shell is on every Ubuntu; a bare image may lack it.
_GREETING: Final = """
for tool in cat head mkdir mv rm setsid sleep wc; do
    command -v "$tool" >/dev/null 2>&1 || { echo "$1 lacks $tool"; exit 1; }
done
echo "$1 home ${XDG_CACHE_HOME:-$HOME/.cache}"
exec cat
"""

_KEY_CHANGED: Final = re.compile(r"Host key for (\S+) has changed")
_KEY_FILE: Final = re.compile(r"Offending \S+ key in (.+):\d+")

# Looked for in this order: the first that the client said wins.
_REASONS: Final = (
    (
        "Host key verification failed",
        "the host key of {name} is not known; connect once by hand ({by_hand}) and compare its fingerprint",
    ),
    (
        "Could not resolve hostname",
        "the host of {name} cannot be resolved; check its name, or add it to ~/.ssh/config",
    ),
    (
        "Too many authentication failures",
        "{name} refused too many keys; name the right one with IdentityFile and IdentitiesOnly "
        "in ~/.ssh/config",
    ),
    (
        "Permission denied (",
        "{name} refused the key; install it there (ssh-copy-id) or load it into the agent (ssh-add), "
        "until this works without a question: {by_hand}",
    ),
    (
        "Connection refused",
        "{name} refused the connection; check that the board has started and runs an ssh server on that port",
    ),
    ("timed out", "{name} did not answer in time; check its address, power and network"),
    ("No route to host", "{name} cannot be reached; check its address, power and network"),
    ("Network is unreachable", "{name} cannot be reached; check this machine's network"),
    ("not responding", "the connection to {name} dropped: it stopped answering; check its power and network"),
)


class SshConnection:
    """A connection that stands until :meth:`close`, or until it drops.

    Args:
        name: How the user asked for the board; for messages.
        address: Where it is.
        config: Read instead of the user's own configuration.
        connect_timeout_s: How long the board may take to answer, in whole seconds.

    Attributes:
        cache: The folder for caches on the board.

    Raises:
        LinkError: There is no ``ssh`` here, the board cannot be reached or let us in, or its host key is
            unknown or not the known one.
    """

    def __init__(self, name: str, address: SshAddress, config: Path | None, connect_timeout_s: float) -> None:
        if shutil.which("ssh") is None:
            raise LinkError("there is no program ssh on this machine; install openssh-client")
        self._name = name
        self._address = address
        self._folder = Scratch(_short_folder())
        timeout = f"ConnectTimeout={max(1, round(connect_timeout_s))}"
        options = [part for option in (*_OPTIONS, timeout) for part in ("-o", option)]
        own = [] if config is None else ["-F", str(config)]
        self._command = ["ssh", *own, *options, "-S", f"{self._folder.path}/c"]
        try:
            self._open(connect_timeout_s + _LOGIN_S)
        except BaseException:
            self._folder.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still stands, as far as this side knows."""
        return self._master.running

    def start(self, supervised: Supervised) -> Child:
        """Start a command on the board.

        Raises:
            LinkError: The command line is too long for this machine.
        """
        return self._client("no", supervised.line, supervised.input, linger_s=LINGER_S)

    def transfer(self, line: str, stdin: bytes | IO[bytes] = b"", stdout: IO[bytes] | None = None) -> Child:
        """Have the board's login shell run a line that reads from, or writes to, a file of this machine."""
        return self._client("no", line, stdin, stdout)

    def why(self, said: str) -> LinkError:
        """Why a command broke off, given what its client said."""
        deadline = time.monotonic() + _FAREWELL_S
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.alive:
            hint = "look whether the board ran out of memory or its login shell fails"
            return LinkError(f"{self._name} broke the command off{_quote(said)}; {hint}")
        dropped = f"the connection to {self._name} dropped; check its power and network, then repeat"
        return LinkError(self._reason(self._master.close().stderr + said) or dropped)

    def close(self) -> None:
        """End the connection."""
        self._master.close()
        self._folder.close()

    def _open(self, timeout_s: float) -> None:
        mark = secrets.token_hex(8)
        line = shell_line(_GREETING, mark)
        child = self._client("yes", line, b"", linger_s=_FAREWELL_S)
        self._master = ProcessStream(child, SystemClock(), timeout_s)
        told = ""
        try:
            for greeting in self._master:
                told = greeting.text or told
                if f"{mark} " in greeting.text:  # a login shell may have begun the line
                    break
        except LinkError as error:
            raise LinkError(f"{self._name} did not finish its login within {timeout_s:g} s") from error
        except BaseException:
            self._master.close()
            raise
        _, ours, answer = told.partition(f"{mark} ")
        kind, _, value = answer.strip().partition(" ")
        if ours and kind == "home":
            self.cache = value
            return
        said = self._master.close().stderr
        if ours:
            raise LinkError(f"{self._name} has no program {value!r}, which every command needs; install it")
        unknown = (
            f"no command could be run on {self._name}{_quote(said or told)}; try {self._address.by_hand}"
        )
        raise LinkError(self._reason(said) or unknown)

    def _client(
        self,
        master: str,
        line: str,
        stdin: bytes | IO[bytes],
        stdout: IO[bytes] | None = None,
        *,
        linger_s: float | None = None,
    ) -> Child:
        command = [*self._command, "-o", f"ControlMaster={master}", *self._address.arguments, line]
        # Without a terminal (a Child has none) and without askpass not even a jump host can prompt.
        env = {name: value for name, value in os.environ.items() if name != "SSH_ASKPASS"}
        env["SSH_ASKPASS_REQUIRE"] = "never"
        return Child(command, stdin, stdout=stdout, linger_s=linger_s, env=env)

    def _reason(self, said: str) -> str:
        """One clear line for what the client said, or nothing when it said nothing known."""
        if changed := _KEY_CHANGED.search(said):
            file = _KEY_FILE.search(said)
            where = f"-f '{file[1]}' " if file else ""
            return (
                f"the host key of {self._name} has changed: if the board was flashed anew, run "
                f"ssh-keygen {where}-R '{changed[1]}' and connect once by hand; if not, do not trust it"
            )
        for needle, reason in _REASONS:
            if needle in said:
                return reason.format(name=self._name, by_hand=self._address.by_hand)
        return ""


def _short_folder() -> Path:
    """Where a socket can be made: its path must stay short, and hold nothing that ssh replaces."""
    usual = Path(tempfile.gettempdir())
    fits = len(os.fsencode(usual)) + len(f"/{PREFIX}12345678/c") <= _SOCKET_BYTES
    return usual if fits and not {"%", "$"} & set(str(usual)) else Path("/tmp")


def _quote(said: str) -> str:
    """The last line of what was said, to be put behind a statement."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f": {lines[-1]}" if lines else ""
