"""The one file that a bundle brings along: it runs the engine where there is no edgesynth at all."""

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from two_inputs import build, feed, write_network

from edgesynth.deploy.bundle import read_bundle
from edgesynth.deploy.processing import input_names
from edgesynth.deploy.standalone import standalone_runner
from edgesynth.errors import InputError

PROGRAM = """
import array, json, sys
sys.path.insert(0, sys.argv[1])
from runner import open_engine, read_labels, Refusal
engine = open_engine()
image = array.array("f", [float(i) for i in range(12)])
index = array.array("i", [3, 4])
found = engine.infer({"image": image, "index": index})
for wrong in (image[:6], array.array("d", image), 7):
    try:
        engine.infer({"image": wrong, "index": index})
    except Refusal as refusal:
        print(refusal.reason, file=sys.stderr)
print(json.dumps([read_labels(), {name: list(map(list, value.tolist())) for name, value in found.items()}]))
engine.close()
"""


@pytest.fixture
def network(tmp_path):
    return write_network(tmp_path / "two.onnx")


@pytest.fixture
def bundle(release, network):
    """A bundle of a network with two inputs, in batch 2."""
    release.compute()
    folder = release.root / "home/bundle"
    folder.mkdir()
    plan = Path(build(release, network, 2))
    (folder / "engine.plan").write_bytes(plan.read_bytes())
    (folder / "labels.json").write_text('["cat", "dog"]')
    (folder / "runner.py").write_text(standalone_runner())
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    key = {"tensorrt": release.control["tensorrt"]["version"], "gpu": "tegra186"}
    manifest = {"format": 1, "name": "net", "batch": 2, "key": key, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def start(board, *command):
    return subprocess.run(
        [board.python, *map(str, command)],
        capture_output=True,
        text=True,
        env=board.environment,
        cwd=board.root / "home",
        check=False,
    )


def test_it_runs_files_and_serves_programs_on_every_board(release, bundle, network):
    data = feed(4)
    for name, value in data.items():
        np.save(release.root / f"home/{name}.npy", value)

    by_hand = start(
        release,
        bundle / "runner.py",
        "image=image.npy",
        "index=index.npy",
        "--out",
        release.root / "home/out",
    )
    imported = start(release, "-c", PROGRAM, bundle)

    assert by_hand.returncode == 0, by_hand.stderr
    session = onnxruntime.InferenceSession(network.read_bytes())
    for line, expected in zip(by_hand.stdout.splitlines(), session.run(None, data), strict=True):
        name, shape, path = line.split()
        assert (name, shape) in (("sum", "4x6"), ("relu", "4x6"))
        np.testing.assert_allclose(np.load(path), expected, rtol=1e-6)
    assert imported.returncode == 0, imported.stderr
    labels, found = json.loads(imported.stdout)
    image = np.arange(12, dtype=np.float32).reshape(2, 6)
    expected = session.run(["sum"], {"image": image, "index": np.array([3, 4])})[0]
    assert labels == ["cat", "dog"]
    np.testing.assert_allclose(found["sum"], expected, rtol=1e-6)
    said = imported.stderr.splitlines()
    assert said[0] == "input 'image' is 6 of type 'f'; the engine takes 2x6 of FLOAT"
    assert said[1] == "input 'image' is 12 of type 'd'; the engine takes 2x6 of FLOAT"
    assert "input 'image' is no array" in said[2]


def test_what_does_not_fit_is_refused_in_one_line(board):
    folder = board.root / "home/bundle"
    folder.mkdir()
    (folder / "runner.py").write_text(standalone_runner())
    (folder / "engine.plan").write_text("plan")

    def entry(name):
        text = (folder / name).read_bytes()
        return {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}

    manifest = {
        "format": 1,
        "name": "net",
        "batch": 1,
        "key": {"tensorrt": "8.2.1", "gpu": "tegra194"},
        "files": {name: entry(name) for name in ("runner.py", "engine.plan")},
    }
    for change, said in [
        ({}, "built for GPU tegra194, here is tegra186"),
        ({"key": {"tensorrt": "10.3.0", "gpu": "tegra186"}}, "built for TensorRT 10.3.0, here is 8.2.1"),
        ({"key": {"tensorrt": "8.2.1", "gpu": "tegra186"}}, "cannot load"),
        ({"files": {}}, "does not list its files"),
    ]:
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        done = start(board, folder / "runner.py", "x.npy")
        assert done.returncode == 1
        assert done.stderr.startswith("runner.py: ")
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_python_without_tensorrt_and_a_folder_that_cannot_be_written_are_one_line(release, bundle):
    for name, value in feed(2).items():
        np.save(release.root / f"home/{name}.npy", value)
    command = (bundle / "runner.py", "image=image.npy", "index=index.npy", "--out")
    (release.root / "home/taken").write_text("a file")

    taken = start(release, *command, "taken")
    twice = start(release, bundle / "runner.py", "image.npy", "index.npy")
    shutil.rmtree(release.modules / "tensorrt")
    without = start(release, *command, "out")

    assert (taken.returncode, taken.stderr) == (1, "runner.py: taken: File exists\n")
    assert twice.stderr == ("runner.py: give one file per input, as NAME=FILE.npy where there are several\n")
    assert without.returncode == 1
    assert without.stderr.startswith("runner.py: this Python cannot import tensorrt (")
    assert "sudo apt install python3-libnvinfer" in without.stderr


@pytest.mark.parametrize(("text", "said"), [("{", "cannot be read"), ("[1]", "is no JSON dict; deploy anew")])
def test_a_document_that_is_no_json_is_said_whatever_its_checksum(board, text, said):
    folder = board.root / "home/bundle"
    folder.mkdir()
    for name, content in (("runner.py", standalone_runner()), ("processing.json", text), ("engine.plan", "")):
        (folder / name).write_text(content)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    manifest = {"format": 1, "name": "net", "batch": 1, "key": {}, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    told = start(board, folder / "runner.py", "--describe")
    assert told.returncode == 1
    assert said in told.stderr
    with pytest.raises(InputError, match=r"processing\.json"):
        input_names(read_bundle(folder))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "batch": "one"}))
    with pytest.raises(InputError, match="does not list its files, or no batch"):
        read_bundle(folder)


