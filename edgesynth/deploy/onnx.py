"""Write a network as ONNX, and prove that the file computes what the network computes.

The scripted exporter of torch (``dynamo=False``) is used on purpose: asked for opset 13, the newer one writes
opset 18 without an error, which TensorRT 8.2 cannot read. So the written file is asked for its opset.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgesynth.deploy.attention import written_out_attention
from edgesynth.deploy.decisions import refuse_lost_decisions
from edgesynth.deploy.folding import fold_constants
from edgesynth.deploy.outputs import Flattened, evaluating, is_nested, leaves, outputs_of
from edgesynth.deploy.runners import first_line, load_runtime
from edgesynth.devices.onnx_file import DEFAULT_DOMAINS
from edgesynth.devices.onnx_session import open_session
from edgesynth.errors import InputError, TraceError
from edgesynth.graph.trace import plain_attention
from edgesynth.runs.atomic import write_atomic
from edgesynth.runs.faults import disk_faults
from edgesynth.scratch import Scratch
from edgesynth.tasks.trees import output_names as structure_names

if TYPE_CHECKING:
    import onnx as onnx_types

__all__ = [
    "OnnxExport",
    "OutputError",
    "RuntimeComparison",
    "compare_with_runtime",
    "export_onnx",
]

DEFAULT_OPSET = 13
"""The newest opset that TensorRT 8.2 (JetPack 4.6, Jetson TX2) parses."""


@dataclass(frozen=True)
class OnnxExport:
    """A written ONNX file, as read back from disk.

    Attributes:
        path: Where it is.
        opset: The version of the default operator set the file declares.
        bytes: Its size.
        sha256: Hex digest of its content; engine caches key on it.
        input_names: Graph inputs in call order.
        output_names: Graph outputs in return order.
        dynamic_batch: Whether axis 0 of every input and output is free.
    """

    path: Path
    opset: int
    bytes: int
    sha256: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    dynamic_batch: bool


@dataclass(frozen=True)
class OutputError:
    """How far one output of the file is from the network's own.

    Attributes:
        name: The graph output.
        max_abs: Largest absolute difference over all values.
        scale: Largest absolute value of the network's output, to judge ``max_abs`` by.
    """

    name: str
    max_abs: float
    scale: float


@dataclass(frozen=True)
class RuntimeComparison:
    """The verdict of :func:`compare_with_runtime`; true exactly when every output agrees.

    Attributes:
        outputs: One entry per graph output.
        atol: The largest absolute difference that counts as agreement.
        samples: How many input samples were run.
        runtime: The runtime and version that executed the file.
    """

    outputs: tuple[OutputError, ...]
    atol: float
    samples: int
    runtime: str

    @property
    def max_abs(self) -> float:
        """The worst difference over all outputs."""
        return max(output.max_abs for output in self.outputs)

    @property
    def relative(self) -> float:
        """The worst difference, relative to the largest value of its output."""
        return max(output.max_abs / (output.scale or 1.0) for output in self.outputs)

    def __bool__(self) -> bool:
        # A NaN difference compares false, and so counts as disagreement.
        return all(output.max_abs <= self.atol for output in self.outputs)


def export_onnx(
    module: nn.Module,
    example_input: Tensor | Sequence[Tensor],
    path: str | os.PathLike[str],
    *,
    opset: int = DEFAULT_OPSET,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_batch: bool = True,
) -> OnnxExport:
    """Write ``module`` as an ONNX file; the file appears whole or not at all.

    The module is exported in evaluation mode and handed back in the mode it came in.

    Args:
        module: Takes the example input, returns a tensor or any nest of tensors.
        example_input: One tensor ``[batch, ...]``, or one per argument of ``forward``.
        path: The file to write; its folder is made when missing.
        opset: The operator set wanted; checked in the written file.
        input_names: One per input; ``input`` or ``input_0``, ``input_1``... by default.
        output_names: One per output tensor; by default those of :func:`edgesynth.tasks.trees.output_names`,
            which say where each is in a nest: ``output``, ``output_0``..., or the keys of a dict.
        dynamic_batch: Leave axis 0 of every input and output free.

    Raises:
        InputError: The names do not match, the opset cannot be written, or values of inputs decide something.
        TraceError: The module cannot run on the example or holds an operator ONNX lacks.
        RunError: The file cannot be written.
    """
    target = Path(path)
    inputs = (example_input,) if isinstance(example_input, Tensor) else tuple(example_input)
    with evaluating(module):
        outputs = outputs_of(module, inputs)
        count, nested = len(leaves(outputs)), is_nested(outputs)
        names_in = _names(input_names, "input", len(inputs))
        told = output_names if output_names is not None else structure_names(outputs, names_in)
        names_out = _names(told, "output", count)
        axes = {name: {0: "batch"} for name in (*names_in, *names_out)} if dynamic_batch else None
        with disk_faults(target), Scratch() as folder:
            scratch = folder.path / target.name
            try:
                with _quiet_exporter() as warned, plain_attention(), written_out_attention(opset):
                    torch.onnx.export(
                        Flattened(module) if nested or _takes_more(module, len(inputs)) else module,
                        inputs,
                        str(scratch),
                        opset_version=opset,
                        input_names=list(names_in),
                        output_names=list(names_out),
                        dynamic_axes=axes,
                        dynamo=False,
                    )
            except OSError:
                raise
            except Exception as error:
                raise TraceError(
                    f"{type(module).__name__} cannot be written as ONNX opset {opset}: {first_line(error)}. "
                    "Replace the operator it names, or allow a newer opset if your runtime reads one"
                ) from error
            data = _simplified(scratch.read_bytes())
            scratch.write_bytes(data)
            compared = partial(compare_with_runtime, module, scratch)
            refuse_lost_decisions(warned, module, inputs, lambda probe: compared(probe).relative)
    model = _checked(data, target.name, opset)
    with disk_faults(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)
    return OnnxExport(
        path=target,
        opset=_default_opset(model),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        input_names=tuple(value.name for value in model.graph.input),
        output_names=tuple(value.name for value in model.graph.output),
        dynamic_batch=dynamic_batch,
    )


def compare_with_runtime(
    module: nn.Module,
    path: str | os.PathLike[str],
    inputs: Tensor | Sequence[Tensor],
    atol: float = 1e-4,
) -> RuntimeComparison:
    """Run the file with ONNX Runtime on the CPU and the network with torch, on the same inputs.

    Args:
        module: The network the file was written from.
        path: The ONNX file.
        inputs: Real samples ``[batch, ...]``, one tensor per graph input; a batch size other than
            the exported one also proves that the batch axis is really free.
        atol: The largest absolute difference that counts as agreement.

    Returns:
        The error of every output; the result is true exactly when all of them are within ``atol``.

    Raises:
        InputError: The file is missing, cannot be run on these inputs, or its outputs do not match
            the network's in number or shape.
        MissingDependencyError: ONNX Runtime is not installed.
    """
    runtime = load_runtime()
    source = Path(path)
    if not source.is_file():
        raise InputError(f"no ONNX file at {source}; export the network first")
    tensors = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = open_session(runtime, str(source), options, ["CPUExecutionProvider"])
        feed = {
            node.name: tensor.detach().cpu().numpy()
            for node, tensor in zip(session.get_inputs(), tensors, strict=True)
        }
        found = session.run(None, feed)
    except Exception as error:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise InputError(
            f"ONNX Runtime cannot run {source.name} on inputs of shape {shapes}: {first_line(error)}"
        ) from error
    with evaluating(module):
        expected = leaves(outputs_of(module, tensors))
    if len(expected) != len(found):
        raise InputError(f"{source.name} has {len(found)} outputs, the network has {len(expected)}")
    errors = []
    for node, want, got in zip(session.get_outputs(), expected, found, strict=True):
        have = torch.as_tensor(got)
        if have.shape != want.shape:
            raise InputError(
                f"output {node.name!r} of {source.name} has shape {tuple(have.shape)}, "
                f"the network's has {tuple(want.shape)}: a shape was fixed while tracing"
            )
        reference = want.detach().cpu().double()
        errors.append(
            OutputError(
                name=node.name,
                max_abs=float((have.double() - reference).abs().max()) if want.numel() else 0.0,
                scale=float(reference.abs().max()) if want.numel() else 0.0,
            )
        )
    return RuntimeComparison(
        outputs=tuple(errors),
        atol=atol,
        samples=int(tensors[0].shape[0]),
        runtime=f"onnxruntime {runtime.__version__} (CPU)",
    )


def _takes_more(module: nn.Module, count: int) -> bool:
    """Whether ``forward`` has arguments beside the inputs, whose defaults the exporter would make tensors."""
    parameters = inspect.signature(module.forward).parameters.values()
    return sum(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters) > count


def _names(given: Sequence[str] | None, stem: str, count: int) -> tuple[str, ...]:
    if given is None:
        return (stem,) if count == 1 else tuple(f"{stem}_{index}" for index in range(count))
    if len(given) != count or len(set(given)) != count:
        raise InputError(f"{count} distinct {stem} names are needed, got {list(given)}")
    return tuple(given)


def _simplified(data: bytes) -> bytes:
    """Without what the exporter leaves as nodes though it is known: copies of constants, and sizes."""
    import onnx

    model = fold_constants(_without_shared_constants(onnx.load_model_from_string(data)))
    written: bytes = model.SerializeToString()
    return written


def _without_shared_constants(model: onnx_types.ModelProto) -> onnx_types.ModelProto:
    """Let every node read its constants itself.

    The exporter stores equal constants once and copies them by Identity nodes. The parsers of TensorRT want
    the weights of a convolution as constants, and take such a copy for something computed.
    """
    graph = model.graph
    constants = {constant.name for constant in graph.initializer}
    kept = {output.name for output in graph.output}
    copies = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in constants and node.output[0] not in kept
    }
    nodes = [node for node in graph.node if not node.output or node.output[0] not in copies]
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = copies.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _checked(data: bytes, name: str, opset: int) -> onnx_types.ModelProto:
    """Read the file back before it is kept: well-formed, and of the opset that was asked for."""
    import onnx

    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    written = _default_opset(model)
    if written != opset:
        raise InputError(f"{name} was asked for in opset {opset} but came out as opset {written}; not kept")
    return model


def _default_opset(model: onnx_types.ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS)


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[list[warnings.WarningMessage]]:
    """Hide the exporter's advice about its own future, and give its warnings; errors still come through."""
    logger, core = logging.getLogger("torch.onnx"), vars(torch._C)
    level, tell = logger.level, core["_jit_onnx_log"]
    logger.setLevel(logging.ERROR)
    # Where it fails it prints the whole graph to standard output, where results belong.
    torch._C._jit_onnx_log = lambda *_: None
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield told
    finally:
        torch._C._jit_onnx_log = tell
        logger.setLevel(level)
