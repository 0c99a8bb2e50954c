"""Device profiles: what is known about a device, one TOML file each.

The dataclasses here are the schema: a profile with an unknown or ill-typed key is refused with the
nearest known key. Profiles ship with the package; a path to a ``.toml`` file works wherever a name does.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from edgesynth.errors import DeviceError, InputError

__all__ = [
    "Compiler",
    "Compute",
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
    "find_profile",
    "list_profiles",
    "load_profile",
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
class Memory:
    """Memory of the module, shared by CPU and GPU on a Jetson.

    Attributes:
        size_mb: As ``tegrastats`` prints the total.
        bandwidth_gb_s: Peak, in 1e9 bytes per second at the highest memory clock.
        max_clock_mhz: Highest memory clock.
    """

    size_mb: int
    bandwidth_gb_s: float
    max_clock_mhz: float


@dataclass(frozen=True, config=_STRICT)
class Compute:
    """One numeric precision.

    Attributes:
        supported: Whether the device computes in it.
        speedup: Peak arithmetic rate relative to FP32.
        bytes: Bytes of one scalar.
        reason: Why it is not supported, as the user will read it.
    """

    supported: bool
    speedup: float = 1.0
    bytes: int = 4
    reason: str = ""


@dataclass(frozen=True, config=_STRICT)
class Mode:
    """A named power mode. The name is a set of clock caps, never a power figure.

    Attributes:
        name: As ``nvpmodel`` calls it; ids differ between releases, so they are looked up by name.
        gpu_clock_mhz: Cap of the GPU clock.
        cpu_clock_mhz: Cap of the CPU clock.
        memory_clock_mhz: Cap of the memory clock.
        cpu_online: Which cores are on, in the order ``tegrastats`` prints them.
    """

    name: str
    gpu_clock_mhz: float
    cpu_clock_mhz: float
    memory_clock_mhz: float
    cpu_online: tuple[bool, ...]


@dataclass(frozen=True, config=_STRICT)
class Rails:
    """Which power rails exist and which of them make the total.

    Attributes:
        names: Every rail, in the order ``tegrastats`` prints them.
        total: Rails whose sum is the power of the whole module.
        parts: Rails that are included in the total; none may exceed it.
    """

    names: tuple[str, ...]
    total: tuple[str, ...]
    parts: tuple[str, ...]


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
class Profile:
    """Everything known about one kind of device.

    Attributes:
        name: How users ask for it.
        title: For tables.
        family: ``jetson`` or ``host``.
        links: Links it can be reached by, the default first.
        memory: Its memory.
        precisions: By name.
        modes: Power modes, the one used unless asked otherwise first.
        compiler: What the engine builder accepts.
        software: What it runs.
        gpu: Its accelerator, if any.
        rails: Its power rails; ``None`` when it has no counter.
        sensor: Its power sensor; ``None`` when it has no counter.
        simulation: Parameters of its simulation; ``None`` when it cannot be simulated.
        part_numbers: Module part numbers.
        no_energy_reason: Why there is no counter, as the user will read it.
    """

    name: str
    title: str
    family: Literal["jetson", "host"]
    links: tuple[str, ...]
    memory: Memory
    precisions: dict[Precision, Compute]
    modes: tuple[Mode, ...]
    compiler: Compiler
    software: Software = field(default_factory=Software)
    gpu: Gpu | None = None
    rails: Rails | None = None
    sensor: Sensor | None = None
    simulation: Simulation | None = None
    part_numbers: tuple[str, ...] = ()
    no_energy_reason: str = ""

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
        raise InputError(f"{self.name} has no power mode {name!r}; {_suggest(name, known)}")

    def precision(self, name: str) -> Compute:
        """The precision of this name.

        Raises:
            InputError: It is unknown, or the device does not compute in it; the message says why.
        """
        found = {str(key): value for key, value in self.precisions.items()}.get(name)
        if found is None:
            raise InputError(
                f"{self.name} has no precision {name!r}; {_suggest(name, [str(p) for p in self.precisions])}"
            )
        if not found.supported:
            usable = ", ".join(str(key) for key, value in self.precisions.items() if value.supported)
            raise InputError(f"{self.name} cannot run {name}: {found.reason}; use {usable}")
        return found


_ADAPTER: Final = TypeAdapter(Profile)


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _folder() -> Path:
    """Where the profiles are: inside an installed package, or at the top of a source checkout."""
    inside = Path(__file__).parent / "profiles"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "profiles"


def list_profiles() -> list[str]:
    """Names of the profiles that ship with the package, sorted."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def find_profile(name: str | Path) -> Path:
    """The file of a profile: a shipped one by name, or the user's own by its ``.toml`` path.

    Raises:
        InputError: There is neither; the nearest shipped name is suggested.
    """
    text = str(name)
    path = Path(text) if text.endswith(".toml") else _folder() / f"{text}.toml"
    if path.is_file() and (text.endswith(".toml") or Path(text).name == text):
        return path
    if text.endswith(".toml"):
        raise InputError(f"no device profile at {text}; give the path of a .toml file that exists")
    raise InputError(f"no device profile {text!r}; {_suggest(text, list_profiles())}")


