"""Where a board is: the parts of an ``ssh://`` URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from edgesynth.errors import InputError

__all__ = ["SshAddress"]

_EXAMPLE: Final = "write it like ssh://nvidia@192.168.1.20 or ssh://board:2222"
_URL: Final = re.compile(
    r"""ssh://
    (?: (?P<user> [\w.+][\w.+-]* ) @ )?
    (?: \[ (?P<ipv6> [0-9A-Fa-f:.]+ (?: % [\w.-]+ )? ) \] | (?P<host> \w[\w.-]* ) )
    (?: : (?P<port> [0-9]{1,5} ) )?
    /?""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True)
class SshAddress:
    """What the OpenSSH client is told to connect to.

    Attributes:
        host: A name, an address, or an alias of the user's own ``~/.ssh/config``.
        user: Who to be there; the client's own choice when ``None``.
        port: The client's own choice when ``None``.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``ssh://[user@]host[:port]``; an IPv6 address stands in brackets.

        Names are kept to what cannot be mistaken for an option or be expanded by a shell, since the user's
        configuration may hand them to one (``ProxyCommand``, ``Match exec``).

        Raises:
            InputError: It is no such URL.
        """
        match = _URL.fullmatch(url)
        if match is None:
            if re.match(r"ssh://[^/@]*:[^/@]*@", url):
                raise InputError(
                    "an ssh link takes no password; set up a key (ssh-copy-id) and leave the password out"
                )
            raise InputError(f"{url!r} is not an ssh link; {_EXAMPLE}")
        port = None if match["port"] is None else int(match["port"])
        if port is not None and not 1 <= port <= 65535:
            raise InputError(f"{url!r} has port {port}, which is not within 1 .. 65535; {_EXAMPLE}")
        return cls(match["ipv6"] or match["host"], match["user"], port)

    @property
    def arguments(self) -> list[str]:
        """Options of ``ssh`` for user and port, then the host."""
        port = [] if self.port is None else ["-p", str(self.port)]
        user = [] if self.user is None else ["-l", self.user]
        return [*port, *user, "--", self.host]

    @property
    def by_hand(self) -> str:
        """What a person types to connect."""
        port = "" if self.port is None else f"-p {self.port} "
        user = "" if self.user is None else f"{self.user}@"
        return f"ssh {port}{user}{self.host}"
