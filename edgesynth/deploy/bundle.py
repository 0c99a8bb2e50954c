"""A bundle: one folder with everything that a deployed network is, and a checksum of every file.

engine.plan         what runs; belongs to one TensorRT and one GPU
network.onnx        what it was built from
runner.py           runs it on the board: a program of its own, and a module for yours
recipe.json         how a generated network was cut, where it is one
labels.json         names of the classes, where they are known
processing.json     what goes in, what comes out, and what is to be done with it; see ``processing.py``
measurements.json   figures of the engine on the board, where they were taken
verification.json   what the engine was compared with, and the verdict
manifest.json       all of these with their SHA-256, and what the engine belongs to
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edgesynth.agent.batches import Batches
from edgesynth.agent.errors import Refusal
from edgesynth.agent.manifest import ENGINE, MANIFEST, NETWORK, batches_in, check_files, read_manifest
from edgesynth.agent.onnx_types import read_output_kinds
from edgesynth.deploy.standalone import RUNNER, standalone_runner
from edgesynth.errors import InputError
from edgesynth.runs.atomic import dump_json, write_json_atomic
from edgesynth.runs.faults import disk_faults
from edgesynth.scratch import Scratch

__all__ = [
    "ENGINE",
    "MANIFEST",
    "NETWORK",
    "VERIFICATION",
    "Bundle",
    "EngineKey",
    "batches_in",
    "bundle_name",
    "check_folder",
    "check_name",
    "read_bundle",
    "read_text",
    "write_bundle",
]

VERIFICATION: Final = "verification.json"
_COMING: Final = ".edgesynth-bundle-"  # of a folder beside the bundle, in which it is put together
_FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from and by, and where alone it runs.

    Attributes:
        onnx: SHA-256 of the file.
        tensorrt: Version.
        gpu: The chip, e.g. ``tegra186``.
        precision: What it computes in.
        batch: Samples per call, the most where it takes several sizes.
        flags: Of the builder.
        dla_core: The core of a DLA that it was built for, and is loaded on again; ``None`` for the GPU alone.
        module: The module it was built on, e.g. ``Orin Nano, 8 multiprocessors``; empty where the board does
            not tell, and in earlier bundles.
        batches: The least, the usual and the most samples per call; ``None`` where every call takes as many.
    """

    onnx: str
    tensorrt: str
    gpu: str
    precision: str
    batch: int
    flags: tuple[str, ...] = ()
    dla_core: int | None = None
    module: str = ""
    batches: Batches | None = None


@dataclass(frozen=True)
class Bundle:
    """A bundle on this machine, every file of which is whole.

    Attributes:
        folder: Where it is.
        name: Under which it is installed.
        manifest: What it says of itself.
    """

    folder: Path
    name: str
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Identity of its whole content: the manifest holds the checksum of everything else."""
        return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()

    @property
    def batches(self) -> Batches:
        """Samples per call of its engine."""
        return batches_in(dict(self.manifest))

    @property
    def output_kinds(self) -> dict[str, str]:
        """TensorRT's names of the types of its outputs, as old boards' ``trtexec`` needs to be told them."""
        return read_output_kinds(str(self.folder / NETWORK))

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files, the manifest last."""
        return (*sorted(self.manifest["files"]), MANIFEST)


def bundle_name(text: str) -> str:
    """A name that a bundle may have, made of any text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100] or "network"


def write_bundle(
    folder: Path,
    name: str,
    key: EngineKey,
    *,
    device: str,
    files: Mapping[str, Path],
    texts: Mapping[str, Any],
    cuda_graph: bool = False,
) -> Bundle:
    """Write a bundle.

    Args:
        folder: Made when missing; must hold nothing but an older bundle, which is replaced.
        name: Under which it is installed.
        key: Of its engine.
        device: The profile's name.
        files: What to copy, by its name in the bundle; ``engine.plan`` and ``network.onnx`` at least.
        texts: JSON documents, by the same.
        cuda_graph: Whether its runner launches calls as a CUDA graph.

    Raises:
        InputError: The name cannot be one, or the folder holds something else.
        RunError: The disk is full, or the folder cannot be written.
    """
    check_name(name)
    check_folder(folder)
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Scratch(folder.parent, _COMING) as scratch:
            coming = scratch.path / "bundle"
            coming.mkdir()
            for target, source in files.items():
                shutil.copyfile(source, coming / target)
            for target, data in texts.items():
                (coming / target).write_text(dump_json(data, indent=1) + "\n")
            (coming / RUNNER).write_text(standalone_runner())
            write_json_atomic(coming / MANIFEST, _manifest(coming, name, key, device, cuda_graph))
            _replace(folder, coming, scratch.path / "before")
    return read_bundle(folder)


def _replace(folder: Path, coming: Path, aside: Path) -> None:
    """Put a folder in the place of another, which comes back where that fails."""
    if folder.exists():
        folder.rename(aside)
    try:
        coming.rename(folder)
    except BaseException:
        if aside.exists():
            aside.rename(folder)
        raise


def check_name(name: str) -> None:
    """Refuse a name that no bundle may have.

    Raises:
        InputError: It is no single word of letters, digits, dots, underscores and dashes.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"a bundle's name has letters, digits, '.', '_' and '-', not {name!r}")


def check_folder(folder: Path) -> None:
    """Refuse a folder that a bundle may not be written to: one that holds something else.

    Raises:
        InputError: It does.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the bundle")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} holds something else than a bundle; give a new folder")


def _manifest(folder: Path, name: str, key: EngineKey, device: str, cuda_graph: bool) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "name": name,
        "device": device,
        "batch": key.batch,
        "batches": key.batches,
        "cuda_graph": cuda_graph,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "key": asdict(key),
        "files": {path.name: _entry(path) for path in sorted(folder.iterdir())},
    }


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and compare every file with its checksum.

    Raises:
        InputError: It is none, or damaged; the message says which file.
    """
    try:
        manifest = read_manifest(str(folder))
        check_files(str(folder), manifest)
    except Refusal as refusal:
        raise InputError(refusal.reason) from refusal
    except OSError as error:
        raise InputError(f"the bundle in {folder} cannot be read: {error.strerror}") from error
    return Bundle(folder, str(manifest["name"]), manifest)


def read_text(bundle: Bundle, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """A JSON document of a bundle; ``None`` where it has none.

    Raises:
        InputError: It is no JSON, whatever its checksum says.
    """
    if name not in bundle.manifest["files"]:
        return None
    try:
        return json.loads((bundle.folder / name).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{name} of the bundle in {bundle.folder} cannot be read: {error}") from error


def _entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}
