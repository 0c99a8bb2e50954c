"""``edgesynth devices``: which devices are known, and what is known about one."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edgesynth.cli.options import AsJson

if TYPE_CHECKING:
    from edgesynth.devices import Mode, Profile
    from edgesynth.devices.profile import Rails

__all__ = ["devices"]

_UNKNOWN: Final = "not known"


def devices(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A profile's name, or a .toml file of your own.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List device profiles, or show one."""
    from edgesynth.cli.output import print_json
    from edgesynth.devices import list_profiles, load_profile

    if name is None:
        profiles = [load_profile(known) for known in list_profiles()]
        print_json([_summary(profile) for profile in profiles]) if as_json else _list(profiles)
        return
    profile = load_profile(name)
    print_json(asdict(profile)) if as_json else _show(profile)


def _summary(profile: Profile) -> dict[str, object]:
    return {
        "name": profile.name,
        "title": profile.title,
        "links": list(profile.links),
        "precisions": [name for name, compute in profile.precisions.items() if compute.supported],
        "modes": [mode.name for mode in profile.modes],
        "energy": profile.has_energy,
    }


def _list(profiles: list[Profile]) -> None:
    from edgesynth.cli.output import print_table

    print_table(
        ["name", "device", "links", "precisions", "power modes", "energy"],
        [
            [
                profile.name,
                profile.title,
                ", ".join(profile.links),
                ", ".join(name for name, compute in profile.precisions.items() if compute.supported),
                _modes(profile),
                "yes" if profile.has_energy else "no",
            ]
            for profile in profiles
        ],
    )


def _modes(profile: Profile) -> str:
    """The default mode and how many there are besides; all names would not fit."""
    first, more = profile.modes[0].name, len(profile.modes) - 1
    return f"{first} and {more} more" if more else first


def _show(profile: Profile) -> None:
    from edgesynth.cli.output import print_table

    rows = [("name", profile.name), ("device", profile.title), ("links", ", ".join(profile.links))]
    if profile.gpu:
        gpu = profile.gpu
        rows.append(
            ("GPU", f"{gpu.name}, {gpu.cuda_cores} cores, sm {gpu.sm}, up to {gpu.max_clock_mhz:g} MHz")
        )
    memory = [
        f"{figure:g} {unit}"
        for figure, unit in ((profile.memory.size_mb, "MB"), (profile.memory.bandwidth_gb_s, "GB/s"))
        if figure is not None
    ]
    rows.append(("memory", ", ".join(memory) or _UNKNOWN))
    for precision, compute in profile.precisions.items():
        rate = "yes" if compute.speedup is None else f"{compute.speedup:g}x fp32"
        rows.append((precision, rate if compute.supported else f"no: {compute.reason}"))
    rows.append(("ONNX opset", f"up to {profile.compiler.opset}"))
    software = {key: value for key, value in asdict(profile.software).items() if value}
    if software:
        rows.append(("software", ", ".join(f"{key} {value}" for key, value in software.items())))
    rows += [(f"mode {mode.name}", _caps(mode)) for mode in profile.modes]
    if profile.rails:
        rows += _rails(profile.rails)
    if not profile.has_energy:
        rows.append(("energy", f"no: {profile.no_energy_reason or 'there is no power counter'}"))
    print_table(["", profile.name], rows[1:])


def _caps(mode: Mode) -> str:
    """What is known of a mode: ``GPU 1120 MHz, 6 CPU cores at 1400 MHz``."""
    gpu = "" if mode.gpu_clock_mhz is None else f"GPU {mode.gpu_clock_mhz:g} MHz"
    cores = f"{sum(mode.cpu_online)} CPU cores" if mode.cpu_online else ""
    clock = "" if mode.cpu_clock_mhz is None else f"{'at' if cores else 'CPU at'} {mode.cpu_clock_mhz:g} MHz"
    return ", ".join(part for part in (gpu, f"{cores} {clock}".strip()) if part) or f"caps {_UNKNOWN}"


def _rails(rails: Rails) -> list[tuple[str, str]]:
    parts = f"; parts {', '.join(rails.parts)}" if rails.parts else ""
    rows = [("power rails", f"total {rails.total_text}{parts}")]
    if rails.fallback:
        fallback = replace(rails, total=rails.fallback)
        rows.append(("", f"where those are not printed, total {fallback.total_text}"))
    return rows
