"""From a network to a verified engine on a board that computes, and every way in which that may go wrong."""

import hashlib
import json
import shutil

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from two_layers import CLASSES, labelled, write_network

import edgesynth
from edgesynth.cli.export import verification_rows
from edgesynth.deploy.bundle import read_bundle
from edgesynth.deploy.installation import list_bundles, remove_bundle, roll_back
from edgesynth.devices.half import to_half
from edgesynth.errors import DeviceError, InputError
from edgesynth.tasks import ClassificationTask, TensorSamples

pytestmark = pytest.mark.usefixtures("no_builder")


@pytest.fixture
def much_data(tmp_path, network):
    """So many of them that a precision that changes no answer can be told to keep the score."""
    return labelled(tmp_path / "much.npz", network, 400)


def test_a_network_is_built_verified_and_installed(here, tx2, network, much_data, tmp_path):
    options = {"labels": CLASSES, "batch": 20, "precision": "fp16", "out": tmp_path / "bundle"}
    done = edgesynth.deploy(network, tx2, data=much_data, **options)

    assert done, done.failures
    assert done.failures == ()
    assert (done.report.metric, done.report.reference_metric, done.report.samples) == (1.0, 1.0, 400)
    assert done.report.acceptance.verdict == "accepted"
    assert done.notes == done.passed_over == ()
    assert done.gain is None  # it was asked for by name
    assert done.report.runtime == "TensorRT 8.2.1 on local, tegra186"
    assert (done.engine.kept, done.engine.batch, done.engine.facts["workspace_mb"]) == (False, 20, 256)
    bundle = read_bundle(done.bundle)
    assert set(bundle.files) == {
        *("engine.plan", "network.onnx", "runner.py", "labels.json", "processing.json"),
        *("verification.json", "manifest.json"),
    }
    key = bundle.manifest["key"]
    assert key["module"] == "TX2, 2 multiprocessors"
    written = (bundle.folder / "network.onnx").read_bytes()
    assert (key["onnx"], key["batch"]) == (hashlib.sha256(written).hexdigest(), 20)
    assert (key["tensorrt"], key["gpu"], key["precision"], key["flags"]) == (
        "8.2.1",
        "tegra186",
        "fp16",
        ["FP16"],
    )
    assert json.loads((bundle.folder / "labels.json").read_text()) == list(CLASSES)
    processing = json.loads((bundle.folder / "processing.json").read_text())
    assert processing["postprocessing"] == {"kind": "classification", "axis": 1}
    assert processing["outputs"] == {
        "scores": {
            "dtype": "float32",
            "shape": [20, 4],
            "batch_axis": 0,
            "type": "tensor(float)",
            "meaning": "a logit per class, the largest is the answer: [batch, class]",
        }
    }
    proof = json.loads((bundle.folder / "verification.json").read_text())
    assert proof["engine"]["passed"] is True
    assert proof["engine"]["acceptance"]["verdict"] == "accepted"
    assert proof["export"]["passed"] is True
    (installed,) = list_bundles(tx2.board)
    assert (installed.name, installed.problem, installed.before) == ("net", "", "")
    for name in bundle.files:
        on_board = (here.root / "home/.local/share/edgesynth/bundles/net/current" / name).read_bytes()
        assert on_board == (bundle.folder / name).read_bytes()
    assert done.to_json()["passed"] is True
    here.wait_until_quiet()


@pytest.mark.slow
def test_half_precision_that_few_samples_cannot_decide_on_is_left_for_single(
    here, tx2, network, data, tmp_path
):
    done = edgesynth.deploy(network, tx2, data=data, batch=2, out=tmp_path / "bundle")

    assert done, done.failures
    assert (done.delivery.export.precision, done.report.samples) == ("fp32", 12)
    (tried,) = done.passed_over
    assert (tried.precision, tried.verdict, tried.better, tried.worse) == ("fp16", "undecided", 0, 0)
    assert tried.interval == pytest.approx((-0.2425, 0.2425), abs=1e-3)
    (note,) = done.notes
    assert note.startswith("fp16 was not chosen, it computes in fp32: whether fp16 keeps the task's score")
    assert "95 % interval -24.2 to +24.2, and may lose 1" in note
    assert note.endswith(
        "fp32 stays; about 390 samples would decide it: give them with --data and --samples 390"
    )
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())
    assert proof["passed_over"][0]["says"] in note
    assert proof["engine"]["acceptance"]["refused"] is False
    assert read_bundle(tmp_path / "bundle").manifest["key"]["precision"] == "fp32"
    assert len(here.told("builds")) == 2


def test_half_precision_that_was_asked_for_is_installed_with_a_warning_where_samples_are_too_few(
    tx2, network, data, tmp_path
):
    done = edgesynth.deploy(network, tx2, data=data, precision="fp16", out=tmp_path / "bundle")

    assert done, done.failures
    assert done.delivery.export.precision == "fp16"
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())["engine"]["acceptance"]
    assert (proof["verdict"], proof["refused"], proof["samples"]) == ("undecided", False, 12)
    assert "fp16 is used because it was asked for; about 390 samples would decide it" in proof["says"]
    rows = [row for row in verification_rows(done.report, done.delivery.data) if row[1] == "undecided"]
    assert rows == [["", "undecided", proof["says"]]]


