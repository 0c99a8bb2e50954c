"""Inputs as their user has them: taken where they are, or refused by name."""

import array

import numpy as np
import pytest

from edgesynth.agent.errors import Refusal
from edgesynth.agent.tensors import Tensor, example, flat_bytes

IMAGE = Tensor("image", True, (2, 3), "FLOAT")


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.float32),
        array.array("f", range(6)),
        bytearray(np.arange(6, dtype=np.float32).tobytes()),
    ],
)
def test_what_lies_in_one_piece_is_not_copied(value):
    flat = flat_bytes(IMAGE, value)

    assert flat.obj is value
    assert flat == np.arange(6, dtype=np.float32).tobytes()


def test_what_lies_in_pieces_comes_in_the_order_of_its_axes():
    value = np.arange(6, dtype=np.float32).reshape(3, 2).T
    locked = np.arange(6, dtype=np.float32).reshape(2, 3)
    locked.flags.writeable = False

    assert flat_bytes(IMAGE, value) == np.ascontiguousarray(value).tobytes()
    assert flat_bytes(IMAGE, locked) == locked.tobytes()


def test_halves_and_single_numbers_are_taken():
    half, one = Tensor("half", True, (2,), "HALF"), Tensor("one", True, (), "FLOAT")

    assert flat_bytes(half, np.array([1.0, 2.0], np.float16)) == np.array([1.0, 2.0], np.float16).tobytes()
    assert flat_bytes(one, np.array(3.0, np.float32)) == np.float32(3.0).tobytes()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.zeros((3, 2), np.float32), "input 'image' is 3x2 of type 'f'; the engine takes 2x3 of FLOAT"),
        (np.zeros((2, 3)), "of type 'd'"),
        (np.zeros((), np.float32), "the engine takes 2x3"),
        (b"12", "the engine takes 2x3"),
        (7, "is no array"),
    ],
)
def test_what_does_not_fit_is_refused(value, said):
    with pytest.raises(Refusal, match=said) as refused:
        flat_bytes(IMAGE, value)
    assert refused.value.kind == "data"


def test_examples_of_pictures_are_bytes_of_any_size():
    first, other = (example(Tensor("image", True, (1, 3, 8, 8), "UINT8"), seed) for seed in (0, 1))
    assert len(first) == len(other) == 192
    assert first != other
    assert max(first) > 200


def test_examples_of_other_seeds_differ_and_fill_the_input():
    first, again, other = (example(IMAGE, seed) for seed in (0, 0, 1))

    assert first == again != other
    assert len(first) == IMAGE.size
