"""``edgesynth devices``: which devices are known, what is known of one, and what a board says of itself."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from edgesynth.cli.calibrate import calibrate
from edgesynth.cli.options import AsJson, Wait
from edgesynth.errors import DeviceError

if TYPE_CHECKING:
    from edgesynth.devices import Examination, Mode, Profile
    from edgesynth.devices.profile import Rails

__all__ = ["app"]

_FACTS: Final = {
    "model": "model",
    "l4t": "L4T",
    "python": "Python",
    "tensorrt": "TensorRT",
    "trtexec": "trtexec",
    "cuda": "CUDA",
    "power": "power rails",
    "power_mode": "power mode",
    "sudo": "sudo without a password",
}

_UNKNOWN: Final = "not known"


class _ShowIsDefault(TyperGroup):
    """``devices NAME`` is short for ``devices show NAME``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own context
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShowIsDefault,
    help="List device profiles, show one, check a board, or calibrate a device; each takes --json.",
)
app.command()(calibrate)


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A profile's name, or a .toml file of your own.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List device profiles, or show one. The word show may be left out."""
    from edgesynth.cli.output import print_json
    from edgesynth.devices import list_profiles, load_profile

    if name is None:
        profiles = [load_profile(known) for known in list_profiles()]
        print_json([_summary(profile) for profile in profiles]) if as_json else _list(profiles)
        return
    profile = load_profile(name)
    print_json(asdict(profile)) if as_json else _show(profile)


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile the board should follow.")],
    *,
    link: Annotated[str, typer.Option("--link", help="ssh://[user@]host[:port], or local on the board.")],
    wait_s: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Ask a board what it is and has, and say what keeps it from measuring."""
    from edgesynth.cli.output import print_json
    from edgesynth.devices import examine, load_profile

    found = examine(load_profile(name), link, wait_s=wait_s)
    if as_json:
        print_json({"device": name, "link": link, **found.to_json()})
    else:
        _tell(found, link)
    if not found.can_measure:
        worst = next(lack for lack in found.lacks if lack.stops)
        raise DeviceError(f"{link} cannot measure: {worst.reason}")


def _tell(found: Examination, link: str) -> None:
    from edgesynth.cli.output import print_table, write

    print_table(["", link], [(title, _fact(name, found.facts)) for name, title in _FACTS.items()])
    for lack in found.lacks:
        write(f"{'missing' if lack.stops else 'note'}: {lack.what}: {lack.reason}")
    if found.can_measure:
        write("this board can measure")


def _fact(name: str, facts: Any) -> str:  # noqa: ANN401 - whatever the board said
    value = facts.get(name)
    if value is None:
        return "none"
    if name == "power":
        return f"{', '.join(value['rails'])} ({value['way']})"
    if name == "power_mode":
        return f"{value['name'] or 'unnamed'} (id {value['id']})"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


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
    if profile.dla:
        rows.append(
            ("DLA", f"{profile.dla.cores} cores" if profile.dla.cores else f"no: {profile.dla.reason}")
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
    if profile.calibration:
        found = profile.calibration
        how = f"{found.provenance} on {found.source}, {found.date}"
        rows.append(("calibrated", f"{how}; median error {found.latency_error:.1%} of latency"))
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
