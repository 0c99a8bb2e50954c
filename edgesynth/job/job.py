"""A checked job, and how its parts are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgesynth.errors import InputError, JobError
from edgesynth.job import relative
from edgesynth.job.data import check_own, open_data
from edgesynth.job.reference import call, is_reference, load_reference
from edgesynth.job.tables import DeviceTable, JobTables, PrototypeTable, SynthesisTable, TaskTable
from edgesynth.job.validation import validate
from edgesynth.metrics import Metric

if TYPE_CHECKING:
    from torch import nn

    from edgesynth.devices import Device
    from edgesynth.graph import Prototype
    from edgesynth.progress import Progress
    from edgesynth.synthesis.requirements import Requirements
    from edgesynth.synthesis.settings import SynthesisSettings
    from edgesynth.tasks import Task, TrainingPlan

__all__ = ["Job", "load_checkpoint", "make_module"]

_ALIGNMENT: Final = 8
_EPOCHS: Final = 20.0
_STEPS: Final = 800
"""Few passes over few data are too few steps for a network to learn in."""


@dataclass(frozen=True)
class Job:
    """What a job file says, with the folder it says it from.

    Attributes:
        tables: The checked tables.
        folder: Where relative paths and the user's modules are looked up; absolute.
    """

    tables: JobTables
    folder: Path

    @property
    def prototype(self) -> PrototypeTable:
        """The network to start from."""
        return self.tables.prototype

    @property
    def task(self) -> TaskTable:
        """The data, and with them the loss and the metric."""
        return self.tables.task

    @property
    def requirements(self) -> Mapping[str, str | list[str]]:
        """Bounds by metric, as written; :meth:`resolve` makes numbers of them."""
        return self.tables.requirements

    @property
    def device(self) -> DeviceTable | None:
        """Where networks are measured, if anywhere."""
        return self.tables.device

    @property
    def synthesis(self) -> SynthesisTable:
        """Budgets and seeds."""
        return self.tables.synthesis

    @property
    def settings(self) -> SynthesisSettings:
        """The budgets in the form the synthesis takes."""
        from edgesynth.synthesis.settings import SynthesisSettings

        values = self.synthesis.model_dump()
        values["validation_limit"] = values["validation_limit"] or None
        return SynthesisSettings(**values)

    def training_plan(self, samples: int) -> TrainingPlan:
        """How the prototype is trained before the synthesis begins, on so many samples."""
        from edgesynth.tasks import TrainingPlan
        from edgesynth.tasks.training import passes

        batch_size, epochs = self.synthesis.batch_size, self.prototype.epochs
        return TrainingPlan(
            epochs=passes(_EPOCHS, _STEPS, samples, batch_size) if epochs is None else epochs,
            batch_size=batch_size,
            learning_rate=self.prototype.learning_rate,
            seed=self.synthesis.seed,
        )

    def with_synthesis(self, **changes: int | None) -> Job:
        """The same job with some budgets changed; ``None`` leaves one as it is.

        Raises:
            JobError: A value is not allowed.
        """
        wanted = {key: value for key, value in changes.items() if value is not None}
        tables = self.tables.model_dump(mode="json", exclude_none=True)
        tables["synthesis"] |= wanted
        return Job(validate(tables, "the command line", self.folder), self.folder)

    def build_task(self) -> Task:
        """Open the data.

        Raises:
            JobError: The data set is unknown, a key is missing or of no use to it, or the user's callable
                fails.
            DataError: The data are missing, empty or unusable.
        """
        from edgesynth.tasks import Task

        table = self.task
        if not is_reference(table.data):
            return open_data(table, self.folder, self.prototype.name)
        check_own(table)
        task = call(load_reference(table.data, self.folder), table.data, table.arguments, {})
        if not isinstance(task, Task):
            raise JobError(
                f"{table.data!r} returned a {type(task).__name__}, not a task; return one of "
                "edgesynth.tasks, e.g. edgesynth.tasks.from_datasets(train, test)"
            )
        return task

    def build_module(self, task: Task, *, checkpoint: bool = True) -> nn.Module:
        """Make the prototype's module.

        Args:
            task: Its input shape and classes decide the first and the last layer of a zoo network;
                a user's callable gets them as ``in_channels`` and ``classes`` if it takes these.
            checkpoint: Load the checkpoint if one is named; a finished run has weights of its own.

        Raises:
            JobError: The name is unknown or made for another kind of task, the user's callable fails, or
                the checkpoint does not fit.
        """
        import torch

        offered = {"in_channels": task.input_shape[0], "classes": len(task.classes)}
        table = self.prototype
        _check_kind(table.name, task)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.synthesis.seed)
            module = make_module(table.name, table.arguments, offered, self.folder)
        if not checkpoint:
            return module
        if table.checkpoint:
            load_checkpoint(module, self.folder / table.checkpoint)
        elif not table.trained and not is_reference(table.name):
            raise JobError(
                f"[prototype] epochs = 0 leaves the zoo's {table.name!r} untrained; "
                "give it epochs or a checkpoint"
            )
        return module

    def trace(self, module: nn.Module, task: Task) -> Prototype:
        """Trace a module on the task's input shape.

        Raises:
            TraceError: The module cannot be traced; the message names the line of the user's code.
        """
        import torch

        from edgesynth.graph import Prototype

        example = torch.zeros(1, *task.input_shape)
        table = self.prototype
        align = table.align or self._alignment()
        return Prototype(module, example, freeze=table.freeze, align=align, name=table.name)

    def _profile(self, table: DeviceTable) -> str:
        """A profile's name, or its file from where this one lies."""
        return str(self.folder / table.name) if table.name.endswith(".toml") else table.name

    def _alignment(self) -> int:
        """The step of widths that the device likes."""
        from edgesynth.devices import load_profile

        if self.device is None:
            return _ALIGNMENT
        profile = load_profile(self._profile(self.device))
        return profile.compiler.channel_alignment.get(profile.default_precision, _ALIGNMENT)

    def build_prototype(self, task: Task | None = None, *, checkpoint: bool = True) -> Prototype:
        """The traced prototype, untrained unless its checkpoint or callable says otherwise."""
        task = task or self.build_task()
        return self.trace(self.build_module(task, checkpoint=checkpoint), task)

    def open_device(self, progress: Progress | None = None) -> Device | None:
        """Open the device, or ``None`` if the job has none.

        Args:
            progress: Of several boards: told of every one that is set aside.

        Raises:
            InputError: The profile or the link is unknown.
            DeviceError: The device cannot be reached.
        """
        from edgesynth.devices import open_boards

        if self.device is None:
            return None
        return open_boards(
            self._profile(self.device),
            self.device.links,
            mode=self.device.mode,
            dla_core=self.device.dla_core,
            seed=self.synthesis.seed,
            progress=progress,
        )

    def resolve(self, prototype: Mapping[str, float | Metric], *, partial: bool = False) -> Requirements:
        """The requirements as numbers, once the prototype's own values are known.

        Args:
            prototype: What is known of the prototype, by metric.
            partial: Leave out what cannot be known yet, for an early check.

        Raises:
            RequirementError: A bound refers to a value the prototype does not have, or bounds
                contradict each other.
        """
        from edgesynth.synthesis.requirements import Requirements

        return Requirements(relative.resolve(self.requirements, prototype, partial=partial))

    def to_json(self) -> dict[str, Any]:
        """The tables in the JSON form that a run's manifest keeps, defaults included."""
        return self.tables.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path | str) -> Job:
        """Read what :meth:`to_json` wrote.

        Args:
            data: The tables.
            folder: Where relative paths and the user's modules are looked up.

        Raises:
            JobError: They do not validate.
        """
        place = Path(folder).resolve()
        return cls(validate(data, "the run's job", place), place)


