"""What figures depend on besides the network: boards must agree in it for their figures to be compared."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from edgesynth.devices.device import Device
from edgesynth.errors import DeviceError
from edgesynth.metrics import Provenance

__all__ = ["Likeness", "Traits", "differences", "find_traits"]

Traits: TypeAlias = Mapping[str, str]
"""What a board is like, by the name of the trait; both read as parts of a sentence."""

_UNKNOWN: Final = "not told"
_MODE: Final = "the power mode"
_TENSORRT: Final = "TensorRT"
_CLOCKS: Final = {"gpu": "GPU clock", "emc": "memory clock"}
_RUNNERS: Final = {"tensorrt": "Python", "trtexec": "trtexec"}


class Likeness:
    """What the measurements so far were made under; later ones must be made under the same.

    Args:
        name: Of a board that is like all the others.
        traits: Its traits.
    """

    def __init__(self, name: str, traits: Traits) -> None:
        self._known = {trait: (value, name) for trait, value in traits.items()}
        self._lock = threading.Lock()

    def check(self, name: str, conditions: Mapping[str, Any]) -> None:
        """Refuse a measurement that was made under other conditions; the first one sets them.

        Args:
            name: Of the board that made it.
            conditions: What its agent told.

        Raises:
            DeviceError: It cannot be compared with those before.
        """
        with self._lock:
            for trait, value in _told(conditions).items():
                known, by = self._known.setdefault(trait, (value, name))
                if known != value:
                    raise DeviceError(
                        f"{trait} is {value} there, and was {known} on {by}: their figures cannot be compared"
                    )


def find_traits(device: Device) -> Traits:
    """What a device is like before it measures; of a board, as far as it tells.

    A power mode that the run sets itself is left out, and so are the clocks, which it changes: those are told
    with every measurement.

    Raises:
        LinkError: The board cannot be reached.
        DeviceError: Its agent told an error.
    """
    simulated = device.provenance is Provenance.SIMULATED
    traits = {"the board": "a simulated one" if simulated else "a real one"}
    if device.dla_core is not None:
        traits["the DLA core"] = str(device.dla_core)
    if device.board is None:
        return traits
    only = ["model", "memory_mb", "l4t", "tensorrt", "trtexec", "trtexec_version"]
    if not device.sets_mode:
        only += ["power_mode", "clocks"]
    rails = device.profile.rails
    only += [] if rails is None else ["power"]
    facts, _ = device.board.agent.info(tuple(only), () if rails is None else rails.needed)
    memory_mb = (facts["memory_mb"] or {}).get("total")
    size = "" if memory_mb is None else f" with {memory_mb / 1024:.0f} GB"
    traits["the module"] = f"{facts['model'] or _UNKNOWN}{size}"
    traits["L4T"] = facts["l4t"] or _UNKNOWN
    traits[_TENSORRT] = _tensorrt(facts)
    if not device.sets_mode:
        traits[_MODE] = (facts["power_mode"] or {}).get("name") or _UNKNOWN
        traits |= (_highest_clocks if device.fixes_clocks else _clocks)(facts["clocks"] or {})
    if rails is not None:
        traits["the power rail"] = (" + ".join(rails.needed) or "readable") if facts["power"] else "none"
    return traits


def differences(found: Mapping[str, Traits]) -> str:
    """In what boards differ, and which is which; empty when they are alike.

    Args:
        found: Traits by the name of the board.
    """
    told = []
    for trait in dict.fromkeys(trait for traits in found.values() for trait in traits):
        having: dict[str, list[str]] = {}
        for name, traits in found.items():
            having.setdefault(traits.get(trait, _UNKNOWN), []).append(name)
        if len(having) > 1:
            values = [f"{value} on {', '.join(names)}" for value, names in having.items()]
            told.append(f"{trait} is {', '.join(values[:-1])} and {values[-1]}")
    return "; ".join(told)


def _told(conditions: Mapping[str, Any]) -> Traits:
    """Traits that an agent tells with a measurement; none of what it does not tell."""
    traits: dict[str, str] = {}
    if "tensorrt" in conditions and "runner" in conditions:
        runner = conditions["runner"]
        traits[_TENSORRT] = f"{conditions['tensorrt']} of {_RUNNERS.get(runner, runner)}"
    if conditions.get("cuda_graph") or "no_cuda_graph" in conditions:  # they were asked for
        traits["launching calls as a CUDA graph"] = (
            "impossible" if conditions.get("no_cuda_graphs_here") else "possible"
        )
    if "clocks_mhz" not in conditions:  # no board
        return traits
    traits[_MODE] = str(conditions.get("mode") or _UNKNOWN)
    clocks = conditions["clocks_mhz"]
    return traits | _clocks(clocks if isinstance(clocks, Mapping) else {})


def _tensorrt(facts: Mapping[str, Any]) -> str:
    """Its version and what runs it: Python and trtexec do not call it in the same way."""
    if facts["tensorrt"]:
        return f"{facts['tensorrt']} of {_RUNNERS['tensorrt']}"
    return (
        f"{facts['trtexec_version'] or 'before 8'} of {_RUNNERS['trtexec']}" if facts["trtexec"] else "none"
    )


def _clocks(clocks: Mapping[str, float]) -> dict[str, str]:
    """What the clocks may be; not what they happen to be."""
    traits = {}
    for unit, title in _CLOCKS.items():
        least, most = clocks.get(f"{unit}_min"), clocks.get(f"{unit}_max")
        if least is None or most is None:
            text = _UNKNOWN
        else:
            text = f"held at {most:g} MHz" if least == most else f"{least:g} to {most:g} MHz"
        traits[f"the {title}"] = text
    return traits


def _highest_clocks(clocks: Mapping[str, float]) -> dict[str, str]:
    """Where the clocks will be held. What they are then, measurements tell: not all units tell it alike."""
    highest = {f"the highest {title}": clocks.get(f"{unit}_max") for unit, title in _CLOCKS.items()}
    return {title: _UNKNOWN if mhz is None else f"{mhz:g} MHz" for title, mhz in highest.items()}
