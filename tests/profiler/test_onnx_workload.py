"""An ONNX file as work: the right multiply-accumulates, traffic and kernels, or a clear refusal."""

import onnx
import pytest
from onnx import helper

from edgesynth.errors import InputError
from edgesynth.profiler import check_onnx, workload_from_onnx


def test_the_work_of_every_layer_is_counted(onnx_file):
    net = workload_from_onnx(onnx_file)
    layers = {layer.name: layer for layer in net.layers}

    assert net.name == "small"
    assert net.input_shape == (3, 32, 32)
    assert layers["first"].macs == 16 * 32 * 32 * 27
    assert layers["first"].weight_bytes == 4 * (16 * 27 + 16)
    assert layers["first"].activation_bytes == 4 * (3 + 16) * 32 * 32
    assert layers["depthwise"].macs == 16 * 32 * 32 * 9
    assert layers["depthwise"].groups == 16
    assert layers["head"].macs == 160
    assert [kernel.name for kernel in net.kernels] == ["first", "depthwise", "pool", "head"]


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_counts_one_sample(onnx_model, tmp_path, batch):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (8, 3, 1, 1)}, shape=(batch, 3, 5, 5)), path)

    layer = workload_from_onnx(path).layers[0]

    assert (layer.macs, layer.activation_bytes) == (8 * 3 * 25, 4 * (3 + 8) * 25)


def test_transposed_convolution_and_matrix_products_are_counted(onnx_model, tmp_path):
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w"], ["t"], kernel_shape=[2, 2], strides=[2, 2], name="up"),
        helper.make_node("MatMul", ["t", "m"], ["y"], name="product"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (3, 6, 2, 2), "m": (8, 5)}, shape=(1, 3, 4, 4)), path)

    macs = {layer.name: layer.macs for layer in workload_from_onnx(path).layers}

    assert macs == {"up": 3 * 16 * 6 * 4, "product": 6 * 8 * 5 * 8}


def test_what_the_engine_folds_is_no_work(onnx_model, tmp_path):
    nodes = [
        helper.make_node("Relu", ["w"], ["folded"]),
        helper.make_node("Conv", ["x", "folded"], ["y"], kernel_shape=[1, 1], name="conv"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (8, 3, 1, 1)}), path)

    assert [layer.name for layer in workload_from_onnx(path).layers] == ["conv"]


def test_a_weight_that_the_engine_makes_of_another_is_read_all_the_same(onnx_model, tmp_path):
    nodes = [
        helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0, 2, 3]),
        helper.make_node("Conv", ["x", "turned"], ["y"], kernel_shape=[1, 1], name="conv"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (3, 8, 1, 1)}), path)

    assert workload_from_onnx(path).layers[0].weight_bytes == 4 * 8 * 3


@pytest.mark.parametrize(
    ("node", "weights", "macs"),
    [
        (
            helper.make_node("Einsum", ["x", "m"], ["y"], equation="bchw,wd->bchd"),
            {"m": (4, 5)},
            3 * 4 * 4 * 5,
        ),
        (helper.make_node("Einsum", ["x"], ["y"], equation="bchw->bcwh"), {}, 0),
    ],
)
def test_an_einsum_of_two_is_a_product_over_all_its_indices(onnx_model, tmp_path, node, weights, macs):
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model([node], weights, shape=(2, 3, 4, 4)), path)

    assert workload_from_onnx(path).macs == macs


def test_an_einsum_of_three_is_refused(onnx_model, tmp_path):
    node = helper.make_node("Einsum", ["x", "m", "m"], ["y"], equation="bchw,wd,de->bche")
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model([node], {"m": (4, 4)}, shape=(1, 3, 4, 4)), path)

    with pytest.raises(InputError, match=r"Einsum 'bchw,wd,de->bche' cannot be counted"):
        workload_from_onnx(path)


def test_a_recurrent_layer_is_refused(onnx_model, tmp_path):
    nodes = [helper.make_node("GRU", ["x", "w", "r"], ["y"], hidden_size=5, name="cell")]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (1, 15, 6), "r": (1, 15, 5)}, shape=(4, 1, 6)), path)

    with pytest.raises(InputError, match=r"the work of GRU 'cell' cannot be counted; measure this"):
        workload_from_onnx(path)


