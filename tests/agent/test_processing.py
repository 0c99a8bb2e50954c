"""What a bundle says of inputs and outputs is what its engine has, on whatever runs it."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgesynth
from edgesynth.deploy import rtx
from edgesynth.deploy.bundle import EngineKey, read_bundle, write_bundle
from edgesynth.deploy.processing import input_names, output_dtypes

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from runner import open_engine, read_processing
engine = open_engine()
feed = {"image": bytes(4 * 2 * 6), "index": bytes(4 * 2)}
formats = {"f": "float32", "i": "int32", "q": "int64", "?": "bool"}
found = {name: [formats[memoryview(value).format], list(memoryview(value).shape)]
         for name, value in engine.infer(feed).items()}
print(json.dumps([found, read_processing()["outputs"]]))
engine.close()
"""


@pytest.fixture
def network(tmp_path):
    """Two inputs and three outputs of several types."""
    value = helper.make_tensor_value_info
    table = onnx.numpy_helper.from_array(
        np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32), "table"
    )
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "index"], ["row"], axis=0),
            helper.make_node("Add", ["image", "row"], ["sum"]),
            helper.make_node("ArgMax", ["sum"], ["best"], axis=1, keepdims=0),
            helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        ],
        "types",
        [value("image", TensorProto.FLOAT, ["batch", 6]), value("index", TensorProto.INT64, ["batch"])],
        [
            value("sum", TensorProto.FLOAT, ["batch", 6]),
            value("best", TensorProto.INT64, ["batch"]),
            value("positive", TensorProto.BOOL, ["batch", 6]),
        ],
        [table, zero],
    )
    path = tmp_path / "types.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def deployed(here, network, tmp_path, monkeypatch):
    """Deploys to the board as it is then; returns the bundle, and what it says."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")
    here.compute()

    def deploy():
        with edgesynth.open_device("jetson-tx2", link="local") as device:
            done = edgesynth.deploy(network, device, precision="fp32", batch=2, out=tmp_path / "bundle")
        assert done, done.failures
        return tmp_path / "bundle", json.loads((tmp_path / "bundle/processing.json").read_text())

    return deploy


EXPECTED = {"sum": ["float32", [2, 6]], "best": ["int32", [2]], "positive": ["bool", [2, 6]]}


@pytest.mark.parametrize("version", ["8.2.1", pytest.param("10.3.0", marks=pytest.mark.slow)])
def test_types_and_shapes_are_those_of_the_engine(here, deployed, version):
    here.set("tensorrt", version=version)

    bundle, said = deployed()

    assert said["batch"] == 2
    assert said["pictures"] is None  # nothing but arrays was given
    assert {name: [known["dtype"], known["shape"]] for name, known in said["outputs"].items()} == EXPECTED
    assert {name: (known["dtype"], known["type"]) for name, known in said["inputs"].items()} == {
        "image": ("float32", "tensor(float)"),
        "index": ("int32", "tensor(int64)"),  # the fake TensorRT has 32 bits in every release
    }
    assert {known["batch_axis"] for known in (*said["inputs"].values(), *said["outputs"].values())} == {0}
    assert output_dtypes(read_bundle(bundle)) == {name: kind for name, (kind, _) in EXPECTED.items()}
    assert input_names(read_bundle(bundle)) == ("image", "index")
    installed = here.root / "home/.local/share/edgesynth/bundles/types/current"
    ran = start(here, "-c", PROGRAM, installed)
    assert ran.returncode == 0, ran.stderr
    found, read = json.loads(ran.stdout)
    assert found == EXPECTED
    assert read == said["outputs"]

    (here.modules / "tensorrt/__init__.py").write_text("raise ImportError('not to be loaded')")
    told = start(here, installed / "runner.py", "--describe")
    assert told.stdout.splitlines() == [
        "input image float32 [2]x6",
        "input index int32 [2]",
        "output sum float32 [2]x6",
        "output best int32 [2]",
        "output positive bool [2]x6",
    ], told.stderr


def start(board, *command):
    return subprocess.run(
        [board.python, *map(str, command)], capture_output=True, text=True, env=board.environment, check=False
    )


@pytest.mark.parametrize("version", ["8.2", pytest.param("10.3", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_trtexec_alone_tells_them_too(here, deployed, version):
    shutil.rmtree(here.modules / "tensorrt")
    here.set("trtexec", version=version)

    _, said = deployed()

    assert {name: [known["dtype"], known["shape"]] for name, known in said["outputs"].items()} == EXPECTED
    assert said["inputs"]["index"]["dtype"] == "int32"


def earlier(tmp_path: Path, texts):
    """A bundle as it was written before types were told, with a runner of today."""
    for name in ("plan", "net.onnx"):
        (tmp_path / name).write_text("x")
    key = EngineKey(onnx="0", tensorrt="8.2.1", gpu="tegra186", precision="fp32", batch=1)
    files = {"engine.plan": tmp_path / "plan", "network.onnx": tmp_path / "net.onnx"}
    return write_bundle(tmp_path / "old", "net", key, device="jetson-tx2", files=files, texts=texts)


def test_bundles_without_types_are_read(board, tmp_path):
    inputs = {"image": {"type": "tensor(float)", "shape": [1, 6]}}
    bundle = earlier(tmp_path, {"processing.json": {"inputs": inputs, "outputs": ["one", "two"]}})

    assert (input_names(bundle), output_dtypes(bundle)) == (("image",), {})
    program = "import runner; print(runner.read_processing()['outputs'], runner.read_labels())"
    read = subprocess.run(
        [board.python, "-c", program], cwd=bundle.folder, capture_output=True, text=True, check=False
    )
    assert read.stdout == "{'one': {}, 'two': {}} []\n", read.stderr
    told = start(board, bundle.folder / "runner.py", "--describe")
    assert told.stdout.splitlines() == [
        "input image tensor(float) 1x6",
        "output one of unknown type",
        "output two of unknown type",
    ]


def test_a_bundle_that_says_nothing_is_told_so(board, tmp_path):
    bundle = earlier(tmp_path, {})

    assert (input_names(bundle), output_dtypes(bundle)) == ((), {})
    told = start(board, bundle.folder / "runner.py", "--describe")
    assert (told.returncode, told.stderr) == (
        1,
        "runner.py: this bundle has no processing.json that says what goes in and comes out\n",
    )
    nothing = start(board, bundle.folder / "runner.py")
    assert nothing.returncode == 2
    assert "give a .npy file per input, or --describe" in nothing.stderr
