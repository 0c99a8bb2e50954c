"""Small networks, one per way of coupling channels, and what must be free in each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgesynth.zoo.lraspp import LiteSegmenter
from edgesynth.zoo.refinenet import RefineNet
from tests.graph.families import (
    ChannelNorm,
    ConvNextStages,
    EfficientNet,
    HeadsByChunk,
    HeadsByUnbind,
    PermutedNorm,
    TransformerBlocks,
)


def conv_bn(i: int, o: int, k: int = 3, **kwargs: int) -> nn.Sequential:
    padding = kwargs.pop("padding", k // 2)
    return nn.Sequential(
        nn.Conv2d(i, o, k, padding=padding, bias=False, **kwargs), nn.BatchNorm2d(o), nn.ReLU()
    )


class Head(nn.Module):
    def __init__(self, channels: int, classes: int = 5) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.1), nn.MaxPool2d(2), nn.Dropout2d(0.1),
            nn.Conv2d(8, 16, 3, padding=1), nn.PReLU(16), nn.AvgPool2d(2),
        )  # fmt: skip
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class BasicBlock(nn.Module):
    def __init__(self, i: int, o: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.down = nn.Sequential()
        if stride > 1 or i != o:
            self.down = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return self.relu(y)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16))
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer2(self.layer1(self.stem(x))))


class PaddedShortcut(nn.Module):
    """The parameter-free shortcut of CIFAR ResNets: stride, then zero channels on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.conv1 = conv_bn(8, 16, stride=2)
        self.conv2 = conv_bn(16, 16)
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        return self.head(F.relu(self.conv2(self.conv1(x)) + shortcut))


class Bottleneck(nn.Module):
    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.reduce = conv_bn(16, 8, 1)
        self.middle = conv_bn(8, 8, groups=groups)
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(F.relu(x + self.expand(self.middle(self.reduce(x)))))


class InvertedResidual(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = i * expansion
        self.residual = stride == 1 and i == o
        self.expand = nn.Sequential(nn.Conv2d(i, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.Hardswish(),
        )
        self.project = nn.Sequential(nn.Conv2d(hidden, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Mobile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.blocks = nn.Sequential(
            InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 12, 2, 3), InvertedResidual(12, 12, 1, 2)
        )
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class DepthMultiplier(nn.Module):
    """A depthwise convolution that makes two channels of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.depthwise(F.silu(self.stem(x)))))


class WideGroups(nn.Module):
    """Fewer groups than channels in each: every group shrinks alike."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.grouped = nn.Conv2d(16, 32, 3, padding=1, groups=2)
        self.head = Head(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.grouped(self.stem(x))))


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.reduce = nn.Conv2d(16, 8, 1)
        self.expand = nn.Conv2d(8, 16, 1)
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        scale = self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1))))
        return self.head(x * scale.sigmoid())


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.norm2, self.conv2 = nn.BatchNorm2d(16), nn.Conv2d(16, 8, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(24)
        self.transition = nn.Conv2d(24, 12, 1)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        a = self.stem(x)
        b = self.conv1(F.relu(self.norm1(a)))
        c = self.conv2(F.relu(self.norm2(torch.cat([a, b], 1))))
        return self.head(F.avg_pool2d(self.transition(F.relu(self.norm3(torch.cat([a, b, c], 1)))), 2))


def shuffle(x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class ShuffleV1(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.first = conv_bn(16, 32, 1, groups=2)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.second = conv_bn(32, 16, 1, groups=2)
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x + self.second(self.depthwise(shuffle(self.first(x), 2))))


class ShuffleV2Unit(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False), nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return shuffle(torch.cat([left, self.branch(right)], 1), 2)


class ShuffleV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.units = nn.Sequential(*[ShuffleV2Unit(16) for _ in range(3)])
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.units(self.stem(x)))


class NativeShuffle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.shuffle = nn.ChannelShuffle(4)
        self.conv = conv_bn(16, 8)
        self.head = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(self.shuffle(self.stem(x))))


