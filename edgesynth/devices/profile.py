"""What is known about a device: the schema of a profile, as validated frozen dataclasses.

What is not known about a device is left out of its profile, and is ``None`` or empty here; it is never a
number that only looks like one. ``profiles/README.md`` explains every key to somebody who adds a board.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import field
from typing import Final, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from edgesynth.errors import InputError

__all__ = [
    "Calibration",
    "Compiler",
    "Compute",
    "Dla",
    "Gpu",
    "Memory",
    "Mode",
    "Precision",
    "Profile",
    "RailPower",
    "Rails",
    "Sensor",
    "Simulation",
    "Software",
    "needed",
    "suggest",
]

Precision = Literal["fp32", "fp16", "int8"]

_STRICT: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class Gpu:
    """The accelerator.

    Attributes:
        name: Marketing name.
        sm: CUDA compute capability, e.g. ``6.2``.
        multiprocessors: Streaming multiprocessors.
        cuda_cores: FP32 lanes; each does one multiply-accumulate per clock.
        tensor_cores: Matrix units; 0 when there are none.
        max_clock_mhz: Highest clock in any power mode.
    """

    name: str
    sm: str
    multiprocessors: int
    cuda_cores: int
    tensor_cores: int
    max_clock_mhz: float


@dataclass(frozen=True, config=_STRICT)
class Dla:
    """The deep learning accelerator beside the GPU of some modules; it computes in FP16 and INT8 only.

    Attributes:
        cores: How many there are; each runs engines of its own. 0 where there is none.
        reason: Why there is none, as the user will read it.
    """

    cores: int
    reason: str = ""


@dataclass(frozen=True, config=_STRICT)
class Memory:
    """Memory of the module, shared by CPU and GPU on a Jetson; ``None`` is what is not known.

    Attributes:
        size_mb: As ``tegrastats`` prints the total.
        bandwidth_gb_s: Peak, in 1e9 bytes per second at the highest memory clock.
        max_clock_mhz: Highest memory clock.
    """

    size_mb: int | None = None
    bandwidth_gb_s: float | None = None
    max_clock_mhz: float | None = None


@dataclass(frozen=True, config=_STRICT)
class Compute:
    """One numeric precision.

    Attributes:
        supported: Whether the device computes in it.
        speedup: Peak arithmetic rate relative to FP32; ``None`` when it is not known.
        bytes: Bytes of one scalar.
        reason: Why it is not supported, as the user will read it.
    """

    supported: bool
    speedup: float | None = None
    bytes: int = 4
    reason: str = ""


@dataclass(frozen=True, config=_STRICT)
class Mode:
    """A named power mode. The name is a set of clock caps, never a power figure.

    Attributes:
        name: As ``nvpmodel`` calls it; ids differ between releases, so they are looked up by name.
        gpu_clock_mhz: Cap of the GPU clock; without it nobody can tell that the GPU is throttled.
        cpu_clock_mhz: Cap of the CPU clock.
        memory_clock_mhz: Cap of the memory clock.
        cpu_online: Which cores are on, in the order ``tegrastats`` prints them; empty when not known.
    """

    name: str
    gpu_clock_mhz: float | None = None
    cpu_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    cpu_online: tuple[bool, ...] = ()


@dataclass(frozen=True, config=_STRICT)
class Rails:
    """Which power rails exist and which of them make the total.

    Attributes:
        names: Every rail, in the order ``tegrastats`` prints them.
        total: Rails whose sum is the power of the whole module.
        parts: Rails that are included in the total; none may exceed it.
        fallback: Rails whose sum is the total on releases that do not print every rail of ``total``. It may
            be another quantity, so figures say which one they are of.
        carrier: Rails that feed the carrier board as well; a total with one of them is the whole board's.
        scope: What the total is the power of, in words; a module, or a board with its carrier, by default.
    """

    names: tuple[str, ...]
    total: tuple[str, ...]
    parts: tuple[str, ...]
    fallback: tuple[str, ...] = ()
    carrier: tuple[str, ...] = ()
    scope: str = ""

    @property
    def needed(self) -> tuple[str, ...]:
        """Rails without which there is no total, by whichever of its two rules."""
        return tuple(name for name in self.total if not self.fallback or name in self.fallback)

    @property
    def total_text(self) -> str:
        """The total for people: ``VIN (board with its carrier)``."""
        scope = self.scope or ("board with its carrier" if set(self.total) & set(self.carrier) else "module")
        return f"{' + '.join(self.total)} ({scope})"


@dataclass(frozen=True, config=_STRICT)
class Sensor:
    """How the power sensor samples and rounds.

    Attributes:
        name: The chip.
        filter_s: Length of its averaging window; samples closer than this are not independent.
        rate_hz: The highest rate that is worth reading it at.
        step_mw: Smallest step of each rail.
    """

    name: str
    filter_s: float
    rate_hz: float
    step_mw: dict[str, float]


@dataclass(frozen=True, config=_STRICT)
class Software:
    """What the device runs.

    Attributes:
        jetpack: JetPack release.
        l4t: L4T release, e.g. ``R32.7.6``.
        cuda: CUDA toolkit.
        tensorrt: TensorRT version.
        cudnn: cuDNN version.
        python: The system's Python.
        ubuntu: The distribution's version.
    """

    jetpack: str = ""
    l4t: str = ""
    cuda: str = ""
    tensorrt: str = ""
    cudnn: str = ""
    python: str = ""
    ubuntu: str = ""


@dataclass(frozen=True, config=_STRICT)
class Compiler:
    """What the engine builder accepts and likes.

    Attributes:
        opset: Highest ONNX operator set its parser reads in full.
        channel_alignment: Channel counts that are multiples of this waste no lanes, per precision.
        workspace_mb: Scratch memory the builder may use.
    """

    opset: int
    channel_alignment: dict[str, int]
    workspace_mb: int


@dataclass(frozen=True, config=_STRICT)
class RailPower:
    """How one rail's power follows what the device does.

    Attributes:
        idle_mw: At rest.
        active_mw: While the device runs inferences back to back, without arithmetic or traffic.
        mac_share: Share of the energy of arithmetic drawn through this rail.
        byte_share: Share of the energy of memory traffic drawn through this rail.
    """

    idle_mw: float
    active_mw: float
    mac_share: float = 0.0
    byte_share: float = 0.0


@dataclass(frozen=True, config=_STRICT)
class Simulation:
    """Parameters of the simulated board.

    Attributes:
        call_us: Host time of one inference call outside its kernels.
        launch_us: The least time from one kernel to the next, at the highest CPU clock.
        efficiency: Share of the peak arithmetic rate reached, by kind of kernel.
        memory_efficiency: Share of the peak memory bandwidth reached.
        mac_pj: Energy of one multiply-accumulate, by precision, in picojoules.
        byte_pj: Energy of one byte of memory traffic, in picojoules.
        rails: Power of each rail that is a part of the total.
        rest_mw: Power of the module that no part rail shows.
        conversion_efficiency: Sum of the parts over what they cost at the input of the module.
        jitter: Relative spread of one latency around its median.
        outlier_share: Share of latencies that are outliers.
        outlier_factor: How much longer an outlier takes, at most.
        noise_mw: Standard deviation of the true power around its model on the total rail.
        temperature_c: Temperature at rest.
    """

    call_us: float
    launch_us: float
    efficiency: dict[str, float]
    memory_efficiency: float
    mac_pj: dict[str, float]
    byte_pj: float
    rails: dict[str, RailPower]
    rest_mw: float
    conversion_efficiency: float
    jitter: float
    outlier_share: float
    outlier_factor: float
    noise_mw: float
    temperature_c: float


@dataclass(frozen=True, config=_STRICT)
class Calibration:
    """What ``edgesynth devices calibrate`` found out about one device, and how sure that is.

    Attributes:
        provenance: ``measured`` on a real device, or ``simulated``.
        source: The device, how it was reached, and its power mode.
        date: When, as year-month-day.
        networks: How many measurements the terms were fitted to.
        held_out: How many measurements of other networks the errors are of.
        latency_error: Median relative error of the latency of those.
        latency_worst: The largest one.
        energy_error: Median relative error of their energy; ``None`` without energy.
        terms: The terms of the roofline by name, units in the names.
        spread: Relative standard error of each term, over refits that leave out a sixth of the networks.
            A term that no network was bound by has none: its value is only the least that was reached.
    """

    provenance: Literal["measured", "simulated"]
    source: str
    date: str
    networks: int
    held_out: int
    latency_error: float
    latency_worst: float
    terms: dict[str, float]
    spread: dict[str, float]
    energy_error: float | None = None


@dataclass(frozen=True, config=_STRICT)
class Profile:
    """Everything known about one kind of device.

    Attributes:
        name: How users ask for it.
        title: For tables.
        family: ``jetson`` or ``host``.
        links: Links it can be reached by, the default first.
        precisions: By name.
        modes: Power modes, the one used unless asked otherwise first.
        compiler: What the engine builder accepts.
        memory: Its memory.
        software: What it runs.
        gpu: Its accelerator, if any.
        dla: Its deep learning accelerator; ``None`` when it is not known whether it has one.
        rails: Its power rails; ``None`` when it has no counter.
        sensor: Its power sensor; ``None`` when it has no counter.
        simulation: Parameters of its simulation; ``None`` when it cannot be simulated.
        part_numbers: Module part numbers.
        no_energy_reason: Why there is no counter, as the user will read it.
        provider: Of a host: what networks run on.
        calibration: What was found out about one device of the kind; ``None`` when none was calibrated.
    """

    name: str
    title: str
    family: Literal["jetson", "host"]
    links: tuple[str, ...]
    precisions: dict[Precision, Compute]
    modes: tuple[Mode, ...]
    compiler: Compiler
    memory: Memory = field(default_factory=Memory)
    software: Software = field(default_factory=Software)
    gpu: Gpu | None = None
    dla: Dla | None = None
    rails: Rails | None = None
    sensor: Sensor | None = None
    simulation: Simulation | None = None
    part_numbers: tuple[str, ...] = ()
    no_energy_reason: str = ""
    provider: Literal["cpu", "cuda"] = "cpu"
    calibration: Calibration | None = None

    @property
    def has_energy(self) -> bool:
        """Whether power can be read at all."""
        return self.rails is not None and self.sensor is not None

    def mode(self, name: str | None = None) -> Mode:
        """The power mode of this name, or the default one.

        Raises:
            InputError: There is no such mode.
        """
        if name is None:
            return self.modes[0]
        for mode in self.modes:
            if mode.name == name:
                return mode
        known = [mode.name for mode in self.modes]
        raise InputError(f"{self.name} has no power mode {name!r}; {suggest(name, known)}")

    @property
    def default_precision(self) -> Precision:
        """What networks run in when nothing is said: half precision where the device has it."""
        half = self.precisions.get("fp16")
        return "fp16" if half is not None and half.supported else "fp32"

    def precision(self, name: str) -> Compute:
        """The precision of this name.

        Raises:
            InputError: It is unknown, or the device does not compute in it; the message says why.
        """
        found = {str(key): value for key, value in self.precisions.items()}.get(name)
        if found is None:
            raise InputError(f"{self.name} has no precision {name!r}; {suggest(name, self.precisions)}")
        if not found.supported:
            usable = ", ".join(str(key) for key, value in self.precisions.items() if value.supported)
            raise InputError(f"{self.name} cannot run {name}: {found.reason}; use {usable}")
        return found


def needed(value: float | None, key: str) -> float:
    """A figure of a profile that something cannot go on without.

    Raises:
        InputError: It is not known.
    """
    if value is None:
        raise InputError(f"the profile does not say {key}, which a simulation needs; add the key")
    return value


def suggest(name: str, known: Iterable[str]) -> str:
    """What to say about a name that is not known: the nearest one that is, or all of them."""
    names = [str(entry) for entry in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