def load_profile(name: str | Path) -> Profile:
    """Read a profile.

    Args:
        name: A shipped name (``jetson-tx2``) or the path of a ``.toml`` file.

    Raises:
        InputError: There is no such profile, or the file does not follow the schema.
    """
    return _read(find_profile(name).resolve())


@cache
def _read(path: Path) -> Profile:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"device profile {path} cannot be read: {error}") from error
    try:
        profile = _ADAPTER.validate_python(data)
    except ValidationError as error:
        raise InputError(f"device profile {path}: {_explain(error)}") from error
    _check(profile, path)
    return profile


def _explain(error: ValidationError) -> str:
    """The first mistake in words, with the nearest key where a key is unknown."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        *parents, key = (str(part) for part in first["loc"])
        return f"unknown key {where!r}; {_suggest(key, _keys(Profile, parents))}"
    if first["type"] in {"missing", "missing_argument"}:
        return f"key {where!r} is missing; add it"
    return f"key {where!r}: {first['msg']}, got {first.get('input')!r}"


def _keys(kind: Any, parents: list[str]) -> list[str]:
    """Known keys of the table at ``parents``, following fields, mappings and sequences."""
    if not parents:
        return [entry.name for entry in fields(kind)] if is_dataclass(kind) else []
    if is_dataclass(kind) and isinstance(kind, type):
        inner = get_type_hints(kind).get(parents[0])
    else:
        inner = kind
    candidates = [inner, *get_args(inner)]
    for candidate in [*candidates, *(arg for c in candidates for arg in get_args(c))]:
        if is_dataclass(candidate):
            rest = parents[1:] if candidate is inner or not _is_container(inner) else parents[2:]
            return _keys(candidate, rest)
    return []


def _is_container(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) in {dict, tuple, list}


def _check(profile: Profile, path: Path) -> None:
    """Refuse what the types alone cannot: references to rails, modes or steps that do not exist."""

    def refuse(text: str) -> None:
        raise InputError(f"device profile {path}: {text}")

    if not profile.links:
        refuse("key 'links' is empty; name at least one")
    if not profile.modes:
        refuse("key 'modes' is empty; name at least one")
    if (profile.rails is None) != (profile.sensor is None):
        refuse("'rails' and 'sensor' come together; add the other one or remove both")
    if profile.rails is not None and profile.sensor is not None:
        rails = profile.rails
        for key, names in (("total", rails.total), ("parts", rails.parts)):
            for rail in names:
                if rail not in rails.names:
                    refuse(f"rails.{key} names {rail!r}; {_suggest(rail, list(rails.names))}")
        if not rails.total:
            refuse("rails.total is empty; without it there is no energy")
        for rail in rails.names:
            if profile.sensor.step_mw.get(rail, 0.0) <= 0:
                refuse(f"sensor.step_mw has no positive step for rail {rail!r}")
    if "simulated" in profile.links and (profile.simulation is None or profile.gpu is None):
        raise DeviceError(f"device profile {path}: link 'simulated' needs [simulation] and [gpu]")
