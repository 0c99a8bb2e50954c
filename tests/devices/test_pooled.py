"""Several boards behave as one device: they take turns, and a broken one does not stop the rest."""

import pytest

from edgesynth.devices import (
    BenchRequest,
    Device,
    LocalLink,
    Pool,
    PooledDevice,
    load_profile,
    open_boards,
)
from edgesynth.devices.host import bench_command
from edgesynth.errors import DeviceError, InputError, LinkError
from edgesynth.metrics import Provenance
from edgesynth.profiler.probes import PROBES, write_probe

pytest.importorskip("onnxruntime", reason="host-cpu runs ONNX Runtime")


class NamedLink(LocalLink):
    """This machine, as one of several boards."""

    def __init__(self, name):
        super().__init__()
        self.name = name


@pytest.fixture
def boards():
    profile = load_profile("host-cpu")
    made = [
        Device(
            profile,
            NamedLink(name),
            mode=profile.mode(),
            bench_command=bench_command(profile),
            runs_files=True,
            provenance=Provenance.MEASURED,
        )
        for name in ("a", "b")
    ]
    with PooledDevice(Pool(made)) as device:
        yield device, made


@pytest.fixture
def request_of(tmp_path):
    """A short benchmark, for the device that is to run it."""
    path = write_probe(PROBES[0], tmp_path)
    return lambda device: BenchRequest(
        network={"model": device.send(path)},
        precision="fp32",
        batch=1,
        warm_up_s=0.0,
        latency_runs=10,
        latency_limit_s=60.0,
        idle_s=0.0,
        load_s=0.0,
        rate_hz=10.0,
        mode="default",
    )


def test_boards_take_turns_and_every_recording_says_whose_it_is(boards, request_of):
    device, _ = boards

    recordings = [device.bench(request_of(device)) for _ in range(2)]

    assert {recording.conditions["link"] for recording in recordings} == {"a", "b"}
    assert all(recording.references_ms and not recording.failure for recording in recordings)
    assert device.source("fp32", 1) == "host-cpu a or b, default, fp32, batch 1"
    assert device.provenance is Provenance.MEASURED


def test_a_board_that_fails_is_left_out(boards, request_of):
    device, (first, second) = boards
    first.link.close()

    assert {device.bench(request_of(device)).conditions["link"] for _ in range(2)} == {"b"}
    second.link.close()
    with pytest.raises(DeviceError, match="no board of the pool is left"):
        device.bench(request_of(device))


def test_nobody_runs_a_command_on_several_boards_at_once(boards):
    with pytest.raises(LinkError, match="a or b are several boards"):
        boards[0].link.run(["true"])


def test_one_link_is_one_board_and_a_link_counts_once():
    with open_boards("jetson-tx2", ()) as alone:
        assert alone.link.name == "simulated"
    with pytest.raises(InputError, match="only once"):
        open_boards("host-cpu", ("local", "local"))