@pytest.mark.parametrize("operator", ["Blur", "Identity"])
def test_an_operator_of_another_domain_is_refused(onnx_model, tmp_path, operator):
    nodes = [
        helper.make_node(operator, ["x"], ["soft"], domain="own"),  # nobody can infer the shape of its output
        helper.make_node("Relu", ["soft"], ["y"]),
    ]
    model = onnx_model(nodes, {}, shape=(1, 3, 4, 4))
    model.opset_import.append(helper.make_opsetid("own", 1))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)

    with pytest.raises(InputError, match=f"nobody can tell what {operator} of the domain 'own' does"):
        workload_from_onnx(path)


def _either(onnx_model, operator):
    """A network that does what an operator says, or leaves its input alone, as a constant decides."""
    from onnx import TensorProto

    out = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branches = {
        "then_branch": helper.make_node(operator, ["x"] if operator == "Relu" else ["x", "m"], ["z"]),
        "else_branch": helper.make_node("Identity", ["x"], ["z"]),
    }
    graphs = {name: helper.make_graph([node], name, [], [out]) for name, node in branches.items()}
    nodes = [
        helper.make_node("Cast", ["c"], ["yes"], to=TensorProto.BOOL),
        helper.make_node("If", ["yes"], ["y"], name="either", **graphs),
    ]
    return onnx_model(nodes, {"c": (), "m": (4, 4)}, shape=(1, 3, 4, 4))


def test_products_in_a_branch_are_refused_rather_than_counted_as_nothing(onnx_model, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(_either(onnx_model, "MatMul"), path)

    check_onnx(path)
    with pytest.raises(InputError, match=r"MatMul inside If 'either' runs as often as the data say"):
        workload_from_onnx(path)


def test_a_branch_without_products_moves_memory(onnx_model, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(_either(onnx_model, "Relu"), path)

    (layer,) = workload_from_onnx(path).layers
    assert (layer.operator, layer.macs, layer.activation_bytes) == ("If", 0, 4 * 3 * 4 * 4)


def test_the_work_inside_a_function_of_the_model_is_counted(onnx_model, tmp_path):
    model = onnx_model(
        [helper.make_node("Project", ["x", "m"], ["y"], domain="own")], {"m": (4, 5)}, shape=(1, 3, 4, 4)
    )
    product = helper.make_node("MatMul", ["a", "b"], ["c"])
    opset = helper.make_opsetid("", 13)
    model.ir_version = 8
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.append(helper.make_function("own", "Project", ["a", "b"], ["c"], [product], [opset]))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)

    assert workload_from_onnx(path).macs == 3 * 4 * 4 * 5


def test_a_skip_connection_keeps_its_activation_apart(onnx_model, tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Add", ["r", "c"], ["y"], name="add"),
    ]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (3, 3, 1, 1)}), path)

    assert [kernel.name for kernel in workload_from_onnx(path).kernels] == ["conv", "relu"]


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_the_operator_set_does_not_matter(onnx_model, tmp_path, opset):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])]
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model(nodes, {"w": (8, 3, 1, 1)}, opset=opset), path)

    assert workload_from_onnx(path).macs == 8 * 3 * 32 * 32


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match="no ONNX file"):
        workload_from_onnx(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00\xff" * 500, b"\x08\x07"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"bad\.onnx"):
        workload_from_onnx(path)


def test_shapes_that_do_not_fit_are_refused(onnx_model, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": (31, 7)}), path)

    with pytest.raises(InputError, match="not a valid ONNX model"):
        workload_from_onnx(path)


@pytest.mark.parametrize(("batch", "taken"), [(4, 4), ("batch", None), (-1, None)])
def test_the_batch_is_the_one_a_network_takes(onnx_model, tmp_path, batch, taken):
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model([helper.make_node("Relu", ["x"], ["y"])], {}, shape=(batch, 3, 4, 4)), path)

    assert workload_from_onnx(path).batch == taken


def test_an_input_without_samples_is_refused(onnx_model, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(onnx_model([helper.make_node("Relu", ["x"], ["y"])], {}, shape=(0, 3, 4, 4)), path)

    with pytest.raises(InputError, match="an axis of 'x' has the length 0"):
        workload_from_onnx(path)


def test_a_model_without_inputs_is_refused(tmp_path):
    from onnx import TensorProto

    node = helper.make_node("Constant", [], ["y"], value_float=1.0)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    model = helper.make_model(helper.make_graph([node], "g", [], [output]), ir_version=7)
    path = tmp_path / "m.onnx"
    onnx.save(model, path)

    with pytest.raises(InputError, match="no input"):
        workload_from_onnx(path)
