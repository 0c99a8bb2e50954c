"""What can go wrong on the board, as the event that tells the host.

Refusal              the board cannot do what was asked: nothing is said about the network   (event error)
├── NetworkFailure   the network cannot be built or run here: a result                       (event failed)
└── Interrupted      a signal or the end of the link stopped the work                        (event error)
"""

__all__ = ["FULL_DISK", "STALE", "UNSAVED", "Interrupted", "LinkGone", "NetworkFailure", "Refusal"]

FULL_DISK = "no space left on the board; free some (the agent's verb clean removes kept engines) and repeat"
UNSAVED = (
    "the engine was built and could not be saved; see whether the board has space left, and whether the "
    "agent's folder can be written"
)
STALE = "the kept engine could not be loaded and was removed; repeat, and it is built anew"


class Refusal(Exception):
    """The board cannot do what was asked; the message says what to do about it.

    Attributes:
        event: The event that tells it.
        kind: One word for programs: ``sensor``, ``mode``, ``clocks``, ``request``, ``disk``, ``hung``...
        reason: The same for people.
    """

    event = "error"

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class NetworkFailure(Refusal):
    """The network cannot run here; kinds are ``out_of_memory``, ``unsupported``, ``timeout``, ``crash``."""

    event = "failed"


class Interrupted(Refusal):
    """Somebody stopped the agent."""

    def __init__(self, reason: str) -> None:
        super().__init__("interrupted", reason)


class LinkGone(Exception):
    """Nobody reads what the agent prints any more."""
