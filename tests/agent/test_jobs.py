"""Work that outlives the link."""

import json
import os

import pytest


def read_until(process, text):
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if text in line.decode():
            return lines
    raise AssertionError(process.stderr.read().decode())


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
