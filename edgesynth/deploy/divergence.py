"""Where two versions of one network part: bisection over the tensors that both of them have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgesynth.deploy.onnx_graph import sites
from edgesynth.deploy.runners import WITH_TAPS, Arrays, OnnxRunner, fixed_batch, run_in_parts, together
from edgesynth.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

__all__ = ["Divergence", "find_divergence", "first_overflow", "pairs", "relative_error"]

_CONVERSIONS: Final = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})
"""What changes the type of a tensor, and is not where its values come from."""
_PART: Final = 1 << 24
"""Numbers that are compared at once."""


@dataclass(frozen=True)
class Divergence:
    """The first node whose result differs while what goes into it does not.

    Attributes:
        node: Its name in the checked file.
        operator: Its operator.
        tensor: The tensor it makes.
        error: Root mean square difference relative to the reference; infinite for NaN or Inf.
    """

    node: str
    operator: str
    tensor: str
    error: float


def relative_error(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Relative root mean square difference; infinite where only ``found`` is not finite."""
    if np.shape(expected) != np.shape(found):
        return float("inf")
    power = difference = 0.0
    for want, have in pairs(expected, found):
        # What the reference does not have finite either is judged by being the same.
        finite = np.isfinite(want)
        if (
            not np.array_equal(want[~finite], have[~finite], equal_nan=True)
            or not np.isfinite(have[finite]).all()
        ):
            return float("inf")
        power += float(np.sum(want[finite] ** 2))
        difference += float(np.sum((have[finite] - want[finite]) ** 2))
    return float(np.sqrt(difference / power)) if power else float(np.sqrt(difference))


def pairs(
    expected: NDArray[Any], found: NDArray[Any]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Two arrays of one shape in double precision, part by part: that takes several times their memory."""
    flat = np.asarray(expected).reshape(-1), np.asarray(found).reshape(-1)
    for start in range(0, len(flat[0]), _PART):
        one, two = (value[start : start + _PART].astype(np.float64) for value in flat)
        yield one, two


def find_divergence(
    model: ModelProto, reference: ModelProto, data: Arrays, limit: float
) -> Divergence | None:
    """Find the first node that goes wrong.

    Args:
        model: The version under suspicion.
        reference: The version to trust; tensors are compared by name.
        data: Inputs by name on which the outputs differ.
        limit: The relative error from which a tensor counts as different.

    Returns:
        The node, or ``None`` when the two share no tensor that differs.
    """
    trusted = {name for node in reference.graph.node for name in node.output if name}
    makers = [(node, name) for node in model.graph.node for name in node.output if name in trusted]
    if not makers:
        return None
    errors: dict[str, float] = {}

    def error(name: str) -> float:
        if name not in errors:
            errors[name] = _error_of(model, reference, name, data)
        return errors[name]

    low, high = -1, len(makers) - 1
    if error(makers[high][1]) <= limit:
        high = next((i for i, (_, name) in enumerate(makers) if error(name) > limit), -1)
        if high < 0:
            return None
    # What goes wrong early stays wrong, by and large; where it does not, the walk below mends it.
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if error(makers[middle][1]) > limit else (middle, high)
    node, name = _earliest(model, makers, high, error, limit)
    return Divergence(node.name or name, node.op_type, name, error(name))


def first_overflow(model: ModelProto, data: Arrays) -> Divergence | None:
    """The first node that makes an FP16 tensor with NaN or Inf in it.

    Such tensors are looked at themselves: a CPU runs most operators in FP32 and leaves out casts on the way,
    so an overflow need not reach the outputs here as it would on a device.

    Raises:
        InputError: The model cannot run on the inputs.
    """
    halves = [
        (site, name)
        for site in sites(model)
        for name in site.node.output
        if site.depth == 0 and site.scope.value(name).type == "FLOAT16"
    ]
    if not halves:
        return None
    runner = OnnxRunner(model, [name for _, name in halves], optimise=False)
    samples, bad = len(next(iter(data.values()))), set[str]()
    step = fixed_batch(runner) or together(data, WITH_TAPS)
    for start in range(0, samples - samples % step or samples, step):
        made = runner({name: value[start : start + step] for name, value in data.items()})
        bad |= {name for name, value in made.items() if not np.isfinite(value).all()}
    for site, name in halves:
        if name in bad:
            return Divergence(site.name, site.node.op_type, name, float("inf"))
    return None


def _earliest(
    model: ModelProto,
    makers: list[tuple[NodeProto, str]],
    start: int,
    error: Callable[[str], float],
    limit: float,
) -> tuple[NodeProto, str]:
    """From a wrong tensor back to one that is made of right ones, and the node that does the arithmetic."""
    producers = {name: node for node in model.graph.node for name in node.output}
    shared = {name for _, name in makers}
    name = makers[start][1]
    seen = {name}
    while True:
        wrong = next(
            (n for n in _sources(producers[name], producers, shared) if n not in seen and error(n) > limit),
            None,
        )
        if wrong is None:
            break
        seen.add(wrong)
        name = wrong
    node = producers[name]
    while node.op_type in _CONVERSIONS and node.input[0] in producers:
        node = producers[node.input[0]]
    return node, name


def _sources(node: NodeProto, producers: Mapping[str, NodeProto], shared: Collection[str]) -> list[str]:
    """The tensors both versions have that a node is made of, looked for behind those only one has."""
    found: list[str] = []
    ahead, seen = list(node.input), set[str]()
    while ahead:
        name = ahead.pop(0)
        if name in shared:
            found.append(name)
        elif name in producers and name not in seen:
            ahead += producers[name].input
        seen.add(name)
    return found


def _error_of(model: ModelProto, reference: ModelProto, name: str, data: Arrays) -> float:
    """Both are given the same samples call by call: what has no batch axis is compared in every call."""
    try:
        runners = [OnnxRunner(each, [name], optimise=False) for each in (reference, model)]
        expected, found = (_made(runner, _step(runners, data), name, data) for runner in runners)
    except InputError:
        return float("inf")
    if expected[0].dtype.kind not in "fiub":
        return 0.0
    if [part.shape for part in expected] != [part.shape for part in found]:
        return float("inf")
    one, two = (np.concatenate([part.ravel() for part in parts]) for parts in (expected, found))
    return relative_error(one, two)


def _step(runners: Iterable[OnnxRunner], data: Arrays) -> int:
    """How many samples go into both at a time: as many as the larger fixed batch, else some dozens."""
    fixed = [batch for batch in map(fixed_batch, runners) if batch is not None]
    return max(fixed, default=min(together(data), len(next(iter(data.values())))))


def _made(runner: OnnxRunner, step: int, name: str, data: Arrays) -> list[NDArray[Any]]:
    """What a model makes of some samples at a time."""
    samples = len(next(iter(data.values())))
    return [
        run_in_parts(runner, {key: value[start : start + step] for key, value in data.items()})[name]
        for start in range(0, samples, step)
    ]
