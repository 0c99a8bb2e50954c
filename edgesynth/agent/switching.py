"""Change power mode and clocks, with a guard that puts them back.

``nvpmodel`` refuses a mode that needs a reboot without an exit status to show for it, so its output is
searched and the mode read again.
"""

import os
import tempfile
from typing import List

from edgesynth.agent.board import as_root, find_program, run
from edgesynth.agent.errors import Refusal
from edgesynth.agent.guard import Guard
from edgesynth.agent.modes import clock_ranges, current_mode, mode_table, show_clocks

__all__ = ["fix_clocks", "keep_clocks", "set_mode"]


def set_mode(name: str, guard: Guard) -> None:
    """Change to the mode of this name; the guard changes back.

    Raises:
        Refusal: Kind ``mode``: there is no such mode, it needs a reboot, or this user may not change it.
    """
    before, problem = current_mode()
    if before is not None and before.name == name:
        return
    table = mode_table()
    nvpmodel = find_program("nvpmodel")
    if name not in table or nvpmodel is None:
        known = ", ".join(sorted(table, key=lambda key: table[key])) or "none ({})".format(problem)
        raise Refusal("mode", "there is no power mode {!r} here; known: {}".format(name, known))
    if before is None or before.id is None:
        raise Refusal(
            "mode", "the present power mode cannot be told, so it could not be put back: " + problem
        )
    back = _switch_command(nvpmodel, before.id)
    guard.undo(back, mode=[before.name, before.id], to=table[name])
    done = run(_switch_command(nvpmodel, table[name]), text="n\n", timeout_s=30.0)
    said = done.output + done.errors
    if "reboot required" in said.lower():
        raise Refusal(
            "mode",
            "power mode {!r} needs a reboot from {!r}; run 'sudo nvpmodel -m {}' on the board, confirm the "
            "reboot, then repeat".format(name, before.name, table[name]),
        )
    after, _ = current_mode()
    if after is None or after.id != table[name]:
        raise Refusal(
            "mode",
            "the board kept power mode {!r} instead of {!r}: {}; let this user run 'sudo -n nvpmodel', or "
            "set it yourself".format(
                before.name, name, done.problem or said.strip()[-200:] or "nvpmodel said nothing"
            ),
        )


def keep_clocks(guard: Guard) -> str:
    """Store the clocks as they are; the guard puts them back. Returns why it cannot be done.

    To be called before :func:`set_mode`, which changes clocks too: what is done last is undone first, so the
    clocks are put back in the mode they belong to.
    """
    program = find_program("jetson_clocks")
    if program is None:
        return "there is no jetson_clocks on this board"
    folder = tempfile.mkdtemp(prefix="edgesynth-clocks-")
    guard.remove(folder)
    stored = os.path.join(folder, "stored")  # a new one: jetson_clocks asks before it overwrites a file
    store, restore = [program, "--store", stored], [program, "--restore", stored]
    problem = run(as_root(store) or store, timeout_s=60.0).problem
    if not problem:
        guard.undo(as_root(restore) or restore, clocks=clock_ranges(show_clocks().output))
    return problem


def fix_clocks(problem: str, guard: Guard) -> None:
    """Hold every clock at the highest of the power mode.

    Args:
        problem: What :func:`keep_clocks` said: what cannot be put back is not changed.
        guard: Is told where the clocks are held.

    Raises:
        Refusal: Kind ``clocks``: there is no ``jetson_clocks``, or this user may not run it.
    """
    if not problem:
        command = [find_program("jetson_clocks") or "jetson_clocks"]
        problem = run(as_root(command) or command, timeout_s=60.0).problem
    if problem:
        raise Refusal(
            "clocks", "clocks cannot be fixed: {}; let this user run 'sudo -n jetson_clocks'".format(problem)
        )
    guard.fixed(clock_ranges(show_clocks().output))


def _switch_command(nvpmodel: str, number: int) -> List[str]:
    command = [nvpmodel, "-m", str(number)]
    return as_root(command) or command
