"""The tables of a job file; unknown keys, wrong types and impossible values are refused."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from edgesynth.synthesis.settings import SynthesisSettings

__all__ = ["DeviceTable", "JobTables", "PrototypeTable", "SynthesisTable", "Table", "TaskTable"]

Arguments: TypeAlias = dict[str, JsonValue]
_SETTINGS: Final = SynthesisSettings()

Count: TypeAlias = Annotated[int, Field(ge=1)]
Amount: TypeAlias = Annotated[float, Field(ge=0)]
Rate: TypeAlias = Annotated[float, Field(gt=0)]
Name: TypeAlias = Annotated[str, Field(min_length=1)]
Side: TypeAlias = Annotated[int, Field(ge=8, le=8192)]
Level: TypeAlias = Annotated[int, Field(ge=0, le=255)]
Colour: TypeAlias = tuple[Level, Level, Level]


class Table(BaseModel):
    """What every table has in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class PrototypeTable(Table):
    """The network to start from.

    Attributes:
        name: A zoo name, or ``"package.module:callable"`` that returns an ``nn.Module``.
        arguments: Keyword arguments for the callable.
        checkpoint: A safetensors file with its trained weights, relative to the job file.
        epochs: Passes over the training data that train it first. By default none with a checkpoint, else 20
            or as many as 800 steps take; 0 takes the weights as they are.
        learning_rate: Peak learning rate of that training.
        freeze: Module name patterns that must keep their width, e.g. ``["head.*"]``.
        align: Widths are multiples of this; by default of what the device's profile says its lanes are wasted
            by otherwise, in its default precision, and of 8 without a device.
    """

    name: Name
    arguments: Arguments = {}
    checkpoint: Name | None = None
    epochs: Amount | None = None
    learning_rate: Rate = 0.1
    freeze: tuple[Name, ...] = ()
    align: Count | None = None

    @property
    def trained(self) -> bool:
        """Whether it is trained before the synthesis begins."""
        return not self.checkpoint if self.epochs is None else self.epochs > 0


class TaskTable(Table):
    """The data, and with them the loss and the metric.

    Attributes:
        data: A data set name, ``"image-folder"``, ``"mask-folder"`` or ``"boxes"`` for a folder of your own,
            or ``"package.module:callable"`` that returns a task.
        arguments: Keyword arguments for the callable.
        path: Where the data are, relative to the job file: for ``image-folder`` a folder with one
            folder of images per class, for ``mask-folder`` one with images and masks, for ``boxes`` one with
            images and their annotations.
        size: For a folder of your own, what images are brought to, in pixels from 8 to 8192: the side of a
            square, or height and width.
        fit: For a folder of your own, how: ``crop`` about their middle, the default of ``image-folder`` and
            ``mask-folder``; ``letterbox`` with grey beside them, the default of ``boxes``; or, for all,
            ``stretch``.
        colour: For a folder of your own, how images are read.
        mirror: For a folder of your own, whether a mirror image means the same and may be trained on.
        turn: For a folder of your own, whether a picture turned by quarters does too, as one from straight
            above.
        skip_corrupt: For a folder of your own, leave out files that cannot be read.
        format: For ``boxes``, how they are written down; by default what the folder looks like.
        classes: For ``mask-folder`` and ``boxes``, the names of the classes; by default what the folder says.
            For ``mask-folder`` also a colour by name, red, green and blue of 0 to 255.
        ignore_label: For ``mask-folder``, the value of pixels that do not count. Where ``classes`` name that
            value too, its name must be ``void``.
        class_weights: For ``mask-folder``, ``balanced`` where rare classes weigh more in the loss, or one
            number for every class in their order; alike by default.
        head: For detection, what a network's outputs mean; by default what the zoo's prototype says, or
            ``centre``.
        metric: For detection, what quality is; by default ``map50``, mean average precision at half overlap.
        train_size: Use this many training samples of a named data set; all of them by default.
    """

    data: Name
    arguments: Arguments = {}
    path: Name | None = None
    size: Side | tuple[Side, Side] | None = None
    fit: Literal["crop", "letterbox", "stretch"] | None = None
    colour: Literal["rgb", "grey"] = "rgb"
    mirror: bool = True
    turn: bool | None = None
    skip_corrupt: bool = False
    format: Literal["coco", "voc", "yolo"] | None = None
    classes: (
        Annotated[tuple[Name, ...], Field(min_length=1)]
        | Annotated[dict[Name, Colour], Field(min_length=1)]
        | None
    ) = None
    ignore_label: Level | None = None
    class_weights: Literal["balanced"] | Annotated[tuple[Amount, ...], Field(min_length=1)] | None = None
    head: Literal["centre", "grid"] | None = None
    metric: Literal["map50", "map"] | None = None
    train_size: Count | None = None


