"""trtexec runs a free batch in the size that was asked for, told in the options that it has."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesynth.agent.batches import batches_of
from edgesynth.agent.errors import NetworkFailure, Refusal
from edgesynth.agent.onnx_types import read_input_shapes
from edgesynth.agent.trtexec_shapes import build_options, fixed_inputs, run_options

WORDS = ("min", "opt", "max")
ALL = [*(f"--{word}Shapes" for word in WORDS), "--shapes"]


def write(path, inputs):
    """A file that gives back its inputs; each is a name and the sizes of its axes."""
    graph = helper.make_graph(
        [helper.make_node("Relu", [name], [f"{name}-made"]) for name, _ in inputs],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(f"{name}-made", TensorProto.FLOAT, shape) for name, shape in inputs],
        [numpy_helper.from_array(np.zeros(3, np.float32), "held")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


def test_sizes_are_read_from_the_bytes_of_the_file(tmp_path):
    inputs = [("image:0", ["batch", 3, 8, 8]), ("index", [None, 2]), ("fixed", [4, 300]), ("one", [])]
    path = write(tmp_path / "net.onnx", inputs)

    assert read_input_shapes(path) == {
        "image:0": [-1, 3, 8, 8],
        "index": [-1, 2],
        "fixed": [4, 300],
        "one": [],
    }
    assert fixed_inputs(path, 4) == {"image:0": [4, 3, 8, 8], "index": [4, 2]}
    shapes, four = "image:0:4x3x8x8,index:4x2", batches_of(4)
    assert build_options(path, four, ALL) == [f"{option}={shapes}" for option in ALL[:3]]
    assert run_options(fixed_inputs(path, 4), ALL) == [f"--shapes={shapes}"]
    assert build_options(path, four, ALL[3:]) == run_options(fixed_inputs(path, 4), ALL[:3]) == []


def test_a_range_has_a_size_for_each_end_and_its_middle(tmp_path):
    path = write(tmp_path / "net.onnx", [("image:0", ["batch", 3, 8, 8]), ("index", [None, 2]), ("one", [])])
    some = batches_of([1, 4, 16])

    assert build_options(path, some, ALL) == [
        f"--{word}Shapes=image:0:{size}x3x8x8,index:{size}x2" for word, size in zip(WORDS, some, strict=True)
    ]
    with pytest.raises(Refusal, match="--minShapes --optShapes --maxShapes, so it builds for one batch"):
        build_options(path, some, ALL[1:])
    with pytest.raises(NetworkFailure, match="'x' has a fixed batch of 4, not 1"):
        build_options(write(tmp_path / "fixed.onnx", [("x", [4, 3])]), some, ALL)


def test_only_the_batch_may_be_free_and_a_file_without_shapes_says_nothing(tmp_path):
    with pytest.raises(NetworkFailure, match="only the batch may be free"):
        fixed_inputs(write(tmp_path / "net.onnx", [("x", ["n", 3, "h", "w"])]), 1)
    (tmp_path / "junk.onnx").write_text("no model")
    assert fixed_inputs(str(tmp_path / "junk.onnx"), 4) == {}
    junk = str(tmp_path / "junk.onnx")
    assert build_options(junk, batches_of(4), ALL) == run_options({}, ALL) == []


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.2", "8.6", "10.3", "11.1"])
def test_a_free_batch_is_measured_in_the_size_asked_for(bare_board, tmp_path, version):
    bare_board.set("trtexec", version=version, call_ms=2.0)
    bare_board.compute()
    path = write(tmp_path / "net.onnx", [("x", ["batch", 6])])

    found = bare_board.recording(network={"model": path}, batch=4, precision="fp32")

    assert not found.failure
    assert len(found.latencies_ms) >= 20
    built, *runs = bare_board.told("trtexec")
    for option in ("min", "opt", "max"):
        assert f"--{option}Shapes=x:4x6" in built
    assert runs
    assert all("--shapes=x:4x6" in run for run in runs)


def test_a_fixed_batch_is_left_as_it_is(bare_board):
    bare_board.recording(batch=1)

    assert not [line for line in bare_board.told("trtexec") if "hapes=" in line]
