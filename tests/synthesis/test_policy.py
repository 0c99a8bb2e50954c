import numpy as np
import pytest
import torch

from edgesynth.errors import InputError
from edgesynth.space import Choice, Space, Switch, Width
from edgesynth.synthesis.encoding import Encoding
from edgesynth.synthesis.policy import Policy

SPACE = Space([Choice("op", ["a", "b", "c"]), Width("w", 4, 64, 4), Switch("s"), Width("v", 8, 24, 8)])


def make(bounds=2, seed=0):
    return Policy(Encoding(SPACE), bounds, seed)


def test_a_seed_means_the_same_alone_and_in_a_batch():
    policy = make()
    batch = policy.architectures([3, 1, 2])
    assert [policy.architectures([seed])[0] for seed in (3, 1, 2)] == batch


def test_an_integer_of_numpy_is_a_seed():
    policy = make()
    assert policy.architectures([np.int64(7), np.uint8(200)]) == policy.architectures([7, 200])


def test_every_draw_is_legal_and_seeds_differ():
    drawn = make().architectures(range(100))
    assert len({SPACE.key(architecture) for architecture in drawn}) > 40


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "a", None])
def test_a_seed_outside_64_bits_is_refused(seed):
    with pytest.raises(InputError, match="seed"):
        make().architectures([seed])


def test_probabilities_sum_to_one_over_the_space():
    policy = make()
    every = np.array(list(np.ndindex(*SPACE.cardinalities)), dtype=np.int64)
    log_p = policy.likelihood(every, np.full((len(every), 2), 0.3), policy.theta).log_p
    assert np.exp(log_p).sum() == pytest.approx(1.0)


def test_draws_follow_the_probabilities():
    policy = make()
    policy.noise = 1.0
    every = np.array(list(np.ndindex(*SPACE.cardinalities)), dtype=np.int64)
    p = np.exp(policy.likelihood(every, np.zeros((len(every), 2)), policy.theta).log_p)
    count = 20_000
    gumbel = policy.imagine(count, np.random.default_rng(0))
    drawn, _ = policy.draw(gumbel, np.zeros((count, 2)))
    for dimension, choices in enumerate(SPACE.cardinalities):
        for choice in range(choices):
            want = p[every[:, dimension] == choice].sum()
            assert (drawn[:, dimension] == choice).mean() == pytest.approx(want, abs=0.02)


@pytest.mark.parametrize("noise", [0.9, 0.0])
def test_a_sample_is_of_temperature_1_whatever_seeds_are(noise):
    policy = make()
    policy.noise = noise
    every = np.array(list(np.ndindex(*SPACE.cardinalities)), dtype=np.int64)
    p = np.exp(policy.likelihood(every, np.zeros((len(every), 2)), policy.theta).log_p)
    count = 40_000
    drawn, shown = policy.sample(np.zeros((count, 2)), np.random.default_rng(0))
    found = np.bincount(np.ravel_multi_index(drawn.T, SPACE.cardinalities), minlength=len(every))
    chi_squared = ((found - count * p) ** 2 / (count * p)).sum()
    assert chi_squared < len(every) + 5 * np.sqrt(2 * len(every))
    assert np.exp(shown.log_p) == pytest.approx(p[np.ravel_multi_index(drawn.T, SPACE.cardinalities)])


def test_seeds_in_a_row_share_the_space_out_by_probability():
    policy, count = make(), 1000
    policy.noise = 1.0
    every = np.array(list(np.ndindex(*SPACE.cardinalities)), dtype=np.int64)
    p = np.exp(policy.likelihood(every, np.zeros((len(every), 2)), policy.theta).log_p)
    drawn, noisy = policy.choose(range(5000, 5000 + count), [0.0, 0.0])
    diced, _ = policy.draw(policy.imagine(count, np.random.default_rng(0)), np.zeros((count, 2)))

    def off(indices):
        found = np.bincount(np.ravel_multi_index(indices.T, SPACE.cardinalities), minlength=len(every))
        return np.abs(found - count * p)

    assert (noisy.argmax(2) == drawn).all()
    assert off(drawn).max() < 3.0  # whatever its probability
    assert off(diced).max() > 4.0
    assert off(drawn).mean() < 0.5 * off(diced).mean()


def test_a_space_too_large_for_one_code_is_drawn_by_its_probabilities_to_the_end():
    space = Space([Choice(f"op{i}", ["a", "b", "c"]) for i in range(60)])
    policy = Policy(Encoding(space), 1)
    policy.noise = 1.0
    count = 4000
    drawn, noisy = policy.choose(range(count), [0.0])
    diced, _ = policy.draw(policy.imagine(count, np.random.default_rng(0)), np.zeros((count, 1)))

    assert (noisy.argmax(2) == drawn).all()
    assert len(np.unique(drawn, axis=0)) == count
    shares = [np.stack([(each == value).mean(0) for value in range(3)]) for each in (drawn, diced)]
    assert np.abs(shares[0] - shares[1]).max() < 0.04
    assert np.abs(shares[0][:, :8] - shares[1][:, :8]).max() > 0  # two ways to draw, not one


def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    make().architectures(range(5))
    assert torch.equal(before, torch.get_rng_state())


def test_the_gradient_is_that_of_finite_differences():
    policy, rng = make(), np.random.default_rng(0)
    theta = policy.theta + 0.1 * rng.standard_normal(len(policy.theta))
    drawn = rng.integers(0, SPACE.cardinalities, (20, 4))
    bounds, weight = rng.standard_normal((20, 2)), rng.standard_normal(20)
    found = policy.gradient(policy.likelihood(drawn, bounds, theta), weight, theta)
    # Masked connections have no slope; of the others, some everywhere in theta.
    for place in [*range(0, len(theta), 37), *np.abs(found).argsort()[-20:]]:
        step = np.zeros_like(theta)
        step[place] = 1e-6
        high, low = (
            weight @ policy.likelihood(drawn, bounds, at).log_p for at in (theta + step, theta - step)
        )
        assert found[place] == pytest.approx((high - low) / 2e-6, rel=1e-5, abs=1e-7)
