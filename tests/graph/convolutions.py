"""Small convolutional networks, one per way of coupling channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
