"""A board belongs to one run at a time, and a dropped link costs it nothing; over a real ssh server."""

import contextlib
import json
import os
import re
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from processes import ended, wait_for
from short_bench import short_bench

from edgesynth.cli import main
from edgesynth.devices import open_device
from edgesynth.devices.bench import read_recording
from edgesynth.devices.link import Line
from edgesynth.errors import DeviceError, LinkError, MeasurementError

pytestmark = pytest.mark.ssh

BENCH = ("bench", "model.onnx", "--device", "jetson-tx2", "--mode", "MAXN", "--clocks", "fixed", "--quiet")
IDLE = '"name":"idle_before"'


def has_told(remote, text):
    """Whether a job of the board has told this."""
    return any(text in path.read_text() for path in remote.jobs())


@pytest.fixture
def from_here(remote, monkeypatch):
    """The board elsewhere, reached from this process."""
    monkeypatch.setenv("PATH", remote.path)
    return remote


def while_measuring(remote, act):
    """Do something once the board measures power."""

    def wait_and_act():
        wait_for(lambda: has_told(remote, IDLE))
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def is_as_found(board):
    return board.present_mode() == "MAXP_CORE_ARM" and board.present_clocks() == board.clocks


@pytest.mark.slow
def test_a_second_run_is_refused_and_a_killed_one_leaves_nothing(from_here, model):
    board = from_here.board
    board.set("tensorrt", call_ms=4.0)
    with from_here.start(*BENCH) as first:
        wait_for(lambda: has_told(from_here, IDLE))
        second = from_here.run(*BENCH)
        first.kill()

    assert second.returncode == 3
    (line,) = second.stderr.splitlines()
    held = (
        rf"edgesynth: ssh://\S+ is in use by \S+@\S+ \(process {first.pid}\), for up to \d+ s more .*--wait"
    )
    assert re.match(held, line)
    assert board.present_mode() == "MAXN"  # the board goes on for a while, should the host come back
    with open_device("jetson-tx2", from_here.url):  # whoever has it next ends what was left
        assert is_as_found(board)
        assert from_here.jobs() == []
    board.wait_until_quiet()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_puts_the_board_back(from_here, model, number):
    from_here.board.set("tensorrt", call_ms=4.0)
    with from_here.start(*BENCH) as process:
        wait_for(lambda: has_told(from_here, IDLE))
        process.send_signal(number)
        _, said = ended(process)

    assert process.returncode == 128 + number
    assert re.fullmatch(
        r"edgesynth: bench (interrupted|stopped by SIG\w+); the device was given back, .*\n", said
    )
    assert is_as_found(from_here.board)
    assert not (from_here.work / "lease.json").exists()
    from_here.board.wait_until_quiet()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_deployment_that_is_asked_to_end_leaves_nothing(from_here, model, monkeypatch, number):
    board = from_here.board
    board.set("tensorrt", build="slow")
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # short, as the socket of ssh needs it
        monkeypatch.setenv("TMPDIR", scratch)
        with from_here.start("deploy", "model.onnx", "--device", "jetson-tx2", "--quiet") as process:
            wait_for(lambda: board.told("builds"))
            assert any("/c" in line for line in clients(scratch))
            process.send_signal(number)
            _, said = ended(process)

        assert process.returncode == 128 + number
        assert said.startswith(f"edgesynth: deploy stopped by {number.name}; what is installed is whole")
        assert len(said.splitlines()) == 1
        assert [path for path in Path(scratch).iterdir() if not path.name.startswith(".")] == []
        wait_for(lambda: not clients(scratch))
    assert not (from_here.work / "lease.json").exists()
    assert not list((from_here.work / "engines").glob("*.plan"))
    board.wait_until_quiet()


