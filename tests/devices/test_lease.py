"""Two runs never measure on one board at once, whatever happens to either."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgesynth.devices import Lease, LocalLink
from edgesynth.errors import DeviceError, InputError, LinkError


@pytest.fixture
def link(request, tmp_path):
    if getattr(request, "param", "local") == "ssh":
        yield request.getfixturevalue("ssh_link")
    else:
        with contextlib.closing(LocalLink(tmp_path / "board")) as local:
            yield local


# What depends on the link is tried on both; what follows from the file's content is not.
on_every_link = pytest.mark.parametrize(
    "link", ["local", pytest.param("ssh", marks=pytest.mark.ssh)], indirect=True
)


def file_of(link):
    return Path(link.path("lease.json"))


def change(link, **values):
    """Write the lease as another run would have it."""
    path = file_of(link)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def free(link):
    with Lease(link):
        return True


@on_every_link
def test_a_board_belongs_to_one_run_at_a_time(link):
    with Lease(link) as first:
        with pytest.raises(DeviceError, match=rf"in use by .+@.+ \(process {os.getpid()}\), for up to \d+ s"):
            Lease(link).acquire()
        first.check()

    assert not file_of(link).exists()
    assert free(link)


@on_every_link
def test_only_one_of_many_gets_it(link):
    held = []
    barrier = threading.Barrier(5)

    def take():
        lease = Lease(link)
        barrier.wait()
        with contextlib.suppress(DeviceError):
            lease.acquire()
            held.append(lease)

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(held) == 1
    held[0].release()


@on_every_link
def test_a_run_may_wait_for_another(link):
    first = Lease(link)
    first.acquire()
    threading.Timer(0.3, first.release).start()

    with Lease(link, wait_s=60):
        assert file_of(link).exists()


@on_every_link
def test_an_expired_lease_is_taken_over(link):
    lost = Lease(link)
    lost.acquire()
    change(link, expires_s=1.0)

    with Lease(link) as mine:
        mine.check()
        with pytest.raises(DeviceError, match=r"was lost: taken over by .*measure again"):
            lost.renew()
        lost.release()
        mine.renew()  # releasing a lost lease takes nothing away


def test_a_lease_does_not_outlive_a_restart_of_the_board(link):
    lost = Lease(link)
    lost.acquire()
    change(link, boot="another")

    assert free(link)
    lost.release()


def test_a_lease_of_a_dead_run_of_this_machine_is_taken_over(link):
    lost = Lease(link)
    lost.acquire()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    change(link, pid=ended.pid)

    assert free(link)
    lost.release()


def test_a_lease_of_another_machine_is_respected_whatever_its_process(link):
    lost = Lease(link)
    lost.acquire()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    change(link, pid=ended.pid, place="elsewhere", owner="eve@lab")

    with pytest.raises(DeviceError, match="in use by eve@lab"):
        Lease(link).acquire()
    lost.release()


ENDLESS = '{"owner":"","pid":Infinity,"place":"","token":"","boot":"","expires_s":1}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"owner": "x"}', "\0\1\udcff", "x" * 10_000, "[" * 4096, ENDLESS]
)
def test_a_damaged_lease_holds_nothing(tmp_path, text):
    link = LocalLink(tmp_path)
    file_of(link).write_bytes(text.encode(errors="surrogateescape"))

    assert free(link)


@on_every_link
def test_a_damaged_lease_holds_nothing_on_a_board(link):
    file_of(link).parent.mkdir(parents=True, exist_ok=True)
    file_of(link).write_bytes(b"{\0\xff")

    assert free(link)


@on_every_link
def test_the_holder_renews_while_it_measures(link):
    with Lease(link, duration_s=3.0) as lease:
        first = json.loads(file_of(link).read_text())["expires_s"]
        deadline = time.monotonic() + 60
        while json.loads(file_of(link).read_text())["expires_s"] == first and time.monotonic() < deadline:
            time.sleep(0.05)
        lease.check()

        assert json.loads(file_of(link).read_text())["expires_s"] > first


def test_a_lost_lease_ends_in_an_error_unless_something_else_went_wrong(link):
    with pytest.raises(DeviceError, match="was lost"), Lease(link) as lease:
        file_of(link).unlink()
        with pytest.raises(DeviceError, match="an unknown run"):
            lease.renew()
    with pytest.raises(ZeroDivisionError), Lease(link) as lease:
        file_of(link).unlink()
        raise ZeroDivisionError


def test_a_lease_that_could_not_be_renewed_in_time_is_lost(tmp_path):
    link = LocalLink(tmp_path)
    lease = Lease(link, duration_s=0.2)
    lease.acquire()
    link.close()  # every renewal fails from here on
    time.sleep(0.3)

    with pytest.raises(DeviceError, match="ran out before it could be renewed"):
        lease.check()
    lease.release()


def test_a_work_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "board").touch()

    with pytest.raises(DeviceError, match=r"cannot be written: .*: .*; free some space there, let this user"):
        Lease(LocalLink(tmp_path / "board")).acquire()


def test_a_closed_link_is_not_a_free_board(tmp_path):
    link = LocalLink(tmp_path)
    link.close()

    with pytest.raises(LinkError, match="closed"):
        Lease(link).acquire()


def test_a_lease_lasts():
    with pytest.raises(InputError, match="positive"):
        Lease(LocalLink(), duration_s=0)
