"""A device: a profile, and an open link to one that follows it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from edgesynth.agent.onnx_types import disagreement, read_precision
from edgesynth.closing import Closing
from edgesynth.devices.bench import BenchRequest, Recording, listen
from edgesynth.devices.board import Board, check_link, reach_board
from edgesynth.devices.catalog import load_profile
from edgesynth.devices.clock import Clock
from edgesynth.devices.dla import check_core, check_precision, check_tensorrt
from edgesynth.devices.half import half_file
from edgesynth.devices.host import bench_command, with_counter
from edgesynth.devices.jetson import bench_settings, check_board, present_mode
from edgesynth.devices.link import Link
from edgesynth.devices.local import LocalLink
from edgesynth.devices.onnx_file import in_one_file
from edgesynth.devices.profile import Mode, Precision, Profile
from edgesynth.devices.release import half_is_in_graph, parse_release
from edgesynth.devices.simulated import BENCH_COMMAND, SimulatedLink
from edgesynth.devices.simulated_bench import Faults
from edgesynth.errors import InputError, LinkError
from edgesynth.metrics import Provenance
from edgesynth.scratch import Scratch

__all__ = ["Device", "open_device"]


class Device(Closing):
    """One device, open for measuring. Use it as a context manager, or call :meth:`close`.

    Args:
        profile: What is known about it.
        link: How it is reached; closed with the device.
        mode: The power mode to measure in.
        bench_command: The bench program on the other side of the link; not needed for a board.
        runs_files: Whether that program runs ONNX files; otherwise it is given workloads.
        provenance: What its figures are.
        settings: Fields of every request to the bench program that are this device's own.
        board: A real board that this run has to itself; given back with the device.
        dla_core: The core of its DLA that engines are built for; they run on the GPU alone by default.

    Attributes:
        profile: What is known about it.
        link: How it is reached.
        mode: The power mode it is measured in.
        provenance: ``SIMULATED`` or ``MEASURED``; goes with every figure.
        runs_files: Whether it runs ONNX files rather than workloads.
        reference_ms: How long the reference load of a host took when its first trusted measurement was made;
            ``None`` before that, and for devices without such a load. Later ones count calls at that speed
            alone, for figures of different speeds cannot be compared.
    """

    def __init__(
        self,
        profile: Profile,
        link: Link,
        *,
        mode: Mode,
        runs_files: bool,
        provenance: Provenance,
        bench_command: Sequence[str] = (),
        settings: Mapping[str, Any] | None = None,
        board: Board | None = None,
        dla_core: int | None = None,
    ) -> None:
        self.profile = profile
        self.link = link
        self.mode = mode
        self.provenance = provenance
        self.runs_files = runs_files
        self.reference_ms: float | None = None
        self._bench_command = tuple(bench_command)
        self._settings = {**(settings or {}), **({} if dla_core is None else {"dla_core": dla_core})}
        self._board = board

    @property
    def clock(self) -> Clock:
        """The clock that waiting for this device passes time on."""
        return self.link.clock

    @property
    def board(self) -> Board | None:
        """The board that this run has to itself; ``None`` for what is no board."""
        return self._board

    @property
    def complaints(self) -> tuple[str, ...]:
        """What of a board could not be put back as it was found, and what to do; mostly empty."""
        return () if self._board is None else self._board.complaints

    @property
    def sets_mode(self) -> bool:
        """Whether a board is brought into the power mode for every measurement, and back."""
        return bool(self._settings.get("set_mode"))

    @property
    def fixes_clocks(self) -> bool:
        """Whether the clocks of a board are held while it measures."""
        return self._settings.get("clocks") == "fixed"

    @property
    def dla_core(self) -> int | None:
        """The core of its DLA that engines are built for; ``None`` where they run on the GPU alone."""
        core: int | None = self._settings.get("dla_core")
        return core

    @property
    def precision_in_graph(self) -> bool:
        """Whether the types of a network decide its precision, and no flag of an engine builder.

        Raises:
            LinkError: It is a board that cannot be reached.
        """
        if self._board is None:
            return False
        release = parse_release(self._board.tensorrt)
        return release is not None and half_is_in_graph(release)

    @property
    def has_energy(self) -> bool:
        """Whether it can tell power; requirements on energy need it."""
        return self.profile.has_energy

    @property
    def has_cuda_graphs(self) -> bool:
        """Whether it may be asked to launch calls as a CUDA graph: it runs TensorRT."""
        return self._board is not None

    @property
    def capacity(self) -> int:
        """How many networks it measures at once."""
        return 1

    @property
    def is_this_machine(self) -> bool:
        """Whether it computes where this program does, so that each disturbs the other."""
        return isinstance(self.link, LocalLink)

    def describe(self) -> str:
        """One line for tables: what it is, how it is reached, in which mode, and on which core of a DLA."""
        return f"{self.profile.title} ({self.link.name}, {self.mode.name}{self._on_core})"

    def source(self, precision: str, batch: int) -> str:
        """What a figure of this device was obtained on, for ``Metric.source``.

        Of a host that includes the speed it had: two stored figures with different ones are not comparable.
        """
        how = "simulated" if self.provenance is Provenance.SIMULATED else self.link.name
        speed = f", reference load {self.reference_ms:.4f} ms" if self.reference_ms else ""
        return (
            f"{self.profile.name} {how}, {self.mode.name}{self._on_core}, {precision}, batch {batch}{speed}"
        )

    @property
    def _on_core(self) -> str:
        return "" if self.dla_core is None else f", DLA core {self.dla_core}"

    def check_precision(self, name: str) -> None:
        """Refuse a precision that networks cannot run in here.

        Raises:
            InputError: It is unknown, or the device, or the DLA that is to be used, does not compute in it.
        """
        self.profile.precision(name)
        if self.dla_core is not None:
            check_precision(self.profile, name)

    def send(self, model: Path) -> str:
        """Bring a model to the device, with all its weights, under a name that its content gives.

        Args:
            model: An ONNX file, which may keep weights in files beside it, or an engine.

        Returns:
            The path the bench program opens it by.

        Raises:
            InputError: It is no ONNX file, or lacks weights.
            LinkError: It cannot be read here or written there.
        """
        with Scratch() as folder:
            whole = in_one_file(model, folder.path) if model.suffix == ".onnx" else model
            try:
                digest = hashlib.sha256(whole.read_bytes()).hexdigest()[:24]
            except OSError as error:
                raise LinkError(f"cannot read {model}: {error.strerror}") from error
            target = f"models/{digest}.onnx"
            self.link.put(whole, target)
        return self.link.path(target)

    def precision_of(self, model: Path, asked: Precision) -> str:
        """What a network runs in here that is sent for a precision: on a host, whatever the file computes in.

        Args:
            model: An ONNX file.
            asked: What it is to run in.

        Raises:
            LinkError: It cannot be read here.
        """
        return _precision(model) or asked if self.profile.family == "host" else asked

    def send_for(self, model: Path, precision: Precision) -> str:
        """Bring a network to the device in the form that runs there in this precision.

        Where TensorRT takes precision from the graph, an FP32 file is sent as one that computes in FP16, as
        :func:`edgesynth.deploy` does; else an engine of it would be FP32, whatever it is called.

        Args:
            model: An ONNX file.
            precision: What it is to run in.

        Returns:
            The path the bench program opens it by.

        Raises:
            InputError: It would run in another precision, and how to get a file that does not.
            LinkError: It cannot be read here or written there.
        """
        if self._board is None:
            return self.send(model)
        holds, in_graph = _precision(model), self.precision_in_graph
        if in_graph and (holds, precision) == ("fp32", "fp16"):
            with Scratch() as folder:
                half = folder.path / model.name
                half.write_bytes(half_file(model))
                return self.send(half)
        if wrong := disagreement(holds, precision, in_graph):
            raise InputError(f"{model} cannot run in {precision} on {self.profile.name}: {wrong}")
        return self.send(model)

    def bench(self, request: BenchRequest, *, silence_s: float = 60.0) -> Recording:
        """Run the bench program once.

        Args:
            request: What to do.
            silence_s: How long it may say nothing.

        Raises:
            LinkError: The device cannot be reached, or not any more, or has no bench program.
            MeasurementError: The device hung, or the program broke off without a result.
            SensorError: No power rail can be read.
            DeviceError: The device cannot do what was asked, or another run took it.
        """
        request = dataclasses.replace(request, **self._settings)
        if self._board is not None:
            request = dataclasses.replace(request, typed=self.precision_in_graph)
            return self._board.bench(request, silence_s)
        return listen(self.link, self._bench_command, request.to_json(), silence_s=silence_s)

    def close(self) -> None:
        """Let go of the device."""
        if self._board is not None:
            self._board.close()
        self.link.close()


def _precision(model: Path) -> str:
    """What a file computes in; empty where nobody can tell."""
    try:
        return read_precision(str(model))
    except OSError as error:
        raise LinkError(f"cannot read {model}: {error.strerror}") from error


def open_device(
    name: str | Path,
    link: str | None = None,
    *,
    mode: str | None = None,
    seed: int = 0,
    faults: Faults | None = None,
    clocks: Literal["found", "fixed"] = "found",
    dla_core: int | None = None,
    wait_s: float = 0.0,
) -> Device:
    """Open a device. A real board belongs to this run until the device is closed.

    Args:
        name: A profile's name (``jetson-tx2``) or the path of a ``.toml`` file.
        link: ``simulated``, ``local`` or ``ssh://[user@]host[:port]``; the profile's default when not given.
        mode: A power mode of the profile. A board is brought into it for every measurement and back; without
            it a board is measured in the mode it is in, a simulated one in the profile's first.
        seed: Of a simulated board: same seed, same figures.
        faults: Of a simulated board: how it misbehaves.
        clocks: Of a board: ``fixed`` holds them at the highest of the mode while it measures.
        dla_core: Of a board: the core of its DLA that engines are built for, and for the GPU where a layer is
            none that a DLA takes. Networks run in FP16 then, which is all that it takes. A module without
            that core is an ``InputError``, and a TensorRT that uses no DLA a ``DeviceError``.
        wait_s: Of a board: how long to wait for another run that has it.

    Raises:
        InputError: There is no such profile or mode, or the ``ssh`` URL is missing or malformed.
        DeviceError: The device cannot be reached over this link, another run has it, or the link does not
            exist.
    """
    profile = load_profile(name)
    chosen = profile.mode(mode)
    asked = profile.links[0] if link is None else link
    check_link(profile, asked)
    if dla_core is not None:
        check_core(profile, dla_core, asked)
    if asked == "simulated":
        return Device(
            profile,
            SimulatedLink(profile, seed=seed, faults=faults),
            mode=chosen,
            bench_command=BENCH_COMMAND,
            runs_files=False,
            provenance=Provenance.SIMULATED,
        )
    if asked == "local" and profile.family == "host":
        command = bench_command(profile)
        return Device(
            with_counter(profile),
            LocalLink(),
            mode=chosen,
            bench_command=command,
            runs_files=True,
            provenance=Provenance.MEASURED,
        )
    reached = reach_board(asked)
    return _open_board(
        profile,
        reached,
        chosen if mode is not None else None,
        clocks=clocks,
        wait_s=wait_s,
        dla_core=dla_core,
    )


def _open_board(
    profile: Profile,
    link: Link,
    mode: Mode | None,
    *,
    clocks: Literal["found", "fixed"],
    wait_s: float,
    dla_core: int | None = None,
) -> Device:
    """A Jetson behind a link, leased, with the agent on it; all is let go of if that fails.

    Args:
        profile: What it is.
        link: To it.
        mode: To measure in; ``None`` for the one it is in.
        clocks: As of :func:`open_device`.
        wait_s: As of :func:`open_device`.
        dla_core: As of :func:`open_device`.
    """
    with ExitStack() as opened:
        opened.callback(link.close)
        board = opened.enter_context(Board.take(link, wait_s=wait_s))
        check_board(board.agent, profile)
        if dla_core is not None:
            check_tensorrt(board.tensorrt, link.name)
        device = Device(
            profile,
            link,
            mode=mode or present_mode(board.agent, profile),
            runs_files=True,
            provenance=Provenance.MEASURED,
            settings=bench_settings(profile, board.agent, set_mode=mode is not None, clocks=clocks),
            board=board,
            dla_core=dla_core,
        )
        opened.pop_all()
    return device
