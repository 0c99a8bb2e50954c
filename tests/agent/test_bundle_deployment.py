"""A bundle that is there already goes to a board again, if it is whole, of that board, and right on it."""

import hashlib
import json
import shutil

import pytest
from two_layers import labelled, write_network

import edgesynth
from edgesynth.deploy.installation import list_bundles
from edgesynth.errors import DeviceError, InputError

pytestmark = pytest.mark.usefixtures("no_builder")


@pytest.mark.slow
def test_a_bundle_goes_to_a_board_again_unless_it_is_damaged_or_of_another(here, tx2, network, tmp_path):
    edgesynth.deploy(network, tx2, precision="fp16", out=tmp_path / "bundle")
    again = edgesynth.deploy(tmp_path / "bundle", tx2)
    assert (again.installed.version, again.installed.before) == ("0002", "0001")
    assert (again.report.samples, again.report.precision, again.engine.kept) == (32, "fp16", True)

    here.set("tensorrt", version="8.0.1")
    with pytest.raises(DeviceError, match=r"built for TensorRT 8\.2\.1, here is 8\.0\.1"):
        edgesynth.deploy(tmp_path / "bundle", tx2)
    here.set("tensorrt", version="8.2.1")
    here.write("proc/device-tree/compatible", "nvidia,p3509\0nvidia,tegra194\0")
    with pytest.raises(DeviceError, match="built for GPU tegra186, here is tegra194"):
        edgesynth.deploy(tmp_path / "bundle", tx2)
    here.write("proc/device-tree/compatible", "nvidia,quill\0nvidia,tegra186\0")
    plan = tmp_path / "bundle/engine.plan"
    plan.write_bytes(plan.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"engine\.plan has \d+ bytes of \d+"):
        edgesynth.deploy(tmp_path / "bundle", tx2)

    assert [bundle.version for bundle in list_bundles(tx2.board)] == ["0002"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut", "weights", "exchanged"])
def test_a_bundle_whose_engine_is_wrong_on_the_board_is_not_installed(here, tx2, network, tmp_path, fault):
    """Checksums prove that nothing changed on the way, and not that it was right when it left."""
    done = edgesynth.deploy(network, tx2, precision="fp32", out=tmp_path / "bundle")
    plan = tmp_path / "bundle/engine.plan"
    if fault == "weights":
        here.compute("weights")
    elif fault == "cut":
        plan.write_bytes(plan.read_bytes()[:40])
    else:
        other = write_network(tmp_path / "other.onnx", seed=1)
        edgesynth.deploy(other, tx2, precision="fp32", out=tmp_path / "other")
        shutil.copy(tmp_path / "other/engine.plan", plan)
    write_checksum(tmp_path / "bundle", "engine.plan")

    again = edgesynth.deploy(tmp_path / "bundle", tx2)

    assert not again
    (said,) = again.failures
    assert ("TensorRT 8.2.1 cannot load engine.plan" if fault == "cut" else "scores: off by") in said
    (found,) = list_bundles(tx2.board, "net")
    assert (found.version, found.problem) == (done.installed.version, "")


def write_checksum(bundle, name):
    """The manifest as whoever made the bundle would have written it."""
    payload, manifest = (bundle / name).read_bytes(), json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.slow
def test_where_the_engine_of_a_bundle_goes_wrong_is_looked_for_with_the_layers_kept_that_it_has(
    here, tx2, tmp_path
):
    network = write_network(tmp_path / "large.onnx", scale=1e5)
    data = labelled(tmp_path / "data.npz", network, 12)
    done = edgesynth.deploy(network, tx2, precision="fp16", data=data, out=tmp_path / "bundle")
    assert done, done.failures
    (first,) = map(json.loads, here.told("builds"))
    assert first["full"]
    here.compute("weights")

    again = edgesynth.deploy(tmp_path / "bundle", tx2, data=data)

    assert not again
    assert json.loads(here.told("builds")[-1])["full"] == first["full"]


@pytest.mark.slow
def test_a_full_disk_of_the_board_leaves_the_installed_one(here, tx2, network, monkeypatch):
    edgesynth.deploy(network, tx2, precision="fp16")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(DeviceError, match="No space left on device"):
        edgesynth.deploy(network, tx2, precision="fp16")
    monkeypatch.undo()

    for name, value in here.environment.items():
        monkeypatch.setenv(name, value)
    assert [(bundle.version, bundle.problem) for bundle in list_bundles(tx2.board)] == [("0001", "")]


@pytest.mark.parametrize(
    "given", [{"precision": "fp16"}, {"batch": "1..8"}, {"window_s": 2.0}, {"labels": ["a"]}]
)
@pytest.mark.slow
def test_what_a_bundle_cannot_be_given_any_more_is_refused(tx2, network, tmp_path, given):
    edgesynth.deploy(network, tx2, precision="fp32", out=tmp_path / "bundle")

    with pytest.raises(InputError, match=f"{next(iter(given))} cannot be given for the bundle 'net'"):
        edgesynth.deploy(tmp_path / "bundle", tx2, **given)
