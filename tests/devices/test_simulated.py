"""The simulated board behaves like a board: its physics, its sensor, its text, its moods."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesynth.agent.tegrastats import parse_line
from edgesynth.devices import (
    BenchRequest,
    Faults,
    LayerWork,
    Line,
    Roofline,
    SimulatedLink,
    Workload,
    list_profiles,
    load_profile,
    open_device,
)
from edgesynth.devices.bench import read_recording
from edgesynth.devices.sensor import PowerCurve, SimulatedSensor
from edgesynth.errors import (
    DeviceError,
    InputError,
    LinkError,
    MeasurementError,
    MissingDependencyError,
)
from edgesynth.metrics import Provenance


def request(workload, **changes):
    values = {
        "network": workload.to_json(),
        "precision": "fp16",
        "batch": 1,
        "warm_up_s": 0.5,
        "latency_runs": 50,
        "latency_limit_s": 10.0,
        "idle_s": 1.0,
        "load_s": 4.0,
        "rate_hz": 10.0,
        "mode": "MAXN",
    }
    return BenchRequest(**{**values, **changes})


@pytest.fixture
def model(tx2):
    return Roofline(tx2, tx2.mode())


def one(macs, moved, operator="conv2d", groups=1):
    return Workload("one", (LayerWork("a", operator, macs, 0, moved, groups),), (3, 32, 32))


def test_small_inputs_cost_what_their_launches_cost(model, convolutions):
    small = model.estimate(convolutions(60, macs=100_000), "fp32")
    smaller = model.estimate(convolutions(60, macs=25_000), "fp32")

    assert small.seconds == smaller.seconds
    assert small.launch_bound > 0.9


def test_removing_layers_saves_time_where_launches_bind(model, convolutions):
    deep = model.estimate(convolutions(60, macs=100_000), "fp32").seconds
    shallow = model.estimate(convolutions(30, macs=100_000), "fp32").seconds

    assert shallow < 0.65 * deep


def test_large_kernels_follow_the_roofline(model):
    compute = one(10**10, 4)
    assert model.estimate(compute, "fp32").seconds == pytest.approx(
        2 * model.estimate(compute, "fp16").seconds, rel=0.02
    )
    memory = one(0, 10**9, "relu")
    peak_s = 10**9 / 59.7e9
    assert 1.2 * peak_s < model.estimate(memory, "fp32").seconds < 3 * peak_s


@given(st.integers(1, 64), st.integers(0, 10**9), st.integers(0, 10**8))
def test_more_work_never_takes_less_time_or_energy(batch, macs, moved):
    profile = load_profile("jetson-tx2")
    model = Roofline(profile, profile.mode())

    def time_and_energy(scale, batch):
        call = model.estimate(one(scale * macs, scale * moved), "fp16", batch)
        power = model.all_rails_mw(model.busy_mw(call, "fp16", call.seconds))["VDD_IN"]
        return call.seconds, power * call.seconds

    seconds, energy = time_and_energy(1, batch)
    for more in (time_and_energy(2, batch), time_and_energy(1, batch + 1)):
        assert more[0] >= seconds * (1 - 1e-9)
        assert more[1] >= energy * (1 - 1e-9)


def test_a_batch_shares_its_launches(model, convolutions):
    net = convolutions(60, macs=100_000)

    assert model.estimate(net, "fp16", 8).seconds < 2 * model.estimate(net, "fp16", 1).seconds


def test_a_slower_mode_is_slower(tx2):
    net = one(10**9, 10**6)
    times = {mode.name: Roofline(tx2, mode).estimate(net, "fp32").seconds for mode in tx2.modes}

    assert times["MAXN"] < times["MAXP_CORE_ARM"] < times["MAXQ"]


def test_a_profile_without_parameters_cannot_be_simulated():
    host = load_profile("host-cpu")

    with pytest.raises(DeviceError, match="cannot be simulated"):
        Roofline(host, host.mode())


def test_power_over_a_change_is_its_time_average():
    curve = PowerCurve(0.0, {"A": 100.0})
    curve.change(2.0, {"A": 300.0})
    curve.change(3.0, {"A": 0.0})

    assert curve.mean_mw(0.0, 4.0)["A"] == pytest.approx((2 * 100 + 300) / 4)
    assert curve.mean_mw(2.5, 3.5)["A"] == pytest.approx(150)
    assert curve.mean_mw(-5.0, -4.0)["A"] == 100
    with pytest.raises(DeviceError, match="cannot change"):
        curve.change(1.0, {"A": 1.0})


def test_sensor_text_reads_back_in_steps_of_the_sensor(tx2):
    levels = dict.fromkeys(tx2.rails.names, 1000.0) | {"VDD_IN": 5000.0}
    sensor = SimulatedSensor(tx2, tx2.mode("MAXQ"), PowerCurve(0.0, levels), noise_mw=30, seed="a")
    records = [
        parse_line(sensor.line(0.1 * index, busy=True, gpu_clock_mhz=850, temperature_c=45.0))
        for index in range(200)
    ]

    assert all(record.unread == () for record in records)
    assert {record.gpu_clock_mhz for record in records} == {850}
    assert records[0].cpu[1] is None
    for name in tx2.rails.names:
        readings = [record.rails[name] for record in records]
        assert all(reading % tx2.sensor.step_mw[name] == 0 for reading in readings)
        assert sum(readings) / 200 == pytest.approx(levels[name], abs=tx2.sensor.step_mw[name])
    means = records[-1].rails_mean["VDD_IN"]
    assert means == sum(record.rails["VDD_IN"] for record in records) // 200


def test_the_filter_of_the_sensor_blurs_a_step_over_its_window(tx2):
    names = tx2.rails.names
    curve = PowerCurve(0.0, dict.fromkeys(names, 0.0))
    curve.change(10.0, dict.fromkeys(names, 4000.0))
    sensor = SimulatedSensor(tx2, tx2.mode(), curve, noise_mw=0, seed="a")

    assert sensor.read_mw(10.0)["VDD_IN"] == 0
    assert sensor.read_mw(10.21)["VDD_IN"] == pytest.approx(2000, abs=38)
    assert sensor.read_mw(10.5)["VDD_IN"] == pytest.approx(4000, abs=38)


def test_tegrastats_of_the_board_is_the_text_of_a_board(tx2):
    link = SimulatedLink(tx2)
    stamps, records = [], []
    with link.stream(["tegrastats", "--interval", "100"]) as stream:
        for line in stream:
            stamps.append(line.at_s)
            records.append(parse_line(line.text))
            if len(records) == 20:
                break

    assert stamps[-1] - stamps[0] == pytest.approx(1.9)
    assert all(1500 < record.rails["VDD_IN"] < 3200 for record in records)


def test_same_seed_same_bench_whatever_ran_before(workload, convolutions):
    with open_device("jetson-tx2", seed=3) as first, open_device("jetson-tx2", seed=3) as second:
        second.bench(request(convolutions(5)))
        second.clock.sleep(0.123)

        assert first.bench(request(workload)) == second.bench(request(workload))


def test_other_seeds_attempts_and_networks_have_other_noise(workload):
    with open_device("jetson-tx2", seed=3) as first, open_device("jetson-tx2", seed=4) as second:
        latencies = {
            first.bench(request(workload)).latencies_ms,
            first.bench(request(workload, attempt=1)).latencies_ms,
            second.bench(request(workload)).latencies_ms,
        }

    assert len(latencies) == 3


def test_calls_are_counted_at_the_pace_of_the_latency(tx2, workload):
    with open_device("jetson-tx2") as board:
        recording = board.bench(request(workload))
    (begin, before), (end, after) = recording.counts[0], recording.counts[-1]
    typical = Roofline(tx2, tx2.mode()).estimate(workload, "fp16").seconds

    assert (end - begin) / (after - before) == pytest.approx(typical, rel=1e-6)


def test_a_network_that_does_not_fit_is_a_result_and_no_error():
    giant = one(10, 20 * 2**30)
    with open_device("jetson-tx2") as board:
        assert "out of memory" in board.bench(request(giant)).failure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "MAXX"}, "no power mode"),
        ({"precision": "int8"}, "dp4a"),
        ({"network": {"model": "x"}}, "not a workload"),
    ],
)
def test_the_board_says_what_is_wrong_with_a_request(workload, changes, message):
    with open_device("jetson-tx2") as board, pytest.raises(MeasurementError, match=message):
        board.bench(request(workload, **changes))


def test_a_hung_board_breaks_the_bench(workload):
    with (
        open_device("jetson-tx2", faults=Faults(hang=True)) as board,
        pytest.raises(MeasurementError, match="printed nothing"),
    ):
        board.bench(request(workload))


def test_a_crashed_bench_repeats_its_last_words(workload):
    faults = Faults(crash=True)
    with (
        open_device("jetson-tx2", faults=faults) as board,
        pytest.raises(MeasurementError, match="Segmentation fault"),
    ):
        board.bench(request(workload))


def test_faults_can_pass(workload):
    with open_device("jetson-tx2", faults=Faults(crash=True, benches=1)) as board:
        with pytest.raises(MeasurementError):
            board.bench(request(workload))
        assert board.bench(request(workload)).latencies_ms


def test_layers_take_what_a_call_takes_but_for_the_call_itself(workload):
    profile = load_profile("jetson-tx2")
    link = SimulatedLink(profile)
    with link.stream(["edgesynth-bench"], stdin=request(workload, layer_runs=5).to_json()) as stream:
        found = read_recording(stream)

    call = Roofline(profile, profile.mode("MAXN")).estimate(workload, "fp16")
    assert [name for name, _ in found.layers] == [kernel.name for kernel in workload.kernels]
    assert sum(ms for _, ms in found.layers) == pytest.approx(
        1e3 * call.seconds - profile.simulation.call_us / 1e3, rel=1e-3
    )


NONSENSE = [
    "NVPM WARN: fan mode is not set!",
    "[]",
    "null",
    '{"event": "news"}',
    '{"event": "latency"}',
    '{"event": "latency", "ms": [5.0, NaN]}',
    '{"event": "latency", "ms": [-1]}',
    '{"event": "count", "at": -5, "calls": 3}',
    '{"event": "sensor", "at": "soon", "line": ""}',
    '{"event": "phase", "name": "lunch", "at": 1}',
    '{"event": "phase", "name": "load", "at": Infinity}',
    '{"event": "count", "at": 1, "calls": Infinity}',
    '{"event": "latency", "ms": [1' + "0" * 400 + "]}",
    '{"event": "latency", "ms": "12"}',
    "[" * 100_000,
    '{"event": "start", "cooling_active": 5}',
    '{"event": "start", "cooling_active": [5]}',
    '{"event": "start", "throttled": null}',
    '{"event": "start", "load_throttled": {"heat": "0.5"}}',
    '{"event": "start", "memory_available_mb": "4096"}',
    '{"event": "start", "waited_share": 1' + "0" * 400 + "}",
    '{"event": "start", "settled": [], "warm_up_trend": NaN}',
    '{"event": "start", "clocks_mhz": {"gpu_max": []}}',
    '{"event": "start", "outputs": [{"name": "y"}]}',
]


def test_nonsense_between_events_is_skipped_and_counted(workload):
    link = SimulatedLink(load_profile("jetson-tx2"))
    with link.stream(["edgesynth-bench"], stdin=request(workload).to_json()) as stream:
        lines = list(stream)
    clean = read_recording(lines)

    disturbed = read_recording([lines[0], *(Line(0.0, text) for text in NONSENSE), *lines[1:]])

    assert disturbed == dataclasses.replace(clean, skipped_lines=len(NONSENSE))


def test_samples_that_go_back_in_time_are_skipped():
    texts = [
        '{"event": "sensor", "at": 5.0, "line": "a"}',
        '{"event": "sensor", "at": 4.0, "line": "b"}',
        '{"event": "sensor", "at": 6.0, "line": "c"}',
        '{"event": "end"}',
    ]

    recording = read_recording(Line(0.0, text) for text in texts)

    assert [line.text for line in recording.sensor] == ["a", "c"]
    assert recording.skipped_lines == 1


@given(st.lists(st.text(max_size=60), max_size=10))
def test_output_without_a_result_is_a_broken_bench(texts):
    with pytest.raises(LinkError, match="without a result"):
        read_recording(Line(0.0, text) for text in texts)


def test_every_event_of_a_bench_is_one_json_line(workload):
    link = SimulatedLink(load_profile("jetson-tx2"))
    with link.stream(["edgesynth-bench"], stdin=request(workload).to_json()) as stream:
        kinds = [json.loads(line.text)["event"] for line in stream]

    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("phase") == 4


def test_figures_of_the_board_are_labelled_simulated():
    with open_device("jetson-tx2") as board:
        assert board.provenance is Provenance.SIMULATED
        assert "simulated" in board.describe()
        assert board.source("fp16", 1) == "jetson-tx2 simulated, MAXN, fp16, batch 1"
        assert board.has_energy


@pytest.mark.parametrize(
    ("name", "link", "message"),
    [
        ("host-cpu", "ssh://nvidia@board", "local"),
        ("host-cpu", "simulated", "local"),
    ],
)
def test_a_link_that_does_not_exist_names_those_that_do(name, link, message):
    with pytest.raises(DeviceError, match=f"cannot be reached over link '{link}'.*{message}"):
        open_device(name, link=link)


def test_unknown_names_are_bad_input_and_not_device_failures():
    with pytest.raises(InputError, match="did you mean"):
        open_device("jetson-tx")
    with pytest.raises(InputError, match="no power mode"):
        open_device("jetson-tx2", mode="FAST")


@pytest.mark.parametrize("name", [name for name in list_profiles() if load_profile(name).links[0] != "ssh"])
def test_every_profile_opens_over_its_default_link_unless_that_needs_an_address(name):
    try:
        opened = open_device(name)
    except MissingDependencyError as error:
        assert name == "nvidia-gpu"
        pytest.skip(str(error))
    with opened as device:
        assert device.profile.name == name
        assert (device.provenance is Provenance.SIMULATED) == (device.link.name == "simulated")
