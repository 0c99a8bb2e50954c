"""Boards that are not there, for every release; see ``tests/support/fake_board.py``."""

import importlib.util
import subprocess

import pytest
import two_layers
from board_rack import BoardRack
from fake_board import FakeBoard, compile_cudart, write_layer
from remote_board import RemoteBoard

from edgesynth.agent.cuda import open_cuda
from edgesynth.agent.errors import Refusal
from edgesynth.cli import main
from edgesynth.deploy import rtx
from edgesynth.devices import load_profile, open_device
from edgesynth.devices.agent_package import agent_package

RELEASES = [  # what JetPack 4.4 to 7.2 pair: Python, TensorRT
    ("3.6", "7.1.3"),
    ("3.6", "8.0.1"),
    ("3.6", "8.2.1"),
    ("3.8", "8.4.1"),
    ("3.8", "8.5.2"),
    ("3.10", "8.6.0"),
    ("3.10", "10.3.0"),
    ("3.12", "10.16.1.11"),
    ("3.12", "11.1.0.106"),  # of no JetPack yet
]
# Those whose Python and TensorRT differ most; the others are tried in the slow stage.
QUICK = {"7.1.3", "8.2.1", "10.3.0", "11.1.0.106"}
CUDAS = {"3.6": 10020, "3.8": 11040, "3.10": 12060, "3.12": 13000}  # of the JetPack with this Python


@pytest.fixture(scope="session")
def cudarts(tmp_path_factory):
    """The CUDA library of boards by the Python of their JetPack; ``None`` without a compiler."""
    folder = tmp_path_factory.mktemp("cuda")
    return {minor: compile_cudart(folder, version) for minor, version in CUDAS.items()}


@pytest.fixture(scope="session")
def cudart(cudarts):
    """The CUDA library of a board with JetPack 4; ``None`` without a compiler."""
    return cudarts["3.6"]


@pytest.fixture(scope="session")
def package():
    return agent_package()


@pytest.fixture
def bare_board(tmp_path, package):
    """A board whose Python has no TensorRT and which has no CUDA library."""
    board = FakeBoard(tmp_path / "root", package)
    yield board
    board.kill_all()


@pytest.fixture
def board(tmp_path, cudart, package):
    """A TX2 with TensorRT 8.2."""
    if cudart is None:
        pytest.skip("no gcc to compile the CUDA library of the board with")
    board = FakeBoard(tmp_path / "root", package)
    board.give_cuda(cudart)
    board.install("tensorrt", version="8.2.1")
    yield board
    board.kill_all()


@pytest.fixture(params=["3.6", "3.8", "3.10", "3.12", "3.13"])
def python(request):
    """The Pythons of boards, for :meth:`FakeBoard.use_python`."""
    return request.param


@pytest.fixture(
    params=[
        pytest.param(pair, id="-".join(pair), marks=() if pair[1] in QUICK else pytest.mark.slow)
        for pair in RELEASES
    ]
)
def release(request, bare_board, cudarts):
    """A board with the Python, the CUDA and the TensorRT of one JetPack."""
    minor, version = request.param
    if cudarts[minor] is None:
        pytest.skip("no gcc to compile the CUDA library of the board with")
    bare_board.use_python(minor)
    bare_board.give_cuda(cudarts[minor])
    bare_board.install("tensorrt", version=version)
    return bare_board


@pytest.fixture
def here(board, monkeypatch):
    """This machine is the board: what runs here as a child process finds the board's files and programs."""
    board.use_python("3.6")
    (board.root / "home/bin").mkdir()
    (board.root / "home/bin/python3").symlink_to(board.python)
    board.environment["PATH"] = f"{board.root / 'home/bin'}:{board.environment['PATH']}"
    for name, value in board.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return board


@pytest.fixture(scope="session")
def own_tensorrt():
    """This machine's own TensorRT, with a GPU to run its engines; skips where either is missing."""
    if importlib.util.find_spec("tensorrt") is None:
        pytest.skip("no TensorRT for Python on this machine")
    try:
        open_cuda().close()
    except Refusal as refusal:
        pytest.skip(refusal.reason)
    return importlib.import_module("tensorrt")


@pytest.fixture
def no_builder(monkeypatch):
    """As on a machine without TensorRT for RTX: that builder has tests of its own."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")


@pytest.fixture
def network(tmp_path):
    """Two layers with a free batch: a hidden tensor to go wrong in, and four classes."""
    return two_layers.write_network(tmp_path / "net.onnx")


@pytest.fixture
def data(tmp_path, network):
    """Samples that the network labels itself, too few to decide on a precision."""
    return two_layers.labelled(tmp_path / "data.npz", network, 12)


@pytest.fixture
def tx2(here):
    """The board, open; its engines compute."""
    here.compute()
    with open_device("jetson-tx2", link="local") as device:
        yield device


@pytest.fixture
def remote(board, ssh_server, tmp_path):
    """The board elsewhere, with the Python of JetPack 4, and the command line that reaches it."""
    board.use_python("3.6")
    return RemoteBoard(board, ssh_server, tmp_path)


@pytest.fixture
def call(remote, tmp_path, monkeypatch, capfd):
    """``edgesynth`` on the host to its end, in this process: torch is loaded here once and for all."""
    monkeypatch.setenv("PATH", remote.path)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, link=None):
        capfd.readouterr()
        code = main([*map(str, arguments), "--link", link or remote.url])
        return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())

    return run


@pytest.fixture
def orin(board):
    """The board is an AGX Orin with JetPack 6.2: two cores of a DLA, and TensorRT 10.3."""
    board.use_python("3.10")
    board.be(load_profile("jetson-agx-orin"), "tegra234", dla_cores=2)
    board.set("tensorrt", version="10.3.0")
    board.set("trtexec", version="10.3")
    return board


@pytest.fixture
def rack(ssh_server, tmp_path, cudart, package, monkeypatch):
    """Boards elsewhere, as many as a test adds, reached from this process: a TX2 with TensorRT 8.2 each."""
    if cudart is None:
        pytest.skip("no gcc to compile the CUDA library of the board with")

    def make(root, *, version="8.2.1", runner="tensorrt"):
        board = FakeBoard(root, package)
        board.give_cuda(cudart)
        board.use_python("3.6")
        board.set("trtexec", version=version if runner == "trtexec" else "8.2")
        if runner == "tensorrt":
            board.install("tensorrt", version=version)
        return board

    boards = BoardRack(ssh_server, tmp_path, make)
    monkeypatch.setenv("PATH", boards.path)
    yield boards
    for board in boards.boards.values():
        board.kill_all()


@pytest.fixture
def model(tmp_path):
    """One layer; what the board's TensorRT makes of it is up to the board."""
    write_layer(tmp_path / "model.onnx", "fp32")
    return tmp_path / "model.onnx"
