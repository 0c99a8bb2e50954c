"""What a process leaves in the folder for temporary files when it is killed is removed by a later one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgesynth
from edgesynth.scratch import PREFIX, Scratch, sweep

KEEPING = """
import sys, time
from pathlib import Path
from edgesynth.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
(scratch.path / "weights").write_text("many")
print(scratch.path, flush=True)
time.sleep(600)
"""


def keeper(parent: Path) -> subprocess.Popen[str]:
    """A process that has such a folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(edgesynth.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", KEEPING, str(parent)], env=environment, stdout=subprocess.PIPE, text=True
    )


def age(path: Path) -> None:
    """Make it as old as what a process left that was killed an hour ago."""
    at_s = path.stat().st_mtime - 3600
    os.utime(path, (at_s, at_s))


def test_a_folder_is_there_until_it_is_closed(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        (scratch.path / "inside").mkdir()
        assert scratch.path.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    scratch.close()


def test_a_folder_that_nobody_closed_is_removed_with_its_process(tmp_path: Path) -> None:
    code = KEEPING.replace("time.sleep(600)", "")
    environment = {**os.environ, "PYTHONPATH": str(Path(edgesynth.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    dead, living = keeper(tmp_path), keeper(tmp_path)
    assert dead.stdout is not None
    assert living.stdout is not None
    with dead, living:
        left, used = (Path(process.stdout.readline().strip()) for process in (dead, living) if process.stdout)
        dead.kill()
        dead.wait()
        foreign = tmp_path / "somebody-elses"
        foreign.mkdir()
        for folder in (left, used, foreign):
            age(folder)

        with Scratch(tmp_path, PREFIX) as mine:
            assert not left.exists()
            assert {used, foreign, mine.path} == set(tmp_path.iterdir())
        living.kill()
    age(used)
    assert sweep(tmp_path) == 1


def test_a_folder_that_may_not_be_locked_yet_is_left(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}new").mkdir()
    assert sweep(tmp_path) == 0
    assert sweep(tmp_path, young_s=0.0) == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "kept")
    assert sweep(tmp_path, young_s=0.0) == 0
    assert (tmp_path / "kept").is_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make what belongs to others")
def test_what_belongs_to_others_is_theirs(tmp_path: Path) -> None:
    other = tmp_path / f"{PREFIX}other"
    other.mkdir()
    os.chown(other, 12345, 12345)
    assert sweep(tmp_path, young_s=0.0) == 0
