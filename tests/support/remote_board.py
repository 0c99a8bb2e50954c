"""A board behind a real ssh server, and the host's own command line in front of it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import edgesynth

WRAPPER = """#!/bin/sh
exec {ssh} -F '{config}' "$@"
"""


def admit_board(server, board, name):
    """A key of the server that leads to this board: to its root, its Python and its work folder."""
    programs = board.root / "home/bin"
    programs.mkdir(exist_ok=True)
    (programs / "python3").symlink_to(board.python)
    variables = {
        **board.environment,
        "XDG_CACHE_HOME": str(board.root / "home/.cache"),
        "PATH": f"{programs}:{board.environment['PATH']}",
    }
    return server.admit(name, ",".join(f'environment="{key}={value}"' for key, value in variables.items()))


def write_client(folder, config):
    """An ``ssh`` in a folder, which uses this configuration and no other."""
    wrapper = folder / "ssh"
    wrapper.write_text(WRAPPER.format(ssh="/usr/bin/ssh", config=config))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)


class RemoteBoard:
    """What a person at the host does to a board elsewhere.

    The client is OpenSSH's own; only its configuration is the tests' own, which no variable of the
    environment could say.

    Attributes:
        board: The :class:`FakeBoard` on the other side.
        url: Its link.
        work: The work folder on the board.
        path: ``PATH`` of a host that reaches it.
    """

    def __init__(self, board, server, folder):
        self.board = board
        self.server = server
        self.url = server.url
        self.work = board.root / "home/.cache/edgesynth"
        self._bin = folder / "host-bin"
        self._bin.mkdir()
        self.path = f"{self._bin}:{os.environ['PATH']}"
        self._folder = folder
        self.key = admit_board(server, board, f"key-{folder.name}")
        self.reach(key=self.key)

    def jobs(self):
        """The files of the jobs on the board."""
        return sorted((self.work / "jobs").glob("*.jsonl"))

    def reach(self, **config):
        """Log in with other keys or known hosts from now on."""
        write_client(self._bin, self.server.config(self._folder, **config))

    def write_program(self, name, text):
        """A program of the shell that the board finds before all others."""
        place = self.board.root / "home/bin" / name
        place.unlink(missing_ok=True)  # never written through: a link there leads out of the board
        place.write_text(f"#!/bin/sh\n{text}\n")
        place.chmod(0o755)

    def start(self, *arguments, link=None):
        """``edgesynth`` on the host, running; the link stands behind the arguments, unless it is empty."""
        link = self.url if link is None else link
        environment = {
            **os.environ,
            "PATH": self.path,
            "PYTHONPATH": str(Path(edgesynth.__file__).parents[1]),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "edgesynth", *map(str, arguments), *(["--link", link] if link else [])],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, link=None, timeout_s=300):
        """``edgesynth`` on the host to its end."""
        process = self.start(*arguments, link=link)
        out, err = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
