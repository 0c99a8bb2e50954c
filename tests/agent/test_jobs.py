"""Work that outlives the link."""

import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest
from processes import read_until


def fetch(board, name, **values):
    return board.ask("fetch", job=name, folder=str(board.folder), **values)


def test_a_job_is_followed_like_any_other_work(board):
    board.use_python("3.6")

    events = board.bench(job="first", load_s=0.0)

    assert events[-1]["event"] == "end"
    assert fetch(board, "first") == events


def test_a_job_goes_on_when_the_link_drops_and_is_fetched_later(board):
    process = board.start("bench", board.request(job="survivor", load_s=1.0, clocks="fixed"))
    seen = read_until(process, '"name":"load"')
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()

    events = fetch(board, "survivor")

    assert events[: len(seen)] == seen
    assert [event["name"] for event in events if event["event"] == "phase"] == [
        "idle_before",
        "load",
        "idle_after",
        "end",
    ]
    assert events[-1]["event"] == "end"
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def test_a_job_can_be_stopped(board):
    process = board.start("bench", board.request(job="endless", load_s=600.0, clocks="fixed"))
    read_until(process, '"name":"load"')
    with process:
        process.terminate()

    events = fetch(board, "endless", stop=True)

    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "interrupted")
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def test_a_job_that_was_killed_is_told_from_one_that_runs(board):
    process = board.start("bench", board.request(job="killed", load_s=600.0))
    (job, *_) = read_until(process, '"name":"load"')
    os.kill(job["pid"], 9)

    with process:
        last = json.loads(process.stdout.read().splitlines()[-1])

    assert (last["event"], last["kind"]) == ("error", "interrupted")
    assert "ended without a result" in last["reason"]
    assert fetch(board, "killed")[-1] == last
    board.wait_until_quiet()


def test_what_a_killed_job_could_not_put_back_is_told_to_whoever_comes_next(board):
    board.set("nvpmodel", breaks_after=1)
    process = board.start("bench", board.request(job="killed", load_s=600.0, set_mode=True, mode="MAXQ"))
    (job, *_) = read_until(process, '"name":"load"')
    os.kill(job["pid"], 9)
    with process:
        process.stdout.read()
    board.wait_until_quiet()
    board.bench(job="ended", load_s=0.0)

    (event,) = board.ask("clean", folder=str(board.folder), engines=False, stop=True)

    (complaint,) = event["not_put_back"]
    assert complaint.startswith("the board is in power mode 'MAXQ' and was in 'MAXP_CORE_ARM'")
    assert event["jobs"] == ["ended", "killed"]


def end_at_once(process, board):
    """Kill it as if its host had gone too: nobody reads what it says."""
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()


def close_output(process, board):
    """Leave it running, and read no more: so it looks when its host is killed."""
    process.stdout.close()


@pytest.mark.parametrize("vanish", [end_at_once, close_output], ids=["agent killed", "host killed"])
def test_what_work_without_a_job_could_not_put_back_is_told_to_whoever_comes_next(board, vanish):
    board.use_python("3.6")
    board.set("nvpmodel", breaks_after=1)
    process = board.start_bench(until='"name":"load"', set_mode=True, mode="MAXQ")
    vanish(process, board)

    (event,) = board.ask("clean", folder=str(board.folder), engines=False, stop=True)  # waits for the guard

    (complaint,) = event["not_put_back"]
    assert complaint.startswith("the board is in power mode 'MAXQ' and was in 'MAXP_CORE_ARM'")
    assert board.ask("clean", folder=str(board.folder), engines=False, stop=True)[0]["not_put_back"] == []
    if vanish is close_output:
        process.wait(timeout=20)
        process.stderr.close()
    board.wait_until_quiet()


