"""What is deployed: an ONNX file, the folder of a generated network, or such a network itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgesynth.deploy.bundle import NETWORK
from edgesynth.deploy.onnx_graph import batch_of, load_model
from edgesynth.errors import InputError

__all__ = ["Network", "find_onnx", "network_file", "own_batch"]


@runtime_checkable
class Network(Protocol):
    """A network that can write itself to a folder, as a generated one can."""

    def save(self, directory: Path) -> Mapping[str, str]:
        """Write ``network.onnx``, and a recipe; returns file names by kind."""
        ...


def network_file(network: str | Path | Network, scratch: Path) -> Path:
    """The ONNX file of whatever is to be deployed.

    Args:
        network: A generated network, its folder, or an ONNX file.
        scratch: Where a generated network is written to.

    Raises:
        InputError: It is none of them, or there is no such file.
    """
    if isinstance(network, Network):
        network.save(scratch / "network")
        return scratch / "network" / NETWORK
    if not isinstance(network, str | os.PathLike):
        raise InputError(
            f"a {type(network).__name__} is no network that can be deployed; write a module with "
            "edgesynth.export_onnx and give the file"
        )
    return find_onnx(network)


def find_onnx(network: str | Path) -> Path:
    """The ONNX file of a network's folder, or the file itself.

    Raises:
        InputError: There is no such file.
    """
    path = Path(network)
    if path.is_dir() and (path / NETWORK).is_file():
        return path / NETWORK
    if path.is_dir():
        raise InputError(
            f"{network} holds no {NETWORK}; give the folder of a generated network, or an ONNX file"
        )
    if not path.is_file():
        raise InputError(
            f"there is no network {network}; give a folder of a generated network, or an ONNX file"
        )
    return path


def own_batch(source: Path) -> int:
    """What the file fixes; engines have no free sizes."""
    return batch_of(load_model(source)) or 1