def clients(scratch):
    """Command lines of the ssh clients whose socket is there."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [line] if line.startswith("/usr/bin/ssh") and scratch in line else []
    return found


@pytest.mark.slow
def test_a_run_may_wait_for_another(from_here, model):
    device = open_device("jetson-tx2", from_here.url)
    threading.Timer(1.0, device.close).start()

    with open_device("jetson-tx2", from_here.url, wait_s=60) as mine:
        assert mine.link.name == from_here.url


@pytest.mark.slow
def test_a_closed_device_frees_the_board(from_here):
    for _ in range(2):
        with open_device("jetson-tx2", from_here.url):
            assert (from_here.work / "lease.json").exists()

    assert not (from_here.work / "lease.json").exists()


@pytest.mark.slow
def test_a_lost_lease_ends_the_measurement(from_here, model, monkeypatch):
    monkeypatch.setattr("edgesynth.devices.board.LEASE_S", 1.5)
    remote = from_here
    lease = remote.work / "lease.json"

    def take_over():
        lease.write_text(json.dumps({**json.loads(lease.read_text()), "token": "x", "owner": "eve@lab"}))

    with open_device("jetson-tx2", remote.url, mode="MAXN", clocks="fixed") as device:
        asked = short_bench(device, model, load_s=600.0)
        thief = while_measuring(remote, take_over)
        with pytest.raises(DeviceError, match=r"was lost: taken over by eve@lab .*measure again"):
            device.bench(asked)
        thief.join()
        remote.board.wait_until_quiet()
        assert is_as_found(remote.board)
        with pytest.raises(DeviceError, match="was lost"):
            device.bench(asked)


@pytest.mark.slow
def test_a_device_that_is_closed_meanwhile_ends_the_measurement(from_here, model):
    with open_device("jetson-tx2", from_here.url, mode="MAXN") as device:
        asked = short_bench(device, model, load_s=600.0)
        closer = while_measuring(from_here, device.close)
        begin = time.monotonic()
        with pytest.raises(DeviceError, match="was closed; open the device again"):
            device.bench(asked)
        closer.join()
        assert is_as_found(from_here.board)  # nobody else may have it before it is
        assert not (from_here.work / "lease.json").exists()

    assert time.monotonic() - begin < 60


@pytest.mark.slow
def test_a_link_that_drops_twice_gives_the_same_recording(from_here, model):
    others = from_here.server.sessions()
    with open_device("jetson-tx2", from_here.url, mode="MAXN", clocks="fixed") as device:
        asked = short_bench(device, model, load_s=3.0, idle_s=0.2)

        def drop():
            from_here.server.sever(others)
            wait_for(lambda: set(from_here.server.sessions()) - set(others))
            from_here.server.sever(others)

        dropper = while_measuring(from_here, drop)
        recording = device.bench(asked)
        dropper.join()

        (job,) = from_here.jobs()
        whole = read_recording([Line(0.0, line) for line in job.read_text().splitlines()])
        assert recording == whole
        assert len(recording.sensor) > 50
        assert [*recording.phases] == ["idle_before", "load", "idle_after", "end"]
        assert is_as_found(from_here.board)

        device.bench(short_bench(device, model))
        (last,) = from_here.jobs()  # the board keeps no more than the last
        assert last != job


@pytest.mark.slow
def test_a_start_that_breaks_off_starts_one_job(from_here, model, monkeypatch):
    with open_device("jetson-tx2", from_here.url) as device:
        stream, broken = device.link.stream, []

        def break_first(command, **options):
            if broken:
                return stream(command, **options)
            with stream(command, **options):
                broken.append(wait_for(from_here.jobs))
                raise LinkError("dropped")

        monkeypatch.setattr(device.link, "stream", break_first)
        recording = device.bench(short_bench(device, model))

        assert [from_here.jobs()] == broken
        assert len(recording.latencies_ms) == 20


@pytest.mark.slow
def test_an_agent_that_is_killed_breaks_off_and_its_board_is_put_back(from_here, model):
    def kill():
        (job,) = from_here.jobs()
        os.kill(json.loads(job.read_text().splitlines()[0])["pid"], signal.SIGKILL)

    with open_device("jetson-tx2", from_here.url, mode="MAXN", clocks="fixed") as device:
        killer = while_measuring(from_here, kill)
        with pytest.raises(MeasurementError, match="the job ended without a result"):
            device.bench(short_bench(device, model, load_s=600.0))
        killer.join()
        from_here.board.wait_until_quiet()
        assert is_as_found(from_here.board)
        assert len(device.bench(short_bench(device, model)).latencies_ms) == 20


@pytest.mark.slow
def test_a_board_that_does_not_come_back_is_given_up(from_here, model, monkeypatch, capfd):
    monkeypatch.setattr("edgesynth.devices.job.GIVE_UP_S", 2.0)
    monkeypatch.setattr("edgesynth.devices.job._ABANDON_S", 3.0)
    monkeypatch.chdir(model.parent)
    from_here.board.set("tensorrt", call_ms=4.0)
    others = from_here.server.sessions()

    def vanish():
        from_here.reach(key=from_here.server.make_key(f"gone-{model.parent.name}"))
        from_here.server.sever(others)

    dropper = while_measuring(from_here, vanish)
    code = main([*BENCH, "--link", from_here.url])
    dropper.join()

    assert code == 3
    (line,) = capfd.readouterr().err.splitlines()
    assert re.match(r"edgesynth: the work on ssh://\S+ was lost: nothing new came for \d+ s", line)
    from_here.board.wait_until_quiet()  # nobody asks for the job, so it ends
    assert is_as_found(from_here.board)
    assert has_told(from_here, "nobody has followed the job for")
