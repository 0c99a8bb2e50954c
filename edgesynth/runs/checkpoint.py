"""Checkpoints of a run: tensors and state in one folder that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgesynth.errors import RunError
from edgesynth.runs.atomic import TEMPORARY, dump_json, sync_folder, write_synced
from edgesynth.runs.faults import disk_faults
from edgesynth.runs.store import CheckpointRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Tensors: TypeAlias = Mapping[str, Tensor | NDArray[np.generic]]

__all__ = ["Checkpoint", "CheckpointFolder"]

_TENSORS: Final = "tensors.safetensors"
_STATE: Final = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to go on from the end of a cycle.

    Attributes:
        cycle: The cycle it was taken after.
        tensors: Tensors by name, on the CPU.
        state: The JSON state stored beside them.
        keep: Whether it is kept for as long as the run is.
    """

    cycle: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    keep: bool = False


class CheckpointFolder:
    """The folder that holds the checkpoints of a run; which of them count, the store says.

    Args:
        path: The folder; made when the first checkpoint is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, cycle: int, tensors: Tensors, state: Mapping[str, Any], *, keep: bool) -> CheckpointRow:
        """Write a checkpoint under a fresh name and flush it; it does not count until the store has the row.

        Raises:
            RunError: The disk is full or not writable, or the state is not JSON.
        """
        try:
            contents = {_TENSORS: _serialise(tensors), _STATE: dump_json(dict(state)).encode()}
        except TypeError as error:
            raise RunError(f"the state of checkpoint {cycle} is not JSON: {error}") from error
        folder = self.path / f"{self._next_number():06d}-cycle-{cycle}{'-kept' if keep else ''}"
        temporary = folder.with_name(folder.name + TEMPORARY)
        with disk_faults(folder):
            if not self.path.is_dir():
                self.path.mkdir()
                sync_folder(self.path.parent)
            try:
                temporary.mkdir()
                for name, data in contents.items():
                    write_synced(temporary / name, data)
                sync_folder(temporary)
                temporary.rename(folder)
                sync_folder(self.path)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        return CheckpointRow(cycle, keep, folder.name, digests)

    def read(self, row: CheckpointRow) -> Checkpoint:
        """Read a checkpoint back and check it against its hashes.

        Raises:
            RunError: A file is missing or is not what was written.
        """
        from safetensors.torch import load

        folder = self.path / row.folder
        contents = {}
        with disk_faults(folder):
            for name, digest in row.sha256.items():
                contents[name] = (folder / name).read_bytes()
                if hashlib.sha256(contents[name]).hexdigest() != digest:
                    raise RunError(
                        f"{folder / name} is damaged: its content changed since it was written; "
                        "restore it from a copy, or resume from another cycle"
                    )
        state = json.loads(contents[_STATE])
        return Checkpoint(row.cycle, load(contents[_TENSORS]), state, row.keep)

    def sweep(self, rows: Iterable[CheckpointRow]) -> None:
        """Delete whatever no row refers to: pruned checkpoints and leftovers of a crash."""
        current = {row.folder for row in rows}
        with disk_faults(self.path):
            for entry in self.path.iterdir() if self.path.is_dir() else ():
                if entry.name not in current:
                    shutil.rmtree(entry)

    def _next_number(self) -> int:
        names = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        return 1 + max((int(name.partition("-")[0]) for name in names), default=0)


def _serialise(tensors: Tensors) -> bytes:
    import torch
    from safetensors.torch import save

    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        tensor = value.detach() if isinstance(value, torch.Tensor) else torch.as_tensor(value)
        tensor = tensor.cpu().contiguous()
        # safetensors refuses views of one storage, which tied weights are.
        storage = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return save(plain)
