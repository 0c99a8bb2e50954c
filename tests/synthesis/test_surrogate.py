import numpy as np
import pytest

from edgesynth.synthesis.surrogate import GaussianProcess, Kernel, Regression

OWNER = np.array([0, 0, 1, 2, 3])


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_kernel_s_gradient_is_that_of_finite_differences():
    hyper, x, slope = normal(0, 2, 7), normal(1, 9, 5), normal(2, 2, 9, 9)
    slope = slope + slope.swapaxes(1, 2)

    def total(at):
        return float((slope * Kernel(at, OWNER, x).between(x).matrix).sum())

    want = np.zeros_like(hyper)
    for place in np.ndindex(*hyper.shape):
        step = np.zeros_like(hyper)
        step[place] = 1e-6
        want[place] = (total(hyper + step) - total(hyper - step)) / 2e-6
    kernel = Kernel(hyper, OWNER, x)
    assert np.allclose(kernel.gradient(kernel.between(x), slope), want, rtol=1e-6, atol=1e-6)


def test_a_kernel_of_one_set_with_itself_is_symmetric_and_positive():
    x = normal(1, 9, 5)
    matrix = Kernel(normal(0, 2, 7), OWNER, x).between(x).matrix
    assert np.allclose(matrix, matrix.swapaxes(1, 2))
    assert np.linalg.eigvalsh(matrix).min() > -1e-9


def test_fitting_raises_the_posterior_of_the_hyperparameters():
    x = normal(0, 40, 5)
    y = (x[:, :1] + 0.5 * np.sin(2 * x[:, 2:3])).T
    noise = np.ones_like(y)
    losses = [GaussianProcess(OWNER, 1).fit(x, y, noise, steps) for steps in (1, 10, 40)]
    assert losses == sorted(losses, reverse=True)


def test_the_posterior_returns_to_what_was_seen_and_is_surest_there():
    x = normal(0, 30, 5)
    y = x[:, :2].T
    process = GaussianProcess(OWNER, 2)
    process.fit(x, y, np.ones_like(y), 30)
    mean, std = process.posterior(x)
    _, far = process.posterior(4 + normal(3, 30, 5))
    assert mean == pytest.approx(y, abs=0.1)
    assert std.max() < far.min()


def test_covariance_on_the_diagonal_is_the_variance():
    x, y = normal(0, 12, 5), normal(1, 2, 12)
    process = GaussianProcess(OWNER, 2)
    process.condition(x, y, np.ones_like(y))
    points = normal(2, 6, 5)
    _, std = process.posterior(points)
    covariance = process.covariance(points, points).diagonal(axis1=1, axis2=2)
    assert np.allclose(covariance, std**2, rtol=1e-8, atol=1e-10)


def test_calibration_is_the_error_in_what_each_observation_is_left_out_of():
    x, noise = normal(0, 20, 5), np.ones((2, 20))
    y = np.stack([3 * normal(1, 20), x[:, 0]])
    y[1, :4] = np.nan
    process = GaussianProcess(OWNER, 2)
    process.condition(x, y, noise)

    errors: list[list[float]] = [[], []]
    for left_out in range(20):
        others = np.arange(20) != left_out
        rest = GaussianProcess(OWNER, 2)
        rest.condition(x[others], y[:, others], noise[:, others])
        mean, std = rest.posterior(x[[left_out]])
        own = np.exp(rest.hyper[:, -1]) + 1e-5 + 1e-6
        for row in np.flatnonzero(~np.isnan(y[:, left_out])):
            error = abs(y[row, left_out] - mean[row, 0])
            errors[row].append(error / np.sqrt(std[row, 0] ** 2 + own[row]))
    usual = np.sqrt(2 / np.pi)  # of a standard normal
    want = [1.08 * (1 / len(each) + sum(each) / usual) / (len(each) - 1) for each in errors]
    assert process.calibration() == pytest.approx(want, rel=1e-4)
    assert want[0] > 1.2 > 1 > want[1]


@pytest.mark.parametrize("told", [20, 40])
def test_calibrated_intervals_of_nine_tenths_hold_about_that_many_of_what_is_unseen(told):
    inside = []
    for seed in range(30):
        x = normal(seed, told + 40, 5)
        y = (np.tanh(x[:, :1]) + 0.3 * x[:, 2:3] * x[:, 3:4]).T
        process = GaussianProcess(OWNER, 1)
        process.fit(x[:told], y[:, :told], np.ones((1, told)), 40)
        mean, std = process.posterior(x[told:])
        inside.append(np.abs(y[:, told:] - mean) <= 1.645 * std * process.calibration()[:, None])
    assert 0.85 <= np.mean(inside) <= 0.95


def test_hyperparameters_of_other_features_are_learned_anew_even_where_known_ones_would_be_kept():
    x = normal(0, 30, 3)
    y = np.sin(3.0 * x[None, :, 0])
    regression = Regression(np.arange(3))
    regression.hyper = {"latency_ms": np.zeros(9)}

    regression.fit(["latency_ms"], x, y, np.ones((1, 30)), 0)
    learned = regression.hyper["latency_ms"]
    regression.fit(["latency_ms"], x, y, np.ones((1, 30)), 0)

    assert learned[0] > learned[1:3].max() + 1.0  # the first feature alone matters
    assert (regression.hyper["latency_ms"] == learned).all()


def test_of_many_observations_hyperparameters_are_learned_from_five_hundred_and_all_are_believed():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 2))
    y = np.sin(2 * x[:, :1]).T
    every, part = GaussianProcess(np.array([0, 1]), 1), GaussianProcess(np.array([0, 1]), 1)
    every.fit(x, y, np.ones_like(y), 20)
    rows = np.linspace(0, 699, 500).round().astype(int)
    part.fit(x[rows], y[:, rows], np.ones((1, 500)), 20)
    assert every.hyper == pytest.approx(part.hyper)
    left = np.setdiff1d(np.arange(700), rows)
    assert every.posterior(x[left])[1].max() < part.posterior(x[left])[1].max()


@pytest.mark.parametrize("rare", [30, 204])
def test_what_few_observations_tell_is_learned_from_them_all_however_many_others_there_are(rare):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700 + rare, 2))
    y = np.stack([np.sin(2 * x[:, 0]), (x[:, 0] * x[:, 1] > 0).astype(float)])
    y[0, 700:] = np.nan  # these failed, after many that did not
    y[1, :700], y[1, 700:] = 0.0, 1.0
    both = GaussianProcess(np.array([0, 1]), 2)
    both.fit(x, y, np.ones_like(y), 20)
    kept = np.concatenate([np.linspace(0, 699, 500 - rare).round().astype(int), np.arange(700, 700 + rare)])
    part = GaussianProcess(np.array([0, 1]), 2)
    part.fit(x[kept], y[:, kept], np.ones((2, 500)), 20)
    assert both.hyper == pytest.approx(part.hyper)
