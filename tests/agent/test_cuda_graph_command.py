"""``--cuda-graph`` from the command line to the program on the board."""

import json
import subprocess

import numpy as np
import pytest
from two_inputs import feed, write_network

from edgesynth.cli import main
from edgesynth.deploy import rtx
from edgesynth.deploy.bundle import read_bundle

BOARD = ["--device", "jetson-tx2", "--link", "local"]


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "two.onnx")


@pytest.fixture
def command(here, network, tmp_path, monkeypatch, capfd):
    """The command line on a board that computes, with two samples of data."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", **feed(12))
    for name, value in feed(2).items():
        np.save(f"{name}.npy", value)
        np.save(here.root / f"home/{name}.npy", value)
    here.compute()

    def run(*arguments):
        capfd.readouterr()
        code = main([*arguments, *BOARD])
        return code, capfd.readouterr()

    return run


DEPLOY = [
    *("deploy", "two.onnx", "--data", "data.npz", "--precision", "fp32", "--batch", "2"),
    *("--cuda-graph", "-o", "bundle"),
]
RUN = ["run", "two", "image=image.npy", "index=index.npy"]


def by_hand(board, folder, *options):
    return subprocess.run(
        [board.python, folder / "runner.py", "image=image.npy", "index=index.npy", "--out", "out", *options],
        capture_output=True,
        text=True,
        env=board.environment,
        cwd=board.root / "home",
        check=False,
    )


@pytest.mark.slow
def test_a_bundle_runs_as_it_was_measured(here, command, tmp_path):
    code, told = command(*DEPLOY, "--measure", "2", "--json", "--quiet")

    assert code == 0, told.err
    done = json.loads(told.out)
    assert (done["cuda_graph"], done["notes"]) == (True, [])
    assert done["verify"]["runtime"].endswith(", as a CUDA graph")
    assert done["measurement"]["conditions"]["cuda_graph"] is True
    assert read_bundle(tmp_path / "bundle").manifest["cuda_graph"] is True
    for engine in ("two", "bundle"):
        for options, graph in (((), True), (("--no-cuda-graph",), False)):
            code, told = command("run", engine, *RUN[2:], "--json", *options)
            assert code == 0, told.err
            assert {entry["cuda_graph"] for entry in json.loads(told.out)} == {graph}
    assert "note: launched as a CUDA graph" in command(*RUN)[1].out
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from runner import open_engine\n"
        "for asked in (None, False): engine = open_engine(cuda_graph=asked); "
        "print(engine.cuda_graph); engine.close()"
    )
    told = subprocess.run(
        [here.python, "-c", program, str(tmp_path / "bundle")],
        capture_output=True,
        text=True,
        env=here.environment,
        check=False,
    )
    assert told.stdout.split() == ["True", "False"], told.stderr


@pytest.mark.slow
def test_a_network_that_cannot_be_recorded_is_deployed_without(here, command, tmp_path):
    here.set("tensorrt", record="wait")
    why = "the engine does what CUDA cannot record in a graph"

    code, told = command(*DEPLOY)

    assert code == 0, told.err
    assert f"note: it runs without a CUDA graph: {why}" in " ".join(told.out.split())
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.manifest["cuda_graph"] is False
    assert "cuda" not in command(*RUN)[1].out.lower()
    assert f"note: launched without a CUDA graph: {why}" in command(*RUN, "--cuda-graph")[1].out
    asked = by_hand(here, bundle.folder, "--cuda-graph")
    assert (asked.returncode, asked.stderr.partition(" (")[0]) == (
        0,
        f"runner.py: without a CUDA graph: {why}",
    )
    assert by_hand(here, bundle.folder).stderr == ""
    code, told = command("deploy", "bundle", "--cuda-graph")
    assert code == 2
    assert "made to run without a CUDA graph; deploy the network anew" in told.err


@pytest.mark.slow
def test_a_benchmark_tells_people_too(here, command):
    here.set("tensorrt", record="refused")

    told = command(
        "bench", "two.onnx", "--mode", "MAXN", "--window", "2", "--precision", "fp32", "--cuda-graph"
    )[1]

    assert "calls were not launched as a CUDA graph: the engine does what CUDA cannot record" in told.out
