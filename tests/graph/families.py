"""Small networks of published families, from their papers: EfficientNet, ConvNeXt, Vision Transformer."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeGate(nn.Module):
    """What scales every channel by a number between 0 and 1 that follows from the means of all of them."""

    def __init__(self, channels: int, squeezed: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.expand(self.activation(self.reduce(means))))


class MobileBottleneck(nn.Module):
    """MBConv: expand, filter every channel by itself, gate, project; added to its input where they agree."""

    def __init__(
        self, i: int, o: int, kernel: int, stride: int, expansion: int, activation: Callable[[], nn.Module],
        *, gated: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = i * expansion
        self.expand = nn.Sequential()
        if expansion > 1:
            self.expand = nn.Sequential(
                nn.Conv2d(i, hidden, 1, bias=False), nn.BatchNorm2d(hidden), activation()
            )
        self.depthwise = nn.Sequential(
            nn.Conv2d(hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            activation(),
        )
        # The width of the gate follows the block's input, not the expanded channels.
        self.gate = SqueezeGate(hidden, max(1, i // 4), activation) if gated else nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(hidden, o, 1, bias=False), nn.BatchNorm2d(o))
        self.residual = stride == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """Small, after M. Tan and Q. Le, "EfficientNet", ICML 2019, table 1; with ReLU6 and no gates, its Lite.

    Stages of MBConv with kernels of 3 and 5; swish, and squeeze-and-excitation in every block.
    """

    def __init__(self, activation: Callable[[], nn.Module] = nn.SiLU, *, gated: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), activation())
        stages, i = [], 16
        for expansion, o, kernel, stride, blocks in ((1, 8, 3, 1, 1), (6, 12, 3, 2, 2), (6, 16, 5, 2, 2)):
            stages.append(
                nn.Sequential(
                    *(
                        MobileBottleneck(
                            o if n else i, o, kernel, 1 if n else stride, expansion, activation, gated=gated
                        )
                        for n in range(blocks)
                    )
                )
            )
            i = o
        self.stages = nn.Sequential(*stages)
        self.top = nn.Sequential(nn.Conv2d(i, 48, 1, bias=False), nn.BatchNorm2d(48), activation())
        self.pool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.top(self.stages(self.stem(x)))
        return self.fc(self.dropout(self.pool(x).flatten(1)))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a picture, written out, as ConvNeXt's code has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(spread + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class PermutedNorm(nn.LayerNorm):
    """The same by PyTorch's own layer norm, with the channels moved last and back."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class NextBlock(nn.Module):
    """Depthwise 7x7, layer norm over channels, pointwise, GELU, pointwise, a scale of every channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.rand(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class ConvNextStages(nn.Module):
    """Two stages, after Z. Liu et al., "A ConvNet for the 2020s", CVPR 2022; a norm before each change."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), norm(16))
        self.one = nn.Sequential(NextBlock(16), NextBlock(16))
        self.down = nn.Sequential(norm(16), nn.Conv2d(16, 24, 2, 2))
        self.two = nn.Sequential(NextBlock(24))
        self.norm, self.fc = nn.LayerNorm(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.norm(self.two(self.down(self.one(self.stem(x)))).mean((-2, -1))))


class HeadsByUnbind(nn.Module):
    """Attention written out in two matrix products, the heads taken apart by reshape and unbind."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attention = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, -1))


class HeadsByChunk(nn.Module):
    """The same, with queries, keys and values as three chunks."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (
            part.reshape(b, n, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        attention = ((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5).softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, -1))


class TransformerBlocks(nn.Module):
    """Two blocks of a Vision Transformer (A. Dosovitskiy et al., ICLR 2021) on patches of 4x4."""

    def __init__(self, attention: Callable[[int, int], nn.Module], dim: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.position = nn.Parameter(torch.randn(1, 17, dim))
        self.attention = nn.ModuleList([attention(dim, heads) for _ in range(2)])
        self.mlp = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)) for _ in range(2)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(5)])
        self.fc = nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        for index in range(2):
            x = x + self.attention[index](self.norms[2 * index](x))
            x = x + self.mlp[index](self.norms[2 * index + 1](x))
        return self.fc(self.norms[4](x)[:, 0])