def test_work_without_a_job_leaves_no_file_when_all_was_heard(board):
    board.set("nvpmodel", breaks_after=1)

    events = board.bench(load_s=0.0, set_mode=True, mode="MAXQ")
    assert any("not_put_back" in event for event in events)
    process = board.start_bench(until='"name":"load"')
    (kept,) = (board.folder / "jobs").iterdir()
    assert json.loads(kept.read_text())["pid"] == process.pid
    process.terminate()
    with process:
        process.stdout.read()

    assert list((board.folder / "jobs").iterdir()) == []
    board.wait_until_quiet()


def test_clean_can_end_work_without_a_job(board):
    process = board.start_bench(until='"name":"load"', clocks="fixed")

    with process:
        (event,) = board.ask("clean", folder=str(board.folder), engines=False, stop=True)
        last = json.loads(process.stdout.read().splitlines()[-1])

    assert (last["event"], last["kind"]) == ("error", "interrupted")
    assert event["not_put_back"] == []
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def test_a_name_is_used_once(board):
    board.bench(job="twice", load_s=0.0)

    (event,) = board.bench(job="twice")

    assert event["kind"] == "request"
    assert "already" in event["reason"]


@pytest.mark.parametrize("name", ["../escape", "", "a/b", ".hidden", 7])
def test_a_name_cannot_lead_elsewhere(bare_board, name):
    (event,) = bare_board.bench(job=name)

    assert (event["event"], event["kind"]) == ("error", "request")


def test_an_unknown_job_is_said_to_be_unknown(bare_board):
    (event,) = fetch(bare_board, "nothing")

    assert "no job 'nothing'" in event["reason"]


def test_clean_removes_what_has_ended_and_leaves_what_runs(board):
    board.bench(job="ended", load_s=0.0)
    process = board.start("bench", board.request(job="running", load_s=600.0))
    read_until(process, '"name":"load"')

    board.write("home/work/models/0123.onnx", "sent by a host")

    (event,) = board.ask("clean", folder=str(board.folder))

    assert not list((board.folder / "models").iterdir())
    assert event["jobs"] == ["ended"]
    assert event["freed_bytes"] > 0
    assert not list((board.folder / "engines").iterdir())
    fetch(board, "running", stop=True)
    with process:
        process.stdout.read()
    board.wait_until_quiet()


def test_clean_goes_by_no_clock_unless_it_is_told_an_age(bare_board):
    later_s = time.time() + 3600  # written before the board's clock went back
    for path, text in (("jobs/ahead.jsonl", '{"event":"end"}\n'), ("models/0123.onnx", "sent by a host")):
        os.utime(bare_board.write(f"home/work/{path}", text), (later_s, later_s))

    (spared,) = bare_board.ask("clean", folder=str(bare_board.folder), older_than_s=60.0)
    (event,) = bare_board.ask("clean", folder=str(bare_board.folder))

    assert (spared["jobs"], event["jobs"]) == ([], ["ahead"])
    assert not list((bare_board.folder / "models").iterdir())


def test_a_job_that_nobody_follows_ends_and_puts_the_board_back(board):
    board.use_python("3.6")
    request = board.request(job="orphan", load_s=600.0, clocks="fixed", abandon_s=1.0)
    process = board.start("bench", request)
    read_until(process, '"name":"load"')
    with process:
        process.kill()

    board.wait_until_quiet()

    last = fetch(board, "orphan")[-1]
    assert (last["event"], last["kind"]) == ("error", "interrupted")
    assert "nobody has followed the job for" in last["reason"]
    assert board.present_clocks() == board.clocks


def test_a_job_that_is_followed_is_not_abandoned(board):
    events = board.bench(job="followed", load_s=1.5, abandon_s=0.5)

    assert events[-1]["event"] == "end"


def test_a_job_may_be_started_again_and_forgotten(board):
    first = board.bench(job="one", load_s=0.0)

    assert board.bench(job="one", again=True, load_s=0.0) == first
    board.bench(job="two", load_s=0.0, forget=["one", "never"])
    assert [path.name for path in (board.folder / "jobs").glob("*.jsonl")] == ["two.jsonl"]


