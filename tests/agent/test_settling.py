"""A warm-up goes on until the latency has settled, and a latency that does not settle gives no figure."""

import math
import random
from dataclasses import replace

import pytest
from fake_board import write_layer

from edgesynth.agent.settling import Settling, limit_of
from edgesynth.devices import Recording, open_device
from edgesynth.profiler import MeasurementPlan, profile
from edgesynth.profiler.judgement import judge_latency
from edgesynth.profiler.surroundings import settle_doubt

CALL_MS = 5.0


def warm_up(latency_ms, warm_up_s=1.0, limit_s=8.0):
    """A warm-up whose calls take ``latency_ms`` of the time at which they begin."""
    settling, now_s, over = Settling(warm_up_s, limit_s), 0.0, False
    while not over:
        taken_ms = latency_ms(now_s)
        now_s += taken_ms / 1e3
        over = settling.over(now_s, taken_ms)
    return settling


def noisy(seed, share, latency_ms=lambda now_s: CALL_MS):
    noise = random.Random(seed)
    return lambda now_s: latency_ms(now_s) * noise.gauss(1.0, share)


def falling(falls_off_s, share=0.5):
    return lambda now_s: CALL_MS * (1 + share * math.exp(-now_s / falls_off_s))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_a_stable_latency_is_warmed_up_for_as_long_as_was_asked(share):
    for seed in range(20):
        found = warm_up(noisy(seed, share))

        assert found.settled
        assert 1.0 <= found.seconds < 1.3


@pytest.mark.parametrize("slow_share", [0.3, 0.5])
@pytest.mark.parametrize("call_ms", [5.0, 25.0])
def test_a_latency_of_two_peaks_has_settled_though_its_median_jumps(slow_share, call_ms):
    for seed in range(20):
        peaks = random.Random(seed)
        found = warm_up(lambda now_s, of=peaks: call_ms * (1.2 if of.random() < slow_share else 1.0))

        assert found.settled
        assert found.seconds < 2.0


@pytest.mark.parametrize("falls_off_s", [0.2, 0.5, 1.0])
def test_what_falls_slowly_is_warmed_up_until_less_than_a_hundredth_is_left(falls_off_s):
    for seed in range(20):
        found = warm_up(noisy(seed, 0.01, falling(falls_off_s)))

        assert found.settled
        assert falling(falls_off_s)(found.seconds) / CALL_MS - 1 < 0.01
        assert 1.5 < found.seconds < 6.0


@pytest.mark.parametrize(
    ("latency_ms", "told"),
    [
        (falling(5.0), r"had not settled after 8\.0 s: it was still falling by [234]\.\d%"),
        (lambda now_s: 5.0 * 1.05**now_s, r"had not settled after 8\.0 s: it was still rising by [567]\.\d%"),
    ],
    ids=["falling", "rising"],
)
def test_what_never_settles_is_measured_at_the_limit_and_doubted(latency_ms, told):
    for seed in range(20):
        found = warm_up(noisy(seed, 0.01, latency_ms))

        assert found.settled is False
        assert found.seconds == pytest.approx(8.0, abs=0.02)
        assert pytest.approx(found.trend, abs=1e-4) == found.told()["warm_up_trend"]
        with pytest.raises(AssertionError, match=told):
            assert not settle_doubt(found.told())


def test_a_first_call_that_loads_everything_is_no_sign_of_change():
    found = warm_up(lambda now_s: CALL_MS if now_s else 400.0)

    assert found.settled
    assert found.seconds < 1.2


def test_steps_of_the_clock_of_a_gpu_are_no_change():
    steps_ms = iter([0.0300] * 200 + [0.0305] * 10_000)

    assert warm_up(lambda now_s: next(steps_ms), warm_up_s=0.0126).settled


def test_of_calls_that_take_too_long_nobody_can_tell_and_nobody_waits():
    found = warm_up(lambda now_s: 300.0)

    assert found.told() == {"warm_up_s": pytest.approx(3.0), "settled": None}
    assert settle_doubt(found.told()) == ""


