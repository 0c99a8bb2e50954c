"""The normalisation and the answer inside a graph: right, or refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from coloured_pictures import Colours, coloured_task, write_colours
from detection_shapes import shapes_task as boxes_task
from networks_with_tasks import case
from onnx import TensorProto, helper
from torch import Tensor
from two_layers import CLASSES, labelled, write_network

from edgesynth.deploy import inside, rtx
from edgesynth.deploy.delivery import Delivery, chosen_samples, deliver
from edgesynth.deploy.inside import enclose
from edgesynth.deploy.inside_arithmetic import answered, as_outputs, undone
from edgesynth.deploy.runners import OnnxRunner, run_in_parts
from edgesynth.devices import load_profile
from edgesynth.errors import DataError, InputError
from edgesynth.tasks import ClassificationTask, TensorSamples

TX2, XAVIER, THOR = (load_profile(f"jetson-{name}") for name in ("tx2", "agx-xavier", "thor"))
BOTH = ("normalise", "answer")


@pytest.fixture(autouse=True)
def _no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds have tests of their own."""
    monkeypatch.setattr(rtx, "_MODULE", "no_such_module_anywhere")


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "colours.onnx")


def stored_of(task: Any) -> Tensor:
    """The validation pictures as they are stored, without a way through the normalisation."""
    samples: Tensor = task._samples["validation"].take(torch.arange(task.size("validation")))
    return samples


@pytest.mark.parametrize(("profile", "kind"), [(TX2, "float32"), (XAVIER, "uint8"), (THOR, "uint8")])
@pytest.mark.parametrize("name", ["colours", "masks", "centre", "grid"])
def test_an_engine_takes_stored_pictures_and_gives_the_tasks_own_answers(
    tmp_path: Path, name: str, profile: Any, kind: str
) -> None:
    task, module, path = case(name, tmp_path)

    done = deliver(path, profile, tmp_path / "out.onnx", data=task, inside=BOTH, batch=2)

    assert done, done.failures
    assert done.preflight.verdict == "read"
    pictures = stored_of(task)
    assert pictures.dtype == torch.uint8
    found = run_in_parts(OnnxRunner(tmp_path / "out.onnx"), {"input": pictures.numpy().astype(kind)})
    with torch.no_grad():
        outputs = module(task.normalization(pictures))
    if name == "colours":
        np.testing.assert_allclose(found["probabilities"], outputs.softmax(1), atol=1e-6)
        assert found["class"].tolist() == outputs.argmax(1).tolist()
        assert found["class"].dtype == np.int32
    elif name == "masks":
        masks = torch.stack([answer.mask for answer in task.answers(outputs)]).numpy()
        assert found["mask"].shape == masks.shape == (8, 32, 32)
        assert (found["mask"] == masks).mean() > 0.999
    elif profile is not TX2:
        want = task.detections(outputs)
        assert found["classes"].tolist() == want.labels.tolist()
        np.testing.assert_allclose(found["boxes"], want.boxes, atol=1e-4)
        np.testing.assert_allclose(found["scores"], want.scores, atol=1e-6)
    else:
        predictions = task._predictions(outputs)
        np.testing.assert_allclose(found["boxes"], task.head.boxes(predictions, (64, 64)), atol=1e-4)
        np.testing.assert_allclose(found["scores"], task.head.scores(predictions), atol=1e-6)


FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "swapped channels of the mean": lambda right: {**right, "mean": right["mean"][::-1]},
    "swapped channels of the deviation": lambda right: {**right, "std": right["std"][::-1]},
    "a forgotten scale": lambda right: {**right, "scale": 1.0},
    "a forgotten mean": lambda right: {**right, "mean": [0.0] * 3},
    "a slightly wrong mean": lambda right: {**right, "mean": [m + 0.002 for m in right["mean"]]},
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_constant_is_refused_in_every_precision(
    tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch, fault: str, precision: str
) -> None:
    right = inside.take_stored

    def wrong(model: Any, normalisation: Any, **options: Any) -> None:
        right(model, FAULTS[fault](dict(normalisation)), **options)

    monkeypatch.setattr(inside, "take_stored", wrong)

    done = deliver(
        colours, THOR, tmp_path / "out.onnx", precision=precision, data=coloured_task(), inside=BOTH
    )

    assert not done
    assert any(failure.startswith("output: off by") for failure in done.failures)
    assert not (tmp_path / "out.onnx").exists()


