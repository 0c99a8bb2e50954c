"""Workloads and links that several tests of devices use."""

import contextlib
import sys

import pytest
from ssh_server import children_of

from edgesynth.devices import LayerWork, LocalLink, SimulatedLink, Workload, fuse, load_profile


def build_convolutions(count, macs=2_000_000, name="net"):
    layers = []
    for index in range(count):
        layers.append(LayerWork(f"conv{index}", "conv2d", macs, 9 * 256 * 4, 2 * 16 * 1024 * 4))
        layers.append(LayerWork(f"bn{index}", "batch_norm", 0, 128, 2 * 16 * 1024 * 4))
        layers.append(LayerWork(f"relu{index}", "relu", 0, 0, 2 * 16 * 1024 * 4))
    return Workload(name, fuse(layers), (3, 32, 32))


@pytest.fixture
def tx2():
    return load_profile("jetson-tx2")


@pytest.fixture
def convolutions():
    return build_convolutions


@pytest.fixture
def workload():
    return build_convolutions(20)


@pytest.fixture
def children():
    return children_of


@pytest.fixture
def ssh_link(ssh_server, tmp_path):
    with contextlib.closing(ssh_server.connect(tmp_path, XDG_CACHE_HOME=tmp_path / "board's cache")) as link:
        yield link


class LinkHarness:
    """A link, and how to say a few things to the programs on its other side."""

    def __init__(self, link, say, fail, wait):
        self.link = link
        self.say = say
        self.fail = fail
        self.wait = wait


@pytest.fixture(params=["local", "simulated", pytest.param("ssh", marks=pytest.mark.ssh)])
def harness(request):
    if request.param == "local":
        link = LocalLink()
        code = "import sys; print(' '.join(sys.argv[1:]))"
        yield LinkHarness(
            link,
            (sys.executable, "-c", code),
            (sys.executable, "-c", "import sys; sys.exit(1)"),
            lambda seconds: (sys.executable, "-c", f"import time; time.sleep({seconds})"),
        )
    else:
        if request.param == "ssh":
            link = request.getfixturevalue("ssh_link")
        else:
            link = SimulatedLink(load_profile("jetson-tx2"))
        yield LinkHarness(link, ("echo",), ("false",), lambda seconds: ("sleep", str(seconds)))
    link.close()
