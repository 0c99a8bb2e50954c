"""Every release that boards have, over a real ssh server: one short benchmark each."""

import pytest
from remote_board import RemoteBoard
from short_bench import short_bench

from edgesynth.devices import open_device

pytestmark = [pytest.mark.ssh, pytest.mark.slow]

RELEASES = [  # Python, TensorRT; the rest of what JetPacks pair is tested on the board itself
    ("3.6", "7.1.3"),
    ("3.6", "8.0.1"),
    ("3.8", "8.5.2"),
    ("3.10", "8.6.0"),
    ("3.10", "10.3.0"),
]


@pytest.mark.parametrize(("python", "version"), RELEASES)
def test_a_release_measures_over_ssh_and_is_left_as_it_was(
    bare_board, cudart, ssh_server, tmp_path, model, monkeypatch, python, version
):
    if cudart is None:
        pytest.skip("no gcc to compile the CUDA library of the board with")
    bare_board.use_python(python)
    bare_board.give_cuda(cudart)
    bare_board.install("tensorrt", version=version)
    remote = RemoteBoard(bare_board, ssh_server, tmp_path)
    monkeypatch.setenv("PATH", remote.path)
    with open_device("jetson-tx2", remote.url, mode="MAXN", clocks="fixed") as device:
        found = device.bench(short_bench(device, model, warm_up_s=0.01, load_s=0.5))
        assert device.complaints == ()

    conditions = found.conditions
    assert conditions["python"].startswith(f"{python}.")
    assert conditions["tensorrt"] == version
    assert (conditions["mode"], conditions["mode_after"]) == ("MAXN", "MAXN")
    assert len(found.latencies_ms) == 20
    assert found.sensor
    assert found.counts
    assert bare_board.present_mode() == "MAXP_CORE_ARM"
    assert bare_board.present_clocks() == bare_board.clocks
    bare_board.wait_until_quiet()