def test_the_limit_is_that_asked_for_or_grows_with_the_warm_up():
    assert limit_of(1.0) == 8.0
    assert limit_of(1.0, 2.5) == 2.5
    assert limit_of(3.0, 2.5) == 3.0


def test_a_program_that_told_nothing_is_not_doubted():
    assert settle_doubt(Recording().conditions) == ""


def test_what_holds_the_processor_is_named_before_what_it_unsettles():
    plan, doubt = MeasurementPlan(), "the latency had not settled"

    assert judge_latency([5.0] * 400, plan, 0.0, doubt).doubt == doubt
    assert judge_latency([5.0] * 400, plan, 0.0, doubt).figures == {}
    assert "other programs held" in judge_latency([5.0] * 400, plan, 0.5, doubt).doubt


# From here on over the real agent, or the real bench program of a host.

QUICK = MeasurementPlan(
    **{"warm_up_s": 0.3, "latency_runs": 100, "idle_s": 0.0, "window_s": 2.0, "settle_s": 0.1},
    cool_down_s=0.0,
)


@pytest.fixture(params=["tensorrt", pytest.param("trtexec", marks=pytest.mark.slow)])
def ramping(request):
    """A board whose calls take longer at first, with either way to run an engine, under Python 3.6."""
    there = request.getfixturevalue("board" if request.param == "tensorrt" else "bare_board")
    there.use_python("3.6")

    def ramp(share, falls_off_s):
        there.set(request.param, call_ms=3.0, ramp=[share, falls_off_s], exact=True)
        return there

    return ramp


def test_a_board_is_warmed_up_for_as_long_as_it_takes(ramping):
    there = ramping(1.0, 0.4)

    found = there.recording(warm_up_s=0.5, warm_up_limit_s=8.0, latency_runs=50, load_s=0.0)

    assert found.conditions["settled"] is True
    assert 1.0 < found.conditions["warm_up_s"] < 8.0
    assert sorted(found.gpu_latencies_ms)[25] == pytest.approx(3.0, rel=0.05)


def test_a_board_that_does_not_settle_is_measured_at_the_limit(ramping):
    there = ramping(3.0, 2.0)

    found = there.recording(warm_up_s=0.2, warm_up_limit_s=1.0, latency_runs=20, load_s=0.0)

    assert found.conditions["settled"] is False
    assert found.conditions["warm_up_s"] == pytest.approx(1.0, abs=0.2)
    assert found.conditions["warm_up_trend"] < -0.02
    assert len(found.latencies_ms) == 20


@pytest.mark.slow
def test_a_latency_that_does_not_settle_gives_no_figure_and_is_tried_again(here, model):
    here.set("tensorrt", call_ms=3.0, ramp=[3.0, 4.0])
    with open_device("jetson-tx2", link="local") as device:
        found = profile(model, device, replace(QUICK, warm_up_limit_s=1.2, latency_runs=10))

    assert (found.status, found.attempts) == ("inconclusive", 2)
    assert "the latency had not settled after 1." in found.reason
    assert "it was still falling by" in found.reason
    assert "latency_ms" not in found.metrics
    assert found.conditions["settled"] is False


def test_a_host_tells_its_warm_up_too(tmp_path):
    pytest.importorskip("onnxruntime", reason="host-cpu runs ONNX Runtime")
    write_layer(tmp_path / "model.onnx", "fp32")

    with open_device("host-cpu") as device:
        found = profile(tmp_path / "model.onnx", device, replace(QUICK, precision="fp32", attempts=1))

    assert found.conditions["settled"] in (True, False)  # other work on this machine may disturb it
    assert 0.3 <= found.conditions["warm_up_s"] < limit_of(0.3) + 0.5
    assert abs(found.conditions["warm_up_trend"]) < 10
