"""What a login shell is given to run: every kind of shell has to hand it on as it is."""

import re
import shutil
import subprocess

import pytest

from edgesynth.devices.supervisor import Supervised, shell_line

AWKWARD = [
    "it's",
    'a "b" $HOME `id` * ~ {x,y} # ; & |',
    "two\nlines\n",
    "!x ^x^y %1",
    "=ls",
    "end\\",
    "\\\\ \\' \\n",
    "",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}\udcff",
]


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox", "zsh", "fish", "csh", "tcsh"])
def test_a_login_shell_hands_on_what_it_is_given(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    line = shell_line('for each; do printf "<%s>" "$each"; done\nexit 7', *AWKWARD)

    command = [shell, *(["sh"] if shell == "busybox" else []), "-c", line]
    done = subprocess.run(command, capture_output=True, check=False)

    told = "".join(f"<{each}>" for each in AWKWARD)
    assert (done.returncode, done.stdout) == (7, told.encode(errors="surrogateescape"))


def test_shells_that_are_not_here_are_given_nothing_that_they_read_in_their_own_way():
    line = Supervised(["printf", *AWKWARD], "").line

    quoted = re.findall("'([^']*)'", line)
    assert len(quoted) == line.count("'") / 2 == 2
    assert not re.search(r"[\n!=]|\\[^0]", "".join(quoted))