def test_a_job_whose_start_was_cut_short_is_started(board):
    (board.folder / "jobs").mkdir(parents=True)
    (board.folder / "jobs/one.jsonl").touch()

    assert board.bench(job="one", again=True, load_s=0.0)[-1]["event"] == "end"


def test_clean_can_end_what_runs(board):
    process = board.start("bench", board.request(job="left", load_s=600.0, clocks="fixed"))
    read_until(process, '"name":"load"')

    (event,) = board.ask("clean", folder=str(board.folder), engines=False, stop=True)

    assert event["jobs"] == ["left"]
    assert board.present_clocks() == board.clocks
    assert list((board.folder / "jobs").iterdir()) == []
    assert list((board.folder / "engines").iterdir())
    with process:
        process.stdout.read()
    board.wait_until_quiet()


def send(board, name, *, age_s):
    """A model of 600 kB that a host has sent so long ago."""
    path = board.write(f"home/work/models/{name}.onnx", "x" * 600_000)
    if name == "asked":  # but for this one, which is a network
        shutil.copy(board.layer("fp16"), path)
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_models_that_hosts_have_sent_are_kept_up_to_the_limit(board):
    sent = {name: send(board, name, age_s=age_s) for name, age_s in (("a", 9000), ("b", 8000), ("c", 7000))}
    sent["asked"] = send(board, "asked", age_s=9999)
    sent["coming"] = send(board, "coming", age_s=5)

    board.bench(load_s=0.0, cache_mb=2, network={"model": str(sent["asked"])})
    assert sorted(name for name, path in sent.items() if path.exists()) == ["asked", "b", "c", "coming"]
    board.bench(load_s=0.0, cache_mb=0, network={"model": str(sent["asked"])})
    assert sorted(name for name, path in sent.items() if path.exists()) == ["asked", "coming"]
    assert time.time() - sent["asked"].stat().st_mtime < 300  # now it is the one that was used last


def test_a_model_that_a_job_uses_is_not_removed(board):
    used = send(board, "asked", age_s=9999)
    process = board.start("bench", board.request(load_s=600.0, network={"model": str(used)}, job="user"))
    read_until(process, '"name":"load"')
    os.utime(used, (time.time() - 9999,) * 2)

    board.bench(load_s=0.0, cache_mb=0)
    assert used.exists()
    fetch(board, "user", stop=True)
    with process:
        process.stdout.read()
    board.bench(load_s=0.0, cache_mb=0)
    assert not used.exists()


@pytest.fixture
def small_disk(board):
    """The work folder on a disk of a few pages."""
    board.folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(board.folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a small disk here: needs root")
    yield board.folder
    subprocess.run(["umount", "-l", str(board.folder)], check=True)


@pytest.mark.parametrize("job", [{}, {"job": "full"}])
def test_a_full_disk_is_no_fault_of_the_network(board, small_disk, job):
    (small_disk / "engines").mkdir()
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))

    last = board.ask("bench", **board.request(load_s=0.0, **job))[-1]

    assert (last["event"], last["kind"]) == ("error", "disk")
    assert "no space left on the board; free some" in last["reason"]
    board.wait_until_quiet()


@pytest.mark.parametrize("asked", [{"job": "full"}, {"clocks": "fixed"}])
def test_a_board_without_room_for_temporary_files_says_so(board, asked):
    board.use_python("3.6")
    # Every folder that it tries is one in which it cannot make a file.
    unlucky = "import tempfile; tempfile._bin_openflags = 0"
    board.write("usr/lib/python3/dist-packages/sitecustomize.py", unlucky)

    last = board.ask("bench", **board.request(load_s=0.0, **asked))[-1]

    assert (last["event"], last["kind"]) == ("error", "disk")
    assert "/tmp" in last["reason"]
    assert "free some space there" in last["reason"]
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()
