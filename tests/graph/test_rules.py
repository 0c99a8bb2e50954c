"""Each rule by itself: an operator between two convolutions, its arguments drawn at random."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgesynth.graph import Prototype, register_rule
from edgesynth.graph.labels import RULES, Call, Value

SETTINGS = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


class Between(nn.Module):
    """A convolution, the operator under test, a convolution over all it returns."""

    def __init__(self, channels: int, function: Callable[[Tensor], Tensor], after: int) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, channels, 1)
        self.function = function
        self.after = nn.Conv2d(after, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))


def check(function: Callable[[Tensor], Tensor], channels: int, seed: int = 0) -> Prototype:
    """Slicing equals masking with the function in the middle, for two random architectures."""
    torch.manual_seed(seed)
    with torch.no_grad():
        after = function(torch.zeros(1, channels, 4, 4)).shape[1]
    network = Between(channels, function, after).eval()
    prototype = Prototype(network, torch.randn(1, 3, 4, 4))
    x = torch.randn(3, 3, 4, 4)
    for architecture in (prototype.smallest(), prototype.space.sample(seed)):
        with torch.no_grad():
            sliced, masked = prototype.slice(architecture)(x), prototype.mask(architecture)(x)
        assert (sliced - masked).abs().max() < 1e-5
    return prototype


@SETTINGS
@given(sizes=st.lists(st.integers(1, 5), min_size=2, max_size=4), order=st.randoms(use_true_random=False))
def test_split_and_concatenate_in_any_order(sizes: list[int], order: object) -> None:
    indices = list(range(len(sizes)))
    order.shuffle(indices)  # type: ignore[attr-defined]
    prototype = check(lambda x: torch.cat([x.split(sizes, 1)[i] for i in indices], 1), sum(sizes))
    assert prototype.dimensions[0].units == sum(sizes)


@SETTINGS
@given(groups=st.integers(2, 4), per_group=st.integers(2, 5))
def test_reshape_transpose_reshape(groups: int, per_group: int) -> None:
    def shuffle(x: Tensor) -> Tensor:
        return x.view(-1, groups, per_group, 4, 4).transpose(1, 2).reshape(-1, groups * per_group, 4, 4)

    assert check(shuffle, groups * per_group).dimensions[0].units == max(groups, per_group)


@SETTINGS
@given(start=st.integers(0, 4), length=st.integers(2, 4), spare=st.integers(0, 3))
def test_slices_of_channels(start: int, length: int, spare: int) -> None:
    channels = start + length + spare
    prototype = check(lambda x: x[:, start : start + length] * 2, channels)
    assert prototype.dimensions[0].units == channels
    # Units that nothing reads and units that something reads are kept in proportion.
    assert len(set(prototype.dimensions[0].strata)) == (2 if channels > length else 1)


@SETTINGS
@given(before=st.integers(0, 3), after=st.integers(0, 3), channels=st.integers(2, 6))
def test_zero_channels_on_both_sides(before: int, after: int, channels: int) -> None:
    check(lambda x: F.pad(x, (0, 0, 0, 0, before, after)), channels)


@SETTINGS
@given(channels=st.integers(2, 6), times=st.integers(2, 3))
def test_repeated_channels_go_together(channels: int, times: int) -> None:
    prototype = check(lambda x: x.repeat(1, times, 1, 1) + x.repeat(1, times, 1, 1).abs(), channels)
    assert prototype.dimensions[0].units == channels
    assert check(lambda x: x.repeat_interleave(times, 1), channels).dimensions[0].units == channels


@SETTINGS
@given(channels=st.integers(2, 6), factor=st.integers(2, 2))
def test_pixel_shuffle_and_back(channels: int, factor: int) -> None:
    prototype = check(lambda x: F.pixel_shuffle(x, factor), channels * factor**2)
    assert prototype.dimensions[0].units == channels
    assert prototype.dimensions[0].channels_per_unit == factor**2
    assert check(lambda x: F.pixel_unshuffle(x, factor), channels).dimensions[0].units == channels


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.hardtanh(x).clamp(-0.3, 0.4) + torch.where(x > 0, x, -x),
        lambda x: F.normalize(x, dim=3),
        lambda x: torch.softmax(x, dim=-1).cumsum(2),
        lambda x: torch.roll(x, 1, 2).flip(3),
        lambda x: torch.stack([x, x.exp()], 2).sum(2),
        lambda x: x.unsqueeze(2).expand(-1, -1, 3, -1, -1).mean(2),
        lambda x: x.unflatten(1, (2, 3)).flatten(1, 2),
        lambda x: torch.movedim(x, 1, -1).sigmoid().permute(0, 3, 1, 2),
        lambda x: torch.cat([x, torch.zeros_like(x)], 1),
        lambda x: x - x.amax((2, 3), keepdim=True) + x.std((2, 3), keepdim=True),
        lambda x: F.interpolate(x, size=(7, 5), mode="nearest"),
        lambda x: F.adaptive_max_pool2d(x, 2) + F.lp_pool2d(x, 2, 2),
        lambda x: F.rms_norm(x.permute(0, 2, 3, 1), (6,)).permute(0, 3, 1, 2),
        lambda x: F.layer_norm(x, (6, 4, 4)),
        lambda x: F.group_norm(x, 3),
        lambda x: torch.einsum("bchw,bcvw->bchv", x, x),
        lambda x: x.mT @ x,
        lambda x: torch.baddbmm(x.flatten(2), x.flatten(2) @ x.flatten(2).mT, x.flatten(2)).unsqueeze(-1),
    ],
)
def test_operators_that_keep_channels_free(function: Callable[[Tensor], Tensor]) -> None:
    prototype = check(function, 6)
    assert prototype.dimensions, prototype.report.frozen


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.softmax(x, 1), "aten.softmax mixes channels"),
        (lambda x: x - x.mean(1, keepdim=True), "depends on how many there are"),
        (lambda x: x[:, ::2], "taken with a stride"),
        (lambda x: torch.stack(x.unbind(1), 1), "used by itself"),
        (lambda x: x + torch.arange(6.0).view(1, 6, 1, 1), "cannot change"),
        (lambda x: torch.cdist(x, x), "no rule for operator aten.cdist"),
    ],
)
def test_operators_that_freeze_say_why(function: Callable[[Tensor], Tensor], reason: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        after = function(torch.zeros(1, 6, 4, 4)).shape[1]
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Between(6, function, after))
    network[2].before = nn.Conv2d(4, 6, 1)
    report = Prototype(network, torch.randn(1, 3, 4, 4)).report
    assert [row.dimension for row in report.free] == ["0"]
    row = next(row for row in report.frozen if row.layer == "2.before")
    assert reason in row.reason
    assert "test_rules.py" in row.line


def test_one_index_used_by_itself_stays_and_the_rest_is_free() -> None:
    prototype = check(lambda x: x * x[:, 2:3] + x.select(1, 0).unsqueeze(1), 6)
    assert prototype.dimensions[0].units == 5


def test_users_can_teach_an_operator() -> None:
    network = Between(6, lambda x: torch.cdist(x, x), 6)
    x = torch.randn(1, 3, 4, 4)
    rules = dict(RULES)

    @register_rule("aten.cdist")
    def distances(call: Call) -> Value:
        left, right = call.tensors
        return call.value({1: call.tie(left.axis(1), right.axis(1))})

    try:
        assert Prototype(network, x).dimensions[0].units == 6
    finally:
        RULES.clear()
        RULES.update(rules)


def test_writes_through_views_are_followed_or_frozen_but_never_wrong() -> None:
    def write(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :2] = 0.5
        return y

    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), Between(6, write, 6))
    network[2].before = nn.Conv2d(4, 6, 1)
    prototype = Prototype(network.eval(), torch.randn(1, 3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        for architecture in (prototype.smallest(), prototype.largest()):
            difference = prototype.slice(architecture)(x) - prototype.mask(architecture)(x)
            assert difference.abs().max() < 1e-6
        assert (prototype.slice()(x) - network(x)).abs().max() < 1e-6


def test_an_in_place_activation_changes_what_later_reads_see() -> None:
    prototype = check(lambda x: F.relu_(x) + x, 6)
    x = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        assert (prototype.slice()(x) - prototype.module(x)).abs().max() < 1e-6
