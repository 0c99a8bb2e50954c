"""``processing.json`` of a bundle: what goes into the engine, what comes out, and what is to be done with it.

A program on the board reads it with ``read_processing`` of ``runner.py``, without loading the engine, or
prints it with ``python3 runner.py --describe``.

==================== =====================================================================================
key                  what it says
==================== =====================================================================================
batch                samples per call; of an engine for a range of sizes, the most
batches              the least, the usual and the most samples per call; ``null`` where all take as many
inputs, outputs      by name, in the order in which the network takes and returns them, an object each:

                     ``dtype``: NumPy's name of the element type that the engine has on the board, such as
                     ``float32``; TensorRT before 10 has ``int32`` where the file has 64-bit integers.
                     ``shape``: of one call, the largest; ``shape[batch_axis]`` counts its samples.
                     ``batch_axis``: 0; ``null`` for an output that is no sequence of samples.
                     ``type``: the element type in ``network.onnx``, such as ``tensor(float)``.
                     ``meaning``: a sentence; ``null`` where nothing is known.
pictures             how a picture becomes the values that are normalised: ``height`` and ``width`` in pixels,
                     ``channels`` (``RGB`` in this order, or ``L``), ``resampling``, and ``fit``: ``crop``
                     scales until it covers the size and cuts the overhang evenly, ``stretch`` changes its
                     proportions, ``letterbox`` scales until it fits in and fills the rest evenly with the
                     grey ``fill``. ``null`` where the data are no files of pictures
normalisation        ``mean``, ``std`` and ``scale`` of every channel of the input: ``(scale * stored - mean)
                     / std``, to be done before the input; ``null`` where the data do not say, or where the
                     engine does it itself
normalisation_means  the same formula, in words
inside               what the engine does itself: ``normalise``, the normalisation that it does of stored
                     values, and ``answer``, the postprocessing that is done already, each ``null`` where it
                     is not; ``null`` where the engine is the network alone
postprocessing       ``kind`` (``classification``, ``segmentation``, ``detection`` or a task's own) and its
                     parameters; ``null`` where nothing is known. ``engine.answer`` does it. Where the
                     answer is inside, ``inside`` is true of a classification and a segmentation, and
                     ``outputs`` has the names of what there is: probabilities and class, or mask. The
                     ``head`` of a detection is ``suppressed`` then: its outputs are objects, and nothing is
                     left to be done; or it is ``decoded``: boxes of all cells, and overlaps are left to be
                     suppressed
verified_on          the inputs on which the engine was compared with the network
==================== =====================================================================================

Earlier bundles have a list of names as ``outputs``, ``type`` and ``shape`` alone of an input, and no
``batch``; they are read still, as outputs of which nothing but the name is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.bundle import Bundle, read_text
from edgesynth.deploy.onnx_graph import load_model, value_of
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from edgesynth.agent.batches import Batches
    from edgesynth.deploy.engine import EngineTensor
    from edgesynth.deploy.inside_record import Inside
    from edgesynth.deploy.samples import Samples
    from edgesynth.deploy.target import DeviceExport
    from edgesynth.deploy.verify import VerifyReport

__all__ = ["PROCESSING", "input_names", "output_dtypes", "processing_of"]

PROCESSING: Final = "processing.json"
"""Its name in a bundle."""

_INSIDE: Final[Mapping[str, Sequence[str]]] = {
    "classification": (
        "probability of every class, from 0 to 1: [batch, class]",
        "index of the most probable class: [batch]",
    ),
    "segmentation": ("index of the class of every pixel of the input: [batch, row, column]",),
}
"""The outputs of an engine that answers itself, by kind."""

_HEADS: Final[Mapping[str, Sequence[str]]] = {
    "centre": (
        "logit of every class at every cell: [batch, class, row, column]",
        "distances left, up, right and down of a cell, in cells before softplus: [batch, side, row, column]",
        "logit of how central a cell is in its object: [batch, 1, row, column]",
    ),
    "grid": (
        "logit of every class at every cell: [batch, class, row, column]",
        "left, upper, right and lower side from the middle of a cell, in cells: [batch, side, row, column]",
    ),
    "suppressed": (
        "left, upper, right and lower side of objects, in pixels of the input, best first; 0 in rows without "
        "one: [batch, row, side]",
        "confidence of the object, from 0 to 1; 0 without one: [batch, row]",
        "index of the object's class; -1 without one: [batch, row]",
    ),
    "decoded": (
        "left, upper, right and lower side of boxes, in pixels of the input: [batch, box, side]",
        "confidence of every class, from 0 to 1: [batch, box, class]",
    ),
}
"""The tensors of each level of a detector, by its head."""


def processing_of(
    export: DeviceExport,
    report: VerifyReport | None,
    samples: Samples,
    *,
    batches: Batches,
    labels: Sequence[str],
    verified_on: str,
    inside: Inside | None = None,
) -> dict[str, Any]:
    """What the file says, for an engine that was run.

    Args:
        export: What the engine was built from.
        report: Its verification, which knows the engine's own types and shapes.
        samples: What it was verified on.
        batches: Samples per call.
        labels: Names of the classes.
        verified_on: The samples, in words.
        inside: What the engine does itself besides the network.
    """
    runner, model = OnnxRunner(export.path), load_model(export.path)
    post = _postprocessing(samples, labels, model.graph.output)
    takes, gives = ({}, {}) if report is None else (report.takes, report.gives)
    sample = "samples, each channel normalised as normalisation says" if samples.normalisation else None
    batch, means = batches.most, "(scale * stored - mean) / std per channel, before the input"
    if inside is not None and inside.normalisation is not None:
        sample = "samples as they are stored, which the engine normalises itself: [batch, channel, ...]"
        means = "nothing is to be done: the engine does what inside.normalise says"
    return {
        "batch": batch,
        "batches": None if batches.fixed else list(batches),
        "inputs": {
            name: _tensor(kind, shape, batch, takes.get(name), sample)
            for name, (kind, shape) in runner.inputs.items()
        },
        "pictures": samples.pictures,
        "normalisation": samples.normalisation,
        "normalisation_means": means,
        "inside": None if inside is None else inside.to_json(),
        "outputs": {
            name: _tensor(kind, shape, batch, gives.get(name), _meaning(post, index, len(runner.outputs)))
            for index, (name, (kind, shape)) in enumerate(runner.output_types.items())
        },
        "postprocessing": post,
        "verified_on": verified_on,
    }


def input_names(bundle: Bundle) -> tuple[str, ...]:
    """What the engine of a bundle takes; nothing where the bundle does not say."""
    return tuple(_read(bundle).get("inputs", ()))


def output_dtypes(bundle: Bundle) -> dict[str, str]:
    """NumPy's name of the type of every output, as far as the bundle says."""
    told = _read(bundle).get("outputs", {})
    facts = told.items() if isinstance(told, dict) else ()
    return {name: str(fact["dtype"]) for name, fact in facts if "dtype" in fact}


