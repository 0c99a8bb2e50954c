"""Programs of a board are waited for on every Python it may have, whatever they do with their outputs."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from edgesynth.agent import board
begin = time.monotonic()
done = board.run([sys.argv[2], "-c", sys.argv[3]], "asked", timeout_s=float(sys.argv[4]))
print(json.dumps([done.output, done.errors, done.problem, time.monotonic() - begin]))
"""
LATE = "import os, sys, time; print(input(), flush=True); os.close(1); time.sleep(1.5); os.write(2, b'late')"
SILENT = "import os, sys, time; os.write(1, b'begun'); os.close(1); os.close(2); time.sleep(60)"
# The oldest and the newest have to wait; those between them do in the slow stage.
pytestmark = pytest.mark.parametrize(
    "python",
    ["3.6", *(pytest.param(minor, marks=pytest.mark.slow) for minor in ("3.8", "3.10", "3.12")), "3.13"],
    indirect=True,
)


@pytest.fixture
def outcome(python, bare_board):
    bare_board.use_python(python)

    def run(program, timeout_s):
        command = [bare_board.python, "-c", SCRIPT, str(bare_board.agent), sys.executable, program]
        done = subprocess.run([*command, str(timeout_s)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_an_output_that_is_closed_early_does_not_end_the_other(outcome):
    output, errors, problem, _ = outcome(LATE, 60)

    assert (output, errors, problem) == ("asked\n", "late", "")


def test_what_a_program_said_before_it_had_to_be_ended_is_kept(outcome):
    output, _, problem, seconds = outcome(SILENT, 1.2)

    assert output == "begun"
    assert "did not end within 1.2 s" in problem
    assert seconds < 30
