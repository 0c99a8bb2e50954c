"""The benchmark of deploying: every seeded fault is caught, as users run it."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/deploy.py"
FEWEST = 12


def run(*parts):
    return subprocess.run(
        [sys.executable, SCRIPT, *parts], check=False, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_every_seeded_fault_is_caught_and_the_sound_network_installed():
    done = run("faults")

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^no fault +installed$", done.stdout, re.MULTILINE)
    assert len(re.findall(r" +caught: \S", done.stdout)) >= FEWEST
    assert json.loads(done.stdout.splitlines()[-1]) == {"met": 1, "of": 1}


def test_a_part_that_there_is_not_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "nothing"])
    monkeypatch.setattr(sys, "path", [*sys.path])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")

    assert ended.value.code == 2
    assert capsys.readouterr().err == "there is no part nothing; parts are time, install, faults\n"
