"""Data that prove nothing are refused with what is wrong with them, before anything is judged by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from edgesynth.deploy.delivery import deliver
from edgesynth.deploy.judging import ClassScore
from edgesynth.deploy.samples import generated_samples, load_samples
from edgesynth.devices import load_profile
from edgesynth.errors import DataError, InputError
from edgesynth.tasks import load_image_folder

INPUTS: Any = {"image": ("tensor(float)", ("batch", 6))}
IMAGE = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32)
CLASSES = np.arange(12) % 4


def write(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(4)[CLASSES], "not float64 12x4; give labels.argmax\\(1\\)"),
        (np.array(["cat"] * 12), "one class index per sample, from 0 on, not <U3 12"),
        (CLASSES + 0.5, "not float64 12"),
        (CLASSES - 1, "not int64 12"),
        (CLASSES[:5], r"arrays of \[5, 12\] samples"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_samples(write(tmp_path, image=IMAGE, labels=labels), INPUTS, 10)


@pytest.mark.parametrize(
    "labels", [CLASSES, CLASSES[:, None], CLASSES.astype(float), CLASSES.astype(np.uint8)]
)
def test_classes_in_any_type_are_taken(tmp_path: Path, labels: Any) -> None:
    samples = load_samples(write(tmp_path, image=IMAGE, labels=labels), INPUTS, 10)
    assert isinstance(samples.score, ClassScore)
    np.testing.assert_array_equal(samples.score.labels, CLASSES[:10])
    assert samples.score({"scores": np.eye(4)[CLASSES[:10]]}) == 1.0


def test_labels_beyond_the_classes_of_the_network_are_refused() -> None:
    with pytest.raises(InputError, match="labels go up to 3, and the network tells 3 classes apart, 0 to 2"):
        ClassScore(CLASSES)({"scores": np.zeros((12, 3), np.float32)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_on_which_any_networks_agree_are_refused(tmp_path: Path, bad: float) -> None:
    image = IMAGE.copy()
    image[7, 2] = bad
    with pytest.raises(DataError, match="sample 7 of 'image' holds NaN or infinite numbers"):
        load_samples(write(tmp_path, image=image), INPUTS, 10)
    assert len(load_samples(write(tmp_path, image=image), INPUTS, 7)) == 7  # those before it are fine


def test_what_is_no_file_of_numpy_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("a text")
    with pytest.raises(DataError, match=r"text\.npz cannot be read: it is no file of NumPy"):
        load_samples(str(tmp_path / "text.npz"), INPUTS, 10)


def test_a_folder_of_pictures_says_what_its_pictures_were_brought_to(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("dark", "bright"):
        (tmp_path / label).mkdir()
        for index in range(30):
            pixels = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{index}.png")
    inputs = {"image": ("tensor(float)", ["batch", 1, 8, 10])}
    samples = load_samples(load_image_folder(tmp_path, size=(8, 10), colour="grey"), inputs, 4)
    told = {"height": 8, "width": 10, "channels": "L", "fit": "crop", "resampling": "bilinear"}
    assert samples.pictures == told
    assert samples.part(0, 2).pictures == told
    assert (
        load_samples("fashion-mnist-subset", {"x": ("tensor(float)", ["b", 1, 28, 28])}, 4).pictures is None
    )


def test_more_numbers_than_memory_holds_are_not_generated() -> None:
    with pytest.raises(InputError, match=r"90000000x6 numbers for input 'image' .* a smaller --batch"):
        generated_samples(INPUTS, 90_000_000)


@pytest.mark.parametrize(("shape", "told"), [([], "no axis"), ([3, 1], "3")])
def test_an_input_that_counts_no_samples_is_refused(tmp_path: Path, shape: list[int], told: str) -> None:
    number = TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("x", number, ["batch", 4]),
            helper.make_tensor_value_info("scale", number, shape),
        ],
        [helper.make_tensor_value_info("y", number, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")

    with pytest.raises(InputError, match=rf"here it is not the same \('x' free, 'scale' {told}\)"):
        deliver(tmp_path / "net.onnx", load_profile("jetson-tx2"), None)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"net\.onnx"):
        deliver(tmp_path / "net.onnx", load_profile("jetson-tx2"), None)
