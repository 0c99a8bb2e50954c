"""People at a terminal see live progress; log files get few, complete lines."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from edgesynth.cli.progress import PlainProgress, RichProgress, open_progress
from edgesynth.progress import NullProgress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain(clock: Clock, stream: io.StringIO) -> PlainProgress:
    return PlainProgress(stream, clock, stamp=lambda: "12:00:00")


def test_a_phase_says_when_it_begins_and_how_long_it_took(clock: Clock) -> None:
    stream = io.StringIO()
    with plain(clock, stream).phase("train", 4) as phase:
        clock.now += 125
        phase.advance(4, loss=0.25)
    begin, *_, end = stream.getvalue().splitlines()
    assert begin == "12:00:00 train"
    assert end.startswith("12:00:00 train: done in 2")
    assert end.endswith("loss 0.25")


def test_lines_about_running_work_come_at_most_every_ten_seconds(clock: Clock) -> None:
    stream = io.StringIO()
    with plain(clock, stream).phase("train", 1000) as phase:
        for _ in range(1000):
            clock.now += 0.1
            phase.advance()
    running = [line for line in stream.getvalue().splitlines() if "/1000" in line]
    assert len(running) in {9, 10}


def test_a_running_line_gives_count_rate_and_time_left(clock: Clock) -> None:
    stream = io.StringIO()
    with plain(clock, stream).phase("train", 40) as phase:
        clock.now += 20
        phase.advance(10, loss=0.5)
        line = stream.getvalue().splitlines()[-1]
    assert "10/40" in line
    assert "0.5/s" in line
    assert "1 min 00 s left" in line.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert line.endswith("loss 0.5")


def test_slow_steps_show_the_time_of_one(clock: Clock) -> None:
    stream = io.StringIO()
    with plain(clock, stream).phase("train", 3) as phase:
        clock.now += 30
        phase.advance()
        assert "30" in stream.getvalue().splitlines()[-1]
        assert "each" in stream.getvalue().splitlines()[-1]


def test_a_short_phase_inside_another_is_not_worth_a_line(clock: Clock) -> None:
    stream = io.StringIO()
    progress = plain(clock, stream)
    with progress.phase("cycle 1"):
        with progress.phase("probe"):
            clock.now += 1
        with progress.phase("train"):
            clock.now += 30
    said = stream.getvalue()
    assert "probe" not in said
    assert "train: done in" in said


def test_a_phase_that_breaks_off_does_not_claim_to_be_done(clock: Clock) -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), plain(clock, stream).phase("train"):
        raise KeyboardInterrupt
    assert "stopped after" in stream.getvalue()
    assert "done" not in stream.getvalue()


def test_measuring_beside_training_keeps_every_count(clock: Clock) -> None:
    stream = io.StringIO()
    progress = plain(clock, stream)

    def work() -> None:
        with progress.phase("measure", 500) as phase:
            for step in range(500):
                phase.advance(step=step)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert all(line.startswith("12:00:00 measure") for line in lines)


def test_a_terminal_gets_a_live_line_and_keeps_the_outcome() -> None:
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, width=120)
    progress = RichProgress(console)
    with progress.phase("cycle [1/8]", 2) as outer:
        with progress.phase("train", 10) as inner:
            inner.advance(10, loss=0.125)
        outer.advance(2, netscore=61.5)
    progress.note("kept [as it is]")
    said = stream.getvalue()
    assert "cycle [1/8]: done in" in said
    assert "netscore 61.5" in said
    assert "kept [as it is]" in said
    assert "train: done" not in said


def test_progress_suits_where_it_goes() -> None:
    assert isinstance(open_progress(stream=Terminal()), RichProgress)
    assert isinstance(open_progress(stream=io.StringIO()), PlainProgress)
    assert isinstance(open_progress(quiet=True, stream=Terminal()), NullProgress)
