"""The weights of a prototype in the folder of its run: trained once, read ever after."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from edgesynth.errors import RunError
from edgesynth.progress import Progress
from edgesynth.runs import write_atomic
from edgesynth.runs.faults import disk_faults
from edgesynth.runs.lock import LOCK, WriterLock
from edgesynth.runs.run import PROTOTYPE
from edgesynth.tasks import Task, TrainingPlan, fit

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

    Args:
        module: Of the prototype.
        task: What it learns.
        plan: How.
        run_dir: The run folder; it is made where it is missing.
        progress: Is told.
        origin: What weights were trained for, as text that is kept with them; callers compare it.

    Raises:
        TrainingError: Training diverged.
        RunError: The folder cannot be written, or another process is writing it.
    """
    path = run_dir / PROTOTYPE
    if path.exists():
        load_weights(module, path)
        return
    # A folder that cannot be written is found out before the training, not after it.
    with disk_faults(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(run_dir / LOCK)
    try:
        fit(module, task, plan, progress=progress)
        save_weights(module, path, origin=origin)
    finally:
        lock.release()


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a module's state from safetensors.

    Raises:
        RunError: The file is missing, damaged, or of another network.
    """
    try:
        module.load_state_dict(load_file(path))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"the weights in {path} cannot be loaded into this prototype: {error}") from error


def save_weights(module: nn.Module, path: Path, *, origin: str = "") -> None:
    """Write a module's state as safetensors; the file is there whole, or not at all.

    Args:
        module: Any.
        path: Of the file.
        origin: What the weights were trained for; kept in the file where it is not empty.

    Raises:
        RunError: The disk is full or the folder cannot be written.
    """
    # Safetensors wants every tensor in memory of its own.
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    write_atomic(path, save(state, metadata={"origin": origin} if origin else None))