class DeviceTable(Table):
    """Where networks are measured.

    Attributes:
        name: A device profile; ``edgesynth devices`` lists them.
        dla_core: The core of a board's DLA that networks run on; the GPU alone by default.
        link: How it is reached, or one link per board where several share the work; the profile's first
            link by default.
        mode: The power mode it is measured in; a board's own by default, of a simulated one the
            profile's first.
    """

    name: Name
    dla_core: Annotated[int, Field(ge=0)] | None = None
    link: Name | tuple[Name, ...] | None = None
    mode: Name | None = None

    @property
    def links(self) -> tuple[str, ...]:
        """One per board; none for the profile's own."""
        if self.link is None:
            return ()
        return (self.link,) if isinstance(self.link, str) else self.link


class SynthesisTable(Table):
    """Budgets and seeds; the same fields and defaults as ``SynthesisSettings``.

    Attributes:
        cycles: How often the pair goes round.
        epochs: Passes over the training data that train the shared weights, over all cycles. By default 20,
            or as many as 1,000 steps take.
        warmup: Share of those epochs that trains a wide family before the generator's first update.
        networks: How many networks from unseen seeds are reported at the end.
        polish_epochs: Passes over the training data spent on each reported network alone. By default as many
            as train the shared weights, divided among the networks.
        seeds_per_cycle: The most fresh seeds whose networks are evaluated in a cycle; fewer where training is
            brief.
        asked_per_cycle: The most architectures the pair asks to have evaluated besides.
        probes_per_cycle: Networks per cycle whose vertices are stimulated.
        batch_size: Samples per training step.
        learning_rate: Peak learning rate of the shared weights; by default one that suits the prototype.
        validation_limit: Validation samples per evaluation inside cycles; 0 uses all.
        calibration_samples: Training samples that re-estimate batch-norm statistics.
        diversity: Strength of the term that keeps the generator's networks different.
        budget_range: How many times looser or tighter the budgets may be that the generator serves besides.
        performance: The performance function U.
        seed: Everything random follows from it.
    """

    cycles: Count = _SETTINGS.cycles
    epochs: Rate | None = _SETTINGS.epochs
    warmup: Annotated[float, Field(ge=0, lt=1)] = _SETTINGS.warmup
    networks: Count = _SETTINGS.networks
    polish_epochs: Amount | None = _SETTINGS.polish_epochs
    seeds_per_cycle: Count = _SETTINGS.seeds_per_cycle
    asked_per_cycle: Count = _SETTINGS.asked_per_cycle
    probes_per_cycle: Annotated[int, Field(ge=0)] = _SETTINGS.probes_per_cycle
    batch_size: Count = _SETTINGS.batch_size
    learning_rate: Rate | None = _SETTINGS.learning_rate
    validation_limit: Annotated[int, Field(ge=0)] = _SETTINGS.validation_limit or 0
    calibration_samples: Count = _SETTINGS.calibration_samples
    diversity: Amount = _SETTINGS.diversity
    budget_range: Annotated[float, Field(ge=1)] = _SETTINGS.budget_range
    performance: Literal["netscore", "information_density", "energy_aware", "quality"] = "netscore"
    seed: Annotated[int, Field(ge=0)] = _SETTINGS.seed


class JobTables(Table):
    """A whole job file.

    Attributes:
        prototype: The network to start from.
        task: Data, loss and metric.
        requirements: Bounds by metric; ``prototype`` stands for the prototype's own value.
        device: Where networks are measured; without it nothing is.
        synthesis: Budgets and seeds.
    """

    prototype: PrototypeTable
    task: TaskTable
    requirements: dict[str, str | list[str]] = {}
    device: DeviceTable | None = None
    synthesis: SynthesisTable = SynthesisTable()
