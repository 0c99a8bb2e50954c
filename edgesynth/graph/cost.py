"""What a network costs, from its widths alone: no module is built and nothing is run.

Every axis size is an affine function of how many units each stratum keeps; the MACs, parameters and
bytes of a layer are products of axis sizes. So one matrix product prices an architecture.

MACs are multiply-accumulates of convolutions, transposed convolutions, linear layers and matrix
products: half of what ``torch.utils.flop_counter`` counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import fx

from edgesynth.graph.axes import AxisTable
from edgesynth.graph.couplings import Couplings
from edgesynth.graph.labels import bind
from edgesynth.graph.multiplications import multiplications
from edgesynth.graph.trace import Trace, operator_name

__all__ = ["BYTES_PER_SCALAR", "Cost", "CostModel", "LayerCost"]

BYTES_PER_SCALAR = 4

# Operators that only describe memory differently: no kernel runs for them.
_FREE = frozenset(
    [
        "view",
        "reshape",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "t",
        "select",
        "slice",
        "chunk",
        "split",
        "split_with_sizes",
        "tensor_split",
        "unbind",
        "unsqueeze",
        "squeeze",
        "expand",
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "contiguous",
        "detach",
        "alias",
        "to",
        "narrow",
        "view_as",
        "movedim",
        "swapaxes",
        "lift_fresh",
        "getitem",
        "expand_as",
        "numpy_T",
        "mT",
        "swapdims",
        "moveaxis",
    ]
)
_ACTIVATIONS = frozenset(
    [
        "relu",
        "relu6",
        "hardtanh",
        "clamp",
        "clamp_min",
        "sigmoid",
        "tanh",
        "leaky_relu",
        "elu",
        "hardswish",
        "hardsigmoid",
        "silu",
        "gelu",
        "prelu",
        "softplus",
        "mish",
        "selu",
    ]
)


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for one input sample.

    Attributes:
        name: Qualified module name, or the graph node when it has none; unique in a network.
        operator: ATen operator without namespace, e.g. ``conv2d``.
        macs: Multiply-accumulates.
        parameters: Learned scalars; a shared layer counts them at its first call.
        weight_bytes: Bytes of the weights read, at 4 bytes a scalar.
        activation_bytes: Bytes read plus written as activations, at 4 bytes a scalar.
        output_shape: Shape without the batch axis.
        groups: Channel groups of a convolution; equal to its channels when it is depthwise.
        fused_into: The layer whose kernel also does this one (batch norm and the activation right
            after a convolution or linear layer), or None if it launches its own.
    """

    name: str
    operator: str
    macs: int
    parameters: int
    weight_bytes: int
    activation_bytes: int
    output_shape: tuple[int, ...]
    groups: int = 1
    fused_into: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a network costs for one input sample.

    Attributes:
        macs: Multiply-accumulates.
        parameters: Learned scalars.
        bytes: Bytes of the parameters at 4 bytes a scalar.
        activation_bytes: Activation traffic of all layers.
        layers: Cost per layer, in execution order.
    """

    macs: int
    parameters: int
    bytes: int
    activation_bytes: int
    layers: tuple[LayerCost, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class _Layer:
    node: fx.Node
    name: str
    operator: str
    output: tuple[int, ...]
    grouped: tuple[int, int]
    fused_into: str | None


class CostModel:
    """Prices architectures of one traced network.

    Args:
        couplings: The traced network.
    """

    def __init__(self, couplings: Couplings) -> None:
        trace, blocks = couplings.trace, couplings.blocks
        read = {trace.state[node] for node in trace.state if node.users}
        self._axes = AxisTable(couplings)
        self._unused = sum(p.numel() for name, p in couplings.module.named_parameters() if name not in read)
        self._layers = _layers(trace, self._axes)
        index = {layer.node: i for i, layer in enumerate(self._layers)}
        self._removal = np.array(
            [[n in block.interior or n is block.add for n in index] for block in blocks], dtype=np.bool_
        ).reshape(len(blocks), len(index))
        macs: list[tuple[int, list[int]]] = []
        traffic: list[tuple[int, list[int]]] = []
        weights: list[tuple[int, list[int]]] = []
        uses: list[tuple[int, int]] = []
        parameters: dict[fx.Node, int] = {}
        learned = set(trace.program.graph_signature.inputs_to_parameters)
        rows: list[list[int]] = []
        for node, i in index.items():
            macs.extend((i, product) for product in multiplications(node, self._axes))
            for source in dict.fromkeys(node.all_input_nodes):
                if source in trace.state:
                    weights.append((i, self._axes.tensor(source)))
                    if source.name in learned:
                        if source not in parameters:
                            parameters[source] = len(rows)
                            rows.append(self._axes.tensor(source))
                        uses.append((parameters[source], i))
                elif trace.shapes[source] and _runs(trace, node):
                    traffic.extend((i, t) for t in self._axes.tensors(source))
            if _runs(trace, node):
                traffic.extend((i, t) for t in self._axes.tensors(node))
        self._macs, self._traffic, self._weights = (_Products(p) for p in (macs, traffic, weights))
        self._parameters = _Products([(i, row) for i, row in enumerate(rows)])
        self._uses = np.array(uses[::-1], dtype=np.int64).reshape(-1, 2)

    def price(self, kept: NDArray[np.int64], present: NDArray[np.bool_]) -> Cost:
        """Price one architecture.

        Args:
            kept: Kept units per stratum, shape ``[strata]``, strata of all dimensions in order.
            present: Which blocks are present, shape ``[blocks]``.
        """
        sizes = self._axes.sizes(kept)
        count = len(self._layers)
        alive = self._alive(present)
        macs = self._macs.sums(sizes, count)
        weight_bytes = self._weights.sums(sizes, count) * BYTES_PER_SCALAR
        traffic = self._traffic.sums(sizes, count) * BYTES_PER_SCALAR
        per_parameter = self._parameters.sums(sizes, self._parameters.rows)
        # Uses run from last to first, so the first living layer that uses a parameter owns it.
        uses = self._uses[alive[self._uses[:, 1]]]
        owner = np.full(self._parameters.rows, -1, dtype=np.int64)
        owner[uses[:, 0]] = uses[:, 1]
        owned = owner >= 0
        parameters = np.zeros(count, dtype=np.int64)
        np.add.at(parameters, owner[owned], per_parameter[owned])
        numbers = sizes.tolist()
        layers = tuple(
            LayerCost(
                layer.name,
                layer.operator,
                m,
                p,
                w,
                t,
                tuple([numbers[a] for a in layer.output]),
                numbers[layer.grouped[0]] // numbers[layer.grouped[1]],
                layer.fused_into,
            )
            for layer, m, p, w, t, living in zip(
                self._layers,
                macs.tolist(),
                parameters.tolist(),
                weight_bytes.tolist(),
                traffic.tolist(),
                alive.tolist(),
                strict=True,
            )
            if living
        )
        total = int(parameters.sum()) + self._unused
        return Cost(
            int(macs[alive].sum()), total, total * BYTES_PER_SCALAR, int(traffic[alive].sum()), layers
        )

    def totals(
        self, kept: NDArray[np.int64], present: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """MACs and parameters of ``n`` architectures, each ``[n]``: what :meth:`price` sums up to.

        Args:
            kept: Kept units per stratum, shape ``[n, strata]``.
            present: Which blocks are present, shape ``[n, blocks]``.
        """
        sizes = self._axes.sizes(kept)
        alive = self._alive(present)
        macs = (self._macs.each(sizes) * alive[:, self._macs.owner]).sum(axis=1)
        used = np.zeros((self._parameters.rows, len(kept)), dtype=np.bool_)
        np.logical_or.at(used, self._uses[:, 0], alive[:, self._uses[:, 1]].T)
        parameters = (self._parameters.each(sizes) * used.T).sum(axis=1) + self._unused
        return macs, parameters

    def layer_sizes(
        self, kept: NDArray[np.int64], present: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Sizes of every layer that multiplies, of ``n`` architectures.

        Args:
            kept: Kept units per stratum, shape ``[n, strata]``.
            present: Which blocks are present, shape ``[n, blocks]``.

        Returns:
            Output channels, input channels of one group, and how often such a pair is multiplied, shape
            ``[n, L, 3]``; their product is the layer's MACs. Which layers are there, shape ``[n, L]``.
        """
        out, into, rest = self._macs.parts(self._axes.sizes(kept))
        return np.stack([out, into, rest], axis=-1), self._alive(present)[:, self._macs.owner]

    def _alive(self, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which layers are there, shape ``[..., layers]``, with blocks ``[..., blocks]``."""
        alive: NDArray[np.bool_] = np.logical_not(np.logical_not(present) @ self._removal)
        return alive

    def price_all(self) -> Cost:
        """Price the network with every unit and every block."""
        return self.price(self._axes.per_stratum, np.ones(len(self._removal), dtype=np.bool_))


class _Products:
    """Sums of products of axis sizes, grouped by owner."""

    def __init__(self, products: list[tuple[int, list[int]]]) -> None:
        longest = max([2, *(len(axes) for _, axes in products)])
        self.rows = len(products)
        self.owner = np.array([owner for owner, _ in products], dtype=np.int64)
        # Axis 0 of the table has size 1 and fills short rows.
        padded = [axes + [0] * (longest - len(axes)) for _, axes in products]
        self._axes = np.array(padded, dtype=np.int64).reshape(self.rows, longest)

    def each(self, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every product, shape ``[..., rows]``, for axis sizes ``[..., axes]``."""
        products: NDArray[np.int64] = sizes[..., self._axes].prod(axis=-1)
        return products

    def parts(
        self, sizes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The first factor of every product, the second, and that of the others: each ``[n, rows]``."""
        first, second = sizes[:, self._axes[:, 0]], sizes[:, self._axes[:, 1]]
        return first, second, sizes[:, self._axes[:, 2:]].prod(axis=-1)

    def sums(self, sizes: NDArray[np.int64], owners: int) -> NDArray[np.int64]:
        """Products summed by owner, shape ``[owners]``, for axis sizes ``[axes]``."""
        total = np.zeros(owners, dtype=np.int64)
        np.add.at(total, self.owner, self.each(sizes))
        return total


def _layers(trace: Trace, axes: AxisTable) -> tuple[_Layer, ...]:
    layers: list[_Layer] = []
    names: dict[fx.Node, str] = {}
    taken: set[str] = set()
    head: dict[fx.Node, str] = {}
    for node in trace.calls():
        operator = operator_name(node).removeprefix("aten.")
        weighted = any(source in trace.state for source in node.all_input_nodes)
        if not trace.shapes[node] or not (weighted or _runs(trace, node)):
            continue
        name = names[node] = _layer_name(trace, node, taken)
        source = node.all_input_nodes[0]
        alone = len(source.users) == 1
        fused = None
        if alone and source in head and (operator == "batch_norm" or operator in _ACTIVATIONS):
            fused = head[source]
            if operator == "batch_norm":
                head[node] = fused
        elif operator.startswith(("conv", "linear")):
            head[node] = name
        output = axes.tensors(node)[0]
        skip = trace.batch_axis[node]
        kept = tuple(a for i, a in enumerate(output) if i != skip)
        layers.append(_Layer(node, name, operator, kept, _grouped(node, operator, axes), fused))
    return tuple(layers)


def _grouped(node: fx.Node, operator: str, axes: AxisTable) -> tuple[int, int]:
    """The two axes whose ratio is the number of groups; axis 0 has size 1, so 1 for all but convolutions.

    A weight is ``[out, in / groups, ...]``, that of a transposed convolution ``[in, out / groups, ...]``.
    """
    if not operator.startswith("conv"):
        return 0, 0
    arguments = bind(node)
    weight = axes.tensor(arguments["weight"])
    signal = axes.tensor(node if operator.startswith("conv_transpose") else arguments["input"])
    return signal[1 - len(weight)], weight[1]


def _runs(trace: Trace, node: fx.Node) -> bool:
    """Whether a kernel runs for this operator; what is computed from weights alone is folded away."""
    signal = any(trace.shapes[s] and s not in trace.state for s in node.all_input_nodes)
    return signal and operator_name(node).removeprefix("aten.") not in _FREE


def _layer_name(trace: Trace, node: fx.Node, taken: set[str]) -> str:
    weights = [trace.state[s] for s in node.all_input_nodes if s in trace.state]
    module, kind = trace.layers[node]
    if weights:
        name = weights[0].rpartition(".")[0] or weights[0]
    else:
        name = module if module and kind.startswith("torch.nn.modules") else node.name
    candidate, i = name, 2
    while candidate in taken:
        candidate, i = f"{name}#{i}", i + 1
    taken.add(candidate)
    return candidate
