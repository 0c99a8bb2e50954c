"""NumPy's ``.npy`` files without NumPy: plain numbers in C order, and nothing that would be unpickled."""

import ast
import re
import struct
from typing import Any, NamedTuple, Tuple

from edgesynth.agent.errors import Refusal

__all__ = ["Array", "read_npy", "write_npy"]

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16
_DESCRIPTION = re.compile(r"(?:<[iuf][248]|\|[iub]1)")  # little-endian, or of one byte


class Array(NamedTuple):
    """What such a file holds.

    Attributes:
        descr: NumPy's name of the type, e.g. ``<f4``.
        shape: Its axes.
        data: The numbers in C order.
    """

    descr: str
    shape: Tuple[int, ...]
    data: bytes


def read_npy(path: str) -> Array:
    """Read a file.

    Raises:
        Refusal: It is missing, damaged, or holds something else than plain numbers in C order; kind ``data``.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            if start[:6] != _MAGIC or len(start) != 8 or start[6] not in (1, 2, 3):
                raise _unreadable(path, "it is no .npy file")
            form = "<H" if start[6] == 1 else "<I"
            size = file.read(struct.calcsize(form))
            length = struct.unpack(form, size)[0] if len(size) == struct.calcsize(form) else 0
            if length > _LONGEST_HEADER:
                raise _unreadable(path, "its header has {} bytes".format(length))
            descr, shape = _header(path, file.read(length).decode("utf-8", "replace"))
            data = file.read()
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    expected = int(descr[-1])
    for axis in shape:
        expected *= axis
    if len(data) != expected:
        raise _unreadable(path, "it holds {} bytes of {}".format(len(data), expected))
    return Array(descr, shape, data)


def write_npy(path: str, array: Array) -> None:
    """Write a file that ``numpy.load`` reads."""
    axes = ", ".join(map(str, array.shape)) + ("," if len(array.shape) == 1 else "")
    header = "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}".format(array.descr, axes)
    header += " " * (-(len(_MAGIC) + 4 + len(header) + 1) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(_MAGIC + b"\x01\x00" + struct.pack("<H", len(header)) + header.encode("ascii"))
        file.write(array.data)


def _header(path: str, text: str) -> Tuple[str, Tuple[int, ...]]:
    try:
        found: Any = ast.literal_eval(text.strip())
        descr, fortran, shape = found["descr"], found["fortran_order"], found["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise _unreadable(path, "its header is damaged") from error
    if not isinstance(descr, str) or _DESCRIPTION.fullmatch(descr) is None:
        raise _unreadable(path, "it holds {!r}, not plain numbers".format(descr))
    if fortran is not False:
        raise _unreadable(path, "its order is Fortran's; save numpy.ascontiguousarray(array)")
    whole = isinstance(shape, tuple) and all(type(axis) is int and axis >= 0 for axis in shape)
    if not whole:
        raise _unreadable(path, "its shape is damaged")
    return descr, shape


def _unreadable(path: str, why: str) -> Refusal:
    return Refusal("data", "{} cannot be read: {}; write it with numpy.save".format(path, why))