def change(model: Any, operator: str, **values: Any) -> None:
    """Other attributes for the last node of an operator."""
    node = [each for each in model.graph.node if each.op_type == operator][-1]
    kept = [entry for entry in node.attribute if entry.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(*pair) for pair in values.items())])


ANSWER_FAULTS: dict[str, tuple[str, Callable[[Any], None], str]] = {
    "no softmax": ("colours", lambda model: retype(model, "Softmax", "Sigmoid"), "probabilities"),
    "the least class": ("colours", lambda model: retype(model, "ArgMax", "ArgMin"), "class"),
    "corners aligned": (
        "masks",
        lambda model: change(model, "Resize", coordinate_transformation_mode="align_corners"),
        "mask",
    ),
    "the nearest pixel": ("masks", lambda model: change(model, "Resize", mode="nearest"), "mask"),
    "no root": ("centre", lambda model: retype(model, "Sqrt", "Identity"), "scores"),
    "no clipping": ("grid", lambda model: retype(model, "Min", "Max"), "boxes"),
}


def retype(model: Any, was: str, to: str) -> None:
    node = [each for each in model.graph.node if each.op_type == was][-1]
    node.op_type = to
    if to == "Sigmoid":
        del node.attribute[:]


@pytest.mark.parametrize("fault", ANSWER_FAULTS)
def test_a_wrong_answer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    name, spoil, output = ANSWER_FAULTS[fault]
    task, _, path = case(name, tmp_path)
    right = inside.give_answer

    def wrong(model: Any, answer: Any) -> dict[str, Any]:
        found = right(model, answer)
        spoil(model)
        return found

    monkeypatch.setattr(inside, "give_answer", wrong)

    done = deliver(path, THOR, tmp_path / "out.onnx", data=task, inside=BOTH)

    assert not done
    assert [failure for failure in done.failures if failure.startswith(f"{output}: ")]
    assert not (tmp_path / "out.onnx").exists()


def test_a_normalisation_that_is_not_the_one_of_the_data_is_told(colours: Path) -> None:
    model = onnx.load(str(colours))
    samples = chosen_samples(model, coloured_task(), "fp32", None)
    said = {**(samples.normalisation or {}), "mean": [0.5, 0.4, 0.3]}

    with pytest.raises(DataError, match=r"no whole numbers from 0 to 255 .* in the order of its channels"):
        enclose(model, colours, replace(samples, normalisation=said), ["normalise"], TX2)


@pytest.mark.parametrize("name", ["colours", "masks", "centre", "grid"])
def test_the_tasks_score_is_the_same_of_answers(tmp_path: Path, name: str) -> None:
    task, _, path = case(name, tmp_path)

    plain, done = (
        deliver(path, THOR, None, precision="fp16", data=task, inside=steps) for steps in ((), BOTH)
    )

    assert plain.report is not None
    assert done.report is not None
    assert done.report.metric_name == plain.report.metric_name == task.metric
    assert done.report.metric == pytest.approx(plain.report.metric, abs=1e-3)
    assert done.report.reference_metric == pytest.approx(plain.report.reference_metric, abs=1e-6)
    assert done.report.acceptance is not None
    assert done.report.acceptance.samples == len(done.samples or ())
    if name == "colours":
        assert done.report.metric > 0.9


@pytest.mark.parametrize("head", ["centre", "grid"])
def test_a_detector_finds_in_answers_what_it_finds_in_outputs(head: str) -> None:
    task = boxes_task(held=8, head=head)
    generator = torch.Generator().manual_seed(0)
    channels = (3, 4, 1) if head == "centre" else (3, 4)
    outputs = tuple(
        4 * torch.randn(5, count, side, side, generator=generator) for side in (16, 8) for count in channels
    )
    answer = {**task.postprocessing, "names": ["boxes", "scores"], "levels": [[16, 16], [8, 8]]}

    given = answered({f"o{index}": part.numpy() for index, part in enumerate(outputs)}, answer)
    again = tuple(torch.from_numpy(part) for part in as_outputs(given, answer).values())

    for want, found in zip(task.detections(outputs), task.detections(again), strict=True):
        np.testing.assert_allclose(found, want, atol=1e-3)


def test_a_file_that_gives_the_outputs_of_a_detector_in_another_order_is_refused(tmp_path: Path) -> None:
    task, _, path = case("grid", tmp_path)
    model = onnx.load(str(path))
    names = [value.name for value in model.graph.output]
    model.graph.output.extend([*model.graph.output[2:4], *model.graph.output[:2]])
    del model.graph.output[:4]
    assert [value.name for value in model.graph.output] == [*names[2:], *names[:2]]
    onnx.save(model, str(path))

    done = deliver(path, TX2, None, data=task, inside=["answer"])

    assert not done  # names count for the task, and the order for who reads a bundle