def test_it_needs_nothing_of_ours_and_says_how_it_is_used():
    text = standalone_runner()
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in (node.names if isinstance(node, ast.Import) else [ast.alias(str(node.module))])
    }
    assert imported - {"tensorrt", "pycuda", "numpy"} <= set(sys.stdlib_module_names)
    assert "open_engine" in str(ast.get_docstring(ast.parse(text)))
    assert text == standalone_runner()


def test_numpy_arrays_come_out_where_numpy_is(board, network):
    """This Python has NumPy; those of the other tests have none."""
    board.compute()
    plan = build(board, network, 2)
    (board.root / "home/runner.py").write_text(standalone_runner())
    code = (
        "import numpy, runner, sys\n"
        f"engine = runner.Engine({plan!r}, 2)\n"
        "image = numpy.ones((6, 2), numpy.float32).T\n"  # not contiguous
        "found = engine.infer({'image': image, 'index': numpy.array([0, 1], numpy.int32)})\n"
        "print(type(found['sum']).__name__, found['sum'].dtype, found['sum'].shape)"
    )
    done = start(board, "-c", code)

    assert done.stdout.split(maxsplit=2) == ["ndarray", "float32", "(2, 6)\n"], done.stderr


def test_it_says_what_the_outputs_mean(release, bundle):
    """By hand and in a program; a bundle that does not say is told apart."""
    data = feed(2)
    for name, value in data.items():
        np.save(release.root / f"home/{name}.npy", value)
    command = (bundle / "runner.py", "image=image.npy", "index=index.npy", "--answer")
    unknown = start(release, *command)
    assert unknown.returncode == 1
    assert "not given in processing.json" in unknown.stderr

    text = json.dumps(
        {
            "outputs": ["sum", "relu"],
            "postprocessing": {"kind": "classification", "axis": 1},
        }
    )
    (bundle / "processing.json").write_text(text)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"]["processing.json"] = {
        "bytes": len(text),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refused = start(release, *command)
    assert "one output with 2 axes is needed; there are sum 2x6, relu 2x6" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_runner_of_a_bundle_refuses_another_module(board):
    folder = board.root / "home/bundle"
    folder.mkdir()
    (folder / "runner.py").write_text(standalone_runner())
    (folder / "engine.plan").write_text("plan")
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    key = {"tensorrt": "8.2.1", "gpu": "tegra186", "module": "TX2 NX, 2 multiprocessors"}
    manifest = {"format": 1, "name": "net", "batch": 1, "key": key, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))

    done = start(board, folder / "runner.py", "x.npy")

    assert done.returncode == 1
    assert "built for the module TX2 NX, 2 multiprocessors, here is TX2, 2 multiprocessors" in done.stderr
