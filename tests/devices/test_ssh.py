"""What a link to a board promises beyond every link, against an OpenSSH server on loopback."""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from edgesynth.errors import LinkError

pytestmark = pytest.mark.ssh

AWKWARD = [
    "two words",
    'it\'s "quoted"',
    "two\nlines\n",
    "$HOME `id` $(id) ; rm * ? [a] ~ ! \\ \\n % | & < >",
    "-n",
    "--",
    "",
    "\t",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{SNOWMAN}",
]


@pytest.fixture(scope="module")
def board(ssh_server, tmp_path_factory):
    """One connection for all tests that leave it as it was."""
    with contextlib.closing(ssh_server.connect(tmp_path_factory.mktemp("board"))) as link:
        yield link


@pytest.fixture
def severable(ssh_server, tmp_path):
    """A link, and what kills the server's side of its connection."""
    others = ssh_server.sessions()
    with contextlib.closing(ssh_server.connect(tmp_path)) as link:
        yield link, lambda: ssh_server.sever(others)


@pytest.fixture
def short_folder():
    """One with a short path, in which a socket could be made."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def wait_gone(*pids, timeout_s=20.0):
    """Wait until none of these processes runs; whether that came true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not any(runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_arguments_arrive_as_given(board):
    done = board.run(["printf", "<%s>", *AWKWARD])

    assert done.stdout == "".join(f"<{argument}>" for argument in AWKWARD)


def test_input_arrives_as_given(board):
    text = "".join(AWKWARD) + "\n\n." + "x" * 300_000 + "\n"

    assert board.run(["cat"], stdin=text).stdout == text
    with pytest.raises(LinkError, match="NUL"):
        board.run(["cat"], stdin="a\0b")


def test_file_names_arrive_as_given(board, tmp_path):
    awkward = ["-n", "two\nlines\n", 'it\'s "a" $HOME `id` $(id) ; * \\ \N{SNOWMAN}']
    for name in awkward:
        (tmp_path / "source").write_text(name)
        board.put(tmp_path / "source", f"deep/{name}")
        board.get(f"deep/{name}", tmp_path / "back")
        assert (tmp_path / "back").read_text() == name

    assert names(Path(board.path("deep"))) == sorted(awkward)


def test_every_way_to_end_is_told_apart(board):
    ends = {"exit 127": 127, "exit 255": 255, "kill -9 $$": -9, "kill -TERM $$": -15, "exit 0": 0}

    told = {end: board.run(["sh", "-c", end]).returncode for end in ends}

    assert told == ends


def test_error_output_is_apart(board):
    done = board.run(["sh", "-c", "echo out; echo err >&2; printf unfinished"])

    assert (done.stdout, done.stderr) == ("out\nunfinished", "err\n")


@pytest.mark.parametrize("noise", ["echo Welcome", "printf 'Welcome> '"], ids=["lines", "no end of line"])
def test_what_a_login_shell_prints_is_nobodys_output(ssh_server, tmp_path, noise):
    once = f'[ -n "$GREETED" ] || {{ export GREETED=1; {noise}; echo watch your step >&2; }}\n'
    (tmp_path / "noise").write_text(once)
    (tmp_path / "file").write_bytes(b"\0\1\n")

    with contextlib.closing(ssh_server.connect(tmp_path, BASH_ENV=tmp_path / "noise")) as link:
        assert link.run(["echo", "mine"]).stdout == "mine\n"
        with link.stream(["echo", "mine"]) as stream:
            assert [line.text for line in stream] == ["mine"]
        link.put(tmp_path / "file", "file")
        link.get("file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\0\1\n"


def test_much_output_comes_whole(board):
    megabytes = board.run(["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"], timeout_s=60).stdout
    with board.stream(["seq", "200000"], silence_s=60) as stream:
        numbers = [int(line.text) for line in stream]

    assert megabytes == "x" * 5_000_000
    assert numbers == list(range(1, 200_001))


def test_a_line_without_an_end_is_a_line(board):
    with board.stream(["printf", "one\\ntwo"]) as stream:
        assert [line.text for line in stream] == ["one", "two"]
        assert stream.close().returncode == 0


def test_a_big_file_makes_the_round_trip(board, tmp_path):
    source = tmp_path / "engine"
    source.write_bytes(os.urandom(1 << 20) * 20)

    board.put(source, "engine")
    board.get("engine", tmp_path / "back")

    sums = [hashlib.sha256(path.read_bytes()).digest() for path in (source, tmp_path / "back")]
    assert sums[0] == sums[1]


def test_a_full_disk_is_said_and_leaves_the_old_file(ssh_server, tmp_path):
    (tmp_path / "bin").mkdir()
    full = tmp_path / "bin" / "cat"
    mark = tmp_path / "full"
    full.write_text(f'#!/bin/sh\n[ -e {mark} ] && exec /bin/cat >/dev/full\nexec /bin/cat "$@"\n')
    full.chmod(0o755)
    (tmp_path / "old").write_text("old")
    (tmp_path / "new").write_text("new")
    key = ssh_server.admit("full", f'environment="PATH={tmp_path / "bin"}:/usr/bin:/bin"')

    with contextlib.closing(ssh_server.connect(tmp_path, key=key)) as link:
        link.put(tmp_path / "old", "model")
        mark.touch()
        with pytest.raises(LinkError, match="no space left for its 3 bytes; free some"):
            link.put(tmp_path / "new", "model")
    work = tmp_path / "cache" / "edgesynth"
    assert names(work) == ["model"]
    assert (work / "model").read_text() == "old"


def test_files_that_cannot_be_copied_say_why(board, tmp_path):
    source = tmp_path / "file"
    source.write_text("x")
    board.put(source, "folder/file")

    with pytest.raises(LinkError, match="it is a folder there"):
        board.put(source, "folder")
    with pytest.raises(LinkError, match="there is no such file"):
        board.get("folder", tmp_path / "x")
    with pytest.raises(LinkError, match="No such file"):
        board.get("folder/file", tmp_path / "no" / "x")
    for outside in ("../x", "/etc/passwd", "a/../../x"):
        with pytest.raises(LinkError, match="leads out of the work folder"):
            board.path(outside)


def test_a_dropped_connection_ends_the_stream_and_the_next_command_connects_again(severable):
    link, sever = severable
    with link.stream(["sh", "-c", "echo $$; exec sleep 60"], silence_s=60) as stream:
        lines = iter(stream)
        pid = int(next(lines).text)
        sever()
        with pytest.raises(LinkError, match=r"the connection to ssh://.* dropped"):
            next(lines)

    assert wait_gone(pid)
    assert link.run(["echo", "again"]).stdout == "again\n"


def test_a_connection_that_drops_in_a_copy_leaves_nothing(severable, tmp_path):
    link, sever = severable
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(400 << 20)
    work = Path(link.path("."))

    def drop():
        while not (work.is_dir() and names(work)):
            time.sleep(0.001)
        sever()

    dropper = threading.Thread(target=drop)
    dropper.start()
    with pytest.raises(LinkError, match=r"cannot copy .*large to 'large' .* dropped"):
        link.put(source, "large")
    dropper.join()

    deadline = time.monotonic() + 20
    while names(work) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert names(work) == []


def test_a_command_whose_shell_is_killed_is_said(board):
    with pytest.raises(LinkError, match="broke the command off"):
        board.run(["sh", "-c", "kill -9 $PPID"])


def test_many_streams_share_one_connection(board):
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(board.stream(["cat"], stdin=str(n))) for n in range(12)]

        assert [[line.text for line in stream] for stream in streams] == [[str(n)] for n in range(12)]


def test_leaving_a_stream_ends_the_command_and_its_children(board):
    script = "sleep 60 & echo $! $$; trap '' TERM; sleep 61 & echo $!; while :; do wait; done"
    with board.stream(["sh", "-c", script], silence_s=60) as stream:
        lines = iter(stream)
        pids = [int(word) for line in (next(lines), next(lines)) for word in line.text.split()]
        assert all(runs(pid) for pid in pids)

    assert wait_gone(*pids)


def test_a_command_that_takes_too_long_is_ended_on_the_board(board, tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(LinkError, match="did not end within"):
        board.run(["sh", "-c", 'echo $$ >"$1"; exec sleep 60', "sh", str(note)], timeout_s=2)

    assert wait_gone(int(note.read_text()))


def test_a_host_that_is_killed_leaves_nothing_running(ssh_server, children, tmp_path):
    code = (
        "import sys; from pathlib import Path; from edgesynth.devices import SshLink\n"
        "link = SshLink(sys.argv[1], config=Path(sys.argv[2]))\n"
        "with link.stream(['sh', '-c', 'echo $$; exec sleep 60'], silence_s=60) as stream:\n"
        "    for line in stream: print(line.text, flush=True)\n"
    )
    config = ssh_server.config(tmp_path, XDG_CACHE_HOME=tmp_path)
    with (
        tempfile.TemporaryDirectory() as sockets,  # a killed process cannot remove its own
        subprocess.Popen(
            [sys.executable, "-c", code, ssh_server.url, config],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": sockets},
        ) as host,
    ):
        command = int(host.stdout.readline())
        clients = children(host.pid)
        host.kill()

    assert len(clients) == 2
    assert wait_gone(command, *clients)


def test_two_links_work_at_once(ssh_server, tmp_path):
    with (
        contextlib.closing(ssh_server.connect(tmp_path)) as first,
        contextlib.closing(ssh_server.connect(tmp_path)) as second,
        first.stream(["cat"], stdin="first") as one,
        second.stream(["cat"], stdin="second") as two,
    ):
        assert [line.text for line in two] == ["second"]
        assert [line.text for line in one] == ["first"]


def test_one_link_serves_several_threads(board):
    told = {}

    def ask(number):
        told[number] = board.run(["echo", str(number)]).stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert told == {number: f"{number}\n" for number in range(6)}


@pytest.mark.parametrize("name", ["x" * 80, "100%d", "${HOME}"])
def test_the_socket_is_short_lived_and_its_path_short_and_plain(
    ssh_server, tmp_path, short_folder, monkeypatch, name
):
    usual = short_folder / name
    usual.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(usual))
    link = ssh_server.connect(tmp_path)
    folder = link._connection._folder.path

    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / "c")) < 80
    assert (folder / "c").is_socket()
    link.close()
    assert not folder.exists()


def test_closing_ends_what_still_runs(ssh_server, tmp_path):
    link = ssh_server.connect(tmp_path)
    stream = link.stream(["sh", "-c", "echo $$; exec sleep 60"], silence_s=60)
    pid = int(next(iter(stream)).text)

    link.close()

    assert wait_gone(pid)
