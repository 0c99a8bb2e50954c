"""The idx format of the MNIST family: big-endian header, unsigned bytes, usually gzipped.

Layout: two zero bytes, a type code (0x08 for unsigned byte), the number of axes, each axis as a 32-bit
integer, then the values in row-major order (Y. LeCun, C. Cortes, C. Burges, the MNIST database).
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgesynth.errors import DataError

__all__ = ["read_idx", "write_idx"]

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """Read a file of unsigned bytes, gzipped when its name ends in ``.gz``.

    Returns:
        uint8, with the shape the file's header gives.

    Raises:
        DataError: The file is missing, damaged, or not such a file.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise DataError(f"no file {path}; give the directory that holds it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; fetch the file again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTE:
        raise DataError(f"{path} is not an idx file of unsigned bytes (it starts with {data[:4].hex()})")
    axes = data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise DataError(f"{path} ends inside its header; fetch the file again")
    shape = struct.unpack(f">{axes}I", data[4:start])
    values = np.frombuffer(data, dtype=np.uint8, offset=start)
    if values.size != np.prod(shape, dtype=np.int64):
        raise DataError(
            f"{path} holds {values.size} values where its header promises {'x'.join(map(str, shape))}; "
            "fetch the file again"
        )
    return torch.from_numpy(values.reshape(shape).copy())


def write_idx(path: Path, values: Tensor) -> None:
    """Write a uint8 tensor gzipped; the same values always give the same bytes."""
    header = struct.pack(">2xBB", _UNSIGNED_BYTE, values.ndim) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(header + values.contiguous().numpy().tobytes())
    path.write_bytes(packed.getvalue())
