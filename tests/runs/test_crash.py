"""Whatever kills the writer, and whenever, the run folder stays whole."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import edgesynth.runs
from edgesynth.errors import RunError
from edgesynth.metrics import Metric, Provenance
from edgesynth.runs import CycleRecord, NetworkRecord, Run
from edgesynth.runs.atomic import write_synced
from edgesynth.runs.faults import disk_faults

NETWORKS_PER_CYCLE = 3
PACKAGE = str(Path(edgesynth.runs.__file__).parent)


def write_cycle(run: Run, number: int) -> None:
    metrics = {"macs": Metric("macs", float(number), Provenance.COMPUTED)}
    with run.transaction():
        for i in range(NETWORKS_PER_CYCLE):
            run.record_network(NetworkRecord(f"{number}.{i}", "candidate", {}, metrics, cycle=number))
        run.record_cycle(CycleRecord(number, 0.9, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
        run.checkpoint(number, {"weights": torch.full((20_000,), float(number))}, {"cycle": number})
        run.checkpoint(number, {"policy": torch.full((4,), float(number))}, {"cycle": number}, keep=True)


def write_until_killed(folder: Path) -> None:
    """Start the run or resume it, and go on for ever."""
    run = Run.open(folder, write=True) if (folder / "run.sqlite").exists() else Run.create(folder, {"job": 1})
    latest = run.latest_checkpoint()
    number = latest.cycle + 1 if latest else 0
    while True:
        write_cycle(run, number)
        number += 1


def write_and_die_at_line(folder: Path, line: int) -> None:
    """Run until the given number of lines of the package were executed, then die by SIGKILL."""
    left = line

    def on_line(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename.startswith(PACKAGE):
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return on_line
        return None

    sys.settrace(on_line)
    write_until_killed(folder)


def check(folder: Path) -> int:
    """Assert that the folder is whole, and return how many cycles it holds."""
    if not (folder / "run.sqlite").exists():
        Run.create(folder, {"job": 1}).close()
    with Run.open(folder, write=True) as run:
        assert run.manifest == {"job": 1}
        cycles = [record.cycle for record in run.cycles()]
        assert cycles == list(range(len(cycles)))
        keys = [record.key for record in run.networks()]
        assert keys == [f"{number}.{i}" for number in cycles for i in range(NETWORKS_PER_CYCLE)]
        latest = run.latest_checkpoint()
        assert (latest.cycle if latest else -1) == len(cycles) - 1
        for number in cycles:
            found = run.checkpoint_at(number)
            assert found.state == {"cycle": number}
            assert all(bool((tensor == number).all()) for tensor in found.tensors.values())
        # Opening for writing cleared the leftovers: two to resume from, and one kept per cycle.
        names = sorted(path.name for path in (folder / "checkpoints").glob("*"))
        assert len(names) == len(cycles) + min(2, len(cycles))
    return len(cycles)


@pytest.fixture(scope="module")
def processes():
    # The fork server imports torch once; each child is then a cheap, real process to kill.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "safetensors.torch", "pytest", "edgesynth.runs.run", __name__])
    return context


def test_sigkill_at_any_moment_leaves_a_run_that_resumes(processes, tmp_path):
    rng = random.Random(0)
    held = 0
    for _ in range(15):
        writer = processes.Process(target=write_until_killed, args=(tmp_path,))
        writer.start()
        deadline = time.monotonic() + 30
        while not has_more_than(tmp_path, held) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.03))
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        now = check(tmp_path)
        assert now > held
        held = now


def has_more_than(folder: Path, cycles: int) -> bool:
    if not (folder / "run.sqlite").exists():
        return False
    with Run.open(folder) as reader:
        return len(reader.cycles()) > cycles


@pytest.mark.slow
def test_sigkill_between_any_two_lines_of_creation_and_two_cycles_is_harmless(processes, tmp_path):
    held = set()
    for line in range(5, 1500, 23):
        folder = tmp_path / str(line)
        writer = processes.Process(target=write_and_die_at_line, args=(folder, line))
        writer.start()
        writer.join(60)
        assert writer.exitcode == -signal.SIGKILL
        held.add(check(folder))
    assert {0, 1, 2} <= held


def test_the_lock_of_a_killed_writer_is_free(processes, tmp_path):
    writer = processes.Process(target=write_until_killed, args=(tmp_path,))
    writer.start()
    while not has_more_than(tmp_path, 0):
        time.sleep(0.01)
    with pytest.raises(RunError, match=f"written by process {writer.pid} on "):
        Run.open(tmp_path, write=True)
    writer.kill()
    writer.join()
    with Run.open(tmp_path) as reader:
        assert reader.status == "interrupted"
    Run.open(tmp_path, write=True).close()


def write_with_a_worker(folder: Path, queue) -> None:
    with Run.create(folder, {"job": 1}):
        worker = os.fork()
        if worker == 0:
            queue.put(os.getpid())
            time.sleep(60)
            os._exit(0)
        os.waitpid(worker, 0)


def test_a_worker_that_outlives_its_killed_parent_does_not_keep_the_lock(processes, tmp_path):
    queue = processes.Queue()
    writer = processes.Process(target=write_with_a_worker, args=(tmp_path, queue))
    writer.start()
    worker = queue.get(timeout=60)
    writer.kill()
    writer.join()
    os.kill(worker, 0)  # it is still there
    Run.open(tmp_path, write=True).close()
    os.kill(worker, signal.SIGKILL)


def test_a_full_device_says_how_much_is_free_and_that_nothing_was_lost(tmp_path):
    message = r"No space left on device \([\d,]+ bytes free .* resume the run"
    with pytest.raises(RunError, match=message), disk_faults(tmp_path):
        write_synced(Path("/dev/full"), b"x")


def hit_size_limit(folder: Path, limit: int, queue) -> None:
    with Run.create(folder, {"job": 1}) as run:
        write_cycle(run, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            for number in range(1, 1000):
                write_cycle(run, number)
        except RunError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            reached = len(run.cycles())
            write_cycle(run, reached)
            queue.put((str(error), reached))


@pytest.mark.parametrize("limit", [50_000, 160_000], ids=["checkpoint too large", "store too large"])
def test_a_file_size_limit_loses_nothing_and_the_same_run_goes_on(processes, tmp_path, limit):
    queue = processes.Queue()
    writer = processes.Process(target=hit_size_limit, args=(tmp_path, limit, queue))
    writer.start()
    message, reached = queue.get(timeout=60)
    writer.join()
    assert "bytes free" in message
    assert "resume the run" in message
    assert check(tmp_path) == reached + 1


def test_a_full_disk_loses_nothing_and_the_run_goes_on_when_there_is_room(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    try:
        (tmp_path / "ballast").write_bytes(bytes(700_000))
        run = Run.create(tmp_path / "run", {"job": 1})
        with pytest.raises(RunError, match=r"\([\d,]+ bytes free on its disk\)"):
            for number in range(10_000):
                write_cycle(run, number)
        reached = len(run.cycles())
        (tmp_path / "ballast").unlink()
        write_cycle(run, reached)
        run.close()
        assert check(tmp_path / "run") == reached + 1
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
