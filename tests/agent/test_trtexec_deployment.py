"""Deploying to a board whose Python has no TensorRT."""

import json
import shutil

import pytest

import edgesynth
from edgesynth.agent.errors import Refusal
from edgesynth.agent.manifest import check_fit
from edgesynth.deploy.installation import list_bundles
from edgesynth.errors import DeviceError

pytestmark = pytest.mark.usefixtures("no_builder")


@pytest.fixture
def trtexec_alone(here):
    """The board's Python has no TensorRT; its trtexec computes."""
    shutil.rmtree(here.modules / "tensorrt")
    here.compute()
    with edgesynth.open_device("jetson-tx2", link="local") as device:
        yield device


@pytest.mark.slow
@pytest.mark.parametrize(("version", "rounding"), [("8.2", 5e-6), ("10.3", 0.0)])
def test_a_board_with_trtexec_alone_verifies_and_installs(
    here, trtexec_alone, network, data, tmp_path, version, rounding
):
    here.set("trtexec", version=version)

    done = edgesynth.deploy(network, trtexec_alone, data=data, precision="fp32", batch=4, out=tmp_path / "b")

    assert done, done.failures
    assert (done.engine.runner, done.report.samples, done.report.metric) == ("trtexec", 12, 1.0)
    assert done.report.rounding == pytest.approx(rounding)
    (check,) = done.report.outputs
    assert (check.max_abs > 1e-7 * check.scale) == bool(rounding)  # the decimals did round
    assert ("9.5e-05 of the largest may differ instead of 0.0001" in done.report.rounding_note) == bool(
        rounding
    )
    (note,) = done.notes
    assert "runner.py needs TensorRT for Python, which this board lacks" in note
    proof = json.loads((tmp_path / "b/verification.json").read_text())["engine"]
    assert (proof["rounding"], proof["rounding_note"]) == (done.report.rounding, done.report.rounding_note)
    (installed,) = list_bundles(trtexec_alone.board)
    assert (installed.problem, installed.manifest["key"]["tensorrt"]) == ("", done.engine.tensorrt)
    assert edgesynth.deploy(tmp_path / "b", trtexec_alone).notes == done.notes  # the bundle, brought again
    here.wait_until_quiet()


@pytest.mark.slow
def test_trtexec_that_computes_something_else_is_not_believed(here, trtexec_alone, network, data):
    here.compute("weights")

    done = edgesynth.deploy(network, trtexec_alone, data=data, precision="fp32", batch=6)

    assert not done
    assert "scores: off by" in done.failures[0]
    assert (done.report.divergence.node, done.report.divergence.operator) == ("dense_1", "MatMul")
    assert done.notes == ()
    assert list_bundles(trtexec_alone.board) == ()


def test_a_board_whose_trtexec_gives_no_outputs_is_refused(here, trtexec_alone, network):
    here.set("trtexec", lacks=["exportOutput"])

    with pytest.raises(DeviceError, match="sudo apt install python3-libnvinfer"):
        edgesynth.deploy(network, trtexec_alone, precision="fp16")


@pytest.mark.parametrize(("here_is", "fits"), [("8.2.1.8", True), ("8.2.2", False)])
def test_a_bundle_of_trtexec_fits_the_same_tensorrt_of_python(here_is, fits):
    manifest = {"name": "net", "key": {"tensorrt": "8.2.1", "gpu": "tegra186"}}

    if fits:
        check_fit(manifest, here_is, "tegra186")
    else:
        with pytest.raises(Refusal, match=r"was built for TensorRT 8\.2\.1, here is 8\.2\.2"):
            check_fit(manifest, here_is, "tegra186")
