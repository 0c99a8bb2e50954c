"""A benchmark on every TensorRT from 7.1 on, and everything that may go wrong with one."""

import json
import statistics
import time

import pytest

from edgesynth.devices.bench import read_recording
from edgesynth.devices.link import Line
from edgesynth.errors import DeviceError, MeasurementError, SensorError


def test_every_tensorrt_gives_latencies_phases_and_counts(release):
    release.set("tensorrt", call_ms=4.0, inputs=[["input", [-1, 3, 8, 8]]], outputs=[["output", [-1, 10]]])

    found = release.recording(batch=8)

    assert found.failure == ""
    assert len(found.latencies_ms) == len(found.gpu_latencies_ms) == 20
    assert statistics.median(found.gpu_latencies_ms) == pytest.approx(4.0, rel=0.1)
    assert statistics.median(found.latencies_ms) >= 4.0
    assert list(found.phases) == ["idle_before", "load", "idle_after", "end"]
    assert 2 <= found.counts[-1][1] <= 0.25 / 4e-3 + 1
    assert found.counts[-1][0] <= found.phases["idle_after"]
    assert (
        0 < found.memory_bytes - 8 * 4 * (3 * 8 * 8 + 10) < 2000
    )  # besides the tensors: plan and activations
    assert found.conditions["runner"] == "tensorrt"
    assert found.conditions["cuda_access"] == "libcudart"
    assert found.conditions["cooling_active"] == []
    assert 0 < found.conditions["sampler_cpu_share"] < 1  # of one core; a script plays the sensor here
    release.wait_until_quiet()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([["x", [4, 3, 8, 8]]], "input 'x' has a fixed batch of 4, not 1"),
        ([["x", [1, 3, -1, -1]]], "only the batch may be free"),
    ],
)
def test_an_input_of_another_size_is_refused_by_name(board, inputs, message):
    board.set("tensorrt", inputs=inputs)

    found = board.recording()

    assert found.failure_kind == "unsupported"
    assert message in found.failure


def test_pycuda_serves_where_it_is_installed(board):
    board.install("pycuda")

    found = board.recording()

    assert found.conditions["cuda_access"] == "pycuda"
    assert statistics.median(found.gpu_latencies_ms) == pytest.approx(2.0, rel=0.2)


@pytest.mark.slow
def test_every_tensorrt_tells_how_long_layers_take_after_all_else(release):
    events = release.bench(layer_runs=10)
    kinds = [event["event"] for event in events]

    assert kinds.index("layers") > max(index for index, kind in enumerate(kinds) if kind == "count")
    found = release.recording(layer_runs=10)
    assert found.layers == (("conv1 + relu1", 0.75), ("fc", 0.25))
    assert found.conditions["layer_runs"] == 10
    assert len(found.latencies_ms) == 20


TRTEXECS = ["7.1", "8.2", "8.5", "8.6", "10.3", "11.1"]


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=() if version in ("7.1", "8.2", "11.1") else pytest.mark.slow)
        for version in TRTEXECS
    ],
)
def test_trtexec_of_every_version_tells_how_long_layers_take(bare_board, version):
    bare_board.set("trtexec", version=version)

    found = bare_board.recording(load_s=0.0, layer_runs=10)

    means = (1.425, 0.475) if version == "7.1" else (0.75, 0.25)  # the first ones hold the first call
    assert found.layers == tuple(zip(("conv1 + relu1", "fc"), means, strict=True))
    *others, last = bare_board.told("trtexec")
    assert not any("rofile" in run for run in others)
    assert ("--separateProfileRun" in last) == ("--dumpProfile" not in last) == (version != "7.1")


def test_layers_that_cannot_be_timed_leave_the_measurement_whole(bare_board):
    bare_board.set("trtexec", lacks=["exportProfile"])

    found = bare_board.recording(load_s=0.0, layer_runs=10)

    assert found.failure == ""
    assert len(found.latencies_ms) == 20
    assert found.layers == ()
    assert "no --exportProfile" in found.conditions["layers_missing"]


def test_layers_are_timed_only_when_asked_for(board):
    assert board.recording().layers == ()


