"""An OpenSSH server of the tests' own on loopback: boards of several folders of tests are behind it."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from edgesynth.devices import SshLink

SSHD = "/usr/sbin/sshd"


def children_of(parent, name=""):
    """Process ids of a process's children that have not ended and are called so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            called, _, rest = path.read_text(errors="replace").rpartition(")")
            state, of = rest.split()[:2]
            if state != "Z" and int(of) == parent and called.partition("(")[2].startswith(name):
                found.append(int(path.parent.name))
    return found


def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class SshServer:
    """An OpenSSH server of the tests' own on loopback, and what a client needs to log in."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self.user = getpass.getuser()
        self.url = f"ssh://{self.user}@127.0.0.1:{port}"
        self.host_key = self.make_key("host")
        self.key = self.admit("user")
        self.known_hosts = self.trust("known_hosts", self.host_key)
        options = {
            "Port": port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.host_key,
            "AuthorizedKeysFile": folder / "authorized_keys",
            "PidFile": folder / "pid",
            "StrictModes": "no",
            "UsePAM": "no",
            "UseDNS": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "PermitUserEnvironment": "yes",
            "AcceptEnv": "XDG_CACHE_HOME BASH_ENV",
        }
        config = folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # a root server refuses to start without
        self.process = subprocess.Popen([SSHD, "-D", "-f", config, "-E", folder / "log"])

    def make_key(self, name):
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def admit(self, name, options=""):
        """A key that is let in, under options of ``authorized_keys``."""
        path = self.make_key(name)
        with (self.folder / "authorized_keys").open("a") as keys:
            keys.write(f"{options} {path.with_suffix('.pub').read_text()}")
        return path

    def trust(self, name, host_key):
        path = self.folder / name
        public = host_key.with_suffix(".pub").read_text()
        path.write_text(f"[127.0.0.1]:{self.port} {public}")
        return path

    def sever(self, spared=()):
        """Kill the server's side of every connection but the spared ones, as a pulled plug would."""
        for session in set(self.sessions()) - set(spared):
            with contextlib.suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)

    def config(self, place, *, key=None, known_hosts=None, **env):
        """A client configuration with the alias ``board``; every variable is set on the server's side."""
        path = place / "ssh_config"
        path.write_text(
            f"Host board\n HostName 127.0.0.1\n Port {self.port}\n User {self.user}\n"
            f"Host *\n IdentityFile {key or self.key}\n IdentitiesOnly yes\n IdentityAgent none\n"
            f" UserKnownHostsFile {known_hosts or self.known_hosts}\n GlobalKnownHostsFile /dev/null\n"
        )
        if env:
            values = " ".join(f'"{name}={value}"' for name, value in env.items())
            path.write_text(f"{path.read_text()} SetEnv {values}\n")
        return path

    def connect(self, place, url=None, *, connect_timeout_s=10.0, **config):
        """A link whose files on both sides are below a folder."""
        config.setdefault("XDG_CACHE_HOME", place / "cache")
        return SshLink(
            url or self.url, config=self.config(place, **config), connect_timeout_s=connect_timeout_s
        )

    def sessions(self):
        """Process ids of the server's side of every connection."""
        first = children_of(self.process.pid, "sshd")
        return [*first, *(pid for parent in first for pid in children_of(parent, "sshd"))]

    def wait(self):
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.05)
        return False

    def stop(self):
        for session in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(session, signal.SIGTERM)
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory):
    if not Path(SSHD).exists() or shutil.which("ssh") is None:
        pytest.skip(f"needs {SSHD} and ssh; install openssh-server and openssh-client")
    server = SshServer(tmp_path_factory.mktemp("sshd"), free_port())
    try:
        assert server.wait(), (server.folder / "log").read_text()
        yield server
    finally:
        server.stop()