def _check_kind(name: str, task: Task) -> None:
    """Refuse a network of the zoo that is made for another kind of task.

    Raises:
        JobError: It is; the message names those that would do.
    """
    from edgesynth import zoo
    from edgesynth.tasks import task_kind

    kind = task_kind(task)
    if kind is None or is_reference(name):
        return
    try:
        made_for = zoo.prototype_kind(name)
    except InputError:
        return  # that it is unknown is said where the network is made
    if made_for != kind:
        raise JobError(
            f"[prototype] the zoo's {name!r} is made for {made_for}, and {task.name!r} is a set for {kind}; "
            f"prototypes for it: {', '.join(zoo.prototype_names(kind))}"
        )


def make_module(
    name: str, arguments: Mapping[str, Any], offered: Mapping[str, int], folder: Path
) -> nn.Module:
    """A module by zoo name or by ``"package.module:callable"``.

    Args:
        name: Either of the two.
        arguments: Keyword arguments for a callable.
        offered: ``in_channels`` and ``classes``; zoo networks and callables that name them get them.
        folder: Where modules are looked up first.

    Raises:
        JobError: The name is unknown, or the callable fails or returns something else.
    """
    from torch import nn

    from edgesynth import zoo

    if not is_reference(name):
        if arguments:
            raise JobError(f"the zoo's {name!r} takes no arguments, got {sorted(arguments)}; remove them")
        if name.endswith(".py"):
            raise JobError(
                f"{name!r} is a file; name what makes the network in it: '{Path(name).stem}:callable'"
            )
        try:
            return zoo.build(name, **offered)
        except InputError as error:
            raise JobError(f'{error} (your own network is named "package.module:callable")') from error
    module = call(load_reference(name, folder), name, arguments, offered)
    if not isinstance(module, nn.Module):
        raise JobError(f"{name!r} returned a {type(module).__name__}, not a torch.nn.Module")
    return module


def load_checkpoint(module: nn.Module, path: Path) -> None:
    """Load trained weights from a safetensors file, every one of them.

    Raises:
        JobError: The file is missing or no safetensors file, or its tensors do not fit the module.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise JobError(
            f"[prototype] checkpoint {path} cannot be read as safetensors: {error}; "
            "write one with safetensors.torch.save_file(module.state_dict(), path)"
        ) from error
    wanted = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in tensors]
    faults += [f"{name} is not in the network" for name in tensors if name not in wanted]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, the network needs {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    if faults:
        more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
        raise JobError(f"[prototype] checkpoint {path} does not fit: {'; '.join(faults[:3])}{more}")
    module.load_state_dict(tensors)
