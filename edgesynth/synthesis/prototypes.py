"""The weights of a prototype in the folder of its run: trained once, read ever after.

While it is being trained, a file beside them holds where the training stands, so that one that was
interrupted goes on after the last whole epoch, to the weights that it would have come to without a stop.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from edgesynth.errors import RunError
from edgesynth.progress import Progress
from edgesynth.runs import write_atomic
from edgesynth.runs.faults import disk_faults
from edgesynth.runs.lock import LOCK, WriterLock
from edgesynth.runs.run import PROTOTYPE, UNFINISHED
from edgesynth.synthesis.data import differing, lasting_digests
from edgesynth.tasks import Task, TrainingPlan, TrainingState, fit

__all__ = ["load_weights", "save_weights", "train_prototype"]


def train_prototype(
    module: nn.Module,
    task: Task,
    plan: TrainingPlan,
    run_dir: Path,
    progress: Progress,
    *,
    origin: str = "",
) -> None:
    """Train a prototype in place, or take the weights an earlier call left in the run folder.

    Of a call that was interrupted the training goes on; its random state, order and schedule go on with it.

    Args:
        module: Of the prototype.
        task: What it learns.
        plan: How.
        run_dir: The run folder; it is made where it is missing.
        progress: Is told.
        origin: What weights were trained for, as text that is kept with them; callers compare it.

    Raises:
        TrainingError: Training diverged.
        InputError: The interrupted training was of another network, plan or number of samples.
        RunError: The folder cannot be written, another process is writing it, or what an earlier call left
            there is damaged, or was trained for something else or on other data.
    """
    path, unfinished = run_dir / PROTOTYPE, run_dir / UNFINISHED
    if path.exists():
        load_weights(module, path)
        _check_data(path, task)
        # A power cut may have come between the one file and the end of the other.
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        return
    # A folder that cannot be written is found out before the training, not after it.
    with disk_faults(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(run_dir / LOCK)
    try:
        state = _read_state(unfinished, origin)
        if state is not None:
            _check_data(unfinished, task)
            progress.note(f"the training of the prototype goes on after epoch {len(state.epochs)}")

        data = json.dumps(lasting_digests(task))

        def keep(now: TrainingState) -> None:
            about = {"training": now.to_json(), "origin": origin, "data": data}
            write_atomic(unfinished, save(dict(now.tensors), metadata=about))

        fit(module, task, plan, keep=keep, state=state, progress=progress)
        save_weights(module, path, about={"origin": origin, "data": data})
        with disk_faults(unfinished):
            unfinished.unlink(missing_ok=True)
    finally:
        lock.release()


def _read_state(path: Path, origin: str) -> TrainingState | None:
    """Where an interrupted training stood; ``None`` where there was none."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        state = TrainingState.from_json(about.get("training", "null"), tensors)
    except (OSError, ValueError, SafetensorError) as error:
        raise RunError(
            f"the unfinished training in {path} cannot be read: {error}; remove the file to begin anew"
        ) from error
    if about.get("origin", "") != origin:
        raise RunError(f"the unfinished training in {path} is for another job; remove the file to begin anew")
    return state


def _check_data(path: Path, task: Task) -> None:
    """Refuse what was trained on other data; what an earlier version left does not say on which."""
    with safe_open(path, "pt") as file:
        before = json.loads((file.metadata() or {}).get("data", "{}"))
    splits = differing(before, task)
    if splits:
        raise RunError(
            f"the weights in {path} were trained on other data than those now given in {', '.join(splits)}; "
            "restore them, and how they are read, or remove the file to begin anew"
        )


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a module's state from safetensors.

    Raises:
        RunError: The file is missing, damaged, or of another network.
    """
    try:
        module.load_state_dict(load_file(path))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"the weights in {path} cannot be loaded into this prototype: {error}") from error


def save_weights(module: nn.Module, path: Path, *, about: Mapping[str, str] | None = None) -> None:
    """Write a module's state as safetensors; the file is there whole, or not at all.

    Args:
        module: Any.
        path: Of the file.
        about: What else the file should say; what is empty is left out.

    Raises:
        RunError: The disk is full or the folder cannot be written.
    """
    # Safetensors wants every tensor in memory of its own.
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    told = {key: value for key, value in (about or {}).items() if value}
    write_atomic(path, save(state, metadata=told or None))
