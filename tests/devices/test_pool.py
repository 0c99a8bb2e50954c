"""Boards of one profile stand in for each other, and a broken one does not stop the rest."""

import contextlib
import threading
import time

import pytest

from edgesynth.devices import Device, LocalLink, Pool, load_profile, open_device
from edgesynth.errors import DeviceError, InputError, LinkError, MeasurementError, SensorError
from edgesynth.metrics import Provenance
from edgesynth.progress import NullProgress


class NamedLink(LocalLink):
    """This machine, as one of several boards."""

    def __init__(self, name):
        super().__init__()
        self.name = name


def make_board(name, profile_name="host-cpu"):
    profile = load_profile(profile_name)
    return Device(
        profile,
        NamedLink(name),
        mode=profile.mode(),
        bench_command=("true",),
        runs_files=True,
        provenance=Provenance.MEASURED,
    )


@pytest.fixture
def pool():
    with Pool([make_board("a"), make_board("b")]) as boards:
        yield boards


def test_a_board_serves_one_at_a_time(pool):
    with pool.acquire() as first, pool.acquire() as second:
        assert {first.link.name, second.link.name} == {"a", "b"}
        with (
            pytest.raises(DeviceError, match=r"all 2 boards .* in use for 0.05 s"),
            pool.acquire(wait_s=0.05),
        ):
            pass
    with pool.acquire() as again:
        assert again.link.run(["echo", "up"]).stdout == "up\n"


def test_waiting_ends_when_a_board_comes_back(pool):
    with contextlib.ExitStack() as held:
        held.enter_context(pool.acquire())
        first = pool.acquire()
        board = first.__enter__()
        threading.Timer(0.2, lambda: first.__exit__(None, None, None)).start()

        assert held.enter_context(pool.acquire(wait_s=60)) is board


def test_the_longest_idle_board_is_next(pool):
    used = []
    for _ in range(4):
        with pool.acquire() as board:
            used.append(board.link.name)

    assert used == ["a", "b", "a", "b"]


def test_a_board_whose_link_fails_is_set_aside_and_the_others_go_on(pool):
    def work(board):
        if board.link.name == "a":
            board.link.run(["no-such-program"])
        return board.link.name

    assert [pool.run(work) for _ in range(3)] == ["b", "b", "b"]
    assert list(pool.set_aside) == ["a"]
    assert "no-such-program" in str(pool.set_aside["a"])


@pytest.mark.parametrize("kind", [ZeroDivisionError, InputError, MeasurementError])
def test_an_error_that_is_not_the_boards_keeps_it(pool, kind):
    def fail(board):
        raise kind("broke off")

    for _ in range(4):
        with pytest.raises(kind, match="broke off"):
            pool.run(fail)

    assert pool.set_aside == {}


@pytest.mark.parametrize("kind", [LinkError, SensorError, DeviceError])
def test_a_board_that_cannot_do_it_is_left_out_with_a_note(kind):
    notes = []

    class Listener(NullProgress):
        def note(self, text):
            notes.append(text)

    def work(board):
        if board.link.name == "a":
            raise kind("a has no rail")
        return board.link.name

    with Pool([make_board("a"), make_board("b")], progress=Listener()) as boards:
        assert [boards.run(work) for _ in range(3)] == ["b", "b", "b"]
    assert notes == ["a is left out, the other boards do its work: a has no rail"]


def test_when_no_board_is_left_every_reason_is_said(pool):
    def fail(board):
        raise LinkError(f"{board.link.name} is unplugged")

    with pytest.raises(DeviceError, match=r"no board of the pool is left .*a is unplugged; b is unplugged"):
        pool.run(fail)


def test_who_waits_learns_that_no_board_is_left(pool):
    caught = []

    def wait():
        with (
            pytest.raises(DeviceError, match="no board of the pool is left") as error,
            pool.acquire(wait_s=60),
        ):
            pass
        caught.append(error.value)

    with contextlib.suppress(LinkError), pool.acquire():
        with contextlib.suppress(LinkError), pool.acquire():
            waiter = threading.Thread(target=wait)
            waiter.start()
            raise LinkError("gone")
        raise LinkError("gone too")
    waiter.join(timeout=60)

    assert len(caught) == 1


def test_many_threads_share_few_boards(pool):
    busy = set()
    done = []

    def work(board):
        assert board.link.name not in busy
        busy.add(board.link.name)
        time.sleep(0.01)
        busy.remove(board.link.name)
        done.append(board.link.name)

    threads = [threading.Thread(target=pool.run, args=(work,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(done) == 20
    assert set(done) == {"a", "b"}


def test_a_closed_pool_gives_no_board(pool):
    with pool.acquire() as board:
        pool.close()
        with pytest.raises(LinkError, match="closed"):
            board.link.run(["true"])
    with pytest.raises(DeviceError, match="is closed"), pool.acquire():
        pass


def test_boards_must_be_alike():
    with (
        open_device("jetson-tx2") as tx2,
        make_board("a") as host,
        pytest.raises(InputError, match="must be alike"),
    ):
        Pool([tx2, host])
    with pytest.raises(InputError, match="at least one"):
        Pool([])


def test_a_simulated_board_is_not_compared_with_a_real_one():
    with (
        open_device("jetson-tx2") as simulated,
        make_board("a", "jetson-tx2") as real,
        pytest.raises(InputError, match="the board is a simulated one on simulated and a real one on a"),
    ):
        Pool([simulated, real])


def test_a_pool_opens_one_board_per_link():
    with Pool.open("jetson-tx2", ["simulated"]) as pool:
        assert pool.profile.name == "jetson-tx2"
    with pytest.raises(InputError, match="only once"):
        Pool.open("jetson-tx2", ["simulated", "simulated"])


def test_boards_that_cannot_be_reached_are_set_aside(monkeypatch):
    def open_board(name, link, **options):
        if link.startswith("ssh://down"):
            raise LinkError(f"{link} cannot be reached")
        return make_board(link)

    monkeypatch.setattr("edgesynth.devices.pool.open_device", open_board)

    with Pool.open("host-cpu", ["ssh://down", "ssh://up"]) as pool:
        assert list(pool.set_aside) == ["ssh://down"]
        assert pool.run(lambda board: board.link.name) == "ssh://up"
    with pytest.raises(DeviceError, match="ssh://down1 cannot be reached; ssh://down2"):
        Pool.open("host-cpu", ["ssh://down1", "ssh://down2"])
