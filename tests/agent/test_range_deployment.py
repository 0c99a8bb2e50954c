"""Deploying for a range of batches: built, proved in every size, installed, and run on any number."""

import json
import shutil
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from two_layers import labelled, write_network

import edgesynth
from edgesynth.cli import main
from edgesynth.deploy.bundle import read_bundle
from edgesynth.devices import open_device
from edgesynth.errors import DataError, InputError

TX2 = ["--device", "jetson-tx2", "--link", "local"]


pytestmark = pytest.mark.usefixtures("no_builder")


@pytest.fixture
def data(tmp_path, network):
    return labelled(tmp_path / "data.npz", network, 22)


@pytest.fixture
def command(here, network, data, tmp_path, monkeypatch, capfd):
    """The command line on a board that computes; arrays of several numbers of samples."""
    monkeypatch.chdir(tmp_path)
    here.compute()
    for samples in (1, 5, 21):
        x = np.random.default_rng(samples).normal(size=(samples, 6)).astype(np.float32)
        np.save(f"x{samples}.npy", x)
        np.save(here.root / f"home/x{samples}.npy", x)

    def run(*arguments):
        capfd.readouterr()
        code = main([*map(str, arguments), *TX2])
        return code, capfd.readouterr()

    return run


def expected(network, samples):
    (scores,) = onnxruntime.InferenceSession(network.read_bytes()).run(
        None, {"image": np.load(f"x{samples}.npy")}
    )
    return scores


def by_hand(board, samples):
    """What the bundle's own runner gives on the board."""
    folder = board.root / "home/.local/share/edgesynth/bundles/net/current"
    done = subprocess.run(
        [board.python, folder / "runner.py", f"x{samples}.npy", "--out", "out", "--answer"],
        capture_output=True,
        text=True,
        env=board.environment,
        cwd=board.root / "home",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return np.load(board.root / "home/out/output-0.npy"), told


@pytest.mark.slow
def test_one_engine_is_deployed_and_run_on_any_number_of_samples(here, command, network, tmp_path):
    (tmp_path / "names").write_text("cat\ndog\neel\nfox\n")

    code, told = command(
        *("deploy", "net.onnx", "--data", "data.npz", "--precision", "fp32", "--labels", "names"),
        *("--batch", "1..4..8", "-o", "bundle"),
    )

    assert code == 0, told.err
    said = " ".join(told.out.split())
    assert "batch 1..4..8" in said
    assert "in calls of 1, 4, 6 and 8 samples" in said
    manifest = json.loads((tmp_path / "bundle/manifest.json").read_text())
    assert (manifest["batch"], manifest["batches"]) == (8, [1, 4, 8])
    assert (manifest["key"]["batch"], manifest["key"]["batches"]) == (8, [1, 4, 8])
    processing = json.loads((tmp_path / "bundle/processing.json").read_text())
    assert (processing["batch"], processing["batches"]) == (8, [1, 4, 8])
    assert processing["inputs"]["image"]["shape"] == [8, 6]
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())["engine"]
    assert (proof["samples"], proof["sizes"], proof["passed"]) == (22, [1, 4, 6, 8], True)
    assert command("run", "net", "x21.npy", "-o", "out")[0] == 0
    np.testing.assert_allclose(np.load("out/output-0.npy"), expected(network, 21), rtol=1e-5)
    for samples in (1, 21):
        scores, answers = by_hand(here, samples)
        np.testing.assert_allclose(scores, expected(network, samples), rtol=1e-5)
        assert [answer["sample"] for answer in answers] == list(range(samples))
    here.wait_until_quiet()


