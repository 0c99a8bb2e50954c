"""Several boards behind one ssh server, told apart by the aliases of the client's configuration."""

import os
from pathlib import Path

from fake_board import FakeBoard
from remote_board import admit_board, write_client
from ssh_server import children_of

ALIAS = "Host {name}\n HostName 127.0.0.1\n Port {port}\n User {user}\n IdentityFile {key}\n"
REST = """Host *
 IdentitiesOnly yes
 IdentityAgent none
 UserKnownHostsFile {known_hosts}
 GlobalKnownHostsFile /dev/null
"""


class BoardRack:
    """Boards, each with an alias for its link.

    Args:
        server: What they are behind.
        folder: Theirs and the client's.
        make: Gives a board a root, and is told what differs of it.

    Attributes:
        boards: By alias.
        path: ``PATH`` of a host that reaches them.
    """

    def __init__(self, server, folder, make):
        self.server = server
        self.boards = {}
        self._folder = folder
        self._make = make
        self._keys = {}
        self._bin = folder / "host-bin"
        self._bin.mkdir()
        self.path = f"{self._bin}:{os.environ['PATH']}"

    @property
    def links(self):
        """One per board."""
        return [f"ssh://{name}" for name in self.boards]

    def add(self, name, **differing):
        """One more board."""
        board: FakeBoard = self._make(self._folder / name, **differing)
        self.boards[name] = board
        self._keys[name] = admit_board(self.server, board, f"{self._folder.name}-{name}")
        self._reach()
        return board

    def work(self, name):
        """The work folder of a board."""
        return self.boards[name].root / "home/.cache/edgesynth"

    def has_told(self, name, text):
        """Whether a job of a board has told this."""
        return any(text in job.read_text() for job in (self.work(name) / "jobs").glob("*.jsonl"))

    def unplug(self, name):
        """End everything on a board at once, and never let it answer again."""
        board = self.boards[name]
        self._keys[name] = self.server.make_key(f"{self._folder.name}-{name}-gone")
        self._reach()
        spared = [pid for pid in self.server.sessions() if not _leads_to(pid, board)]
        self.server.sever(spared)
        board.kill_all()

    def _reach(self):
        config = self._folder / "ssh_config"
        server = self.server
        hosts = [
            ALIAS.format(name=name, port=server.port, user=server.user, key=key)
            for name, key in self._keys.items()
        ]
        config.write_text("".join(hosts) + REST.format(known_hosts=server.known_hosts))
        write_client(self._bin, config)


def _leads_to(session, board):
    """Whether a session of the server runs something on a board."""
    below = children_of(session)
    return any(_is_of(pid, board) or _leads_to(pid, board) for pid in below)


def _is_of(pid, board):
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"EDGESYNTH_ROOT={board.root}".encode() in variables
