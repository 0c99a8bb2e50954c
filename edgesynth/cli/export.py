"""``edgesynth export``: an ONNX file that the TensorRT of a device takes, checked before a board is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgesynth.cli.data import DATA_HELP, read_data
from edgesynth.cli.options import AsJson, Inside, Model, Quiet, Samples
from edgesynth.errors import InputError, RequirementsNotMet
from edgesynth.metrics import METRICS, SHARES

if TYPE_CHECKING:
    from torch import nn

    from edgesynth.deploy.delivery import Delivery
    from edgesynth.deploy.target import Batch
    from edgesynth.deploy.verify import VerifyReport
    from edgesynth.devices.half import Kept

__all__ = ["delivery_rows", "export", "read_module", "read_shapes", "verification_rows"]


def export(
    network: Annotated[
        str, typer.Argument(metavar="NETWORK", help="The folder of a generated network, or an ONNX file.")
    ],
    *,
    device: Annotated[str, typer.Option("--device", help="A device profile; edgesynth devices lists them.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write; without it nothing is kept.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="fp32, fp16 or int8.")] = "fp32",
    data: Annotated[
        str | None,
        typer.Option("--data", help=DATA_HELP),
    ] = None,
    samples: Samples = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", help="Samples per call, or dynamic; as the network has it by default."),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--input", help="Sizes for free axes: 1x3x224x224, or NAME=1x3x224x224; once per input."
        ),
    ] = None,
    model: Model = None,
    inside: Inside = None,
    check: Annotated[
        bool, typer.Option("--check", help="Insist on a build by TensorRT for RTX (the extra rtx).")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write, check and verify the file that a device's TensorRT is to build."""
    from edgesynth.cli.output import print_json
    from edgesynth.cli.progress import open_progress
    from edgesynth.deploy.delivery import deliver
    from edgesynth.deploy.source import find_onnx
    from edgesynth.devices import load_profile

    profile = load_profile(device)
    profile.precision(precision)
    source = find_onnx(network)
    with open_progress(quiet=quiet).phase(f"export {source.stem} for {profile.title}"):
        delivery = deliver(
            source,
            profile,
            out,
            precision=precision,
            batch=_batch(batch),
            data=read_data(data, source),
            samples=samples,
            shapes=read_shapes(shape, source),
            module=read_module(model, network),
            must_build=check,
            inside=inside or (),
        )
    print_json(delivery.to_json()) if as_json else _tell(delivery)
    if not delivery:
        more = len(delivery.failures) - 1
        raise RequirementsNotMet(
            f"{network} is not fit for {profile.name}, and no file was kept: {delivery.failures[0]}"
            + (f"; and {more} more" if more else "")
        )


def _batch(text: str | None) -> Batch | None:
    if text is None or text == "dynamic":
        return "dynamic" if text else None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch {text!r} cannot be read; give a number from 1 on, or dynamic")
    return int(text)


def read_shapes(texts: Sequence[str] | None, source: Path) -> dict[str, tuple[int, ...]]:
    """Sizes for free axes, by input, from what the user wrote.

    Raises:
        InputError: A shape cannot be read, or does not say for which of several inputs it is.
    """
    from edgesynth.cli.models import example_inputs
    from edgesynth.deploy.onnx_graph import input_shapes, read_model

    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, sizes = text.rpartition("=")
        if not name:
            inputs = list(input_shapes(read_model(source)))
            if len(inputs) != 1:
                raise InputError(f"--input {text!r} names none of {', '.join(inputs)}; write NAME={sizes}")
            name = inputs[0]
        shapes[name] = tuple(example_inputs(source.name, [sizes])[0].shape)
    return shapes


def read_module(model: str | None, network: str) -> nn.Module | None:
    """The network as a PyTorch module: a generated one cut from what the user names, of a file that itself.

    Raises:
        JobError: There is no such model, or it cannot be made.
        InputError: It is not what the network was cut from, or a file's is none of the user's own.
    """
    if model is None:
        return None
    import torch

    from edgesynth.cli.models import find_module
    from edgesynth.deploy.onnx_graph import input_shapes, load_model
    from edgesynth.graph.recipe import load, read_recipe
    from edgesynth.job.reference import is_reference

    if not Path(network).is_dir():
        if not is_reference(model):
            raise InputError(
                f"--model {model!r} has not the weights of {network}; name a callable that returns the "
                "module the file was written from with its trained weights, package.module:callable"
            )
        shapes = [shape or () for shape in input_shapes(load_model(network)).values()]
        known = [[size if isinstance(size, int) else 1 for size in shape] for shape in shapes]
        return find_module(model, [torch.zeros(shape) for shape in known] or [torch.zeros(1)])
    recipe = read_recipe(Path(network))
    inputs = [torch.zeros([int(size) for size in item["shape"]]) for item in recipe.inputs]
    return load(find_module(model, inputs), network)