def test_the_class_that_is_given_is_judged_and_not_the_probabilities_beside_it() -> None:
    answer = {"kind": "classification", "names": ["probabilities", "class"]}
    shares = np.array([[0.7, 0.3], [0.2, 0.8]], np.float32)
    found = as_outputs({"probabilities": shares, "class": np.array([1, 1], np.int32)}, answer)
    assert found["output"].argmax(1).tolist() == [1, 1]


def test_ranges_of_int8_are_those_of_normalised_values_on_stored_inputs(
    tmp_path: Path, colours: Path
) -> None:
    done = deliver(colours, THOR, tmp_path / "out.onnx", precision="int8", data=coloured_task(), inside=BOTH)

    assert done, done.failures
    model = onnx.load(str(tmp_path / "out.onnx"))
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    first = next(node for node in model.graph.node if "input_normalised" in node.input)
    assert first.op_type == "QuantizeLinear"
    held = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    assert done.samples is not None
    largest = 3.0  # of normalised values, which stored ones of 255 are far beyond
    assert float(held[first.input[1]]) < largest / 127


def test_what_decides_stays_single_in_a_graph_of_half_precision(tmp_path: Path, colours: Path) -> None:
    done = deliver(colours, THOR, tmp_path / "out.onnx", precision="fp16", data=coloured_task(), inside=BOTH)

    assert done, done.failures
    assert done.export is not None
    assert {"Sub", "Mul", "ArgMax", "Softmax"} <= {kept.operator for kept in done.export.kept}
    model = onnx.shape_inference.infer_shapes(onnx.load(str(tmp_path / "out.onnx")))
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    assert kinds["input_normalised"] == TensorProto.FLOAT
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    assert kinds[conv.output[0]] == TensorProto.FLOAT16


def test_one_step_alone_leaves_the_rest_as_it_was(tmp_path: Path, colours: Path) -> None:
    task = coloured_task()
    before = deliver(colours, TX2, tmp_path / "before.onnx", data=task, inside=["normalise"])
    behind = deliver(colours, TX2, tmp_path / "behind.onnx", data=task, inside=["answer"])

    assert before, before.failures
    assert before.export is not None
    assert before.export.outputs == ("output",)
    assert before.samples is not None
    assert before.samples.normalisation is None
    assert before.samples.postprocessing == task.postprocessing
    assert behind, behind.failures
    assert behind.export is not None
    assert behind.export.outputs == ("probabilities", "class")
    assert behind.samples is not None
    assert behind.samples.normalisation == task.normalization.to_json()
    assert behind.samples.data["input"].dtype == np.float32


def test_the_module_is_compared_with_too(colours: Path) -> None:
    other = Colours().eval()
    with torch.no_grad():
        other.blur.weight[0] *= 1.5

    right = deliver(colours, TX2, None, data=coloured_task(), inside=BOTH, module=Colours().eval())
    wrong = deliver(colours, TX2, None, data=coloured_task(), inside=BOTH, module=other)

    assert right, right.failures
    assert wrong.report
    assert not wrong.module_report


def test_values_that_are_no_bytes_stay_numbers(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    splits = {
        split: TensorSamples(20 + 5 * torch.randn(24, 6, generator=generator), torch.arange(24) % 4)
        for split in ("train", "validation", "test")
    }
    task = ClassificationTask("sensors (generated)", classes=CLASSES, **splits)
    network = write_network(tmp_path / "net.onnx")

    done = deliver(network, THOR, tmp_path / "out.onnx", data=task, inside=["normalise"])

    assert done, done.failures
    stored = task._samples["validation"].take(torch.arange(24)).numpy()
    found = run_in_parts(OnnxRunner(tmp_path / "out.onnx"), {"image": stored})
    (expected,) = run_in_parts(
        OnnxRunner(network), {"image": task.normalization(torch.from_numpy(stored)).numpy()}
    ).values()
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-4, atol=1e-4)