class ChunkConcat(nn.Module):
    """The split-transform-merge of cross-stage partial networks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16, 1)
        self.a, self.b = conv_bn(8, 8), conv_bn(8, 8)
        self.merge = conv_bn(32, 12, 1)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.stem(x).split((8, 8), 1))
        parts.append(self.a(parts[-1]))
        parts.append(self.b(parts[-1]))
        return self.head(self.merge(torch.cat(parts, 1)))


class SubPixel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.down = nn.PixelUnshuffle(2)
        self.conv3 = nn.Conv2d(48, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.down(F.relu(self.conv2(F.pixel_shuffle(self.conv1(x), 2)))))


class FlattenLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 3)
        self.fc1, self.fc2 = nn.Linear(64, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        return self.fc2(F.relu(self.fc1(x.view(x.size(0), -1))))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2, self.enc3 = conv_bn(3, 8), conv_bn(8, 12), conv_bn(12, 16)
        self.up2 = nn.ConvTranspose2d(16, 12, 2, stride=2)
        self.dec2 = conv_bn(24, 12)
        self.dec1 = conv_bn(20, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enc1(x)
        b = self.enc2(F.max_pool2d(a, 2))
        c = self.enc3(F.max_pool2d(b, 2))
        b = self.dec2(torch.cat([self.up2(c), b], 1))
        up = F.interpolate(b, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.out(self.dec1(torch.cat([up, a], 1)))


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = conv_bn(3, 8, stride=2)
        self.up = nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1)
        self.grouped = nn.ConvTranspose2d(12, 8, 3, padding=1, groups=4)
        self.depthwise = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.depthwise(F.elu(self.grouped(F.relu(self.up(self.conv(x)))))))


class Dilated(nn.Module):
    """Atrous pyramid: parallel dilations and image pooling, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.branches = nn.ModuleList([conv_bn(8, 8, 3, padding=d, dilation=d) for d in (1, 2, 3)])
        self.pool = nn.Conv2d(8, 8, 1)
        self.project = conv_bn(32, 8, 1)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        pooled = F.relu(self.pool(F.adaptive_avg_pool2d(x, 1)))
        parts = [branch(x) for branch in self.branches] + [pooled.expand(-1, -1, x.shape[2], x.shape[3])]
        return self.out(self.project(torch.cat(parts, 1)))


class GroupNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(2, 16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(8, 16)
        self.conv3, self.norm3 = nn.Conv2d(16, 12, 3, padding=1), nn.GroupNorm(1, 12)
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.mish(self.norm1(self.conv1(x)))
        x = F.softplus(self.norm2(self.conv2(x)))
        return self.head(self.norm3(self.conv3(x)))


class InstanceNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.InstanceNorm2d(8)
        self.out = nn.Conv2d(8, 3, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))))


