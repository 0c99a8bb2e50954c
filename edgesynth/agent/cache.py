"""Engines that were built here, by what they were built from.

A plan belongs to one model, one TensorRT, one GPU, one precision and one set of flags: the key is the hash of
all of them, so a plan that could be wrong is never found.
"""

import fcntl
import hashlib
import json
import os
import tempfile
import time
from typing import Any, Dict, List, Optional, Tuple

__all__ = ["EngineCache", "ModelStore", "engine_key", "known_of"]

_SUFFIX = ".plan"
_FACTS = ".facts"
_BUILDING = ".building-"
_YOUNG_S = 600.0  # a model that was just sent waits for its job


def engine_key(model: str, tensorrt: str, gpu: str, precision: str, flags: List[str]) -> str:
    """The name of the engine of an ONNX file; 32 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(model, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    parts = [digest.hexdigest(), tensorrt, gpu, precision, sorted(flags)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def known_of(plan: str) -> Dict[str, Any]:
    """What was found out about a kept engine when it was built; empty where nothing was kept of it."""
    try:
        with open(_facts_of(plan)) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class EngineCache:
    """A folder of plans.

    Args:
        folder: Made when it is needed.
        limit_mb: What is used longest ago is removed above this.
    """

    def __init__(self, folder: str, limit_mb: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_mb << 20

    def find(self, key: str) -> Optional[str]:
        """The plan of this key, marked as used now."""
        path = os.path.join(self._folder, key + _SUFFIX)
        try:
            os.utime(path)
        except OSError:
            return None
        return path

    def scratch(self) -> str:
        """A new empty file to build into."""
        os.makedirs(self._folder, exist_ok=True)
        handle, path = tempfile.mkstemp(prefix="{}{}-".format(_BUILDING, os.getpid()), dir=self._folder)
        os.close(handle)
        return path

    def add(self, key: str, scratch: str, known: Optional[Dict[str, Any]] = None) -> str:
        """Make a built file the plan of this key: whole or not at all, whatever happens meanwhile.

        Args:
            key: Of the engine.
            scratch: The file.
            known: What :func:`known_of` is to give, if anything.
        """
        path = os.path.join(self._folder, key + _SUFFIX)
        with open(scratch, "rb") as file:
            os.fsync(file.fileno())
        if known:  # it is there before the plan is
            with open(scratch + _FACTS, "w") as file_of_facts:
                json.dump(known, file_of_facts)
            os.replace(scratch + _FACTS, _facts_of(path))
        os.replace(scratch, path)
        self._trim(path)
        return path

    def timings(self, tensorrt: str, gpu: str) -> str:
        """Where the builder of one TensorRT keeps how fast kernels are on this GPU, from build to build."""
        return os.path.join(self._folder, "{}-{}.timings".format(tensorrt, gpu.replace(os.sep, "-")))

    def clear(self) -> int:
        """Remove every plan and what builds that were killed left; returns how many bytes."""
        return sum(_remove(path, size) for _, size, path in self._entries("") if not _is_being_built(path))

    def _trim(self, keep: str) -> None:
        entries = self._entries(_SUFFIX)
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._limit_bytes:
                return
            if path != keep:
                total -= _remove(path, size)
                _remove(_facts_of(path), 0)

    def _entries(self, suffix: str) -> List[Tuple[float, int, str]]:
        return [entry for entry in _entries(self._folder) if entry[2].endswith(suffix)]


class ModelStore:
    """The models that hosts have sent: a search sends one per candidate, and takes none back.

    A model is held with a shared lock while a job uses it, so another job can tell.

    Args:
        folder: The work folder.
        limit_mb: What is used longest ago is removed above this, but for what is in use or was just sent.
    """

    def __init__(self, folder: str, limit_mb: int) -> None:
        self._folder = os.path.join(folder, "models")
        self._limit_bytes = limit_mb << 20

    def hold(self, model: str) -> Optional[int]:
        """Mark a model as used now, until the descriptor is closed; ``None`` for one that is not of here."""
        if os.path.dirname(os.path.realpath(model)) != os.path.realpath(self._folder):
            return None
        try:
            os.utime(model)
            descriptor = os.open(model, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError:  # reading it will tell
            return None
        return descriptor

    def trim(self) -> int:
        """Remove what is above the limit; returns how many bytes."""
        entries = _entries(self._folder)
        total = sum(size for _, size, _ in entries)
        freed = 0
        for used_s, size, path in entries:
            if total - freed > self._limit_bytes and time.time() - used_s > _YOUNG_S and not _is_held(path):
                freed += _remove(path, size)
        return freed


def _entries(folder: str) -> List[Tuple[float, int, str]]:
    """(last use, bytes, path) of the files of a folder, the longest unused first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = []
    for name in names:
        path = os.path.join(folder, name)
        try:
            status = os.stat(path)
        except OSError:  # removed by another build meanwhile
            continue
        found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def _is_held(path: str) -> bool:
    """Whether a job uses a model."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_being_built(path: str) -> bool:
    """Whether the process that builds into this file runs."""
    name = os.path.basename(path)
    if not name.startswith(_BUILDING):
        return False
    try:
        os.kill(int(name[len(_BUILDING) :].partition("-")[0]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _facts_of(plan: str) -> str:
    return os.path.splitext(plan)[0] + _FACTS


def _remove(path: str, size: int) -> int:
    try:
        os.remove(path)
    except OSError:
        return 0
    return size
