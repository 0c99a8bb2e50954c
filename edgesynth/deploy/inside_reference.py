"""What a graph with more inside it has to give: its network as it was, and this machine's own arithmetic."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.inside_arithmetic import answered, normalised, ranked
from edgesynth.deploy.inside_graph import ranking_tensors
from edgesynth.deploy.inside_objects import Objects, objects_of
from edgesynth.deploy.inside_record import Inside
from edgesynth.deploy.runners import WITH_TAPS, Arrays, OnnxRunner, each_part, fixed_batch, together
from edgesynth.deploy.source import own_batch

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

__all__ = ["FileReference", "SourceReference"]


@dataclass(frozen=True)
class SourceReference:
    """The network that something was put into.

    Attributes:
        source: Its FP32 file, or the PyTorch module.
        inside: What was put into it.
        model: The graph with that inside, in FP32: where a lower precision goes wrong is told by it.
    """

    source: str | os.PathLike[str] | nn.Module
    inside: Inside
    model: ModelProto = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called in reports."""
        is_file = isinstance(self.source, str | os.PathLike)
        name = Path(self.source).name if is_file else type(self.source).__name__  # type: ignore[arg-type]
        done = " and ".join(name for name, value in self.inside.to_json().items() if value is not None)
        return f"{name}, {done} done here"

    @property
    def step(self) -> int:
        """What a number of samples must be a multiple of."""
        return own_batch(Path(self.source)) if isinstance(self.source, str | os.PathLike) else 1

    def __call__(self, data: Arrays) -> dict[str, NDArray[Any]]:
        """What is to come out of these stored samples; class indices as masked arrays."""
        names = [value.name for value in self.model.graph.output]
        if self.inside.answer is None:
            return _joined([dict(zip(names, found.values(), strict=True)) for found in self._own(data)])
        return _joined([answered(found, self.inside.answer) for found in self._own(data)])

    def own(self, data: Arrays) -> dict[str, NDArray[Any]]:
        """The outputs of the network itself, whatever is made of them."""
        return _joined(list(self._own(data)))

    def _own(self, data: Arrays) -> Iterator[dict[str, NDArray[Any]]]:
        run, fixed = _network(self.source)
        step = fixed or together(data)
        for start in range(0, len(next(iter(data.values()))), step):
            part = {name: value[start : start + step] for name, value in data.items()}
            if self.inside.normalisation is not None:  # part by part: it needs eight bytes a number
                part = {name: normalised(value, self.inside.normalisation) for name, value in part.items()}
            yield run(part)


@dataclass(frozen=True)
class FileReference:
    """A file that has it inside already; what its class indices are the largest of tells ties.

    Attributes:
        path: The file.
        model: The same, read.
        answer: The answer that is inside it; ``None`` where there is none.
    """

    path: Path
    model: ModelProto = field(repr=False)
    answer: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.path.name

    @property
    def step(self) -> int:
        """What a number of samples must be a multiple of."""
        return own_batch(self.path)

    def __call__(self, data: Arrays) -> dict[str, NDArray[Any]]:
        """What comes out; class indices as masked arrays."""
        if self.answer is not None and self.answer.get("suppressed"):
            boxes, scores = self.answer["cells"]
            runner = OnnxRunner(self.model, [boxes, scores], optimise=False)
            return _joined(
                [
                    objects_of(found[boxes], found[scores], self.answer)
                    for found in each_part(runner, data, together(data, WITH_TAPS))
                ]
            )
        ranking = ranking_tensors(self.model)
        runner = OnnxRunner(self.model, tuple(ranking.values()), optimise=False)
        outputs = [value.name for value in self.model.graph.output]
        return _joined(
            [
                {name: ranked(found[ranking[name]]) if name in ranking else found[name] for name in outputs}
                for found in each_part(runner, data, together(data, WITH_TAPS))
            ]
        )


def _network(
    source: str | os.PathLike[str] | nn.Module,
) -> tuple[Callable[[Arrays], dict[str, NDArray[Any]]], int | None]:
    """What gives a network's own outputs, and how many samples it takes at a time, where that is fixed."""
    if isinstance(source, str | os.PathLike):
        runner = OnnxRunner(source, optimise=False)
        return runner, fixed_batch(runner)
    import torch

    from edgesynth.deploy.outputs import evaluate

    def run(data: Arrays) -> dict[str, NDArray[Any]]:
        leaves = evaluate(source, tuple(torch.tensor(value) for value in data.values()))
        return {f"output_{index}": leaf.detach().cpu().numpy() for index, leaf in enumerate(leaves)}

    return run, None


def _joined(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    objects = [part for part in parts if isinstance(part, Objects)]
    if objects:
        return Objects.joined(objects)
    joined = {}
    for name, first in parts[0].items():
        pieces = [part[name] for part in parts]
        is_ranked = isinstance(first, np.ma.MaskedArray)
        join: Callable[..., NDArray[Any]] = np.ma.concatenate if is_ranked else np.concatenate
        joined[name] = join(pieces)
    return joined