def _read(bundle: Bundle) -> dict[str, Any]:
    found = read_text(bundle, PROCESSING)
    if not isinstance(found, dict | None):
        raise InputError(f"{PROCESSING} of the bundle in {bundle.folder} is no JSON object; deploy anew")
    return found or {}


def _tensor(
    kind: str,
    shape: Sequence[int | str | None],
    batch: int,
    engine: EngineTensor | None,
    meaning: str | None,
) -> dict[str, Any]:
    """One input or output: as the engine told it, else as the file has it with the batch filled in."""
    free = [batch if axis == 0 and not isinstance(size, int) else size for axis, size in enumerate(shape)]
    sizes = free if engine is None else list(engine.shape)
    return {
        "dtype": None if engine is None else engine.dtype,
        "shape": sizes,
        "batch_axis": 0 if sizes and sizes[0] == batch else None,
        "type": kind,
        "meaning": meaning,
    }


def _meaning(postprocessing: Mapping[str, Any] | None, index: int, count: int) -> str | None:
    """What an output holds, where its task is one of ours."""
    found = postprocessing or {}
    kind = found.get("kind")
    if found.get("inside"):
        return _INSIDE[str(kind)][index]
    if kind == "classification" and count == 1:
        return "a logit per class, the largest is the answer: [batch, class]"
    if kind == "segmentation" and count == 1:
        height, width = found.get("size_pixels", ("?", "?"))
        return (
            f"a logit per class and place, the largest is the answer once they are magnified to {height} x "
            f"{width} pixels: [batch, class, row, column]"
        )
    parts = _HEADS.get(str(found.get("head")), ()) if kind == "detection" else ()
    if not parts or count % len(parts):
        return None
    level = f"level {index // len(parts)}: " if count > len(parts) else ""
    return level + parts[index % len(parts)]


def _postprocessing(
    samples: Samples, labels: Sequence[str], outputs: Sequence[Any]
) -> Mapping[str, Any] | None:
    """What the task says, or what names of classes say of the only output ``[batch, classes]``."""
    if samples.postprocessing is not None:
        return samples.postprocessing
    shapes = [value_of(value.type).shape or () for value in outputs]
    if labels and len(shapes) == 1 and len(shapes[0]) == 2:
        return {"kind": "classification", "axis": 1}
    return None
