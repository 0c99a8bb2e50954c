"""Metrics on the scales that regressions work on."""

import numpy as np
import pytest

from edgesynth.synthesis.warp import Warp

LATENCIES = np.array([1.5, 2.0, 4.0, 8.0])
WARPS = {
    "log": Warp.fit(LATENCIES, fraction=False),
    "logit": Warp.fit(LATENCIES / 10, fraction=True),
    "raw": Warp.fit(LATENCIES - 3, fraction=False),
    "sum": Warp.of_parts(LATENCIES, "sum"),
    "rate": Warp.of_parts(1000 / LATENCIES, "rate"),
}
VALUES = {
    "log": LATENCIES,
    "logit": LATENCIES / 10,
    "raw": LATENCIES - 3,
    "sum": LATENCIES,
    "rate": 1000 / LATENCIES,
}


@pytest.mark.parametrize("kind", WARPS)
def test_a_scale_is_standard_and_leads_back(kind):
    warp, values = WARPS[kind], VALUES[kind]
    mapped = warp.forward(values)
    assert warp.kind == kind
    assert (mapped.mean(), mapped.std()) == pytest.approx((0, 1), abs=1e-9)
    assert warp.inverse(mapped) == pytest.approx(values, rel=1e-6)
    assert (np.argsort(mapped) == np.argsort(values)).all()


def test_a_rate_is_as_far_from_another_as_the_sums_that_they_are_one_over():
    assert WARPS["rate"].forward(1000 / LATENCIES) == pytest.approx(-WARPS["sum"].forward(LATENCIES))


@pytest.mark.parametrize(("kind", "side"), [("sum", -1), ("rate", 1)])
def test_whatever_a_model_says_a_sum_stays_above_zero_and_a_rate_finite(kind, side):
    wild = WARPS[kind].inverse(side * np.array([0.0, 50.0, 1e6]))
    assert (wild > 0).all()
    assert np.isfinite(wild).all()
    least = WARPS["sum"].inverse(np.array([-1e6]))[0]
    assert least == pytest.approx(0.05 * LATENCIES.min())


@pytest.mark.parametrize("kind", ["sum", "rate"])
def test_what_is_not_above_zero_is_no_sum_of_parts(kind):
    assert Warp.of_parts(np.array([-1.0, 2.0]), kind).kind == "raw"
    assert Warp.of_parts(np.array([0.0, 2.0]), kind).kind == "log"


def test_a_bound_of_zero_on_a_rate_is_far_below_everything():
    bound = WARPS["rate"].forward(np.array([0.0, -1.0]))
    assert np.isfinite(bound).all()
    assert (bound < WARPS["rate"].forward(VALUES["rate"]).min() - 100).all()


@pytest.mark.parametrize("values", [[5e3], [5e3] * 4, [5e-3]])
@pytest.mark.parametrize("kind", ["sum", "rate"])
def test_where_nothing_varies_a_deviation_is_as_large_as_what_was_seen(kind, values):
    warp = Warp.of_parts(np.array(values), kind)
    assert (warp.forward(2 * np.array(values[:1])) > 0.4).all()
    assert (warp.forward(2 * np.array(values[:1])) < 1.1).all()


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_in_whichever_unit_a_score_is_it_is_learned_alike(unit):
    values = np.array([-3.0, -1.0, 2.0, 5.0])
    wanted = Warp.fit(values, fraction=False).forward(values)
    assert Warp.fit(values * unit, fraction=False).forward(values * unit) == pytest.approx(wanted)


@pytest.mark.parametrize("value", [0.1, 0.0, -7e-13, 3e9])
def test_what_never_varies_is_no_wider_for_rounding(value):
    values = np.full(7, value)
    assert Warp.fit(values, fraction=False).forward(values) == pytest.approx(0.0, abs=1e-6)
