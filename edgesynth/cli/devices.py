"""``edgesynth devices``: which devices are known, and what is known about one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from edgesynth.cli.options import AsJson

if TYPE_CHECKING:
    from edgesynth.devices import Profile

__all__ = ["devices"]


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
                ", ".join(mode.name for mode in profile.modes),
                "yes" if profile.has_energy else "no",
            ]
            for profile in profiles
        ],
    )


def _show(profile: Profile) -> None:
    from edgesynth.cli.output import print_table

    rows = [("name", profile.name), ("device", profile.title), ("links", ", ".join(profile.links))]
    if profile.gpu:
        gpu = profile.gpu
        rows.append(
            ("GPU", f"{gpu.name}, {gpu.cuda_cores} cores, sm {gpu.sm}, up to {gpu.max_clock_mhz:g} MHz")
        )
    memory = profile.memory
    rows.append(("memory", f"{memory.size_mb} MB, {memory.bandwidth_gb_s:g} GB/s"))
    for precision, compute in profile.precisions.items():
        said = f"{compute.speedup:g}x fp32" if compute.supported else f"no: {compute.reason}"
        rows.append((precision, said))
    rows.append(("ONNX opset", f"up to {profile.compiler.opset}"))
    software = {key: value for key, value in asdict(profile.software).items() if value}
    if software:
        rows.append(("software", ", ".join(f"{key} {value}" for key, value in software.items())))
    for mode in profile.modes:
        online = sum(mode.cpu_online)
        rows.append(
            (
                f"mode {mode.name}",
                f"GPU {mode.gpu_clock_mhz:g} MHz, {online} CPU cores at {mode.cpu_clock_mhz:g} MHz",
            )
        )
    if profile.rails:
        rows.append(
            (
                "power rails",
                f"total {' + '.join(profile.rails.total)}; parts {', '.join(profile.rails.parts)}",
            )
        )
    if not profile.has_energy:
        rows.append(("energy", f"no: {profile.no_energy_reason or 'there is no power counter'}"))
    print_table(["", profile.name], rows[1:])
