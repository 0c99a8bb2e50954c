"""Which module a board carries: boards of one chip differ in how many multiprocessors of it work.

The part number in the device tree decides, since it belongs to the module and not to what it is plugged into.
What a board calls itself is the word of who made the carrier, and asked only where no number is told. Figures
are those of NVIDIA's data sheets; sizes of memory that share a GPU are one module here.
"""

import re
from typing import List, NamedTuple, Tuple

from edgesynth.agent.places import compatible, model

__all__ = ["module_name", "name_module", "same_module"]

_PART = re.compile(r"\bp(\d{4}-\d{4})")
_FAMILY = re.compile(r"\bp(\d{4})\b(?!-)")
_MULTIPROCESSORS = " multiprocessors"


class _Module(NamedTuple):
    name: str
    multiprocessors: int  # 0 where modules of this name differ
    parts: Tuple[str, ...]  # as the number begins, of the module or of a board that is sold with no other
    words: Tuple[str, ...]  # in what the board calls itself


_KNOWN = (  # words of a longer name first
    _Module("TX2 NX", 2, ("3636",), ("TX2 NX", "lanai")),
    _Module("Orin NX", 8, ("3767-0000", "3767-0001", "3767-0002"), ("Orin NX",)),
    _Module("Orin Nano", 8, ("3767-0003", "3767-0005"), ()),
    _Module("Orin Nano", 4, ("3767-0004",), ("Orin Nano 4GB",)),
    _Module("Orin Nano", 0, (), ("Orin Nano",)),
    _Module("AGX Orin", 14, ("3701-0004",), ()),
    _Module("AGX Orin", 16, ("3701-0000", "3701-0002", "3701-0005", "3701-0008"), ()),
    _Module("AGX Orin", 0, ("3701",), ("AGX Orin",)),
    _Module("Xavier NX", 6, ("3668",), ("Xavier NX",)),
    _Module("AGX Xavier", 8, ("2888", "2972"), ("AGX Xavier", "Jetson-AGX", "galen")),
    _Module("AGX Thor", 0, ("3834",), ("Thor",)),
    _Module("TX1", 2, ("2180",), ("TX1",)),
    _Module("TX2", 2, ("3310", "3489", "2771"), ("TX2", "quill")),
    _Module("Nano", 1, ("3448", "3450"), ("Jetson Nano",)),
)


def module_name() -> str:
    """The module of this board, e.g. ``Orin Nano, 8 multiprocessors``; empty where it is not known."""
    return name_module(compatible(), model() or "")


def name_module(compatible_with: List[str], called: str) -> str:
    """The same from the ``compatible`` entries of a device tree and its ``model``."""
    text = " ".join([called] + compatible_with)
    whole = {_of_part(number) for number in _PART.findall(text)} - {""}
    if len(whole) == 1:
        return whole.pop()
    named = next((_told(known) for known in _KNOWN for word in known.words if word in text), "")
    family = {_of_part(number) for number in _FAMILY.findall(text)} - {""}
    return named or (family.pop() if len(family) == 1 else "")


def same_module(one: str, other: str) -> bool:
    """Whether two names mean the same, as far as both tell it; what is not known is not told apart."""
    if not one or not other:
        return True
    return all(a == b for a, b in zip(one.split(", "), other.split(", ")))


def _of_part(number: str) -> str:
    return next((_told(known) for known in _KNOWN for part in known.parts if number.startswith(part)), "")


def _told(known: _Module) -> str:
    count = known.multiprocessors
    return known.name + (
        ", {}{}".format(count, _MULTIPROCESSORS[: None if count > 1 else -1]) if count else ""
    )