def _tell(delivery: Delivery) -> None:
    from edgesynth.cli.output import print_table, write

    print_table(["step", "verdict", "what"], list(delivery_rows(delivery)))
    if delivery.kept and delivery.export is not None:
        write(f"written: {delivery.export.path}")


def delivery_rows(delivery: Delivery) -> Iterator[list[str]]:
    """Step, verdict and what was found: the way of a network to its file."""
    found, written = delivery.preflight, delivery.export
    release = f"TensorRT {found.tensorrt}" if found.tensorrt else "TensorRT of unknown version"
    yield [
        "pre-flight",
        found.verdict,
        f"{release} on {found.device}; opset {found.opset}, {found.nodes} nodes",
    ]
    for verdict, node, operator, reason, advice in found.rows():
        where = f"{node} ({operator}): " if operator and node else f"{node}: " if node else ""
        yield ["", verdict, f"{where}{reason}; {advice}"]
    if written is None:
        return
    flags = f"builder flags {', '.join(written.flags)}" if written.flags else "no builder flags"
    typed = ", strongly typed" if written.strongly_typed else ""
    size = f"{written.bytes / 1e6:.2f} MB"
    yield [
        "export",
        written.precision,
        f"opset {written.opset}, batch {written.batch}, {size}, {flags}{typed}",
    ]
    if delivery.enclosed is not None:
        yield ["", "inside", delivery.enclosed.inside.says]
    yield from _kept(written.kept, "kept higher" if written.precision == "int8" else "kept in fp32")
    for index, tried in enumerate(written.calibrations):
        score = "" if tried.metric is None else f", {_scored(delivery.metric_name, tried.metric)}"
        yield [
            "",
            "compared" if index else "calibration",
            f"{tried.method}: output error {tried.error:.2%}{score}",
        ]
    for report in (delivery.report, delivery.module_report):
        if report is not None:
            yield from verification_rows(report, delivery.data)
    built = delivery.build
    if built is None:
        yield ["build", "not tried", "TensorRT for RTX is not installed (the extra rtx)"]
    elif built:
        what = f"TensorRT for RTX {built.version}: {built.layers} layers in {built.seconds:.2f} s"
        yield ["build", "built", f"{what}, engine {built.bytes / 1e6:.2f} MB"]
    else:
        yield from (["build", "refused", error] for error in built.errors)


def _kept(nodes: Sequence[Kept], where: str) -> Iterator[list[str]]:
    """Nodes that stay in a higher precision: each that overflows, and how many of each operator besides."""
    alike = Counter((kept.operator, kept.reason) for kept in nodes if kept.max_abs is None)
    for (operator, reason), count in alike.items():
        yield ["", where, f"{count} {operator}: {reason}"]
    for kept in nodes:
        if kept.max_abs is not None:
            yield ["", where, f"{kept.node} ({kept.operator}): {kept.reason}, {kept.max_abs:.3g}"]


def _calls_of(report: VerifyReport) -> str:
    """The sizes of calls that were judged; nothing where every call takes as many."""
    sizes = [str(size) for size in report.sizes]
    return f", in calls of {', '.join(sizes[:-1])} and {sizes[-1]} samples" if len(sizes) > 1 else ""


def verification_rows(report: VerifyReport, data: str) -> Iterator[list[str]]:
    """The same for one verification."""
    yield [
        "verify",
        "agrees" if report else "differs",
        f"with {report.reference} on {data}; {report.runtime}{_calls_of(report)}",
    ]
    for output in report.outputs:
        if not output.problem:
            yield [
                "",
                "agrees",
                f"{output.name}: {output.says}",
            ]
    yield from (["", "differs", failure] for failure in report.failures)
    if report.rounding_note:
        yield ["", "rounded", report.rounding_note]
    if report.divergence is not None:
        first = report.divergence
        yield ["", "first", f"{first.node} ({first.operator}), error {first.error:.3g}"]
    if report.metric is not None and report.reference_metric is not None:
        name = report.metric_name
        yield [
            "",
            METRICS[name].label if name in METRICS else "score",
            f"{_value(name, report.metric)}, reference {_value(name, report.reference_metric)}",
        ]
    judged = report.acceptance
    if judged is not None and (judged.verdict == "accepted" or judged.warns):
        yield ["", judged.verdict, judged.says]


def _scored(name: str, value: float) -> str:
    """A score with the name of its metric."""
    return f"{METRICS[name].label if name in METRICS else 'score'} {_value(name, value)}"


def _value(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if name in SHARES else f"{value:.4g}"
