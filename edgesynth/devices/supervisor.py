"""How a command runs on the far side of a shell: found, fed, watched over, and ended when its host is gone.

The far side has a login shell and nothing of ours. It is given one line that starts :data:`_SCRIPT` with
``sh``, every argument quoted. The script says on its output, on lines that begin with a mark nobody else
knows, whether the command exists (``ready`` or ``absent``) and how it ended (``end`` and the status); what
stands between them is the command's own output, and an output without an end was cut off.

The host keeps the script's input open. When it ends (the host is done, was killed, or the connection
dropped), the command and everything it started are asked to end, and ended two seconds later.
"""

from __future__ import annotations

import os
import secrets
import shlex
import string
import threading
from collections.abc import Callable, Sequence
from typing import Final

from edgesynth.devices.clock import Clock
from edgesynth.devices.process import Child, ProcessStream
from edgesynth.errors import LinkError

__all__ = ["LINGER_S", "Supervised", "SupervisedStream", "shell_line"]

LINGER_S: Final = 4.0
"""How long the script may take to end its command and itself."""

# Plain sh of 2018: dash knows no "kill -TERM -- -1", has no job control without a terminal and counts
# zombies as alive until something waits. The input is read to its final dot before the command starts,
# so that a command that never reads cannot keep the script from seeing the end of its own input.
_SCRIPT: Final = """
mark=$1 size=$2
shift 2
case $1 in
    */*) [ -f "$1" ] && [ -x "$1" ] ;;
    *) command -v -- "$1" >/dev/null 2>&1 ;;
esac || { echo "$mark absent"; exit 127; }
text=$(head -c "$size")
case $text in
    *.) text=${text%.} ;;
    *) exit 129 ;;
esac
finish() {
    kill "$watch" 2>/dev/null
    echo "$mark end $1"
    exit "$1"
}
stop() {
    trap "" USR1
    tries=0
    kill -s TERM -- "-$pid" "$pid" 2>/dev/null
    while kill -s 0 -- "-$pid" 2>/dev/null && [ "$tries" -lt 20 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill -s KILL -- "-$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    finish $?
}
echo "$mark ready"
exec 3<&0
printf %s "$text" 2>/dev/null | setsid "$@" 3<&- &
pid=$!
trap stop USR1
{ while read -r rest; do :; done; kill -s USR1 $$; } <&3 >/dev/null 2>&1 &
watch=$!
exec 3<&- </dev/null
wait "$pid" 2>/dev/null
finish $?
"""

_OCTAL: Final = {
    byte: f"\\0{byte:03o}"
    for byte in range(1, 256)  # a NUL stays, and is refused as in any argument
    if chr(byte) not in string.ascii_letters + string.digits + " $./:;_-"
}
"""Of the bytes that are not the same between the single quotes of every shell, or look bad there."""


def shell_line(script: str, *arguments: str) -> str:
    """A line for a login shell of any kind: ``sh`` runs the script; the arguments arrive as given.

    Shells do not agree on what quotes keep: csh takes no line end and no ``!`` between them, fish reads
    backslashes there, zsh replaces ``=name``. So a login shell sees none of that: whatever is not plain goes
    as octal numbers, which ``printf`` of ``sh`` turns back.
    """
    text = f"set -- {shlex.join(arguments)}\n{script}"
    plain = "".join(_OCTAL.get(byte, chr(byte)) for byte in os.fsencode(text))
    return f"exec sh -c 'eval \"$(printf %b \"$1\")\"' sh '{plain}'"


class Supervised:
    """One command, as the far side is given it, and how to read what comes back.

    Args:
        command: Program and arguments.
        stdin: Text it reads.

    Attributes:
        line: For the login shell.
        input: What the script reads first.

    Raises:
        LinkError: The command is empty, or the text holds a NUL, which no shell can keep.
    """

    def __init__(self, command: Sequence[str], stdin: str) -> None:
        if not command:
            raise LinkError("the command is empty; give a program and its arguments")
        if "\0" in stdin:
            raise LinkError("the input of a command holds a NUL character; send it as a file instead")
        self.program = command[0]
        self.mark = secrets.token_hex(8)
        self.input = stdin.encode() + b"."
        self.line = shell_line(_SCRIPT, self.mark, str(len(self.input)), *command)

    def is_absent(self, output: bytes) -> bool:
        """Whether there is no such program."""
        return f"{self.mark} absent\n".encode() in output

    def read(self, output: bytes) -> tuple[int, bytes] | None:
        """Exit status and output of the command, or ``None`` when the output was cut off."""
        _, ready, rest = output.partition(f"{self.mark} ready\n".encode())
        text, end, status = rest.rpartition(f"{self.mark} end ".encode())
        return (_exit_status(status), text) if ready and end else None


class SupervisedStream(ProcessStream):
    """The output of a supervised command.

    Args:
        child: What carries it: its output is the script's, the end of its input reaches the script.
        supervised: The command.
        clock: Stamps the lines.
        silence_s: How long the command may print nothing.
        why: Says why an output was cut off, given the error output.
    """

    def __init__(
        self,
        child: Child,
        supervised: Supervised,
        clock: Clock,
        silence_s: float,
        why: Callable[[str], LinkError],
    ) -> None:
        self._supervised = supervised
        self._why = why
        self._answered = threading.Event()
        self._ready = False
        self._absent = False
        self._ended: int | None = None
        super().__init__(child, clock, silence_s)

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the command has started.

        Returns:
            Whether there is such a command.

        Raises:
            LinkError: The far side did not answer; the stream is closed.
        """
        answered = self._answered.wait(timeout_s)
        if self._ready or self._absent:
            return self._ready
        told = self.close().stderr
        if not answered:
            raise LinkError(
                f"{self._supervised.program} did not start within {timeout_s:g} s; "
                "check that the board is not busy or hung, then repeat"
            )
        raise self._why(told)

    def _text(self, raw: bytes) -> str | None:
        mark = self._supervised.mark.encode()
        if not self._ready:  # what a login shell prints before our script runs is nobody's output
            self._ready = mark + b" ready" in raw  # it may not have ended its line
            self._absent = mark + b" absent" in raw
            if self._ready or self._absent:
                self._answered.set()
            return None
        before, end, status = raw.partition(mark + b" end ")
        if not end:
            return super()._text(raw)
        self._ended = _exit_status(status)
        return super()._text(before) if before else None

    def _fault(self) -> LinkError | None:
        self._answered.set()
        if self._ended is not None or not self._ready:
            return None
        return self._why(self.errors)

    def _status(self, returncode: int) -> int:
        return returncode if self._ended is None else self._ended


def _exit_status(text: bytes) -> int:
    """A shell's status; above 128 it stands for a signal, which is negative here."""
    status = int(text.split()[0])
    return 128 - status if 128 < status <= 128 + 64 else status
