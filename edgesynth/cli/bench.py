"""``edgesynth bench``: measure one network on one device."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgesynth.cli.options import AsJson, CudaGraph, DlaCore, Quiet, Wait
from edgesynth.errors import InputError, MeasurementError
from edgesynth.scratch import Scratch

if TYPE_CHECKING:
    from edgesynth.devices import Device, Precision, Profile
    from edgesynth.profiler import LayerTime, Measurement
    from edgesynth.progress import Progress

__all__ = ["bench"]

_TOP_LAYERS = 10
_SPEED = {"speed_ms", "blocks", "blocks_at_speed"}


class Clocks(enum.StrEnum):
    """What becomes of a board's clocks while it measures."""

    FOUND = "found"
    FIXED = "fixed"


def bench(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="An ONNX file, a zoo name, or package.module:callable.")
    ],
    *,
    device: Annotated[str, typer.Option("--device", help="A device profile; edgesynth devices lists them.")],
    link: Annotated[
        list[str] | None,
        typer.Option(
            "--link",
            help="How it is reached; the profile's first link by default. Once per board of several.",
        ),
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="A power mode of the profile.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="fp32, fp16 or int8; fp16 where the device has it.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples per call.")] = 1,
    window_s: Annotated[
        float,
        typer.Option(
            "--window", min=2.0, metavar="SECONDS", help="How long power is integrated over the load."
        ),
    ] = 30.0,
    clocks: Annotated[
        Clocks,
        typer.Option("--clocks", help="Of a board: leave them as found, or hold the mode's highest."),
    ] = Clocks.FOUND,
    cuda_graph: CudaGraph = False,
    dla_core: DlaCore = None,
    shape: Annotated[
        list[str] | None,
        typer.Option("--input", help="Input shape with the batch axis, e.g. 1x3x32x32; once per input."),
    ] = None,
    wait_s: Wait = 0.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure latency, power and energy of a network on a device."""
    from edgesynth.cli.output import warned
    from edgesynth.cli.progress import open_progress
    from edgesynth.devices import load_profile, open_boards
    from edgesynth.devices.dla import check_core, check_precision
    from edgesynth.profiler import MeasurementPlan, profile

    # Whatever can be wrong with the input is said before a board is asked for.
    known = load_profile(device)
    known.mode(mode)
    plan = MeasurementPlan.report(_precision(precision, known), batch, window_s, cuda_graph=cuda_graph)
    if dla_core is not None:
        check_core(known, dla_core, link[0] if link else None)
        check_precision(known, plan.precision)
    progress = open_progress(quiet=quiet)
    with Scratch() as scratch:
        path = _onnx_file(model, shape, scratch.path, known, progress)
        boards = open_boards(
            device,
            link or (),
            mode=mode,
            clocks=clocks.value,
            dla_core=dla_core,
            wait_s=wait_s,
            progress=progress,
        )
        with boards as board, warned(board):
            with progress.phase(f"measure {path.stem} on {board.describe()}"):
                measurement = profile(path, board, plan)
            _tell(measurement, board, as_json=as_json)
    if measurement.status != "ok":
        how = "failed" if measurement.status == "failed" else f"is {measurement.status}"
        raise MeasurementError(f"the measurement {how}: {measurement.reason}")


def _precision(asked: str | None, profile: Profile) -> Precision:
    if asked is None:
        return profile.default_precision
    profile.precision(asked)
    return next(name for name in profile.precisions if name == asked)


def _onnx_file(
    model: str, shape: list[str] | None, scratch: Path, profile: Profile, progress: Progress
) -> Path:
    """The model as an ONNX file: its own, or one written for this measurement."""
    if model.endswith(".onnx"):
        from edgesynth.profiler import check_onnx

        if shape:
            raise InputError("--input is for modules; an ONNX file has input shapes of its own")
        if not Path(model).is_file():
            raise InputError(f"there is no ONNX file {model}; check the path")
        check_onnx(model)
        return _readable(Path(model), scratch, profile, progress)
    if Path(model).is_dir():
        raise InputError(
            f"{model} is a folder; give the ONNX file in it, e.g. {Path(model) / 'network.onnx'}"
        )
    from edgesynth.cli.models import example_inputs, find_module
    from edgesynth.deploy.onnx import export_onnx

    inputs = example_inputs(model, shape)
    name = model.rpartition(":")[2]
    return export_onnx(
        find_module(model, inputs), inputs, scratch / f"{name}.onnx", opset=profile.compiler.opset
    ).path


def _readable(model: Path, scratch: Path, profile: Profile, progress: Progress) -> Path:
    """The file itself, or one in the opset that the TensorRT of a board reads, as deploying it writes."""
    from edgesynth.deploy.onnx_graph import default_opset, load_model, read_model
    from edgesynth.deploy.target import prepare

    declared, read = default_opset(read_model(model)), profile.compiler.opset
    if profile.family != "jetson" or declared <= read:
        return model
    converted = scratch / model.name
    converted.write_bytes(prepare(load_model(model), profile).SerializeToString())
    progress.note(f"{model.name} was converted from opset {declared} to {read}, which {profile.name} reads")
    return converted


def _tell(measurement: Measurement, device: Device, *, as_json: bool) -> None:
    from edgesynth.cli.output import print_json, print_metrics, write
    from edgesynth.devices.dla import Placement

    if as_json:
        print_json({"device": device.profile.name, "link": device.link.name, **measurement.to_json()})
        return
    if not measurement.metrics and not measurement.rails:
        return  # the error that follows says it all
    write(f"{measurement.network} on {device.describe()}, {device.provenance}")
    if measurement.metrics:
        print_metrics(measurement.metrics)
    if measurement.rails:
        write(
            "mean power: " + ", ".join(f"{rail} {value:.0f} mW" for rail, value in measurement.rails.items())
        )
        if measurement.conditions.get("rails_energy_mj"):
            write(_joules(measurement.conditions["rails_energy_mj"]))
        if measurement.conditions.get("gpu_clock_mhz") is None and device.profile.family == "jetson":
            write("GPU clock: not told by the board without root rights, so throttling would not be noticed")
    if measurement.layers:
        write(_layers(measurement.layers, _timer(device, measurement.conditions)))
    if placement := Placement.told(measurement.conditions):
        write(f"ran on {placement.says}")
    for line in _circumstances(measurement.conditions):
        write(line)
    if not device.has_energy:
        write(f"no energy figures: {device.profile.no_energy_reason or 'the device has no power counter'}")


def _joules(rails: Mapping[str, Sequence[float]]) -> str:
    """Energy per inference of every rail, with its interval."""
    told = [f"{rail} {value:.4g} mJ ({low:.4g} .. {high:.4g})" for rail, (value, low, high) in rails.items()]
    return "energy per inference: " + ", ".join(told)


def _timer(device: Device, conditions: Mapping[str, Any]) -> str:
    """What tells the time of layers."""
    if not device.runs_files:
        return "as simulated"
    if "torch" in conditions:
        return "as torch runs them one by one"
    return f"under the profiler of {'ONNX Runtime' if device.profile.family == 'host' else 'TensorRT'}"


def _layers(layers: Sequence[LayerTime], how: str) -> str:
    """The layers that take longest."""
    most = sorted(layers, key=lambda layer: -layer.mean_ms)[:_TOP_LAYERS]
    told = [f"  {layer.mean_ms:>9.4f} ms {layer.share:>6.1%}  {layer.name}" for layer in most]
    return "\n".join([f"slowest of {len(layers)} layers, {how}:", *told])


def _circumstances(conditions: Mapping[str, Any]) -> Iterator[str]:
    """How it was measured, as far as a reader of figures has to know."""
    if "warm_up_s" in conditions:
        yield _warm_up(conditions)
    if conditions.get("latency_as_timed_ms") is not None and conditions.keys() >= _SPEED:
        yield _speed(conditions)
    if "sampling_slowdown" in conditions:
        yield _sampling(conditions)
    if reason := conditions.get("no_rest"):
        yield str(reason)
    if conditions.get("cuda_graph"):
        yield "calls were launched as a CUDA graph: not comparable with figures of calls that were not"
    if reason := conditions.get("no_cuda_graph"):
        yield f"calls were not launched as a CUDA graph: {reason}"


def _warm_up(conditions: Mapping[str, Any]) -> str:
    """How long the warm-up lasted, and how it ended."""
    ends: dict[object, str] = {True: " until the latency had settled", False: "; the latency had not settled"}
    end = ends.get(conditions.get("settled"), "; too few calls to tell whether the latency had settled")
    return f"warmed up for {conditions['warm_up_s']:.1f} s{end}"


def _speed(conditions: Mapping[str, Any]) -> str:
    """At which speed of the machine times are told, and what the clock said."""
    return (
        f"times are as of a speed at which a reference load takes {conditions['speed_ms']:.4f} ms; the clock "
        f"said {conditions['latency_as_timed_ms']:.4f} ms in the median of the "
        f"{conditions['blocks_at_speed']} of {conditions['blocks']} blocks of calls that were near it"
    )


def _sampling(conditions: Mapping[str, Any]) -> str:
    """What reading the power cost; a simulated sensor costs no processor."""
    share = conditions.get("sampler_cpu_share")
    took = "meant: " if share is None else f"took {share:.1%} of one core, and "
    slowdown = conditions["sampling_slowdown"]
    return (
        f"reading power {took}calls took {abs(slowdown):.1%} {'longer' if slowdown > 0 else 'less'} meanwhile"
    )