@pytest.mark.slow
def test_a_second_time_the_engine_is_there_already_and_the_first_one_can_come_back(tx2, network):
    first, second = (edgesynth.deploy(network, tx2, precision="fp16") for _ in range(2))

    assert (first.engine.kept, second.engine.kept) == (False, True)
    assert (second.installed.version, second.installed.before) == ("0002", "0001")
    back = roll_back(tx2.board, "net")
    assert (back.version, back.before, back.problem) == ("0001", "", "")
    with pytest.raises(DeviceError, match="no earlier version of 'net'"):
        roll_back(tx2.board, "net")
    remove_bundle(tx2.board, "net")
    assert list_bundles(tx2.board) == ()
    with pytest.raises(DeviceError, match="no bundle 'net' is installed here; there is none"):
        remove_bundle(tx2.board, "net")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param("weights", "scores: off by", marks=pytest.mark.slow),
        pytest.param("channels", "scores: off by", marks=pytest.mark.slow),
        pytest.param("normalisation", "scores: off by", marks=pytest.mark.slow),
        ("nan", "scores: 1 values are NaN, first in sample 1"),
    ],
)
@pytest.mark.slow
def test_an_engine_that_computes_something_else_is_not_installed(here, tx2, network, data, fault, said):
    here.compute(fault)

    done = edgesynth.deploy(network, tx2, data=data)

    assert not done
    assert [failure for failure in done.failures if said in failure]
    assert done.report.samples == 12
    assert list_bundles(tx2.board) == ()


def test_where_an_engine_goes_wrong_is_found_on_the_board(here, tx2, network):
    here.compute("weights")  # of the largest layer, which is the first

    done = edgesynth.deploy(network, tx2, precision="fp16")

    assert (done.report.divergence.node, done.report.divergence.operator) == ("dense_1", "MatMul")
    assert done.report.divergence.error == pytest.approx(0.1, rel=0.01)


@pytest.mark.slow
def test_the_layer_behind_an_output_is_named_where_all_before_it_agree(here, tx2, tmp_path):
    here.compute("weights")  # of the largest layer, which is the last

    done = edgesynth.deploy(write_network(tmp_path / "wide.onnx", classes=40), tx2, precision="fp32")

    assert (done.report.divergence.node, done.report.divergence.operator) == ("dense_2", "MatMul")
    assert done.report.divergence.tensor == "scores"


@pytest.mark.slow
def test_an_overflow_of_half_precision_is_caught_and_located(here, tx2, tmp_path):
    here.compute("half")  # the arithmetic is NumPy's own in half precision

    fine = edgesynth.deploy(write_network(tmp_path / "fine.onnx"), tx2, precision="fp16")
    done = edgesynth.deploy(write_network(tmp_path / "large.onnx", scale=1e5), tx2, precision="fp16")

    assert fine, fine.failures
    assert not done
    assert done.passed_over == ()
    assert done.report.divergence.node in ("dense_1", "relu_1")


@pytest.mark.slow
def test_half_precision_that_overflows_is_left_for_single_when_nobody_asked_for_it(here, tx2, tmp_path):
    here.compute("half", "flagged")
    network = write_network(tmp_path / "large.onnx", scale=1e5)

    done = edgesynth.deploy(network, tx2, out=tmp_path / "bundle")

    assert done, done.failures
    assert (done.delivery.export.precision, len(here.told("builds"))) == ("fp32", 3)  # and one with taps
    (tried,) = done.passed_over
    assert tried.precision == "fp16"
    assert "scores: " in tried.failures[0]
    (note,) = done.notes
    assert note == f"fp16 was not chosen, it computes in fp32: {tried.says}"
    assert tried.where.startswith(("dense_1", "relu_1"))
    proof = json.loads((tmp_path / "bundle/verification.json").read_text())
    assert proof["passed_over"] == [tried.to_json()]


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({"build": "memory"}, "could not be built (out_of_memory): out of memory"),
        pytest.param(
            {"crash_at": 1}, "it does not run: the run crashed with SIGSEGV", marks=pytest.mark.slow
        ),
    ],
    ids=["memory", "crash when run"],
)
def test_a_build_or_a_run_that_fails_says_which_and_why(here, tx2, network, control, said):
    here.set("tensorrt", **control)

    done = edgesynth.deploy(network, tx2)

    assert not done
    assert said in done.failures[0]
    assert list_bundles(tx2.board) == ()


def test_a_file_in_half_precision_is_deployed_as_what_it_is_and_as_nothing_else(here, tx2, network, tmp_path):
    onnx.save(to_half(onnx.load(network), ())[0], tmp_path / "half.onnx")

    done = edgesynth.deploy(tmp_path / "half.onnx", tx2)

    assert done, done.failures
    assert done.delivery.export.precision == "fp16"
    with pytest.raises(InputError, match=r"half\.onnx computes in fp16 itself; ask for that"):
        edgesynth.deploy(tmp_path / "half.onnx", tx2, precision="fp32")
    assert len(here.told("builds")) == 1


