"""The file for a device has the opset, batch and precision that its TensorRT takes, and computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edgesynth.deploy.onnx import export_onnx
from edgesynth.deploy.onnx_graph import default_opset, load_model
from edgesynth.deploy.opset import convert_opset
from edgesynth.deploy.overflow import find_overflows
from edgesynth.deploy.preflight import preflight
from edgesynth.deploy.quantisation import METHODS
from edgesynth.deploy.runners import OnnxRunner
from edgesynth.deploy.target import Batch, export_for_device
from edgesynth.deploy.verify import verify
from edgesynth.devices import load_profile
from edgesynth.errors import InputError
from tests.deploy.networks import images, small, zoo

TX2, NANO, ORIN, THOR = (load_profile(f"jetson-{name}") for name in ("tx2", "nano", "orin-nano", "thor"))


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_the_written_opset_is_one_the_device_reads(tmp_path: Path, opset: int) -> None:
    module, _, data = small(tmp_path)
    source = export_onnx(module, torch.as_tensor(data["input"]), tmp_path / "in.onnx", opset=opset).path
    export = export_for_device(source, TX2, tmp_path / "out.onnx")
    assert export.opset == default_opset(onnx.load(str(export.path))) == min(opset, 13)
    assert verify(export.path, module, data, opset=export.opset)
    assert preflight(export.path, TX2)


def test_a_weight_that_is_computed_from_constants_is_written_as_one(tmp_path: Path) -> None:
    """As weight normalisation comes out of exporters: TensorRT 8.2 takes convolutions of constants alone."""
    generator = np.random.default_rng(0)
    constants = {
        "direction": generator.normal(size=(3, 8, 3, 3)).astype(np.float32),
        "length": generator.uniform(0.5, 2, size=(1, 8, 1, 1)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["direction", "length"], ["scaled"], name="mul"),
            helper.make_node("Transpose", ["scaled"], ["weight"], name="turn", perm=[1, 0, 2, 3]),
            helper.make_node("Conv", ["x", "weight"], ["y"], name="conv"),
        ],
        "normed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    source = tmp_path / "normed.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(source)
    )
    assert not preflight(source, TX2)

    export = export_for_device(source, TX2, tmp_path / "out.onnx")

    written = onnx.load(str(export.path)).graph
    assert [node.op_type for node in written.node] == ["Conv"]
    assert [tensor.name for tensor in written.initializer] == ["weight"]
    assert preflight(export.path, TX2)
    assert verify(
        export.path, source, {"x": generator.normal(size=(4, 3, 8, 8)).astype(np.float32)}, opset=13
    )


def test_nothing_is_computed_that_would_take_more_room_and_the_batch_stays_free_to_choose(
    tmp_path: Path,
) -> None:
    weight = np.random.default_rng(0).normal(size=(4, 3, 1, 1)).astype(np.float32)
    constants = {
        **{"direction": weight, "length": np.float32([2.0]), "small": np.float32([[[[1.0]]]])},
        **{"size": np.int64([1, 4, 64, 64]), "first": np.int64([0]), "rest": np.int64([-1])},
    }
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["direction", "length"], ["weight"]),
            helper.make_node("Conv", ["x", "weight"], ["a"]),
            helper.make_node("Expand", ["small", "size"], ["grown"]),
            helper.make_node("Add", ["a", "grown"], ["b"]),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["batch"]),
            helper.make_node("Concat", ["batch", "rest"], ["flat"], axis=0),
            helper.make_node("Reshape", ["b", "flat"], ["y"]),
        ],
        "normed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4 * 64 * 64])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    source = tmp_path / "normed.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(source)
    )

    export = export_for_device(source, TX2, tmp_path / "out.onnx", batch=8)

    assert (export.batch, export.bytes < 4096) == (8, True)
    written = onnx.load(str(export.path)).graph
    assert "Mul" not in {node.op_type for node in written.node}
    assert all(node.name for node in written.node)


@pytest.mark.parametrize(("batch", "first"), [(1, 1), (4, 4), ("dynamic", "batch")])
def test_the_batch_is_the_one_that_was_asked_for(tmp_path: Path, batch: Batch, first: int | str) -> None:
    module, path, data = small(tmp_path)
    export = export_for_device(path, TX2, tmp_path / "out.onnx", batch=batch)
    written = onnx.load(str(export.path))
    for value in (*written.graph.input, *written.graph.output):
        axis = value.type.tensor_type.shape.dim[0]
        assert (axis.dim_value or axis.dim_param) == first
    assert export.batch == batch
    assert verify(export.path, module, data, batch=batch if isinstance(batch, int) else 0)


def test_a_fixed_batch_is_freed_where_nothing_inside_depends_on_it(tmp_path: Path) -> None:
    module, _, data = small(tmp_path)
    fixed = export_onnx(
        module, torch.as_tensor(data["input"][:1]), tmp_path / "one.onnx", dynamic_batch=False
    ).path
    export = export_for_device(fixed, TX2, tmp_path / "out.onnx", batch="dynamic")
    assert verify(export.path, module, data, batch=0)


def test_a_batch_that_is_fixed_inside_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "s"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 2])],
        [onnx.numpy_helper.from_array(np.array([1, 2, 2]), "s")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(InputError, match="fixed at 1 inside"):
        export_for_device(model, TX2, tmp_path / "out.onnx", batch="dynamic")
    assert not (tmp_path / "out.onnx").exists()


def _lowered(*nodes: onnx.NodeProto, opset: int = 18, **constants: np.ndarray) -> onnx.ModelProto:  # type: ignore[type-arg]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return convert_opset(model, 13)


def test_axes_that_became_an_input_go_back_to_an_attribute() -> None:
    lowered = _lowered(helper.make_node("ReduceMean", ["x", "a"], ["y"], keepdims=0), a=np.array([1]))
    node = lowered.graph.node[0]
    assert list(node.input) == ["x"]
    assert {entry.name: list(entry.ints) for entry in node.attribute if entry.ints} == {"axes": [1]}
    found = OnnxRunner(lowered)({"x": np.float32([[1, 2, 3, 6], [0, 0, 0, 4]])})
    assert found["y"].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("node", "opset", "reason"),
    [
        (helper.make_node("LayerNormalization", ["x", "s"], ["y"], name="n"), 17, "no such operator"),
        (helper.make_node("Gelu", ["x"], ["y"], name="n"), 20, "no such operator"),
        (helper.make_node("Reshape", ["x", "s"], ["y"], name="n", allowzero=1), 18, "attribute allowzero"),
        (helper.make_node("ReduceMax", ["x", "x"], ["y"], name="n"), 18, "axes are computed"),
    ],
)
def test_what_has_no_counterpart_below_is_named(node: onnx.NodeProto, opset: int, reason: str) -> None:
    with pytest.raises(InputError, match=rf"n \({node.op_type}\) has no counterpart in opset 13: .*{reason}"):
        _lowered(node, opset=opset)


def test_an_axis_that_an_old_exporter_leaves_to_compute_is_a_number(tmp_path: Path) -> None:
    """``unflatten`` of opset 13 has a ``Mod``, which TensorRT 8.2 does not read; its numbers are known."""

    class Heads(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.unflatten(-1, (3, 4)).transpose(1, 2)

    raw = tmp_path / "raw.onnx"
    x = torch.randn(2, 5, 12)
    torch.onnx.export(Heads(), (x,), str(raw), opset_version=13, dynamo=False)
    assert "Mod" in {node.op_type for node in onnx.load(str(raw)).graph.node}
    for path in (
        export_onnx(Heads(), x, tmp_path / "ours.onnx").path,
        export_for_device(raw, TX2, tmp_path / "theirs.onnx").path,
    ):
        model = onnx.load(str(path))
        assert "Mod" not in {node.op_type for node in model.graph.node}
        assert preflight(path, TX2)
        found = OnnxRunner(path)({model.graph.input[0].name: x.numpy()})
        np.testing.assert_array_equal(next(iter(found.values())), Heads()(x).numpy())


def test_free_sizes_are_fixed_by_a_shape(tmp_path: Path) -> None:
    _, path, _ = small(tmp_path)
    free = onnx.load(str(path))
    for axis in (2, 3):
        free.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"free{axis}"
    assert not preflight(free, TX2)
    export = export_for_device(free, TX2, tmp_path / "out.onnx", shapes={"input": (1, 3, 8, 8)})
    assert preflight(export.path, TX2)
    with pytest.raises(InputError, match="does not fit the input 'input'"):
        export_for_device(free, TX2, tmp_path / "out.onnx", shapes={"input": (1, 5, 8, 8)})
    with pytest.raises(InputError, match="no input 'image'"):
        export_for_device(free, TX2, tmp_path / "out.onnx", shapes={"image": (1, 3, 8, 8)})


def test_tensorrt_8_keeps_fp32_and_gets_a_flag(tmp_path: Path) -> None:
    _, path, data = small(tmp_path)
    export = export_for_device(path, TX2, tmp_path / "out.onnx", precision="fp16", data=data)
    assert export.flags == ("FP16",)
    assert not export.strongly_typed
    written = load_model(export.path)
    assert {tensor.data_type for tensor in written.graph.initializer} <= {
        TensorProto.FLOAT,
        TensorProto.INT64,
    }


def test_strongly_typed_tensorrt_gets_fp16_in_the_graph(tmp_path: Path) -> None:
    module, path, data = small(tmp_path)
    export = export_for_device(path, THOR, tmp_path / "out.onnx", precision="fp16", data=data)
    assert export.flags == ()
    assert export.strongly_typed
    written = load_model(export.path)
    assert TensorProto.FLOAT16 in {tensor.data_type for tensor in written.graph.initializer}
    assert {value.type.tensor_type.elem_type for value in (*written.graph.input, *written.graph.output)} == {
        TensorProto.FLOAT
    }
    assert {kept.operator for kept in export.kept} == {"ReduceMean", "Softmax"}
    assert verify(export.path, module, data, precision="fp16")


class Loud(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        nn.init.constant_(self.one.weight, 3e4)
        nn.init.constant_(self.two.weight, 1e-5)

    def forward(self, image: Tensor) -> Tensor:
        return self.two(self.one(image))


def test_a_layer_that_overflows_is_named_and_kept_in_fp32(tmp_path: Path) -> None:
    module = Loud().eval()
    data = {"input": np.ones((2, 3, 4, 4), np.float32)}
    path = export_onnx(module, torch.as_tensor(data["input"]), tmp_path / "loud.onnx").path
    found = find_overflows(load_model(path), data)
    assert [kept.node for kept in found] == ["/one/Conv", "/two/Conv"]
    assert found[0].max_abs is not None
    assert found[0].max_abs > 65504
    export = export_for_device(path, THOR, tmp_path / "out.onnx", precision="fp16", data=data)
    assert "/one/Conv" in {kept.node for kept in export.kept}
    assert verify(export.path, module, data, precision="fp16")
    # Without data nobody can know, and the check of the outputs finds it.
    blind = export_for_device(path, THOR, tmp_path / "blind.onnx", precision="fp16")
    report = verify(blind.path, path, data, precision="fp16")
    assert not report
    assert report.divergence is not None
    assert report.divergence.node == "/one/Conv"


def test_int8_is_explicit_symmetric_and_per_channel(tmp_path: Path) -> None:
    module, path = zoo("resnet8", tmp_path)
    data = images(32)
    export = export_for_device(path, ORIN, tmp_path / "out.onnx", precision="int8", data=data)
    assert export.opset == 13
    assert {calibration.method for calibration in export.calibrations} == set(METHODS)
    assert export.calibrations[0].error == min(calibration.error for calibration in export.calibrations)
    written = load_model(export.path)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    pairs = [node for node in written.graph.node if node.op_type == "QuantizeLinear"]
    assert any(held[node.input[1]].ndim == 1 for node in pairs)
    assert all(not held[node.input[2]].any() and held[node.input[2]].dtype == np.int8 for node in pairs)
    assert verify(export.path, module, images(32, seed=1), precision="int8")
    assert preflight(export.path, ORIN, precision="int8").verdict == "read"


def test_a_metric_of_the_task_decides_between_calibrations(tmp_path: Path) -> None:
    _, path, data = small(tmp_path)
    calls: list[int] = []

    def metric(outputs: object) -> float:
        del outputs
        calls.append(len(calls))
        return float(len(calls) == 3)  # the reference comes first, then the methods in order

    export = export_for_device(path, ORIN, tmp_path / "out.onnx", precision="int8", data=data, metric=metric)
    assert export.calibrations[0].method == list(METHODS)[1]
    assert export.calibrations[0].metric == 1.0


@pytest.mark.parametrize("profile", [TX2, NANO], ids=["tx2", "nano"])
def test_int8_is_refused_with_the_profiles_reason(tmp_path: Path, profile: object) -> None:
    _, path, data = small(tmp_path)
    with pytest.raises(InputError, match="dp4a"):
        export_for_device(path, profile, tmp_path / "out.onnx", precision="int8", data=data)  # type: ignore[arg-type]


def test_int8_without_data_is_refused(tmp_path: Path) -> None:
    _, path, _ = small(tmp_path)
    with pytest.raises(InputError, match="needs real inputs"):
        export_for_device(path, ORIN, tmp_path / "out.onnx", precision="int8")


def test_a_network_that_is_quantised_already_is_taken_as_it_is(tmp_path: Path) -> None:
    _, path, data = small(tmp_path)
    first = export_for_device(
        path, ORIN, tmp_path / "a.onnx", precision="int8", data=data, methods=["min-max"]
    )
    again = export_for_device(first.path, ORIN, tmp_path / "b.onnx", precision="int8")
    assert again.flags == ("INT8", "FP16")
    assert again.calibrations == ()
    assert verify(again.path, first.path, data)
    with pytest.raises(InputError, match="quantised already"):
        export_for_device(first.path, ORIN, tmp_path / "c.onnx", precision="fp16", data=data)


def test_the_layout_is_one_that_old_parsers_know(tmp_path: Path) -> None:
    _, path, _ = small(tmp_path)
    model = load_model(path)
    model.ir_version = 11
    assert onnx.load(str(export_for_device(model, TX2, tmp_path / "out.onnx").path)).ir_version == 8


def test_equal_networks_are_equal_files(tmp_path: Path) -> None:
    _, path, data = small(tmp_path)
    one, two = (
        export_for_device(path, THOR, tmp_path / name, precision="fp16", data=data)
        for name in ("a.onnx", "b.onnx")
    )
    assert one.sha256 == two.sha256


def test_a_network_goes_down_to_opset_11_with_numbers_where_it_had_inputs() -> None:
    shape = [2, 3, 4]
    graph = helper.make_graph(
        [
            helper.make_node("Softmax", ["x"], ["a"], name="soft", axis=2),
            helper.make_node("ReduceSum", ["a", "axes"], ["b"], keepdims=1),
            helper.make_node("Squeeze", ["b", "axes"], ["c"]),
            helper.make_node("Unsqueeze", ["c", "axes"], ["d"]),
            helper.make_node("Split", ["x", "parts"], ["e", "f"], axis=2),
            helper.make_node("Concat", ["d", "f"], ["y"], axis=2),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 4])],
        [numpy_helper.from_array(np.array(v), k) for k, v in {"axes": [2], "parts": [1, 3]}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    lowered = convert_opset(model, 11)

    onnx.checker.check_model(lowered, full_check=True)
    x = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    np.testing.assert_allclose(OnnxRunner(lowered)(x)["y"], OnnxRunner(model)(x)["y"], rtol=1e-6)
    next(entry for entry in model.graph.node[0].attribute if entry.name == "axis").i = 1
    with pytest.raises(InputError, match=r"soft \(Softmax\) .* opset 11: it takes all axes from one on"):
        convert_opset(model, 11)


@pytest.mark.parametrize("by", ["scales", "sizes"])
def test_what_a_resize_may_leave_out_only_later_is_empty_in_opset_11(by: str) -> None:
    inputs = ["x", "", "to"] if by == "scales" else ["x", "", "", "to"]
    told = np.float32([1, 1, 2, 2]) if by == "scales" else np.array([1, 2, 6, 8])
    graph = helper.make_graph(
        [
            helper.make_node(
                "Resize", inputs, ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
            )
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 6, 8])],
        [numpy_helper.from_array(told, "to")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    lowered = convert_opset(model, 11)

    onnx.checker.check_model(lowered, full_check=True)
    x = {"x": np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)}
    np.testing.assert_array_equal(OnnxRunner(lowered)(x)["y"], OnnxRunner(model)(x)["y"])