@pytest.mark.slow
def test_the_range_goes_with_the_plan_the_bundle_and_the_list(here, command, network):
    deploy = ("deploy", "net.onnx", "--data", "data.npz", "--precision", "fp32", "--batch", "1..4..8")
    assert command(*deploy, "-o", "bundle")[0] == 0
    code, told = command("run", "bundle/engine.plan", "image=x5.npy", "--batch", "1..8", "-o", "out")
    assert code == 0, told.err
    np.testing.assert_allclose(np.load("out/output-0.npy"), expected(network, 5), rtol=1e-5)
    code, told = command("run", "net", "x5.npy", "--cuda-graph")
    assert "launched without a CUDA graph: a graph holds calls of one size" in " ".join(told.out.split())
    code, told = command("deploy", "--list")
    assert "1..4..8" in told.out
    code, told = command("deploy", "bundle", "--data", "data.npz")
    assert code == 0, told.err
    assert "in calls of 1, 4, 6 and 8 samples" in " ".join(told.out.split())
    here.wait_until_quiet()


def test_a_bundle_says_its_range_before_the_engine_is_loaded(here, command):
    assert command("deploy", "net.onnx", "--precision", "fp32", "--batch", "2..8", "-o", "bundle")[0] == 0

    done = subprocess.run(
        [here.python, "bundle/runner.py", "--describe"],
        capture_output=True,
        text=True,
        env=here.environment,
        check=False,
    )

    assert done.stdout.splitlines() == ["input image float32 [2..8]x6", "output scores float32 [2..8]x4"]


def test_the_named_tensors_of_a_newer_tensorrt_do_it_too(here, network, data, tmp_path):
    here.use_python("3.10")
    (here.root / "home/bin/python3").unlink()
    (here.root / "home/bin/python3").symlink_to(here.python)
    here.set("tensorrt", version="10.3.0")
    here.compute()

    with open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(
            network, device, data=data, precision="fp32", batch="2..8", out=tmp_path / "b"
        )

    assert done, done.failures
    assert (done.engine.tensorrt, done.engine.batches) == ("10.3.0", (2, 8, 8))
    assert done.report.sizes == (2, 6, 8)
    assert read_bundle(tmp_path / "b").batches == (2, 8, 8)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.2", pytest.param("8.6", marks=pytest.mark.slow)])
def test_a_board_with_trtexec_alone_is_told_sizes_call_by_call(here, command, network, version):
    shutil.rmtree(here.modules / "tensorrt")
    here.set("trtexec", version=version, call_ms=2.0)

    code, told = command("deploy", "net.onnx", "--data", "data.npz", "--precision", "fp32", "--batch", "1..8")

    assert code == 0, told.err
    assert "in calls of 1, 6 and 8 samples" in " ".join(told.out.split())
    code, told = command("run", "net", "x5.npy", "-o", "out")  # whose name the bundle knows
    assert code == 0, told.err
    np.testing.assert_allclose(np.load("out/output-0.npy"), expected(network, 5), rtol=6e-6, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["tensorrt", "trtexec"])
def test_the_usual_batch_is_measured(here, network, tmp_path, runner):
    here.set("tensorrt", call_ms=2.0)
    here.set("trtexec", call_ms=2.0)
    here.compute()
    if runner == "trtexec":
        shutil.rmtree(here.modules / "tensorrt")

    with open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(
            network, device, precision="fp32", batch="1..4..8", out=tmp_path / "b", window_s=2.0
        )

    assert done, done.failures
    told = json.loads((tmp_path / "b/measurements.json").read_text())
    assert told["status"] in ("ok", "inconclusive"), told  # the machine may be busy
    assert {"batch 4" in metric["source"] for metric in told["metrics"].values()} == {True}
    assert "it is measured in calls of 4 samples, of the 1..4..8 that it takes" in done.notes
    if runner == "trtexec":
        timed = [line for line in here.told("trtexec") if "--exportTimes" in line]
        assert timed
        assert all("--shapes=image:4x6" in line for line in timed)


