"""Small networks, one per way of coupling channels, and what must be free in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

from edgesynth.graph import Prototype
from edgesynth.zoo.lraspp import LiteSegmenter
from edgesynth.zoo.refinenet import RefineNet
from tests.graph.convolutions import (
    Bottleneck,
    ChunkConcat,
    Dense,
    DepthMultiplier,
    Dilated,
    FlattenLinear,
    GroupNorms,
    InstanceNorms,
    LayerNorms,
    Mobile,
    NativeShuffle,
    PaddedShortcut,
    Plain,
    Residual,
    ShuffleV1,
    ShuffleV2,
    SqueezeExcite,
    SubPixel,
    Transposed,
    UNet,
    WideGroups,
)
from tests.graph.couplings import (
    ControlFlow,
    ConvNext,
    ExplicitAttention,
    Functional,
    Gated,
    MultiOutput,
    SelfConcat,
    Shared,
    Tokens,
    TorchEncoder,
    TwoInputs,
    Unknown,
    VisionTransformer,
)
from tests.graph.families import (
    ChannelNorm,
    ConvNextStages,
    EfficientNet,
    HeadsByChunk,
    HeadsByUnbind,
    PermutedNorm,
    TransformerBlocks,
)


@dataclass(frozen=True)
class Case:
    """One network under test.

    Attributes:
        build: Makes the network.
        shape: Shape of one input sample; several for several inputs.
        free: Dimensions and their units, all of them.
        blocks: Removable blocks, all of them.
        rebuilt: Whether slices may be graph modules even with every block present.
        vocabulary: Integer input below this number, instead of real input.
        export: Whether the ONNX exporter and runtime know all its operators.
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, ...] | tuple[tuple[int, ...], ...]
    free: dict[str, int]
    blocks: tuple[str, ...] = ()
    rebuilt: bool = False
    vocabulary: int = 0
    export: bool = True

    def inputs(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs."""
        generator = torch.Generator().manual_seed(seed)
        shapes = self.shape if isinstance(self.shape[0], tuple) else (self.shape,)
        if self.vocabulary:
            return tuple(torch.randint(self.vocabulary, (batch, *s), generator=generator) for s in shapes)
        return tuple(torch.randn(batch, *s, generator=generator) for s in shapes)

    def network(self, seed: int = 0) -> nn.Module:
        """The network with random weights, biases and normalisation statistics, in eval mode."""
        torch.manual_seed(seed)
        network = self.build().eval()
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            leaf = name.rpartition(".")[2]
            with torch.no_grad():
                if leaf in ("running_var", "var"):
                    tensor.uniform_(0.5, 2.0)
                elif leaf in ("running_mean", "bias", "mean"):
                    tensor.normal_(0.0, 0.3)
                elif tensor.ndim > 1 and tensor.is_floating_point() and "weight" in leaf:
                    # Strong enough that a dropped channel is seen at the output.
                    tensor.normal_(0.0, (3 / tensor[0].numel()) ** 0.5)
                elif leaf == "weight" and tensor.ndim == 1:
                    tensor.uniform_(0.5, 1.5)
        return network


_IMAGE = (3, 16, 16)

CASES: dict[str, Case] = {
    "plain": Case(Plain, _IMAGE, {"features.0": 8, "features.4": 16}),
    "residual": Case(
        Residual, _IMAGE,
        {"stem.0": 8, "layer1.0.conv1": 8, "layer1.1.conv1": 8, "layer2.0.conv1": 16,
         "layer2.0.conv2": 16, "layer2.1.conv1": 16},
        ("layer1.0", "layer1.1", "layer2.1"),
    ),
    "padded-shortcut": Case(PaddedShortcut, _IMAGE, {"stem.0": 8, "conv1.0": 16, "conv2.0": 8}, rebuilt=True),
    "bottleneck": Case(
        Bottleneck, _IMAGE, {"stem.0": 16, "reduce.0": 8, "middle.0": 8}, ("reduce.0-expand.1",)
    ),
    "resnext": Case(partial(Bottleneck, 4), _IMAGE, {"stem.0": 16, "reduce.0": 4}, ("reduce.0-expand.1",)),
    "mobilenet": Case(
        Mobile, _IMAGE,
        {"stem.0": 8, "blocks.0.expand.0": 16, "blocks.1.expand.0": 24, "blocks.1.project.0": 12,
         "blocks.2.expand.0": 24},
        ("blocks.0", "blocks.2"),
    ),
    "depth-multiplier": Case(DepthMultiplier, _IMAGE, {"stem": 8}),
    "wide-groups": Case(WideGroups, _IMAGE, {"stem.0": 8, "grouped": 16}),
    "squeeze-excite": Case(SqueezeExcite, _IMAGE, {"stem.0": 16, "reduce": 8}),
    "dense": Case(Dense, _IMAGE, {"stem": 8, "conv1": 8, "conv2": 8, "transition": 12}),
    "shuffle-v1": Case(ShuffleV1, _IMAGE, {"stem.0": 8, "first.0": 8}, ("first.0-second.1",)),
    "shuffle-v2": Case(
        ShuffleV2, _IMAGE,
        {"stem.0": 2, "stem.0#2": 2, "stem.0#3": 4, "stem.0#4": 8, "units.0.branch.0": 8,
         "units.1.branch.0": 8, "units.2.branch.0": 8},
        rebuilt=True,
    ),
    "native-shuffle": Case(NativeShuffle, _IMAGE, {"stem.0": 4, "conv.0": 8}, export=False),
    "chunk-concat": Case(
        ChunkConcat, _IMAGE, {"stem.0": 16, "a.0": 8, "b.0": 8, "merge.0": 12}, rebuilt=True
    ),
    "sub-pixel": Case(SubPixel, (3, 8, 8), {"conv1": 8, "conv2": 12}),
    "flatten-linear": Case(FlattenLinear, (1, 12, 12), {"conv1": 6, "conv2": 16, "fc1": 24}),
    "u-net": Case(
        UNet, _IMAGE, {"enc1.0": 8, "enc2.0": 12, "enc3.0": 16, "up2": 12, "dec2.0": 12, "dec1.0": 8}
    ),
    "transposed": Case(Transposed, (3, 8, 8), {"conv.0": 8, "up": 4}),
    "dilated": Case(
        Dilated, _IMAGE,
        {"stem.0": 8, "pool": 8, "branches.0.0": 8, "branches.1.0": 8, "branches.2.0": 8, "project.0": 8},
    ),
    "group-norm": Case(GroupNorms, _IMAGE, {"conv1": 8, "conv2": 8, "conv3": 12}),
    "instance-norm": Case(InstanceNorms, _IMAGE, {"conv1": 8, "conv2": 8}),
    "layer-norm": Case(
        LayerNorms, _IMAGE, {"patch": 16, "tokens.0": 24, "channels.0": 32},
        ("norm1-tokens.2", "norm2-channels.2"),
    ),
    "shared": Case(Shared, _IMAGE, {"stem.0": 8, "a": 12}),
    "functional": Case(Functional, _IMAGE, {"w1": 8, "w2": 8}),
    "multi-output": Case(MultiOutput, _IMAGE, {"stem.0": 8, "deep.0": 16}),
    "two-inputs": Case(TwoInputs, ((3, 8, 8), (1, 8, 8)), {"left.0": 8, "merge.0": 8}),
    "vision-transformer": Case(
        VisionTransformer, _IMAGE, {"patch": 16, "qkv": 8, "up": 32}, ("norm1-scale", "norm2-down"),
        rebuilt=True,
    ),
    "explicit-attention": Case(ExplicitAttention, _IMAGE, {"stem.0": 16, "q": 8, "v": 12}, ("q-out",)),
    "torch-encoder": Case(
        TorchEncoder, (7, 6), {"embed": 16, "encoder.self_attn": 8, "encoder.linear1": 24},
        ("encoder.self_attn-out_proj", "encoder.linear1-linear2"), rebuilt=True,
    ),
    "convnext": Case(ConvNext, _IMAGE, {"stem": 16, "up": 64}, ("depthwise-scale",)),
    "efficientnet": Case(
        EfficientNet, (3, 64, 64),
        {"stem.0": 16, "stages.0.0.gate.reduce": 4, "stages.0.0.project.0": 8, "stages.1.0.expand.0": 48,
         "stages.1.0.gate.reduce": 2, "stages.1.0.project.0": 12, "stages.1.1.expand.0": 72,
         "stages.1.1.gate.reduce": 3, "stages.2.0.expand.0": 72, "stages.2.0.gate.reduce": 3,
         "stages.2.0.project.0": 16, "stages.2.1.expand.0": 96, "stages.2.1.gate.reduce": 4, "top.0": 48},
        ("stages.1.1", "stages.2.1"),
    ),
    "efficientnet-lite": Case(
        partial(EfficientNet, nn.ReLU6, gated=False), (3, 64, 64),
        {"stem.0": 16, "stages.0.0.project.0": 8, "stages.1.0.expand.0": 48, "stages.1.0.project.0": 12,
         "stages.1.1.expand.0": 72, "stages.2.0.expand.0": 72, "stages.2.0.project.0": 16,
         "stages.2.1.expand.0": 96, "top.0": 48},
        ("stages.1.1", "stages.2.1"),
    ),
    "convnext-stages": Case(
        partial(ConvNextStages, PermutedNorm), (3, 32, 32),
        {"stem.0": 16, "one.0.up": 64, "one.1.up": 64, "down.1": 24, "two.0.up": 96},
        ("one.0", "one.1", "two.0"),
    ),
    # Means over channels that are written out freeze them, where they are: see test_families.py.
    "convnext-written-out": Case(
        partial(ConvNextStages, ChannelNorm), (3, 32, 32),
        {"one.0.up": 64, "one.1.up": 64, "down.1": 24, "two.0.up": 96}, ("one.0", "one.1", "two.0"),
    ),
    "transformer-unbind": Case(
        partial(TransformerBlocks, HeadsByUnbind), _IMAGE,
        {"patch": 24, "attention.0.qkv": 8, "mlp.0.0": 48, "attention.1.qkv": 8, "mlp.1.0": 48},
        ("norms.0-attention.0.proj", "norms.1-mlp.0.2", "norms.2-attention.1.proj", "norms.3-mlp.1.2"),
        rebuilt=True,
    ),
    # Queries and keys share a width here, values have one of their own.
    "transformer-chunk": Case(
        partial(TransformerBlocks, HeadsByChunk), _IMAGE,
        {"patch": 24, "attention.0.qkv": 8, "attention.0.qkv#2": 8, "mlp.0.0": 48, "attention.1.qkv": 8,
         "attention.1.qkv#2": 8, "mlp.1.0": 48},
        ("norms.0-attention.0.proj", "norms.1-mlp.0.2", "norms.2-attention.1.proj", "norms.3-mlp.1.2"),
        rebuilt=True,
    ),
    "self-concat": Case(SelfConcat, _IMAGE, {"stem.0": 8, "conv.0": 8, "skip.0": 8}),
    "gated": Case(Gated, _IMAGE, {"conv1": 8, "conv2": 8}),
    "tokens": Case(Tokens, (9,), {"table": 8, "conv1": 12, "conv2": 8}, vocabulary=11),
    "unknown-operator": Case(Unknown, _IMAGE, {"stem.0": 8, "last.0": 8}, export=False),
    "control-flow": Case(ControlFlow, _IMAGE, {"stem.0": 12, "blocks.0.0": 12, "up": 3}, ("blocks.1",)),
    "refinenet": Case(
        partial(RefineNet, 3, 4, (6, 8, 10, 12), (6, 8, 8, 12)), (3, 32, 32),
        {"stem.0": 6, "stages.0.conv1": 6, "stages.1.conv1": 8, "stages.1.conv2": 8, "stages.2.conv1": 10,
         "stages.2.conv2": 10, "stages.3.conv1": 12, "stages.3.conv2": 12, "blocks.3.reduce.0": 12,
         "blocks.3.adapt.conv1.0": 12, "blocks.3.output.conv1.0": 12, "blocks.2.reduce.0": 8,
         "blocks.2.adapt.conv1.0": 8, "blocks.2.fine.0": 8, "blocks.2.output.conv1.0": 8,
         "blocks.1.reduce.0": 8, "blocks.1.adapt.conv1.0": 8, "blocks.1.fine.0": 8,
         "blocks.1.output.conv1.0": 8, "blocks.0.reduce.0": 6, "blocks.0.adapt.conv1.0": 6,
         "blocks.0.fine.0": 6, "blocks.0.output.conv1.0": 6},
        ("stages.0", "blocks.3.adapt", "blocks.3.output", "blocks.2.adapt", "blocks.2.output",
         "blocks.1.adapt", "blocks.1.output", "blocks.0.adapt", "blocks.0.output"),
    ),
    "lite-segmenter": Case(
        partial(LiteSegmenter, 3, 4, 12), _IMAGE,
        {"stem.0": 16, "fine.1.expand.0": 64, "fine.1.project.0": 24, "fine.2.expand.0": 96,
         "deep.0.expand.0": 96, "deep.0.project.0": 40, "deep.1.expand.0": 160, "deep.2.expand.0": 160,
         "deep.3.expand.0": 160, "deep.3.project.0": 64, "deep.4.expand.0": 256, "head.conv.0": 12},
        ("fine.0", "fine.2", "deep.1", "deep.2", "deep.4"),
    ),
}  # fmt: skip


@cache
def traced(name: str) -> Prototype:
    """The prototype of one test network."""
    case = CASES[name]
    return Prototype(case.network(), case.inputs(1))
