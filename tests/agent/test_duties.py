"""What a killed agent and its guard have left is put back by whoever comes next."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from processes import read_until

from edgesynth.agent.duties import make_up
from edgesynth.agent.errors import Interrupted
from edgesynth.agent.guard import Guard


def vanish(board, **asked):
    """Kill a job under way with all that belongs to it, as if the board had lost its power."""
    process = board.start("bench", board.request(job="cut", load_s=600.0, **asked))
    read_until(process, '"name":"load"')
    board.kill_all()
    with process:
        process.stdout.read()
    board.wait_until_quiet()


@pytest.fixture
def cut_off(board):
    """A job that had changed mode and clocks, and vanished."""
    board.use_python("3.6")
    vanish(board, set_mode=True, mode="MAXQ", clocks="fixed")
    assert board.present_mode() == "MAXQ"
    return board


def come_next(board):
    (event,) = board.ask("clean", folder=str(board.folder), engines=False, stop=True)
    assert event["not_put_back"] == []
    assert list((board.folder / "jobs").iterdir()) == []


def test_what_was_killed_with_its_guard_is_put_back_by_whoever_comes_next(cut_off):
    come_next(cut_off)

    assert cut_off.present_mode() == "MAXP_CORE_ARM"
    assert cut_off.present_clocks() == cut_off.clocks


@pytest.mark.parametrize("asked", [{"job": "next"}, {}], ids=["job", "attached"])
def test_the_next_benchmark_puts_it_back_before_it_looks(cut_off, asked):
    events = cut_off.bench(load_s=0.0, set_mode=True, mode="MAXQ", **asked)

    assert [event["mode_before"] for event in events if "mode_before" in event] == ["MAXP_CORE_ARM"]
    assert cut_off.present_mode() == "MAXP_CORE_ARM"
    assert cut_off.present_clocks() == cut_off.clocks


@pytest.mark.parametrize("until", ["latency", '"name":"load"'])
def test_an_agent_whose_guard_was_killed_puts_the_board_back_itself(board, until):
    board.use_python("3.6")
    asked = board.request(job="alone", load_s=1.0, set_mode=True, mode="MAXQ", clocks="fixed")
    with board.start("bench", asked) as process:
        read_until(process, until)
        (guard,) = [pid for pid, command in board.processes().items() if command.endswith(" _guard")]
        os.kill(guard, 9)
        *_, last = (json.loads(line) for line in process.stdout)

    assert (last["event"], last.get("kind")) in [("end", None), ("error", "interrupted")]
    assert "not_put_back" not in last.get("reason", "")
    assert board.present_mode() == "MAXP_CORE_ARM"
    assert board.present_clocks() == board.clocks
    assert not (board.folder / "jobs/alone.undo").exists()


def test_what_cannot_be_written_down_is_not_changed(board):
    board.use_python("3.6")
    board.write("home/work/jobs/full.undo.new/in the way", "")

    *_, last = board.bench(job="full", load_s=0.0, set_mode=True, mode="MAXQ", clocks="fixed")

    assert (last["event"], last["kind"]) == ("error", "disk")
    assert "full.undo: Is a directory; nothing was changed" in last["reason"]
    assert "not as it was found" not in last["reason"]
    assert (board.present_mode(), board.present_clocks()) == ("MAXP_CORE_ARM", board.clocks)


def test_clocks_that_somebody_has_set_since_stay(board):
    vanish(board, clocks="fixed")
    by_hand = {"GPU": [216750000, 1122000000, 216750000], "EMC": board.clocks["EMC"]}
    board.write("state/clocks", json.dumps(by_hand))

    come_next(board)

    assert board.present_clocks() == by_hand


def test_clocks_that_heat_has_lowered_since_are_put_back(board):
    vanish(board, clocks="fixed")
    least, _, present = board.present_clocks()["GPU"]
    board.write("state/clocks", json.dumps({**board.present_clocks(), "GPU": [least, 1122000000, present]}))

    come_next(board)

    assert board.present_clocks() == board.clocks


def test_after_a_restart_the_mode_is_put_back_and_clocks_are_left_alone(cut_off):
    left = cut_off.folder / "jobs/cut.undo"
    left.write_text(json.dumps({**json.loads(left.read_text()), "boot": "another"}))

    come_next(cut_off)

    assert cut_off.present_mode() == "MAXP_CORE_ARM"
    assert cut_off.present_clocks()["GPU"] != cut_off.clocks["GPU"]  # but as nvpmodel leaves them


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[5",
        '{"boot": "", "duties": [{"command": [5]}]}',
        '{"boot": "", "duties": [{"command": ["true"], "clocks": {}, "fixed": [5]}]}',
        "[" * 10**5,
    ],
)
def test_what_cannot_be_read_of_it_is_told_once_and_hinders_nobody(tmp_path, text):
    left = tmp_path / "cut.undo"
    left.write_text(text)

    assert make_up(str(left)) == (
        f"what {left} was to put back cannot be read; look at the power mode and the clocks"
    )
    assert make_up(str(left)) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another")
def test_what_another_user_has_left_is_not_run_as_this_one(tmp_path):
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    left, ran = tmp_path / "cut.undo", tmp_path / "ran"
    left.write_text(json.dumps({"boot": boot, "duties": [{"command": ["touch", str(ran)]}]}))
    os.chown(left, 12345, -1)

    assert make_up(str(left)) == ""
    assert (left.exists(), ran.exists()) == (True, False)
    os.chown(left, 0, -1)  # of one's own it is
    assert make_up(str(left)) == ""
    assert (left.exists(), ran.exists()) == (False, True)


def test_what_a_forgotten_job_has_left_is_put_back_by_clean_too(cut_off):
    for suffix in ("jsonl", "followed"):
        (cut_off.folder / f"jobs/cut.{suffix}").unlink()

    come_next(cut_off)

    assert cut_off.present_mode() == "MAXP_CORE_ARM"


def test_a_mode_that_somebody_has_set_since_stays(cut_off):
    cut_off.write("var/lib/nvpmodel/status", "pmode:0002 fmode:quiet")

    come_next(cut_off)

    assert cut_off.present_mode() == "MAXP_CORE_ALL"


def test_what_is_to_be_put_back_is_written_down_before_anything_is_changed(board, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(board.agent)])
    kept = tmp_path / "work.undo"

    with Guard(str(tmp_path / "work.jsonl")) as guard:
        guard.undo(["true"])
        written = json.loads(kept.read_text())

    assert written["duties"] == [{"command": ["true"]}]
    assert (guard.complaint, kept.exists()) == ("", False)


@pytest.fixture
def stopped(board, monkeypatch):
    """A guard that answers nothing until it is let go on, as where the disk is slow."""
    monkeypatch.setattr(sys, "argv", [str(board.agent)])
    with Guard() as guard:
        guard.undo(["true"])
        (process,) = [pid for pid, command in board.processes().items() if command.endswith(" _guard")]
        os.kill(process, signal.SIGSTOP)
        yield guard, lambda: os.kill(process, signal.SIGCONT)


def test_an_agent_that_is_stopped_before_the_guard_has_answered_complains_of_nothing(stopped):
    guard, go_on = stopped

    def stop(number, frame):
        raise Interrupted("stopped")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    with pytest.raises(Interrupted, match="stopped"):
        guard.undo(["true"])
    signal.signal(signal.SIGALRM, before)
    go_on()
    guard.close()

    assert guard.complaint == ""


def test_a_guard_that_does_not_answer_is_not_waited_for_for_ever(stopped, monkeypatch):
    guard, go_on = stopped
    monkeypatch.setattr("edgesynth.agent.duties.PATIENCE_S", 0.1)

    with pytest.raises(Interrupted, match="does not answer"):
        guard.undo(["true"])
    monkeypatch.undo()
    go_on()
