"""What every link promises, tried on every link there is."""

import os
import signal
import sys

import pytest

from edgesynth.devices import LocalLink
from edgesynth.errors import LinkError


def test_a_command_returns_its_output(harness):
    done = harness.link.run([*harness.say, "hello", "board"])

    assert (done.returncode, done.stdout) == (0, "hello board\n")


def test_arguments_arrive_unchanged(harness):
    awkward = "a b $HOME `id` ; rm 'x' \"y\" *"

    assert harness.link.run([*harness.say, awkward]).stdout == awkward + "\n"


def test_a_failing_command_returns_its_status(harness):
    assert harness.link.run(harness.fail).returncode == 1


def test_an_unknown_command_is_refused(harness):
    with pytest.raises(LinkError, match="no-such-program"):
        harness.link.run(["no-such-program"])
    with pytest.raises(LinkError, match="no-such-program"):
        harness.link.stream(["no-such-program"])


def test_a_command_that_takes_too_long_is_ended(harness):
    with pytest.raises(LinkError, match="did not end"):
        harness.link.run(harness.wait(30), timeout_s=0.2)


def test_lines_are_stamped_in_order(harness):
    with harness.link.stream([*harness.say, "one"]) as stream:
        lines = list(stream)

    assert [line.text for line in lines] == ["one"]
    assert lines[0].at_s <= harness.link.clock.monotonic()


def test_a_stream_that_has_ended_gives_nothing_more(harness):
    with harness.link.stream([*harness.say, "one"], silence_s=60) as stream:
        list(stream)

        assert list(stream) == []
        assert stream.close() == stream.close()
    assert list(stream) == []


def test_an_empty_command_is_refused(harness):
    with pytest.raises(LinkError):
        harness.link.run([])
    with pytest.raises(LinkError):
        harness.link.stream([])


def test_a_silent_command_breaks_the_stream(harness):
    command = harness.wait(20)

    with (
        harness.link.stream(command, silence_s=0.2) as stream,
        pytest.raises(LinkError, match="printed nothing"),
    ):
        list(stream)


def test_a_stream_can_be_left_early(harness):
    with harness.link.stream(harness.wait(30), silence_s=60) as stream:
        before = harness.link.clock.monotonic()
        stream.close()

    assert harness.link.clock.monotonic() - before < 10


def test_standard_input_reaches_the_command(harness):
    done = harness.link.run(["cat"], stdin="first\nsecond\n")

    assert done.stdout == "first\nsecond\n"


def test_files_make_the_round_trip(harness, tmp_path):
    source = tmp_path / "with blank.bin"
    source.write_bytes(bytes(range(256)) * 100)

    harness.link.put(source, "models/it's here.bin")
    harness.link.get("models/it's here.bin", tmp_path / "back.bin")

    assert (tmp_path / "back.bin").read_bytes() == source.read_bytes()


def test_a_sent_file_can_be_opened_by_commands(harness, tmp_path):
    source = tmp_path / "note.txt"
    source.write_text("hello\n")
    harness.link.put(source, "note.txt")

    assert harness.link.run(["cat", harness.link.path("note.txt")]).stdout == "hello\n"


def test_a_missing_file_is_said(harness, tmp_path):
    with pytest.raises(LinkError, match="absent"):
        harness.link.get("absent", tmp_path / "x")
    with pytest.raises(LinkError, match="nowhere"):
        harness.link.put(tmp_path / "nowhere", "x")


def test_a_closed_link_refuses_everything(harness, tmp_path):
    harness.link.close()
    harness.link.close()

    for attempt in (
        lambda: harness.link.run(harness.say),
        lambda: harness.link.stream(harness.say),
        lambda: harness.link.put(tmp_path, "x"),
        lambda: harness.link.get("x", tmp_path / "y"),
    ):
        with pytest.raises(LinkError, match="closed"):
            attempt()


def test_local_paths_cannot_leave_the_work_folder(tmp_path):
    link = LocalLink(tmp_path)

    with pytest.raises(LinkError, match="leads out"):
        link.path("../outside")


def test_local_link_ends_a_program_that_ignores_being_asked():
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(60)"
    )
    link = LocalLink()
    with link.stream([sys.executable, "-c", code]) as stream:
        assert next(iter(stream)).text == "up"
        done = stream.close()
    link.close()

    assert done.returncode == -9


def test_local_link_refuses_endless_lines():
    link = LocalLink()
    code = "import sys; sys.stdout.write('x' * (3 << 20)); sys.stdout.flush()"
    with link.stream([sys.executable, "-c", code]) as stream, pytest.raises(LinkError, match="longer than"):
        list(stream)
    link.close()


def test_local_link_ends_what_the_program_started(tmp_path):
    mark = tmp_path / "alive"
    child = f"import time, pathlib; time.sleep(1.0); pathlib.Path({str(mark)!r}).touch()"
    code = (
        "import subprocess, sys, time; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); print('up', flush=True); time.sleep(30)"
    )
    link = LocalLink()
    with link.stream([sys.executable, "-c", code]) as stream:
        assert next(iter(stream)).text == "up"
    link.close()
    link.clock.sleep(1.5)

    assert not mark.exists()


def test_local_link_ends_what_a_slow_command_had_started():
    link = LocalLink()
    before = link.clock.monotonic()
    with pytest.raises(LinkError, match="did not end"):
        link.run(["sh", "-c", "sleep 60; true"], timeout_s=0.2)
    link.close()

    assert link.clock.monotonic() - before < 30


@pytest.mark.slow
def test_local_link_takes_leave_of_a_program_that_went_its_own_way():
    link = LocalLink()
    with link.stream(["sh", "-c", "setsid sleep 60 & echo $!"], silence_s=60) as stream:
        pid = int(next(iter(stream)).text)
        before = link.clock.monotonic()
        stream.close()
    link.close()

    assert link.clock.monotonic() - before < 50
    os.kill(pid, signal.SIGKILL)
