"""sudo of a board that is not there: whom it trusts is in ``control.json``."""

import json
import os
import sys

with open(os.path.join(os.environ["EDGESYNTH_ROOT"], "control.json")) as _file:
    _trusted = json.load(_file).get("sudo", True)
assert sys.argv[1] == "-n", "the agent must never wait for a password"
_command = sys.argv[2:]
if _trusted is False or (_trusted is not True and os.path.basename(_command[0]) not in _trusted):
    sys.exit("sudo: a password is required")
os.environ["FAKE_ROOT"] = "1"
os.execvp(_command[0], _command)
