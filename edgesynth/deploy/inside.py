"""What else an engine does itself: the normalisation before the network, the answer behind it, or both.

A program on the board gives such an engine the values that its camera stored, and is given classes. The graph
is changed before a precision is put in, so that FP16 and INT8 take it for a part of the network.

``normalise`` takes stored samples, of the network's shape and layout: uint8 where the data are of 8 bits and
the device's TensorRT reads that type (from 8.5 on), else float32. It computes ``(stored - mean / scale) *
(scale / std)`` per channel: in this order nothing large is rounded where a builder does it in FP16. It is
never folded into a convolution, whose padding would then be another value than the network was trained with.

``answer`` does what the task does with outputs: probabilities and a class; or one class per pixel of the
input; or objects, as boxes in pixels with confidences and classes. For a TensorRT before 8.5 these are the
boxes and confidences of all cells, whose overlaps are suppressed after the engine.

Suppression is put behind a graph that is in its precision already: which boxes stay hangs on near ties, so
what it makes tells little of the layers that a precision spoils.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.inside_arithmetic import as_outputs, undone
from edgesynth.deploy.inside_graph import give_answer, take_stored
from edgesynth.deploy.inside_record import Inside
from edgesynth.deploy.inside_reference import SourceReference
from edgesynth.deploy.inside_suppression import leaves_overlaps, suppress
from edgesynth.deploy.judging import AnswerScore, ClassScore, ObjectsScore, TaskScore
from edgesynth.deploy.onnx_graph import batch_of, default_opset, value_of
from edgesynth.deploy.opset import convert_opset
from edgesynth.deploy.runners import AT_ONCE, OnnxRunner, run_in_parts, runtime_version
from edgesynth.deploy.samples import Samples
from edgesynth.deploy.verify import VerifyReport, verify_outputs
from edgesynth.devices.release import parse_release
from edgesynth.errors import DataError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto
    from torch import nn

    from edgesynth.devices import Profile

__all__ = ["STEPS", "Enclosed", "check_steps", "enclose", "stored_samples"]

STEPS: Final = ("normalise", "answer")
"""What can be put inside."""

_PROVEN: Final = 8
"""Samples that show whether constants are right: one would do."""
_OPSET: Final = 13
"""Softmax with the axis that is meant, and Resize as PyTorch does it."""
_BYTES_SINCE: Final = (8, 5)
"""The first TensorRT that reads inputs of UINT8."""
_UNEVEN: Final = 0.05
"""How far stored values of 8 bits may be from whole numbers, by the rounding of what is undone."""
_KINDS: Final = ("classification", "segmentation", "detection")
_GIVE_DATA: Final = (
    "give the data that the network was trained with, which say so: --data with a job file, a run folder, a "
    "folder of images or the name of a data set"
)


@dataclass(frozen=True)
class Enclosed:
    """A network with more inside it, and all that proves it right.

    Attributes:
        model: In FP32, without :meth:`finish`.
        inside: What is inside once it is finished.
        samples: As this graph takes them, with a score of what it gives.
        reference: What it has to give when it is finished, by the network as it was and the arithmetic of
            this machine.
    """

    model: ModelProto
    inside: Inside
    samples: Samples
    reference: SourceReference

    def finish(self, model: ModelProto) -> None:
        """Put behind the graph, in whichever precision, what is left to be put there; changed in place."""
        answer = self.inside.answer
        if answer is not None and answer.get("suppressed"):
            suppress(model, answer)

    def whole(self) -> ModelProto:
        """The graph in FP32, finished."""
        whole = _copied(self.model)
        self.finish(whole)
        return whole

    def finished(self, samples: Samples) -> Samples:
        """Samples of this graph, with a score of what it gives when it is finished."""
        score = samples.score
        return _judged(
            replace(samples, score=score.score if isinstance(score, AnswerScore) else score), self.inside
        )

    def by(self, module: nn.Module) -> SourceReference:
        """The reference by the module that the network was written from."""
        return replace(self.reference, source=module)

    def proof(self) -> VerifyReport:
        """The comparison in FP32, of answers and of the network's own outputs that they are made of.

        A wrong constant must not hide in the tolerance of a lower precision, nor in probabilities of 0 and 1.
        """
        some = self.samples.part(0, min(len(self.samples), max(_PROVEN, batch_of(self.model) or 1)))
        own = self.reference.own(some.data)
        whole = self.whole()
        runner = OnnxRunner(whole, tuple(own), optimise=False)
        report = VerifyReport(
            file="the network with more inside",
            sha256=hashlib.sha256(whole.SerializeToString(deterministic=True)).hexdigest(),
            reference=self.reference.name,
            runtime=runtime_version(),
            precision="fp32",
            samples=len(some),
            outputs=(),
        )
        expected = self.reference(some.data)
        expected.update(own)
        return verify_outputs(report, expected, run_in_parts(runner, some.data))


def check_steps(steps: Sequence[str]) -> None:
    """Refuse what cannot be put inside.

    Raises:
        InputError: It is none of :data:`STEPS`.
    """
    unknown = [step for step in steps if step not in STEPS]
    if unknown:
        raise InputError(f"--inside {unknown[0]!r} is unknown; choose from {', '.join(STEPS)}")


def enclose(
    model: ModelProto, source: Path | nn.Module, samples: Samples, steps: Sequence[str], profile: Profile
) -> Enclosed:
    """Put steps into a network.

    Args:
        model: In FP32, as it is to run on the device; not changed.
        source: What it was made from, which proves the result.
        samples: As the network itself takes them.
        steps: Of :data:`STEPS`.
        profile: The device.

    Raises:
        InputError: A step is unknown, the data do not say what is needed, or the network does not fit it.
        DataError: The samples are not what their normalisation makes of stored values.
    """
    check_steps(steps)
    copy = convert_opset(model, _OPSET) if default_opset(model) < _OPSET else _copied(model)
    normalisation, answer = None, None
    chosen = samples
    if "normalise" in steps:
        normalisation = _normalisation(samples)
        chosen = _stored(samples, normalisation, profile)
        take_stored(copy, normalisation, as_bytes=_kind(chosen) == np.uint8)
    if "answer" in steps:
        answer = _overlaps(_postprocessing(samples, copy), samples, profile)
        answer = {**answer, **give_answer(copy, answer)}
    inside = Inside(normalisation, answer)
    return Enclosed(copy, inside, _judged(chosen, inside.of_cells), SourceReference(source, inside, copy))


def stored_samples(samples: Samples, inside: Inside, kind: str) -> Samples:
    """Samples of a task as a graph takes and answers them that has more inside.

    Args:
        samples: As the network itself takes them; generated ones become stored values of any size.
        inside: What is inside.
        kind: The element type of the graph's input, as ONNX Runtime calls it.

    Raises:
        DataError: The samples are not what their normalisation makes of stored values.
    """
    if inside.normalisation is not None and not samples.real:
        samples = _any_stored(samples, inside.normalisation, as_bytes=kind == "tensor(uint8)")
    elif inside.normalisation is not None and samples.normalisation is not None:
        samples = _undo(samples, inside.normalisation, as_bytes=kind == "tensor(uint8)")
    return _judged(samples, inside)


def _copied(model: ModelProto) -> ModelProto:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _normalisation(samples: Samples) -> Mapping[str, Any]:
    if samples.normalisation is None:
        raise InputError(
            f"--inside normalise: the normalisation of {samples.source} is not known; {_GIVE_DATA}"
        )
    return samples.normalisation


def _kind(samples: Samples) -> np.dtype[Any]:
    return next(iter(samples.data.values())).dtype


def _stored(samples: Samples, normalisation: Mapping[str, Any], profile: Profile) -> Samples:
    release = parse_release(profile.software.tensorrt)
    reads_bytes = release is not None and release >= _BYTES_SINCE
    return _undo(samples, normalisation, as_bytes=reads_bytes and _of_bytes(normalisation))


def _of_bytes(normalisation: Mapping[str, Any]) -> bool:
    """Whether stored values have 8 bits: those alone are scaled by 1/255."""
    return abs(255 * float(normalisation["scale"]) - 1) < 1e-6


def _undo(samples: Samples, normalisation: Mapping[str, Any], *, as_bytes: bool) -> Samples:
    data: dict[str, NDArray[Any]] = {}
    for name, value in samples.data.items():
        _check_channels(value, normalisation, samples.source)
        data[name] = np.empty(value.shape, np.uint8 if as_bytes else np.float32)
        for start in range(0, len(value), AT_ONCE):  # part by part: it needs eight bytes a number
            found = undone(value[start : start + AT_ONCE], normalisation)
            whole = _whole(found, samples.source) if _of_bytes(normalisation) else found
            data[name][start : start + AT_ONCE] = whole
    return replace(samples, data=data, normalisation=None)


def _whole(found: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    """Stored values of 8 bits, without the rounding of what was done and undone."""
    whole = np.rint(found)
    off = float(np.max(np.abs(found - whole), initial=0.0))
    if off > _UNEVEN or whole.min(initial=0) < 0 or whole.max(initial=0) > 255:
        raise DataError(
            f"{source}: without their normalisation the samples are no whole numbers from 0 to 255 (from "
            f"{found.min():.4g} to {found.max():.4g}, off by up to {off:.2g}), so it is not the one that was "
            "done; correct mean, std and scale of the task, in the order of its channels"
        )
    return whole


def _check_channels(value: NDArray[Any], normalisation: Mapping[str, Any], source: str) -> None:
    channels = len(normalisation["mean"])
    if value.dtype != np.float32 or value.ndim < 2 or channels not in (1, value.shape[1]):
        raise InputError(
            f"--inside normalise: {source} are {value.dtype} {'x'.join(map(str, value.shape))}, and their "
            f"normalisation is of {channels} channels; it is for float32 [batch, channels, ...]"
        )


def _any_stored(samples: Samples, normalisation: Mapping[str, Any], *, as_bytes: bool) -> Samples:
    """Values of 8 bits, or such as normalised ones come from."""
    generator = np.random.default_rng(0)
    data: dict[str, NDArray[Any]] = {}
    for name, value in samples.data.items():
        if _of_bytes(normalisation):
            drawn = generator.integers(0, 256, value.shape)
            data[name] = drawn.astype(np.uint8 if as_bytes else np.float32)
        else:
            data[name] = undone(value, normalisation).astype(np.float32)
    return replace(samples, data=data)


def _postprocessing(samples: Samples, model: ModelProto) -> Mapping[str, Any]:
    """What is to be done with the outputs: the task says, or labels of the only output's classes do."""
    known = samples.postprocessing
    shapes = [value_of(value.type).shape or () for value in model.graph.output]
    if known is None and isinstance(samples.score, ClassScore) and [len(shape) for shape in shapes] == [2]:
        known = {"kind": "classification", "axis": 1}
    if known is None:
        raise InputError(f"--inside answer: what outputs mean is not known of {samples.source}; {_GIVE_DATA}")
    if known.get("kind") not in _KINDS or (known["kind"] != "detection" and known.get("axis") != 1):
        raise InputError(
            f"--inside answer: what the task does with outputs, {dict(known)}, is not known here; known are "
            f"{', '.join(_KINDS)}. Put it into the module that is exported, or leave it to the program"
        )
    return known


def _overlaps(answer: Mapping[str, Any], samples: Samples, profile: Profile) -> Mapping[str, Any]:
    """What is done with a detector's overlaps, besides the answer of its cells."""
    from edgesynth.tasks import DetectionTask

    if answer["kind"] != "detection":
        return answer
    left = leaves_overlaps(profile, int(answer["max_detections"]))
    if isinstance(samples.score, TaskScore) and not isinstance(samples.score.task, DetectionTask):
        left = left or f"{type(samples.score.task).__name__} judges outputs of cells itself"
    return {**answer, "left": left} if left else {**answer, "suppressed": True}


def _judged(samples: Samples, inside: Inside) -> Samples:
    """The same with a score of answers, where those are inside."""
    if inside.answer is None:
        return samples
    score = samples.score
    answer = inside.answer
    if isinstance(score, TaskScore) and answer.get("suppressed"):
        score = ObjectsScore(score.task, score.batch)
    if isinstance(score, ClassScore | TaskScore):
        score = AnswerScore(score, lambda outputs: as_outputs(outputs, answer))
    return replace(samples, score=score, postprocessing=inside.postprocessing)
