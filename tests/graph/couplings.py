"""Small networks that share weights, attend, branch, or call what nobody knows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.graph.convolutions import Head, conv_bn


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
