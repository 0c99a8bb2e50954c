"""What a network takes along into a training of its own, and how long that is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgesynth.errors import InputError
from edgesynth.synthesis.polish import Polish, renew_
from edgesynth.zoo import build


def test_a_polish_averages_the_last_fifth_of_its_steps_unless_it_has_hardly_any() -> None:
    plan = Polish(epochs=10, batch_size=32).plan(samples=640, seed=3)
    assert (plan.epochs, plan.batch_size, plan.seed, plan.warmup) == (10, 32, 3, 0.0)
    assert plan.ema == pytest.approx(1 - 1 / 40)
    assert plan.rate(199, 200) == pytest.approx(0.3 * plan.learning_rate, rel=1e-3)
    few = Polish(epochs=50, batch_size=64).plan(samples=65, seed=0)  # two steps each
    assert few.ema == pytest.approx(1 - 1 / 20)
    brief = Polish(epochs=1, batch_size=32).plan(samples=640, seed=3)
    assert brief.ema is None
    assert brief.final_rate == 0.0


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"epochs": float("inf")}, {"learning_rate": 0.0}])
def test_a_polish_that_no_training_could_use_is_refused(wrong) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Polish(**{"epochs": 1.0, **wrong}).plan(samples=640, seed=0)


def test_only_a_long_polish_on_few_samples_begins_with_new_weights_in_between() -> None:
    assert [Polish(epochs=epochs).kept(800) for epochs in (0.0, 2.0, 29.0)] == [1.0, 1.0, 1.0]
    assert Polish(epochs=30.0).kept(800) == Polish(epochs=200.0).kept(2_999) == 0.5
    assert Polish(epochs=200.0).kept(3_000) == 1.0


def _network() -> nn.Module:
    torch.manual_seed(0)
    module = build("resnet8", in_channels=1, classes=10)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module.eval().requires_grad_(False)


def test_kernels_are_half_new_and_vectors_stay_as_they_are() -> None:
    module = _network()
    before = copy.deepcopy(module)
    renew_(module, 0.5, seed=3)
    for (name, old), new in zip(before.named_parameters(), module.parameters(), strict=True):
        if old.ndim == 1:
            assert torch.equal(old, new), name
        else:
            fresh = 2 * new - old
            # New kernels are drawn evenly from +-1/sqrt(inputs), whose deviation is that over sqrt(3).
            assert fresh.abs().max() <= 1.001 * old[0].numel() ** -0.5, name
            assert fresh.std() == pytest.approx((3 * old[0].numel()) ** -0.5, rel=0.2), name
    assert all(map(torch.equal, before.buffers(), module.buffers()))


def test_new_weights_follow_from_the_seed_and_leave_the_random_state_alone() -> None:
    first, again, other = _network(), _network(), _network()
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    renew_(first, 0.5, seed=1)
    renew_(again, 0.5, seed=1)
    renew_(other, 0.5, seed=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    kernels = [[p for p in module.parameters() if p.ndim > 1] for module in (first, again, other)]
    assert all(map(torch.equal, kernels[0], kernels[1]))
    assert not any(map(torch.equal, kernels[0], kernels[2]))


def test_a_network_that_is_kept_whole_or_says_something_by_the_size_of_its_weights_is_left_alone() -> None:
    module, plain = _network(), nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    before, was = copy.deepcopy(module), copy.deepcopy(plain)
    renew_(module, 1.0, seed=0)
    renew_(plain, 0.5, seed=0)
    assert all(map(torch.equal, before.parameters(), module.parameters()))
    assert all(map(torch.equal, was.parameters(), plain.parameters()))


def test_a_matrix_under_two_names_is_mixed_once() -> None:
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    module = nn.Sequential(first, nn.BatchNorm1d(64), second, nn.BatchNorm1d(64))
    nn.init.constant_(first.weight, 8.0)
    renew_(module, 0.5, seed=0)
    assert first.weight is second.weight
    assert first.weight.detach().mean() == pytest.approx(4.0, rel=0.01)