@pytest.mark.parametrize("size", [*(pytest.param(size, marks=pytest.mark.slow) for size in (1, 4)), 8])
def test_kernels_that_are_wrong_in_one_size_are_not_installed(here, tx2, network, size):
    here.compute(f"size:{size}")

    done = edgesynth.deploy(network, tx2, precision="fp32", batch="1..4..8")

    assert not done
    (failure,) = done.failures
    assert failure.startswith(f"scores: in batch {size}: off by")
    assert done.report.divergence.node == "dense_2"  # looked for in calls of this size


def test_a_batch_that_is_fixed_in_the_file_is_freed_where_that_is_proved(here, tx2, tmp_path):
    import onnx

    fixed = onnx.load(write_network(tmp_path / "free.onnx"))
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(fixed, tmp_path / "three.onnx")

    done = edgesynth.deploy(tmp_path / "three.onnx", tx2, precision="fp32", batch="1..8")

    assert done, done.failures
    assert done.report.samples % 3 == 0
    assert done.report.sizes[-1] == 8


def reshaping(path):
    """A network that has its batch as a number inside."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 2])],
        [numpy_helper.from_array(np.array([2, 3, 2]), "to")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_what_a_range_cannot_be_is_said_before_the_board_is_asked(command, tmp_path):
    reshaping(tmp_path / "inside.onnx")
    for arguments, said in [
        (("net.onnx", "--batch", "8..1"), "--batch takes samples per call, such as 8"),
        (("net.onnx", "--batch", "1..8", "--cuda-graph"), "is launched as a CUDA graph: a CUDA graph holds"),
        (("inside.onnx", "--batch", "1..8"), "the batch is fixed at 2 inside the network"),
        (("net.onnx", "--batch", "1..23", "--data", "data.npz"), "has 22 samples, the largest call takes 23"),
    ]:
        code, told = command(
            "deploy", *arguments, "--device", "jetson-tx2", "--link", "ssh://nowhere.invalid"
        )
        assert code == 2, arguments
        (line,) = told.err.splitlines()
        assert said in line


def test_a_dla_takes_no_range(capfd, network):
    board = ["--device", "jetson-agx-orin", "--link", "ssh://nowhere.invalid"]

    assert main(["deploy", str(network), *board, "--dla", "0", "--batch", "1..8"]) == 2

    assert "a DLA takes layers of fixed sizes only" in capfd.readouterr().err


def test_too_few_samples_and_what_is_no_range_are_said_to_programs_too(here, tx2, network, data):
    with pytest.raises(DataError, match="has 22 samples, the largest call takes 32"):
        edgesynth.deploy(network, tx2, data=data, precision="fp32", batch=(1, 8, 32))
    with pytest.raises(InputError, match="--batch takes samples per call"):
        edgesynth.deploy(network, tx2, batch="8..1")
    assert here.told("builds") == []


@pytest.mark.slow
def test_a_range_wider_than_the_samples_that_are_generated_has_enough_of_them(tx2, network):
    done = edgesynth.deploy(network, tx2, precision="fp32", batch="1..48")

    assert done, done.failures
    assert (done.report.samples, done.report.sizes) == (48, (1, 48))


def test_an_output_that_is_one_per_call_is_proved_for_one_batch_and_refused_for_a_range(
    here, tx2, network, tmp_path
):
    model = onnx.load(network)
    model.graph.node.append(
        onnx.helper.make_node("ReduceMean", ["scores"], ["mean"], name="mean", keepdims=0)
    )
    model.graph.output.append(onnx.helper.make_tensor_value_info("mean", onnx.TensorProto.FLOAT, []))
    onnx.save(model, tmp_path / "mean.onnx")

    with pytest.raises(InputError, match=r"output 'mean' .* needs a row for each; give one --batch"):
        edgesynth.deploy(tmp_path / "mean.onnx", tx2, precision="fp32", batch="1..4")
    assert here.told("builds") == []
    done = edgesynth.deploy(tmp_path / "mean.onnx", tx2, precision="fp32", batch=4)

    assert done, done.failures
    assert [check.name for check in done.report.outputs] == ["scores", "mean"]
