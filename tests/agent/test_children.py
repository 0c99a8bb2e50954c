"""Waiting never blocks, never falls silent, and never leaves a process behind."""

import json
import os
import subprocess
import sys
import time

import pytest

from edgesynth.agent import board as agent_board
from edgesynth.agent import events
from edgesynth.agent.children import LineProcess, wait
from edgesynth.agent.ending import runs
from edgesynth.agent.errors import LinkGone
from edgesynth.agent.events import Outbox


class NoGuard:
    """Children of these tests end with them."""

    def end(self, pid):
        pass

    def ended(self, pid):
        pass

    def complain(self, problem):
        raise AssertionError(problem)


@pytest.fixture
def pipe():
    """An outbox and the end that a host would read."""
    reader, writer = os.pipe()
    yield Outbox(writer), reader
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue


def python_lines(code):
    return LineProcess([sys.executable, "-SEuc", code], NoGuard())


def test_lines_are_stamped_when_they_arrive(pipe):
    code = "import time\nfor i in range(3):\n    print(time.monotonic())\n    time.sleep(0.2)"
    process = python_lines(code)
    heard = []

    done = wait(
        {process: lambda at_s, line: heard.append((at_s, line))},
        lambda: len(heard) == 3,
        pipe[0],
        until_s=time.monotonic() + 30,
    )
    process.close()

    assert done
    written_s, heard_s = [float(line) for _, line in heard], [at_s for at_s, _ in heard]
    assert all(written <= at_s < written + 5 for written, at_s in zip(written_s, heard_s, strict=True))
    assert heard_s == sorted(heard_s)


def test_silence_is_filled_with_signs_of_life(pipe, monkeypatch):
    monkeypatch.setattr(events, "ALIVE_S", 0.2)
    outbox, reader = pipe

    wait({}, lambda: False, outbox, until_s=time.monotonic() + 1.2)

    told = os.read(reader, 4096).splitlines()
    assert len(told) >= 2
    assert {json.loads(line)["event"] for line in told} == {"alive"}


def test_a_slow_program_is_no_silence_either(pipe, monkeypatch):
    monkeypatch.setattr(events, "ALIVE_S", 0.2)
    monkeypatch.setattr(agent_board, "_TICK_S", 0.3)
    monkeypatch.setattr(agent_board, "while_waiting", [pipe[0].keep_alive])

    done = agent_board.run([sys.executable, "-c", "import time; time.sleep(1); print(input())"], text="fed\n")

    assert done.output == "fed\n"
    assert os.read(pipe[1], 4096).count(b"alive") >= 2


def test_a_program_that_does_not_end_is_ended_with_all_it_started():
    done = agent_board.run(["/bin/sh", "-c", "sleep 4242.25 & sleep 4242.25"], timeout_s=0.3)

    assert "did not end within 0.3 s" in done.problem
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "4242.25" not in found


def test_the_end_of_the_reader_ends_the_wait_at_once(pipe):
    outbox, reader = pipe
    os.close(reader)

    with pytest.raises(LinkGone):
        wait({}, lambda: False, outbox, until_s=time.monotonic() + 30)


def test_output_without_line_ends_does_not_pile_up(pipe):
    process = python_lines("import sys\nsys.stdout.write('x' * 500000 + '\\nend\\n')")
    heard = []

    wait(
        {process: lambda at_s, line: heard.append(line)},
        lambda: not process.open,
        pipe[0],
        until_s=time.monotonic() + 30,
    )
    process.close()

    assert heard[-1] == "end"
    assert max(map(len, heard)) < 200000


def test_long_texts_are_cut_so_that_lines_stay_short(pipe):
    outbox, reader = pipe

    outbox.tell("failed", kind="crash", reason="x" * 30000)

    (line,) = os.read(reader, 60000).splitlines()
    assert len(json.loads(line)["reason"]) < 5000


def test_errors_are_not_collected_on_the_disk(pipe):
    flood = "import sys\nfor i in range(9000):\n    sys.stderr.write('%099d\\n' % i)\nprint('done')"
    process = LineProcess(
        ["/bin/sh", "-c", f'ulimit -f 64; exec {sys.executable} -SEuc "{flood}"'], NoGuard()
    )
    heard = []

    wait(
        {process: lambda at_s, line: heard.append(line)},
        lambda: not process.open,
        pipe[0],
        until_s=time.monotonic() + 60,
    )

    assert heard == ["done"]
    assert process.finish() == 0
    assert process.errors().endswith("8999")
    assert len(process.errors()) <= 1 << 16


def test_what_a_child_left_behind_ends_with_it(pipe):
    process = python_lines(
        "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\nimport os\nos._exit(3)"
    )
    heard = []
    wait(
        {process: lambda at_s, line: heard.append(line)},
        lambda: bool(heard),
        pipe[0],
        until_s=time.monotonic() + 30,
    )

    assert process.finish() == 3

    until = time.monotonic() + 20
    while runs(int(heard[0])) and time.monotonic() < until:
        time.sleep(0.02)
    assert not runs(int(heard[0]))
