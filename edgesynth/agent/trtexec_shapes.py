"""Sizes of free inputs, as trtexec is told them: it fills a free batch with 1 where nobody says another."""

from typing import Any, Dict, List, Sequence

from edgesynth.agent.batches import Batches
from edgesynth.agent.errors import Refusal
from edgesynth.agent.onnx_types import read_input_shapes
from edgesynth.agent.tensors import with_batch

__all__ = ["build_options", "fixed_inputs", "run_options"]

_BUILD = ("--minShapes", "--optShapes", "--maxShapes")
_RUN = "--shapes"

Shapes = Dict[str, List[int]]


def fixed_inputs(model: str, batch: int) -> Shapes:
    """The whole shape of every input of a file that has a free batch; none where every size is fixed.

    Args:
        model: An ONNX file.
        batch: What the batch becomes.

    Raises:
        NetworkFailure: An axis besides the batch is free.
    """
    return {
        name: list(with_batch(name, tuple(shape), batch))
        for name, shape in read_input_shapes(model).items()
        if -1 in shape
    }


def build_options(model: str, batches: Batches, known: Sequence[str]) -> List[str]:
    """What a build is told: a size for each end of the range; nothing that this trtexec does not know.

    Raises:
        NetworkFailure: An axis besides the batch is free; or of a range of batches, none is.
        Refusal: This trtexec builds for no range; kind ``tensorrt``.
    """
    sizes = [fixed_inputs(model, samples) for samples in batches]
    if not batches.fixed:
        for name, shape in read_input_shapes(model).items():
            for samples in batches:
                with_batch(name, tuple(shape), samples)
        if not set(_BUILD) <= set(known):
            raise Refusal(
                "tensorrt", "this trtexec has no {}, so it builds for one batch".format(" ".join(_BUILD))
            )
    return [
        option + "=" + _spec(shapes) for option, shapes in zip(_BUILD, sizes) if shapes and option in known
    ]


def run_options(shapes: Shapes, known: Sequence[str]) -> List[str]:
    """What a run of the engine is told, which does not remember the size."""
    return [_RUN + "=" + _spec(shapes)] if shapes and _RUN in known else []


def _spec(shapes: Any) -> str:
    return ",".join("{}:{}".format(name, "x".join(map(str, shape))) for name, shape in shapes.items())
