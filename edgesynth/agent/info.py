"""What this board is and has: every fact optional, every absence with its reason."""

import os
import platform
import re
import sys
from typing import Any, Dict, Optional, Tuple

from edgesynth.agent import board, ina, modes, trtexec_help
from edgesynth.agent.asks import take_names
from edgesynth.agent.errors import Refusal
from edgesynth.agent.events import Outbox
from edgesynth.agent.guard import Guard
from edgesynth.agent.power import open_sensor

__all__ = ["dla_cores", "gather", "python_tensorrt", "tell_info", "tensorrt_version"]

Fact = Tuple[Any, str]  # a value, or None and why there is none

_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_PROBE = (  # one line: it is told when it fails
    "import tensorrt; print('tensorrt', tensorrt.__version__, "
    "'flags' if hasattr(getattr(tensorrt, 'BuilderFlag', None), 'FP16') else 'graph')"
)
_CORES = "import tensorrt; print('cores', tensorrt.Runtime(tensorrt.Logger()).num_DLA_cores)"


def tell_info(request: Dict[str, Any], outbox: Outbox) -> None:
    """Serve the verb ``info``: one event ``info`` with ``facts`` and ``missing``.

    Args:
        request: ``only``: names of facts to gather; all of them by default. ``rails``: power rails that must
            be shown; any will do by default.
        outbox: Where to tell it.
    """
    only = take_names(request, "only") if "only" in request else None
    facts, missing = gather(only, outbox, take_names(request, "rails"))
    outbox.tell("info", facts=facts, missing=missing)


def gather(only: Any, outbox: Outbox, rails: Tuple[str, ...] = ()) -> Tuple[Dict[str, Any], Dict[str, str]]:
    """Facts by name, ``None`` where there is none, and the reason for each of those."""
    facts: Dict[str, Any] = {}
    missing: Dict[str, str] = {}
    for name, find in _FACTS.items():
        if only is not None and name not in only:
            continue
        outbox.keep_alive()
        try:
            value, reason = _power(rails, outbox) if find is None else find()
        except (LookupError, OSError, ValueError) as error:  # some board writes it in a form of its own
            value, reason = None, "it cannot be read: {!r}".format(error)
        facts[name] = value
        if value is None:
            missing[name] = reason
    return facts, missing


def tensorrt_version() -> Fact:
    """The version of the Python bindings, or ``None`` and the reason."""
    version, _, reason = python_tensorrt()
    return version, reason


def python_tensorrt() -> Tuple[Optional[str], bool, str]:
    """Version of the Python bindings, whether its builder has flags of precision, and why there is none.

    They are asked in a process of their own: a bad one crashes on import.
    """
    done = board.run([sys.executable, "-c", _PROBE], timeout_s=60.0)
    for line in done.output.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "tensorrt":
            return words[1], words[2] == "flags", ""
    return None, False, "this Python cannot import tensorrt: " + (done.problem or "it printed no version")


def dla_cores() -> Optional[int]:
    """How many cores of a DLA TensorRT finds here, in seconds; ``None`` where it cannot be asked."""
    for line in board.run([sys.executable, "-c", _CORES], timeout_s=60.0).output.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "cores" and words[1].isdigit():
            return int(words[1])
    return None


def _model() -> Fact:
    return board.model(), "there is no /proc/device-tree/model: this is no Jetson"


def _soc() -> Fact:
    return board.soc(), "/proc/device-tree/compatible names no Tegra"


def _l4t() -> Fact:
    match = _RELEASE.search(board.read_text(board.place("/etc/nv_tegra_release")) or "")
    release = None if match is None else "R{}.{}".format(match.group(1), match.group(2))
    return release, "there is no /etc/nv_tegra_release, or it names no release"


def _python() -> Fact:
    return platform.python_version(), ""


def _cuda() -> Fact:
    for path in board.paths("/usr/local/cuda/version.*"):
        match = re.search(r"\d+\.\d+(\.\d+)?", board.read_text(path) or "")
        if match is not None:
            return match.group(), ""
    return None, "there is no /usr/local/cuda/version.txt or version.json"


def _trtexec() -> Fact:
    return board.find_program("trtexec"), "trtexec is neither in PATH nor in /usr/src/tensorrt/bin"


def _trtexec_version() -> Fact:
    return trtexec_help.version() or None, "there is no trtexec, or it does not say its version"


def _power_mode() -> Fact:
    mode, problem = modes.current_mode()
    return (None if mode is None else mode._asdict()), problem


def _power_modes() -> Fact:
    table = modes.mode_table()
    return (table or None), "there is no /etc/nvpmodel.conf, or it names no mode"


def _clocks() -> Fact:
    clocks, problem = modes.clock_report()
    return (clocks or None), problem


def _memory() -> Fact:
    return (board.memory_mb() or None), "there is no /proc/meminfo"


def _sudo() -> Fact:
    if board.is_root():
        return True, ""
    command = board.as_root(["true"])
    return command is not None and not board.run(command).problem, ""


def _sensor_modes() -> Fact:
    return (ina.running_modes() or None), "no INA chip says how it samples"


def _cooling() -> Fact:
    """Which cooling devices are active: a board that is being throttled says so here."""
    states = {}
    for folder in board.paths("/sys/class/thermal/cooling_device*"):
        state = board.read_text(os.path.join(folder, "cur_state")) or ""
        if state.isdigit():
            states[board.read_text(os.path.join(folder, "type")) or os.path.basename(folder)] = int(state)
    return (states or None), "there is no /sys/class/thermal/cooling_device*"


def _power(rails: Tuple[str, ...], outbox: Outbox) -> Fact:
    with Guard() as guard:
        try:
            sensor = open_sensor(10.0, rails, guard, outbox)
        except Refusal as refusal:
            return None, refusal.reason
        sensor.process.close()
    power = {"way": sensor.way, "rails": list(sensor.rails)}
    return dict(power, left=guard.complaint) if guard.complaint else power, ""


_FACTS: Dict[str, Any] = {
    "model": _model,
    "soc": _soc,
    "l4t": _l4t,
    "python": _python,
    "tensorrt": tensorrt_version,
    "cuda": _cuda,
    "trtexec": _trtexec,
    "trtexec_version": _trtexec_version,
    "power_mode": _power_mode,
    "power_modes": _power_modes,
    "clocks": _clocks,
    "memory_mb": _memory,
    "sudo": _sudo,
    "sensor_modes": _sensor_modes,
    "cooling": _cooling,
    "power": None,  # needs to know whom to tell that it takes its time
}