class LayerNorms(nn.Module):
    """An MLP mixer: layer norm over channels, linear layers over tokens and over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.tokens = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))
        self.channels = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        return self.fc(x.mean(1))


class Shared(nn.Module):
    """One convolution used three times, and two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 12, 1), nn.Conv2d(8, 12, 1)
        self.b.weight = self.a.weight
        self.head = Head(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(3):
            x = F.relu(self.shared(x))
        return self.head(self.a(x) + self.b(F.relu(x)))


class Functional(nn.Module):
    """Weights as bare parameters, functional operators, normalisation constants."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(8, 3, 3, 3) * 0.3), nn.Parameter(torch.randn(8))
        self.w2 = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.2)
        self.gamma = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.w3 = nn.Parameter(torch.randn(8, 5))
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))
        self.register_buffer("shift", torch.arange(3.0).reshape(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(F.conv2d(x - self.shift, self.w1, self.b1, padding=1))
        x = F.batch_norm(F.conv2d(x, self.w2, padding=1), self.mean, self.var, training=self.training)
        x = F.dropout(x * self.gamma + 0.1, 0.2, self.training)
        return torch.matmul(x.mean(dim=(-2, -1)), self.w3)


class MultiOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.deep = conv_bn(8, 16, stride=2)
        self.cls, self.box = nn.Conv2d(16, 4, 1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, object]:
        a = self.stem(x)
        b = self.deep(a)
        return {"boxes": [self.box(a)], "scores": (self.cls(b).flatten(2).transpose(1, 2), b.sum(1))}


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv_bn(3, 8), conv_bn(1, 8)
        self.merge = conv_bn(8, 8)
        self.head = Head(8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.merge(torch.maximum(self.left(x), self.right(y))))


class VisionTransformer(nn.Module):
    """Written by hand: fused qkv, heads by reshape, class token, position table, layer scale."""

    def __init__(self, dim: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, 17, dim))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.scale = nn.Parameter(torch.rand(dim))
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.fc = nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        b = x.shape[0]
        x = torch.cat([self.token.expand(b, -1, -1), x], 1) + self.position
        n, c = x.shape[1], x.shape[2]
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.proj(y) * self.scale
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.fc(self.norm3(x)[:, 0])


class ExplicitAttention(nn.Module):
    """Attention as two matrix products, in a convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16, stride=4)
        self.q, self.k, self.v = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 12, 1)
        self.out = nn.Conv2d(12, 16, 1)
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        attention = torch.softmax(torch.bmm(q.transpose(1, 2), k) / 8**0.5, dim=-1)
        y = torch.einsum("bcn,bmn->bcm", v, attention).reshape(x.shape[0], -1, x.shape[2], x.shape[3])
        return self.head(x + self.out(y))


class TorchEncoder(nn.Module):
    """torch's own encoder layer, with nn.MultiheadAttention inside."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(6, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x)).mean(1))


class ConvNext(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depthwise = nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm = nn.LayerNorm(16, eps=1e-6)
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)
        self.scale = nn.Parameter(torch.rand(16))
        self.head = Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = (self.down(F.gelu(self.up(y))) * self.scale).permute(0, 3, 1, 2)
        return self.head(x + y)


class SelfConcat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.conv = conv_bn(16, 8)
        self.skip = conv_bn(11, 8)
        self.head = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        y = self.conv(torch.cat([y, y], 1))
        return self.head(self.skip(torch.cat([x, y], 1)))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.head = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.glu(self.conv1(x), dim=1)
        a, b = self.conv2(x).chunk(2, 1)
        return self.head(a * torch.sigmoid(b))


class Tokens(nn.Module):
    """Integer input, an embedding table, one-dimensional convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.conv1, self.norm = nn.Conv1d(8, 12, 3, padding=1), nn.BatchNorm1d(12)
        self.conv2 = nn.Conv1d(12, 8, 3, padding=1, padding_mode="circular")
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.table(x).transpose(1, 2)
        return self.fc(self.conv2(F.relu(self.norm(self.conv1(y)))).amax(-1))


class Unknown(nn.Module):
    """An operator without a rule in the middle: it freezes what it touches and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.middle, self.last = conv_bn(3, 8), conv_bn(8, 8), conv_bn(8, 8)
        self.head = Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.middle(self.stem(x))
        x = torch.cdist(x, x.flip(3) + 1)
        return self.head(self.last(x))


class ControlFlow(nn.Module):
    """Shapes decide which branch runs; the trace follows the one taken."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.stem = conv_bn(3, 12)
        self.blocks = nn.ModuleList([conv_bn(12, 12) for _ in range(blocks)])
        self.up = nn.Conv2d(12, 12, 1)
        self.head = Head(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x) if x.shape[-1] > 4 and i % 2 == 0 else x + block(x)
        x = self.up(x)
        if x.shape[1] > 3:
            x = F.pixel_shuffle(x, 2)
        return self.head(x)


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
