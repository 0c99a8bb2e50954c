"""The run folder: what was asked, what was found, and how to go on from there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, cast

from edgesynth.closing import Closing
from edgesynth.errors import EdgesynthError, RunError
from edgesynth.metrics import MetricKind, register_metric
from edgesynth.runs.atomic import TEMPORARY, dump_json, sync_folder, write_json_atomic
from edgesynth.runs.checkpoint import Checkpoint, CheckpointFolder
from edgesynth.runs.faults import disk_faults
from edgesynth.runs.lock import LOCK, WriterLock
from edgesynth.runs.pictures import PICTURES
from edgesynth.runs.records import CycleRecord, NetworkRecord, Role
from edgesynth.runs.store import Store

if TYPE_CHECKING:
    from edgesynth.runs.checkpoint import Tensors

__all__ = ["PROTOTYPE", "UNFINISHED", "Run", "RunStatus", "refuse_occupied"]

RunStatus = Literal["running", "finished", "interrupted"]
Record = TypeVar("Record", NetworkRecord, CycleRecord)

_STORE: Final = "run.sqlite"
_MANIFEST: Final = "manifest.json"
PROTOTYPE: Final = "prototype.safetensors"  # may be there first: a prototype is trained before its run
UNFINISHED: Final = "prototype.unfinished.safetensors"  # there while the prototype is being trained
_CHECKPOINTS: Final = "checkpoints"
_RECENT: Final = 2  # how many checkpoints are there to resume from, besides the kept ones

_FILES: Final = {
    "recipe": "networks/{key}/recipe.json",
    "weights": "networks/{key}/weights.safetensors",
    "onnx": "networks/{key}/network.onnx",
    "network": "networks/{key}",
}


class Run(Closing):
    """One run in its folder: manifest, records, checkpoints, log and artefacts.

    The folder holds ``run.sqlite`` (the store; the run exists once this file does),
    ``manifest.json`` (a copy for people), ``checkpoints/``, ``networks/<key>/`` and ``run.lock``.
    It is consistent after a SIGKILL or a power cut at any moment. One process writes; any number read.

    Use :meth:`create` or :meth:`open`; both give a context manager.
    """

    def __init__(self, path: Path, store: Store, lock: WriterLock | None) -> None:
        self.path = path
        self._store = store
        self._lock = lock
        self._checkpoints = CheckpointFolder(path / _CHECKPOINTS)
        self._pruned = False

    @classmethod
    def create(cls, path: Path | str, manifest: Mapping[str, Any]) -> Self:
        """Start a run in a new or empty folder and open it for writing.

        Args:
            path: The folder; made with its parents if missing.
            manifest: What the run is about, as JSON: ``job``, ``space``, ``requirements``,
                ``versions``, ``seeds``, ``prototype``.

        Raises:
            RunError: The folder is already a run, holds other files, is in use, or cannot be written;
                or the manifest is not JSON.
        """
        path = Path(path)
        try:
            meta = {"manifest": dump_json(manifest), "status": "running", "created": repr(time.time())}
        except TypeError as error:
            raise RunError(f"the manifest of a run must be JSON: {error}") from error
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; a run needs a folder of its own")
        refuse_occupied(path)
        with disk_faults(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(path / LOCK)
        try:
            # Another process may have finished creating it while we waited for nothing but the lock.
            refuse_occupied(path)
            write_json_atomic(path / _MANIFEST, manifest)
            half = path / f".{_STORE}{TEMPORARY}"
            half.unlink(missing_ok=True)
            Store.build(half, meta)
            with disk_faults(path):
                half.rename(path / _STORE)
                sync_folder(path)
            return cls(path, Store(path / _STORE, write=True), lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: Path | str, *, write: bool = False) -> Self:
        """Open an existing run.

        Args:
            path: The run folder.
            write: Take the writer lock, and clear what a crash left behind.

        Raises:
            RunError: It is not a run folder, is damaged, was written by a newer version, or another
                process is writing it.
        """
        path = Path(path)
        if not cls.exists(path):
            state = "is not a run folder" if path.is_dir() else "does not exist"
            raise RunError(
                f"{path} {state} (no {_STORE} in it); give the folder that `edgesynth synth` wrote"
            )
        lock = WriterLock(path / LOCK) if write else None
        try:
            run = cls(path, Store(path / _STORE, write=write), lock)
            run._learn_metrics()
            if write:
                run._sweep()
        except BaseException:
            if lock:
                lock.release()
            raise
        return run

    @staticmethod
    def exists(path: Path | str) -> bool:
        """Whether the folder holds a run; false for one whose creation was cut short."""
        return (Path(path) / _STORE).is_file()

    def close(self) -> None:
        """Close the store and give the writer lock back."""
        self._store.close()
        if self._lock:
            self._lock.release()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, write={self._lock is not None})"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the run was created with."""
        return self._store.manifest()

    @property
    def created(self) -> float:
        """When the run was created, in seconds since the epoch."""
        return float(self._store.meta("created"))

    @property
    def status(self) -> RunStatus:
        """How the run stands; ``interrupted`` when it never finished and nobody is writing it."""
        status = cast("RunStatus", self._store.meta("status"))
        alive = self._lock is not None or WriterLock.held(self.path / LOCK)
        return status if status != "running" or alive else "interrupted"

    def set_status(self, status: RunStatus) -> None:
        """Say how the run stands."""
        self._for_writing().set_meta("status", status)

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Everything recorded inside becomes visible together, checkpoints included, or not at all."""
        store = self._for_writing()
        with store.transaction():
            yield self
        if self._pruned and not store.in_transaction:
            self._pruned = False
            self._sweep()

    def record_network(self, record: NetworkRecord) -> None:
        """Record a network; one with the same key, role and seed is replaced."""
        text = dump_json(record.to_json())
        self._for_writing().put_network(record.key, record.role, record.seed, text)

    def record_cycle(self, record: CycleRecord) -> None:
        """Record a cycle; one with the same number is replaced."""
        self._for_writing().put_cycle(record.cycle, dump_json(record.to_json()))

    def networks(self, role: Role | None = None) -> tuple[NetworkRecord, ...]:
        """Networks in the order they were first recorded, of one role or of all."""
        return tuple(self._decoded(NetworkRecord.from_json, row) for row in self._store.networks(role))

    def cycles(self) -> tuple[CycleRecord, ...]:
        """Cycles by number."""
        return tuple(self._decoded(CycleRecord.from_json, row) for row in self._store.cycles())

    def phases(self) -> dict[str, float]:
        """Seconds spent per phase, over all cycles."""
        total: dict[str, float] = {}
        for cycle in self.cycles():
            for phase, seconds in cycle.seconds.items():
                total[phase] = total.get(phase, 0.0) + seconds
        return total

    def checkpoint(
        self, cycle: int, tensors: Tensors, state: Mapping[str, Any], *, keep: bool = False
    ) -> None:
        """Save what is needed to go on from the end of a cycle.

        The two most recent checkpoints stay, and every one with ``keep=True``: the small state of
        the policy, say, so that any cycle's generator can be used later. A cycle may have one of
        each; the one that is not kept is then taken to be the complete one.

        Args:
            cycle: The cycle that just ended.
            tensors: Tensors or arrays by name; tied tensors are written once each.
            state: Anything JSON; numbers survive exactly.
            keep: Never prune it.

        Raises:
            RunError: The disk is full or not writable, or the state is not JSON. The previous
                checkpoint is then still the current one.
        """
        with self.transaction():
            row = self._checkpoints.write(cycle, tensors, state, keep=keep)
            self._store.put_checkpoint(row, last=_RECENT)
            self._pruned = True

    def latest_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to resume from: of the newest cycle, and there the complete one.

        Raises:
            RunError: Its files are missing or damaged.
        """
        rows = self._store.checkpoints()
        return self._checkpoints.read(rows[0]) if rows else None

    def checkpoint_at(self, cycle: int) -> Checkpoint:
        """The checkpoint of a cycle: the complete one while it is there, else the kept one.

        Raises:
            RunError: The cycle has none (the message lists those that do), or it is damaged.
        """
        rows = self._store.checkpoints()
        for row in rows:
            if row.cycle == cycle:
                return self._checkpoints.read(row)
        have = sorted({row.cycle for row in rows})
        raise RunError(f"{self.path} has no checkpoint of cycle {cycle}; it has those of cycles {have}")

    def checkpoint_cycles(self) -> tuple[int, ...]:
        """The cycles that have a checkpoint, ascending."""
        return tuple(sorted({row.cycle for row in self._store.checkpoints()}))

    def event(self, text: str) -> None:
        """Append a line to the run's log."""
        self._for_writing().add_event(time.time(), text)

    def events(self) -> list[tuple[float, str]]:
        """The log: seconds since the epoch, and text."""
        return self._store.events()

    def path_for(self, kind: str, key: str) -> Path:
        """Where an artefact of a network belongs; its folder is made when the run is open for writing.

        Args:
            kind: ``recipe``, ``weights``, ``onnx``, or ``network`` for the folder itself.
            key: The network's key.

        Raises:
            RunError: The kind is unknown, or the key is not a plain name.
        """
        if kind not in _FILES:
            raise RunError(f"unknown kind of artefact {kind!r}; choose from {', '.join(_FILES)}")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", key):
            raise RunError(f"a network key must be letters, digits, '.', '_' or '-', got {key!r}")
        path = self.path / _FILES[kind].format(key=key)
        if self._lock:
            with disk_faults(path):
                (path if kind == "network" else path.parent).mkdir(parents=True, exist_ok=True)
        return path

    def _for_writing(self) -> Store:
        if self._lock is None:
            raise RunError(f"{self.path} is open for reading only; open it with write=True")
        return self._store

    def _learn_metrics(self) -> None:
        """Metrics of a user's task are defined in code that need not be here when a run is read."""
        for known in self.manifest.get("metrics") or ():
            try:
                register_metric(MetricKind(**known))
            except (TypeError, EdgesynthError) as error:
                raise RunError(f"the run in {self.path} has a metric that cannot be read: {error}") from error

    def _sweep(self) -> None:
        self._checkpoints.sweep(self._store.checkpoints())
        for folder in ("networks/*", PICTURES):
            for leftover in self.path.glob(f"{folder}/.*{TEMPORARY}"):
                leftover.unlink()

    def _decoded(self, decode: Callable[[dict[str, Any]], Record], data: dict[str, Any]) -> Record:
        try:
            return decode(data)
        except (KeyError, TypeError, ValueError, EdgesynthError) as error:
            raise RunError(
                f"a record in {self.path / _STORE} cannot be read ({error!r}); restore the run from a copy"
            ) from error


def refuse_occupied(path: Path) -> None:
    """Refuse a folder that is a run already, or holds files of others.

    Raises:
        RunError: It is, or it does.
    """
    if (path / _STORE).exists():
        raise RunError(f"{path} already holds a run; resume it, or choose another folder")
    ours = {LOCK, _MANIFEST, PROTOTYPE, UNFINISHED}
    with disk_faults(path):
        entries = [entry.name for entry in path.iterdir()] if path.is_dir() else []
    # Names that begin like ours are what a killed creation leaves behind.
    strangers = sorted(name for name in entries if name not in ours and not name.endswith(TEMPORARY))
    if strangers:
        raise RunError(
            f"{path} is not empty and is not a run (it holds {strangers[0]!r}); nothing was written: "
            "choose another folder"
        )
