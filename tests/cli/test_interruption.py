"""Every signal that asks a command to end has it leave in order: one line, an exit code, and nothing left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import ended, wait_for
from torch import nn

import edgesynth as package
from edgesynth.cli import devices as devices_verb
from edgesynth.cli.interruption import Interruption
from edgesynth.deploy.onnx import export_onnx
from edgesynth.scratch import PREFIX

ENDING = [signal.SIGTERM, signal.SIGHUP]
BENCH = ("bench", "net.onnx", "--device", "host-cpu", "--window", "60", "--quiet")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where commands keep temporary files; short, as the sockets of ssh need it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def environment(scratch: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(Path(package.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return export_onnx(nn.Conv2d(1, 4, 3), torch.randn(1, 1, 8, 8), tmp_path / "net.onnx").path


def start(folder: Path, environment: dict[str, str], *before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-m", "edgesynth", *BENCH],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def folders(scratch: Path) -> list[Path]:
    """What is there but for a hidden file that ONNX Runtime keeps for itself."""
    return [path for path in scratch.iterdir() if not path.name.startswith(".")]


def users(folder: Path) -> list[int]:
    """Processes that keep their temporary files there."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"TMPDIR={folder}".encode() in place.read_bytes().split(b"\0"):
                found.append(int(place.parent.name))
        except OSError:
            continue
    return found


def is_measuring(scratch: Path) -> bool:
    """Whether the program that measures was started: its folder holds what it runs."""
    return len(users(scratch)) > 1 and bool(list(scratch.glob("*/models/*.onnx")))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)])
def test_a_command_that_is_asked_to_end_leaves_nothing(
    tmp_path: Path, network: Path, scratch: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    with start(tmp_path, environment) as running:
        wait_for(lambda: is_measuring(scratch))
        running.send_signal(number)
        out, err = ended(running)

    assert running.returncode == 128 + number
    kept = "the device was given back, and engines that a board has built are kept there"
    assert err == f"edgesynth: bench stopped by {number.name}; {kept}\n"
    assert out == ""
    assert folders(scratch) == []
    wait_for(lambda: not users(scratch), 10.0)


def test_a_terminal_that_is_closed_leaves_nothing(
    tmp_path: Path, network: Path, scratch: Path, environment: dict[str, str]
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "-m", "edgesynth", *BENCH[:-1]], environment)
    wait_for(lambda: is_measuring(scratch))
    os.close(terminal)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 129
    assert folders(scratch) == []


def test_what_a_killed_command_left_is_removed_by_the_next_one(
    tmp_path: Path, network: Path, scratch: Path, environment: dict[str, str]
) -> None:
    with start(tmp_path, environment) as running:
        wait_for(lambda: is_measuring(scratch))
        running.kill()
        running.communicate(timeout=60)
    left = folders(scratch)
    assert {path.name.startswith(PREFIX) for path in left} == {True}
    for path in left:
        os.utime(path, (0, 0))

    with start(tmp_path, environment) as running:
        wait_for(lambda: not set(left) & set(folders(scratch)))
        wait_for(lambda: is_measuring(scratch))
        running.terminate()
        ended(running)
    assert folders(scratch) == []


def test_nohup_keeps_a_command_from_hearing_of_it(
    tmp_path: Path, network: Path, scratch: Path, environment: dict[str, str]
) -> None:
    with start(tmp_path, environment, "nohup") as running:
        wait_for(lambda: is_measuring(scratch))
        running.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        ended(running)
    assert running.returncode == 143


@pytest.mark.parametrize("number", ENDING)
def test_any_command_tells_what_ended_it(
    edgesynth: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(devices_verb, "_list", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(number)

    outcome = edgesynth("devices")

    assert (outcome.code, outcome.err) == (128 + number, f"edgesynth: devices stopped by {number.name}\n")
    assert signal.getsignal(number) is before


def test_what_fails_while_tidying_up_is_not_why_it_ended(
    edgesynth: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise package.EdgesynthError("the board does not answer")

    monkeypatch.setattr(devices_verb, "_list", stop)

    outcome = edgesynth("devices")

    assert (outcome.code, outcome.err) == (143, "edgesynth: devices stopped by SIGTERM\n")


def test_a_second_signal_does_not_cut_tidying_up_short() -> None:
    tidied = False
    with Interruption() as interruption:
        try:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            tidied = True
    assert tidied
    assert interruption.exit_code == 143