def test_names_that_are_taken_are_left_to_whom_they_are(tmp_path: Path) -> None:
    model = onnx.load(str(write_network(tmp_path / "net.onnx")))
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = {"one": "class", "two": "probabilities", "image": "image"}.get(name, name)
    onnx.save(model, str(tmp_path / "net.onnx"))
    data = labelled(tmp_path / "data.npz", tmp_path / "net.onnx", 32)

    done = deliver(tmp_path / "net.onnx", TX2, None, data=data, inside=["answer"])

    assert done, done.failures
    assert done.export is not None
    assert done.export.outputs == ("probabilities_1", "class_1")
    assert done.report is not None
    assert (done.report.metric, done.report.metric_name) == (1.0, "accuracy")


@pytest.mark.parametrize(
    ("data", "steps", "said"),
    [
        (None, ["normalise"], "the normalisation of generated inputs is not known; give the data"),
        ("arrays.npz", ["normalise"], "the normalisation of arrays.npz is not known"),
        (None, ["answer"], "what outputs mean is not known of generated inputs; give the data"),
        (None, ["softmax"], "--inside 'softmax' is unknown; choose from normalise, answer"),
    ],
)
def test_what_is_not_known_cannot_be_put_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str | None, steps: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    network = write_network(tmp_path / "net.onnx")
    labelled(tmp_path / "arrays.npz", network, 4)

    with pytest.raises(InputError, match=said):
        deliver(network, TX2, None, data=data, inside=steps)


def test_outputs_of_another_kind_are_refused(tmp_path: Path) -> None:
    _, _, path = case("centre", tmp_path)
    samples = chosen_samples(onnx.load(str(path)), boxes_task(held=8, head="centre"), "fp32", None)
    for postprocessing, said in (
        ({"kind": "keypoints"}, "what the task does with outputs, {'kind': 'keypoints'}, is not known here"),
        ({"kind": "classification", "axis": 1}, r"from one output, and the network has 6"),
        ({**(samples.postprocessing or {}), "head": "grid"}, "square cells"),
        ({**(samples.postprocessing or {}), "head": "anchors"}, "are not those of a 'anchors' head"),
    ):
        told = replace(samples, postprocessing=postprocessing)
        with pytest.raises(InputError, match=said):
            enclose(onnx.load(str(path)), path, told, ["answer"], TX2)
    with pytest.raises(InputError, match=r"the input 'input' is FLOAT .*; it is for FLOAT \[batch, 2"):
        two = {"mean": [0.1] * 2, "std": [1.0] * 2, "scale": 1.0}
        inside.take_stored(onnx.load(str(path)), two, as_bytes=False)


def test_a_network_with_two_inputs_has_no_one_normalisation(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["c"])],
        "two",
        [value(name, TensorProto.FLOAT, ["batch", 3]) for name in "ab"],
        [value("c", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(InputError, match=r"the network has 2 inputs \(a, b\)"):
        inside.take_stored(model, {"mean": [0.0], "std": [1.0], "scale": 1.0}, as_bytes=False)


def test_what_branches_take_of_the_input_is_normalised_too() -> None:
    value = helper.make_tensor_value_info
    branches = [
        helper.make_graph(
            [helper.make_node("Mul", ["x", f"by_{name}"], [f"out_{name}"])],
            name,
            [],
            [value(f"out_{name}", TensorProto.FLOAT, [1, 3])],
            [onnx.numpy_helper.from_array(np.float32([factor]), f"by_{name}")],
        )
        for name, factor in (("then", 2.0), ("else", 3.0))
    ]
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])],
        "branches",
        [value("x", TensorProto.FLOAT, [1, 3])],
        [value("y", TensorProto.FLOAT, [1, 3])],
        [yes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    inside.take_stored(model, {"mean": [0.5], "std": [0.25], "scale": 1 / 255}, as_bytes=False)

    onnx.checker.check_model(model, full_check=True)
    found = OnnxRunner(model)({"x": np.float32([[0, 127.5, 255]])})
    np.testing.assert_allclose(found["y"], [[-4, 0, 4]], atol=1e-5)


def test_stored_values_are_those_that_were_normalised() -> None:
    task = coloured_task()
    pictures = stored_of(task)
    back = undone(task.normalization(pictures).numpy(), task.normalization.to_json())
    assert np.array_equal(np.rint(back), pictures.numpy())


def test_json_of_a_delivery_tells_what_is_inside(colours: Path) -> None:
    task = coloured_task()
    done: Delivery = deliver(colours, TX2, None, data=task, inside=["normalise"])
    assert done.to_json()["inside"] == {"normalise": task.normalization.to_json(), "answer": None}
    assert deliver(colours, TX2, None, data=task).to_json()["inside"] is None
