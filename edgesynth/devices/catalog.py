"""Find, read and check device profiles, one TOML file each.

Profiles ship with the package; the path of a user's own ``.toml`` file works wherever a name does. A profile
with an unknown or ill-typed key is refused with the nearest known key.
"""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Final, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from edgesynth.devices.profile import Profile, suggest
from edgesynth.errors import InputError

__all__ = ["find_profile", "list_profiles", "load_profile"]

_ADAPTER: Final = TypeAdapter(Profile)
_KERNELS: Final = ("convolution", "depthwise", "linear")


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
    raise InputError(f"no device profile {text!r}; {suggest(text, list_profiles())}")


def load_profile(name: str | Path) -> Profile:
    """Read a profile.

    Args:
        name: A shipped name (``jetson-tx2``) or the path of a ``.toml`` file.

    Raises:
        InputError: There is no such profile, or the file does not follow the schema.
    """
    path = find_profile(name).resolve()
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed_ns: int) -> Profile:
    """Read a file once for as long as it does not change."""
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
    """One mistake in words; an unknown key comes first, since it is often the one that is missing."""
    unknown = {"unexpected_keyword_argument", "extra_forbidden"}
    first = min(error.errors(), key=lambda mistake: mistake["type"] not in unknown)
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] in unknown:
        *parents, key = (str(part) for part in first["loc"])
        return f"unknown key {where!r}; {suggest(key, _keys(Profile, parents))}"
    if first["type"] in {"missing", "missing_argument"}:
        return f"key {where!r} is missing; add it"
    return f"key {where!r}: {first['msg']}, got {first.get('input')!r}"


def _keys(kind: object, path: list[str]) -> list[str]:
    """Known keys of the table at ``path``: names of fields are followed, other parts are entries."""
    for part in path:
        if is_dataclass(kind) and isinstance(kind, type):
            kind = get_type_hints(kind).get(part)
        else:  # the key of a mapping or the index of a sequence
            kind = next((inner for inner in get_args(kind) if is_dataclass(inner)), None)
        if get_origin(kind) is UnionType:
            kind = next((inner for inner in get_args(kind) if inner is not NoneType), None)
    return [entry.name for entry in fields(kind)] if is_dataclass(kind) else []


def _check(profile: Profile, path: Path) -> None:
    """Refuse what the types alone cannot: references to rails, modes or steps that do not exist."""
    for find in (_fault, _dla_fault, _figure_fault, _sensor_fault, _simulation_fault):
        fault = find(profile)
        if fault:
            raise InputError(f"device profile {path}: {fault}")


def _fault(profile: Profile) -> str:
    if not profile.links:
        return "key 'links' is empty; name at least one"
    if not profile.modes:
        return "key 'modes' is empty; name at least one"
    if not any(compute.supported for compute in profile.precisions.values()):
        return "no precision is supported; at least fp32 must be"
    for name, compute in profile.precisions.items():
        if not compute.supported and not compute.reason:
            return f"precisions.{name} is not supported and gives no reason; say why in key 'reason'"
    return ""


def _dla_fault(profile: Profile) -> str:
    dla = profile.dla
    if dla is None or dla.cores > 0 or (dla.cores == 0 and dla.reason):
        return ""
    return "dla.cores must be above 0, or 0 with a 'reason'; leave [dla] out if it is not known"


def _figure_fault(profile: Profile) -> str:
    """A figure that cannot be: what is not known is left out, not written as 0."""
    memory = profile.memory
    figures: dict[str, float | None] = {
        "memory.size_mb": memory.size_mb,
        "memory.bandwidth_gb_s": memory.bandwidth_gb_s,
        "memory.max_clock_mhz": memory.max_clock_mhz,
        **{f"precisions.{name}.speedup": compute.speedup for name, compute in profile.precisions.items()},
    }
    for key, figure in figures.items():
        if figure is not None and figure <= 0:
            return f"{key} must be above 0; leave it out if it is not known"
    for mode in profile.modes:
        clocks = (mode.gpu_clock_mhz, mode.cpu_clock_mhz, mode.memory_clock_mhz)
        if any(clock is not None and clock <= 0 for clock in clocks):
            return f"mode {mode.name!r} needs clocks above 0; leave out those that are not known"
        if mode.cpu_online and not any(mode.cpu_online):
            return f"mode {mode.name!r} has no core that is on; leave cpu_online out if it is not known"
    return ""


def _sensor_fault(profile: Profile) -> str:
    rails, sensor = profile.rails, profile.sensor
    if rails is None or sensor is None:
        apart = (rails is None) != (sensor is None)
        return "'rails' and 'sensor' come together; add the other one or remove both" if apart else ""
    named = {"total": rails.total, "parts": rails.parts, "fallback": rails.fallback, "carrier": rails.carrier}
    for key, names in named.items():
        for rail in names:
            if rail not in rails.names:
                return f"rails.{key} names {rail!r}; {suggest(rail, rails.names)}"
    if not rails.total:
        return "rails.total is empty; without it there is no energy"
    for rail in rails.names:
        if sensor.step_mw.get(rail, 0.0) <= 0:
            return f"sensor.step_mw has no positive step for rail {rail!r}"
    return ""


def _simulation_fault(profile: Profile) -> str:
    simulation = profile.simulation
    if simulation is None or profile.gpu is None:
        return "link 'simulated' needs [simulation] and [gpu]" if "simulated" in profile.links else ""
    shares = {f"efficiency.{kind}": simulation.efficiency.get(kind, 0.0) for kind in _KERNELS}
    for key, share in {**shares, "memory_efficiency": simulation.memory_efficiency}.items():
        if not 0 < share <= 1:
            return f"simulation.{key} must be above 0 and at most 1"
    for name, compute in profile.precisions.items():
        if compute.supported and name not in simulation.mac_pj:
            return f"simulation.mac_pj has no energy for {name}; add it"
        if compute.supported and compute.speedup is None:
            return f"precisions.{name}.speedup is missing; it is needed to be simulated"
    rails = profile.rails
    for rail in rails.names if rails else ():
        if rail not in simulation.rails and (rails is None or rail not in rails.total):
            return f"simulation.rails has no power for rail {rail!r}; add it"
    return _clock_fault(profile)


def _clock_fault(profile: Profile) -> str:
    for mode in profile.modes:
        clocks = (mode.gpu_clock_mhz, mode.cpu_clock_mhz, mode.memory_clock_mhz)
        if None in clocks or not mode.cpu_online:
            return f"mode {mode.name!r} needs every clock and cpu_online to be simulated"
    memory = profile.memory
    if None in (memory.size_mb, memory.bandwidth_gb_s, memory.max_clock_mhz):
        return "memory needs size, bandwidth and clock to be simulated"
    return ""