@pytest.mark.slow
@pytest.mark.parametrize("version", TRTEXECS)
def test_trtexec_of_every_version_gives_latencies_of_single_warm_calls(bare_board, version):
    bare_board.set("trtexec", version=version, call_ms=5.0, exact=True)

    found = bare_board.recording(load_s=0.0)

    assert found.conditions["runner"] == "trtexec"
    assert "cannot import tensorrt" in found.conditions["runner_reason"]
    assert len(found.latencies_ms) == 20
    assert found.gpu_latencies_ms == found.latencies_ms == pytest.approx([5.0] * 20)
    built, *runs = bare_board.told("trtexec")
    assert "--saveEngine=" in built
    assert ("--workspace=256" in built) == (version in ("7.1", "8.2"))
    assert ("--memPoolSize=workspace:256" in built) == (version not in ("7.1", "8.2"))
    assert ("--buildOnly" in built) == ("--skipInference" not in built) == (version in ("7.1", "8.2", "8.5"))
    assert all(("--noDataTransfers" in run) == (version != "7.1") for run in runs)
    assert all(("--explicitBatch" in run) == (version in ("7.1", "8.2")) for run in [built, *runs])
    assert all(("--noCudaGraph" in run) == (version == "11.1") for run in runs)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["7.1", "8.2", "11.1"])
def test_trtexec_counts_its_calls_in_the_time_of_the_board(bare_board, version):
    bare_board.set("trtexec", version=version, call_ms=5.0)

    found = bare_board.recording(load_s=0.5)

    (begin, first), (end, last) = found.counts[0], found.counts[-1]
    assert found.phases["load"] + 1.0 < begin < end <= found.phases["idle_after"]
    assert 40 < (last - first) / (end - begin) <= 200  # fewer on a busy machine
    bare_board.wait_until_quiet()


def test_what_the_help_of_trtexec_mentions_is_no_option(bare_board):
    bare_board.set("trtexec", version="11.1", prose="--fp16 and --workspace are gone; see --buildOnly")

    assert bare_board.recording(load_s=0.0).failure == ""


@pytest.mark.parametrize("option", ["memPoolSize", "noCudaGraph"], ids=["to build", "to run"])
def test_a_trtexec_that_refuses_what_it_lists_says_nothing_of_the_network(bare_board, option):
    bare_board.set("trtexec", promises=[option], prose="for unsupported layers, out of memory")

    with pytest.raises(DeviceError, match=f"does not take --{option}, which its help lists"):
        bare_board.recording(load_s=0.0)


def test_a_kept_engine_is_not_blamed_for_memory_that_is_full(bare_board):
    bare_board.set("trtexec", version="8.6")
    bare_board.recording(load_s=0.0)
    bare_board.set("trtexec", load_fault="no_room_for_plan")

    found = bare_board.recording(load_s=0.0)

    assert found.failure_kind == "out_of_memory"
    assert list((bare_board.folder / "engines").glob("*.plan"))


def test_a_kept_engine_that_trtexec_cannot_load_is_built_anew_the_next_time(bare_board):
    bare_board.recording(load_s=0.0)
    (kept,) = (bare_board.folder / "engines").glob("*.plan")
    kept.write_text("half a pl")

    event = bare_board.bench(load_s=0.0)[-1]

    assert (event["event"], event["kind"]) == ("error", "stale")
    assert not kept.exists()


@pytest.mark.parametrize("version", ["8.2", "10.3"])
def test_trtexec_that_runs_another_batch_than_asked_is_found_out(bare_board, version):
    bare_board.set("trtexec", version=version)

    found = bare_board.recording(batch=4, load_s=0.0)

    assert found.failure_kind == "unsupported"
    assert "1x3x32x32, not in batch 4" in found.failure


def test_trtexec_that_does_not_say_its_batch_is_not_trusted_with_one(bare_board):
    bare_board.set("trtexec", version="7.1")

    with pytest.raises(DeviceError, match="does not say in which batch"):
        bare_board.recording(batch=4, load_s=0.0)


def test_a_board_without_tensorrt_says_what_to_install(bare_board):
    bare_board.remove("trtexec")

    with pytest.raises(DeviceError, match="neither tensorrt for Python nor trtexec"):
        bare_board.recording()


def test_an_engine_of_another_tensorrt_is_refused(board):
    plan = board.write("home/old.plan", json.dumps({"tensorrt": "8.0.1", "inputs": [], "outputs": []}))

    event = board.bench(network={"model": str(plan)})[-1]

    assert (event["event"], event["kind"]) == ("error", "engine")
    assert "build it on this board" in event["reason"]


def test_a_kept_engine_that_is_damaged_is_built_anew_the_next_time(board):
    board.bench(load_s=0.0)
    (plan,) = (board.folder / "engines").glob("*.plan")
    plan.write_text("half a pl")

    first, second = board.bench(load_s=0.0)[-1], board.bench(load_s=0.0)[-1]

    assert (first["event"], first["kind"]) == ("error", "stale")
    assert second["event"] == "end"


