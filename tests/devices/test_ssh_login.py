"""Who is let in by a board, who is refused, and what is said then; against an OpenSSH server on loopback."""

import contextlib
import os
import socket

import pytest

from edgesynth.devices import SshLink
from edgesynth.errors import LinkError

pytestmark = pytest.mark.ssh


def test_an_unknown_host_key_is_refused(ssh_server, tmp_path):
    (tmp_path / "none").touch()

    with pytest.raises(LinkError, match=r"not known; connect once by hand \(ssh -p \d+ \w+@127"):
        ssh_server.connect(tmp_path, known_hosts=tmp_path / "none")

    assert (tmp_path / "none").read_text() == ""


def test_a_changed_host_key_is_refused(ssh_server, tmp_path):
    known = ssh_server.trust("other_known_hosts", ssh_server.make_key("other_host"))

    with pytest.raises(LinkError, match=rf"has changed.*ssh-keygen -f '{known}' -R '\[127.0.0.1\]:\d+'"):
        ssh_server.connect(tmp_path, known_hosts=known)


def test_a_key_the_board_does_not_know_is_refused(ssh_server, tmp_path):
    with pytest.raises(LinkError, match=r"refused the key; .*ssh-copy-id.*ssh -p \d+ \w+@127") as caught:
        ssh_server.connect(tmp_path, key=ssh_server.make_key("stranger"))

    assert caught.value.exit_code == 3


def test_nothing_listening_is_said(ssh_server, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(LinkError, match="refused the connection; check that the board has started"):
            ssh_server.connect(tmp_path, f"ssh://127.0.0.1:{port}")


def test_a_silent_board_is_given_up(ssh_server, tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"ssh://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LinkError, match="did not answer in time"):
            ssh_server.connect(tmp_path, url, connect_timeout_s=1)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("ssh: Could not resolve hostname tx2: Name or service not known", "cannot be resolved"),
        ("ssh: connect to host tx2 port 22: No route to host", "cannot be reached"),
        ("ssh: connect to host tx2 port 22: Network is unreachable", "this machine's network"),
        ("ssh: connect to host tx2 port 22: Connection timed out", "did not answer in time"),
        ("Received disconnect from ::1: 2: Too many authentication failures", "IdentitiesOnly"),
        ("Timeout, server tx2 not responding.", "stopped answering"),
        ("Bad owner or permissions on /home/me/.ssh/config", "Bad owner or permissions on /home/me"),
    ],
)
def test_what_the_client_says_becomes_one_line_with_what_to_do(tmp_path, monkeypatch, said, reason):
    fake = tmp_path / "ssh"
    fake.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(LinkError, match=reason) as caught:
        SshLink("ssh://tx2")

    assert "\n" not in str(caught.value)


def test_a_machine_without_ssh_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LinkError, match="install openssh-client"):
        SshLink("ssh://board")


def test_an_account_that_runs_no_commands_is_said(ssh_server, tmp_path):
    key = ssh_server.admit("closed", 'command="echo This account is closed."')

    with pytest.raises(LinkError, match=r"no command could be run on ssh://.*: This account is closed"):
        ssh_server.connect(tmp_path, key=key)


def test_a_board_without_a_needed_program_is_said(ssh_server, tmp_path):
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "cat"):
        (tmp_path / "bin" / tool).symlink_to(f"/bin/{tool}")

    key = ssh_server.admit("bare", f'environment="PATH={tmp_path / "bin"}"')

    with pytest.raises(LinkError, match="has no program 'head'"):
        ssh_server.connect(tmp_path, key=key)


def test_an_alias_of_the_users_configuration_is_a_board(ssh_server, tmp_path):
    with contextlib.closing(ssh_server.connect(tmp_path, "ssh://board")) as link:
        assert link.name == "ssh://board"
        assert link.run(["echo", "here"]).stdout == "here\n"


def test_a_board_behind_a_jump_host_is_reached(ssh_server, tmp_path):
    config = ssh_server.config(tmp_path, XDG_CACHE_HOME=tmp_path)
    config.write_text(
        f"Host far\n HostKeyAlias [127.0.0.1]:{ssh_server.port}\n HostName 127.0.0.1\n"
        f" Port {ssh_server.port}\n ProxyJump board\n{config.read_text()}"
    )

    with contextlib.closing(SshLink("ssh://far", config=config)) as link:
        assert link.run(["echo", "here"]).stdout == "here\n"


def test_a_jump_host_cannot_ask_either(ssh_server, tmp_path):
    (tmp_path / "none").touch()
    config = ssh_server.config(tmp_path, known_hosts=tmp_path / "none")
    config.write_text(f"Host far\n ProxyJump board\n{config.read_text()}")

    with pytest.raises(LinkError, match="not known; connect once by hand"):
        SshLink("ssh://far", config=config)


def test_a_failed_connection_leaves_no_folder(ssh_server, tmp_path, monkeypatch):
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("edgesynth.devices.ssh_connection._short_folder", lambda: str(tmp_path / "t"))
    (tmp_path / "none").touch()

    with pytest.raises(LinkError):
        ssh_server.connect(tmp_path, known_hosts=tmp_path / "none")

    assert list((tmp_path / "t").iterdir()) == []
