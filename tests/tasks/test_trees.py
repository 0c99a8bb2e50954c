"""The names of outputs keep their structure."""

from __future__ import annotations

from typing import Any

import pytest

from edgesynth.tasks.trees import output_names, structured


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (7, ("output",)),
        ((1, 2, 3), ("output_0", "output_1", "output_2")),
        ((1,), ("output_0",)),
        ({"boxes": 1, "scores": 2}, ("boxes", "scores")),
        ({"boxes": 1}, ("output.boxes",)),
        (
            {"levels": (1, 2), "rest": {"a": 3, "b": (4, 5)}},
            ("levels.0", "levels.1", "rest.a", "rest.b.0", "rest.b.1"),
        ),
        (((1, 2), {"a": 3}), ("output_0.0", "output_0.1", "output_1.a")),
        (tuple(range(11)), tuple(f"output_{i}" for i in range(11))),
    ],
)
def test_structure_survives_its_names(outputs: Any, names: tuple[str, ...]) -> None:
    assert output_names(outputs) == names
    flat = dict(zip(names, _leaves(outputs), strict=True))
    assert structured(flat) == outputs
    # An engine may give them in another order.
    assert structured(dict(reversed(flat.items()))) == outputs


def test_names_that_would_meet_or_are_not_plain_are_numbers() -> None:
    assert output_names({"input": 1, "b": 2}, taken=("input",)) == ("output_0", "output_1")
    assert output_names({"a.b": 1, "c": 2}) == ("output_0", "output_1")
    assert output_names({"a/b": 1, "c": 2}) == ("output_0", "output_1")


def test_names_of_others_mean_one_tensor_or_parts_of_a_dict() -> None:
    assert structured({"logits": 1}) == 1
    assert structured({"logits": 1, "share": 2}) == {"logits": 1, "share": 2}


def _leaves(tree: Any) -> list[int]:
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, tuple) else [tree]
