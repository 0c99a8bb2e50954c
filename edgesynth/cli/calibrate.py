"""``edgesynth devices calibrate``: a profile from measurements of one device."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesynth.cli.bench import Clocks
from edgesynth.cli.options import AsJson, Quiet, Wait
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from edgesynth.profiler import CalibratedDevice, ProbeResult

__all__ = ["calibrate"]

_POOR = 0.25
"""A median error above this share is said to be poor."""


def calibrate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile to refine.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.toml", help="Where the new profile goes.")
    ],
    link: Annotated[
        str | None, typer.Option("--link", help="How the device is reached; the profile's first by default.")
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="A power mode of the profile.")] = None,
    clocks: Annotated[
        Clocks,
        typer.Option("--clocks", help="Of a board: leave them as found, or hold the mode's highest."),
    ] = Clocks.FOUND,
    window_s: Annotated[
        float,
        typer.Option("--window", min=2.0, metavar="SECONDS", help="How long power is read per network."),
    ] = 10.0,
    fewest: Annotated[
        bool, typer.Option("--fewest", help="Nine networks in one precision, without the spread of terms.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    wait_s: Wait = 0.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure small networks on a device, fit the roofline to them, and write a profile."""
    from edgesynth.cli.output import warned
    from edgesynth.cli.progress import open_progress
    from edgesynth.devices import load_profile, open_device, profile_toml
    from edgesynth.profiler import calibrate as measure_and_fit
    from edgesynth.runs import write_atomic

    base = load_profile(name)
    base.mode(mode)
    _check_output(output, force=force)
    with open_device(name, link, mode=mode, clocks=clocks.value, wait_s=wait_s) as device, warned(device):
        found = measure_and_fit(
            device,
            base,
            name=output.stem,
            window_s=window_s,
            quick=fewest,
            progress=open_progress(quiet=quiet),
        )
    _check_output(output, force=force)  # it may have come into being meanwhile
    text = profile_toml(found.profile, header=_header(found, base.name), notes=found.notes)
    write_atomic(output, text.encode())
    _tell(found, output, as_json=as_json)


def _check_output(output: Path, *, force: bool) -> None:
    """Refuse, before minutes of measuring, a file that could not be written."""
    if output.suffix != ".toml":
        raise InputError(f"a profile is a .toml file, and --output is {output}; end its name in .toml")
    if output.exists() and not force:
        raise InputError(f"{output} exists; replace it with --force, or give --output another name")
    folder = output.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"{folder} is no folder that can be written to; make it, or give --output another")


def _header(found: CalibratedDevice, base: str) -> list[str]:
    calibration = found.calibration
    fitted_to = f"{calibration.networks} {calibration.provenance} networks"
    errors = f"latency is {calibration.latency_error:.1%}, the largest {calibration.latency_worst:.1%}"
    lines = [
        f"Written by edgesynth devices calibrate on {calibration.date}, from profile {base}:",
        "figures without a note are that profile's.",
        f"Terms are fitted to {fitted_to} on {calibration.source}.",
        f"On {calibration.held_out} networks that the fit has not seen the median error of {errors}.",
    ]
    if calibration.energy_error is not None:
        lines.append(f"The median error of their energy is {calibration.energy_error:.1%}.")
    if found.not_simulated:
        lines.append(f"[simulation] was not fitted: {found.not_simulated}.")
    return lines


def _tell(found: CalibratedDevice, output: Path, *, as_json: bool) -> None:
    from edgesynth.cli.output import print_json, print_table, write

    calibration = found.calibration
    if as_json:
        print_json(
            {
                "profile": str(output),
                "not_simulated": found.not_simulated,
                "calibration": asdict(calibration),
                "networks": [asdict(result) for result in found.results],
            }
        )
        return
    how = calibration.provenance
    headings = ["network", "precision", f"latency, {how}", "fitted", "error"]
    energy = calibration.energy_error is not None
    headings += [f"energy, {how}", "fitted", "error"] if energy else []
    print_table(
        headings, [_row(result, energy=energy) for result in found.results], right=range(2, len(headings))
    )
    print_table(
        ["term", "fitted (computed)", "standard error"],
        [
            [term, f"{value:.4g}", f"{calibration.spread[term]:.1%}" if term in calibration.spread else "-"]
            for term, value in calibration.terms.items()
        ],
        right=(1, 2),
    )
    errors = [f"latency {calibration.latency_error:.1%} (largest {calibration.latency_worst:.1%})"]
    if calibration.energy_error is not None:
        errors.append(f"energy {calibration.energy_error:.1%}")
    write(f"median error on {calibration.held_out} networks not fitted to: {', '.join(errors)}")
    if max(calibration.latency_error, calibration.energy_error or 0.0) > _POOR:
        write("this is poor: the device is not like a roofline, or was disturbed")
    if found.not_simulated:
        write(f"no [simulation]: {found.not_simulated}")
    write(f"wrote {output}")


def _row(result: ProbeResult, *, energy: bool) -> list[str]:
    name = f"{result.name} (not fitted to)" if result.held_out else result.name
    cells = [name, result.precision]
    if result.latency_ms is None:
        reason = result.reason.split(";")[0]
        return [*cells, f"{result.status}: {reason}", "", "", *(["", "", ""] if energy else [])]
    cells += _compare(result.latency_ms, result.fitted_latency_ms, "ms")
    if energy:
        cells += _compare(result.energy_mj, result.fitted_energy_mj, "mJ")
    return cells


def _compare(seen: float | None, fitted: float | None, unit: str) -> list[str]:
    if seen is None or fitted is None:
        return ["", "", ""]
    return [f"{seen:.4g} {unit}", f"{fitted:.4g} {unit}", f"{fitted / seen - 1:+.1%}"]