def test_memory_that_does_not_suffice_is_the_networks_failure(board):
    board.environment["FAKE_CUDA_LIMIT"] = "1000"

    found = board.recording()

    assert found.failure_kind == "out_of_memory"
    assert "cudaMalloc gave error 2" in found.failure


def test_a_network_that_crashes_tensorrt_does_not_take_the_agent(board):
    board.set("tensorrt", crash_at=5)

    found = board.recording(clocks="fixed")

    assert found.failure_kind == "crash"
    assert "SIGSEGV" in found.failure
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


@pytest.mark.slow
@pytest.mark.parametrize(("call", "doing"), [(5, "latency"), (40, "load")])
def test_a_network_that_hangs_is_ended_and_the_board_put_back(board, call, doing):
    board.set("tensorrt", hang_at=call, call_ms=1.0)

    quick = {"warm_up_s": 0.0, "warm_up_limit_s": 0.02, "latency_limit_s": 0.5}
    last = board.bench(slack_s=3.0, clocks="fixed", **quick)[-1]

    assert (last["event"], last["kind"]) == ("error", "hung")
    assert f"the network did not finish {doing!r} within" in last["reason"]
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def test_a_signal_ends_it_with_a_word_and_puts_the_board_back(board):
    process = board.start_bench(until='"name":"load"', set_mode=True, mode="MAXQ", clocks="fixed")
    assert board.present_mode() == "MAXQ"
    process.terminate()

    with process:
        last = json.loads(process.stdout.read().splitlines()[-1])

    assert (last["event"], last["kind"]) == ("error", "interrupted")
    assert process.returncode == 0
    assert board.present_mode() == "MAXP_CORE_ARM"
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


@pytest.mark.parametrize("sudo", [True, False])
def test_a_killed_agent_leaves_nothing_behind(board, sudo):
    board.use_python("3.6" if sudo else "3.12")
    if not sudo:
        board.trust("nvpmodel", "jetson_clocks")
    process = board.start_bench(until='"name":"load"', set_mode=True, mode="MAXQ", clocks="fixed")
    assert [line for line in board.processes().values() if "tegrastats" in line]
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()

    board.wait_until_quiet()

    assert board.present_mode() == "MAXP_CORE_ARM"
    assert board.present_clocks() == board.clocks


def test_a_killed_agent_leaves_no_file_of_trtexec(bare_board):
    scratch = bare_board.root / "tmp"
    scratch.mkdir()
    bare_board.environment["TMPDIR"] = str(scratch)
    process = bare_board.start_bench(until='"name":"load"')
    until = time.monotonic() + 20
    while not list(scratch.glob("edgesynth-*.json")) and time.monotonic() < until:
        time.sleep(0.02)
    assert list(scratch.glob("edgesynth-*.json"))
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()

    bare_board.wait_until_quiet()

    assert not list(scratch.iterdir())


def test_a_killed_agent_ends_even_a_sensor_that_hangs(board):
    board.set("tegrastats", hang_at=3)
    process = board.start_bench(until='"event":"sensor"')
    time.sleep(0.3)
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()

    board.wait_until_quiet()


def test_the_end_of_the_link_ends_the_work(board):
    process = board.start_bench(until='"name":"load"', clocks="fixed")
    process.stdout.close()

    process.wait(timeout=20)

    process.stderr.close()
    assert process.returncode == 1
    assert board.present_clocks() == board.clocks
    board.wait_until_quiet()


def test_the_end_of_the_input_ends_the_work_where_it_is_watched(board):
    process = board.start("bench", board.request(load_s=30.0, watch_input=True), keep_input=True)
    for line in process.stdout:
        if b'"name":"load"' in line:
            break
    process.stdin.close()

    with process:
        last = json.loads(process.stdout.read().splitlines()[-1])

    assert last["kind"] == "interrupted"
    assert "closed the input" in last["reason"]
    board.wait_until_quiet()


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("sensor", SensorError),
        ("hung", MeasurementError),
        ("interrupted", MeasurementError),
        ("stale", MeasurementError),
        ("mode", DeviceError),
    ],
)
def test_the_host_raises_what_the_board_refuses(kind, error):
    with pytest.raises(error, match="because"):
        read_recording([Line(0.0, json.dumps({"event": "error", "kind": kind, "reason": "because"}))])
