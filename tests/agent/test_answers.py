"""What a bundle's program says of outputs is what the task would say of them."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from edgesynth.agent.answers import answers_of, floats_of, told
from edgesynth.agent.errors import Refusal

SEGMENTATION = {"kind": "segmentation", "axis": 1, "size_pixels": [24, 36], "resize": "bilinear"}


def numbers(array):
    return tuple(array.shape), floats_of(array.dtype.str, array.tobytes())


def test_the_class_is_the_largest_output_and_its_confidence_a_probability():
    logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    labels = ["a", "b", "c", "d"]
    found = answers_of({"output": numbers(logits)}, {"kind": "classification", "axis": 1}, labels)
    confidences, classes = torch.from_numpy(logits).softmax(1).max(1)
    assert [answer.number for answer in found] == classes.tolist()
    assert [answer.label for answer in found] == [labels[index] for index in classes.tolist()]
    np.testing.assert_allclose([answer.confidence for answer in found], confidences, rtol=1e-5)
    assert told(found[0]) == {
        "number": found[0].number,
        "label": found[0].label,
        "confidence": found[0].confidence,
    }


@pytest.mark.parametrize("numpy_is_there", [True, False])
def test_a_mask_is_what_pytorch_makes_of_small_outputs(monkeypatch, numpy_is_there):
    logits = torch.randn(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    outputs = {"output": numbers(logits.numpy())}
    full = F.interpolate(logits, size=(24, 36), mode="bilinear", align_corners=False)
    if not numpy_is_there:
        monkeypatch.setitem(sys.modules, "numpy", None)
    found = answers_of(outputs, SEGMENTATION)
    assert [(mask.height, mask.width) for mask in found] == [(24, 36)] * 2
    said = [list(mask.classes) for mask in found]
    agreeing = (torch.tensor(said).view(2, 24, 36) == full.argmax(1)).float().mean()
    assert agreeing > 0.998  # ties of rounding apart
    pixels = told(found[0], ["sky", "road"])["pixels"]
    assert sum(pixels.values()) == 24 * 36
    assert set(pixels) <= {"sky", "road", "2"}


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int32, np.int64, np.uint8])
def test_outputs_of_every_type_have_numbers(kind):
    values = np.array([1, 0, 3], kind)
    assert list(floats_of(values.dtype.str, values.tobytes())) == [1, 0, 3]


@pytest.mark.parametrize(
    ("outputs", "postprocessing", "said"),
    [
        ({"a": ((1, 2), [0.0, 1.0])}, None, "not given in processing.json"),
        ({"a": ((1, 2), [0.0, 1.0])}, {"kind": "keypoints"}, "of the kind 'keypoints'"),
        ({"a": ((1, 2, 1), [0.0, 1.0])}, {"kind": "classification"}, "one output with 2 axes"),
        ({"a": ((1, 2), [0.0, 1.0]), "b": ((1, 1), [0.0])}, {"kind": "classification"}, "a 1x2, b 1x1"),
        ({"a": ((1, 300, 1, 1), [0.0] * 300)}, {"kind": "segmentation"}, "at most 256 classes"),
    ],
)
def test_what_is_not_known_is_refused(outputs, postprocessing, said):
    with pytest.raises(Refusal) as refused:
        answers_of(outputs, postprocessing)
    assert said in refused.value.reason


def test_what_the_engine_has_answered_is_only_named():
    shares = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    outputs = {"class": numbers(np.array([1, 1], np.int32)), "share": numbers(shares)}
    said = {"kind": "classification", "inside": True, "outputs": ["share", "class"]}

    found = answers_of(outputs, said, ["cat", "dog"])

    assert [(one.number, one.label, one.confidence) for one in found] == [(1, "dog", 0.75), (1, "dog", 0.5)]
    masks = np.array([[[0, 1, 2], [2, 2, 0]], [[1, 1, 1], [0, 0, 0]]], np.int32)
    said = {"kind": "segmentation", "inside": True, "outputs": ["mask"]}
    one, two = answers_of({"mask": numbers(masks)}, said)
    assert (one.height, one.width, list(one.classes)) == (2, 3, [0, 1, 2, 2, 2, 0])
    assert list(two.classes) == [1, 1, 1, 0, 0, 0]
    for wrong, why in (
        ({"mask": numbers(masks[0])}, "no such answers"),
        ({"other": numbers(masks)}, "other"),
    ):
        with pytest.raises(Refusal, match=why):
            answers_of(wrong, said)
    with pytest.raises(Refusal, match="a mask has classes from 0 to 255"):
        answers_of({"mask": numbers(masks + 300)}, said)


def test_boxes_are_named_and_told_as_json():
    boxes = np.array([[[1, 2, 5, 6], [1, 2, 5, 6.2], [8, 8, 9, 9]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.8, 0.1], [0.1, 0.7]]], np.float32)
    outputs = {"output_0": numbers(boxes), "output_1": numbers(scores)}
    postprocessing = {
        **{"kind": "detection", "head": "decoded", "input_size": [10, 10], "score_threshold": 0.3},
        **{"nms_iou": 0.6, "max_detections": 10, "classes": ["car", "dog"]},
    }
    # An engine may have its outputs in another order than the network.
    turned = dict(reversed(outputs.items()))
    (found,) = answers_of(turned, postprocessing, ["car", "dog"], order=["output_0", "output_1"])
    assert [(box.label, box.number, box.box) for box in found] == [
        ("car", 0, (1, 2, 5, 6)),
        ("dog", 1, (8, 8, 9, 9)),
    ]
    assert [box["confidence"] for box in told(found)["boxes"]] == pytest.approx([0.9, 0.7])
    with pytest.raises(Refusal, match="not those of a detector"):
        answers_of({"output_0": numbers(boxes)}, postprocessing)


def test_objects_that_the_engine_chose_are_not_chosen_from_again():
    outputs = {
        "boxes": numbers(np.array([[[1, 2, 5, 6], [1, 2, 5, 6], [0, 0, 0, 0]]], np.float32)),
        "scores": numbers(np.array([[0.9, 0.8, 0]], np.float32)),
        "classes": numbers(np.array([[1, 1, -1]], np.int32)),
    }
    postprocessing = {
        **{"kind": "detection", "head": "suppressed", "input_size": [10, 10], "score_threshold": 0.3},
        **{"nms_iou": 0.6, "max_detections": 3, "classes": ["car", "dog"]},
    }
    order = list(outputs)
    (found,) = answers_of(dict(reversed(outputs.items())), postprocessing, ["car", "dog"], order=order)
    assert [(box.label, box.number, box.box) for box in found] == [("dog", 1, (1, 2, 5, 6))] * 2
    assert [box.confidence for box in found] == pytest.approx([0.9, 0.8])


def test_by_hand_a_mask_becomes_a_picture_and_an_array(tmp_path, capsys):
    from edgesynth.agent.inference import OutputFile
    from edgesynth.agent.standalone import _tell_answers

    logits = np.random.default_rng(0).normal(size=(2, 3, 6, 9)).astype(np.float32)
    np.save(tmp_path / "output-0.npy", logits)
    output = OutputFile("output", str(tmp_path / "output-0.npy"), logits.shape, "<f4", logits.shape)
    engine = SimpleNamespace(labels=["a", "b", "c"], postprocessing=SEGMENTATION, order=["output"])
    _tell_answers(engine, [output], str(tmp_path))

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    masks = np.load(tmp_path / "masks.npy")
    assert masks.shape == (2, 24, 36)
    assert [line["sample"] for line in lines] == [0, 1]
    assert lines[1]["pixels"]["b"] == (masks[1] == 1).sum()
    with Image.open(tmp_path / "mask-1.pgm") as picture:
        assert np.array_equal(np.asarray(picture), masks[1])