def test_what_the_pre_flight_refuses_never_gets_to_the_board(here, tx2, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="the_det")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        tmp_path / "det.onnx",
    )

    done = edgesynth.deploy(tmp_path / "det.onnx", tx2)

    assert not done
    assert "the_det (Det)" in done.failures[0]
    assert done.engine is None
    assert here.told("builds") == []


@pytest.mark.slow
@pytest.mark.parametrize("version", [pytest.param("10.16.1.11", marks=pytest.mark.slow), "11.1.0.106"])
def test_the_tensorrt_that_is_there_decides_and_not_the_one_of_the_profile(here, network, version):
    here.set("tensorrt", version=version)
    here.compute()

    with edgesynth.open_device("jetson-tx2", link="local") as device:
        done = edgesynth.deploy(network, device, precision="fp16")

    assert done, done.failures
    assert done.delivery.export.strongly_typed
    assert done.delivery.preflight.tensorrt == done.engine.tensorrt == version
    told = json.loads(here.told("builds")[0])
    assert (told["typed"], told["flags"]) == (True, [])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["cat"]}, "there are 1 labels for 4 outputs"),
        ({"precision": "int8"}, "int8"),
        ({"name": "../x"}, "a bundle's name has letters"),
        ({"data": "nowhere.npz"}, "there is no file nowhere.npz"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_is_built(here, tx2, network, options, said):
    with pytest.raises(InputError, match=said):
        edgesynth.deploy(network, tx2, **options)

    assert here.told("builds") == []


def test_a_module_is_told_to_be_exported_first(tx2):
    with pytest.raises(
        InputError, match=r"a Linear is no network .* edgesynth\.export_onnx and give the file"
    ):
        edgesynth.deploy(torch.nn.Linear(1, 1), tx2)


def test_labels_are_those_of_the_data_in_their_order(here, tx2, network, tmp_path):
    generator = torch.Generator().manual_seed(0)
    splits = {
        split: TensorSamples(torch.randn(12, 6, generator=generator), torch.arange(12) % 4)
        for split in ("train", "validation", "test")
    }
    task = ClassificationTask("animals (generated)", classes=CLASSES, **splits)

    with pytest.raises(
        InputError, match=r"label 0 is 'dog', and animals \(generated\) calls that class 'cat'"
    ):
        edgesynth.deploy(network, tx2, data=task, labels=("dog", "cat", "eel", "fox"))
    assert here.told("builds") == []
    done = edgesynth.deploy(network, tx2, data=task, precision="fp32", out=tmp_path / "bundle")
    assert done, done.failures
    assert json.loads((tmp_path / "bundle/labels.json").read_text()) == list(CLASSES)


def test_the_module_that_the_file_was_written_from_is_compared_too(here, tx2, network):
    done = edgesynth.deploy(network, tx2, precision="fp32", module=torch.nn.Linear(6, 4))

    assert not done
    assert done.delivery.report
    assert "scores: off by" in done.delivery.module_report.failures[0]
    assert here.told("builds") == []


@pytest.mark.slow
def test_a_generated_network_goes_with_its_recipe_and_its_task(here, tx2, tmp_path, network):
    from edgesynth.deploy.samples import Samples
    from edgesynth.tasks import load_task

    class Generated:
        def save(self, directory):
            directory.mkdir()
            shutil.copy(network, directory / "network.onnx")
            (directory / "recipe.json").write_text("{}")
            return {"onnx": "network.onnx", "recipe": "recipe.json"}

    done = edgesynth.deploy(Generated(), tx2, name="seed-7", precision="fp16", out=tmp_path / "bundle")

    assert done.installed.name == "seed-7"
    assert (tmp_path / "bundle/recipe.json").read_text() == "{}"
    assert isinstance(done.delivery.samples, Samples)
    task = load_task("fashion-mnist-subset")
    with pytest.raises(InputError, match="does not fit the input"):
        edgesynth.deploy(Generated(), tx2, data=task, precision="fp16")


@pytest.mark.slow
def test_the_figures_of_the_engine_itself_go_into_the_bundle(here, tx2, network, tmp_path):
    here.set("tensorrt", call_ms=2.0)
    here.set("nvpmodel", keeps=False)

    done = edgesynth.deploy(network, tx2, precision="fp16", out=tmp_path / "bundle", window_s=2.0)

    assert done.installed is not None
    told = json.loads((tmp_path / "bundle/measurements.json").read_text())
    assert told["network"] == "net"
    assert told["status"] == done.measurement.status
    assert len(here.told("builds")) == 1  # what was measured is what was built and verified


def test_a_simulated_board_builds_nothing(network):
    with (
        edgesynth.open_device("jetson-tx2", link="simulated") as device,
        pytest.raises(InputError, match="builds no TensorRT engine"),
    ):
        edgesynth.deploy(network, device)
