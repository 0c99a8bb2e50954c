"""What is sent to a device holds its weights, wherever the file kept them."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesynth.devices import open_device
from edgesynth.devices.onnx_file import in_one_file
from edgesynth.errors import InputError


@pytest.fixture
def parted(tmp_path):
    """A network whose weights lie in a file beside it, as torch.onnx.export writes large ones."""
    weight = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    assert (tmp_path / "net.onnx.data").exists()
    return path


def test_a_device_gets_the_weights_with_the_network(parted):
    with open_device("host-cpu") as device:
        there = device.send(parted)
        session = onnxruntime.InferenceSession(there)
        (found,) = session.run(None, {"x": np.ones((1, 3), np.float32)})

    assert found.tolist() == [[12.0, 15.0, 18.0, 21.0]]


def test_other_weights_are_another_file_there(parted, tmp_path):
    with open_device("host-cpu") as device:
        first = device.send(parted)
        data = tmp_path / "net.onnx.data"
        data.write_bytes(data.read_bytes()[::-1])
        assert device.send(parted) != first


def test_a_file_that_holds_everything_is_sent_as_it_is(parted, tmp_path):
    (tmp_path / "copy").mkdir()
    whole = in_one_file(parted, tmp_path / "copy")
    assert whole != parted
    assert in_one_file(whole, tmp_path) == whole


def test_missing_weights_are_said(parted, tmp_path):
    (tmp_path / "net.onnx.data").unlink()

    with (
        open_device("host-cpu") as device,
        pytest.raises(InputError, match=r"net\.onnx cannot be read with all"),
    ):
        device.send(parted)
