import pytest

from edgesynth.tasks.detection.annotations.yolo import yaml_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a, 'b c', \"d\"]\n", ("a", "b c", "d")),
        ("nc: 2\nnames:\n  - a\n  - b # the second\nval: x\n", ("a", "b")),
        ("names:\n- a\n- b\n", ("a", "b")),
        ("names:\n  1: b\n  0: a\ntrain: y\n", ("a", "b")),
        ("names: {0: a, 1: b}\n", ("a", "b")),
        ("names: [a,\n  b]\n", ("a", "b")),
        ("names: ['a b', \"c, d\", e,]\n", ("a b", "c, d", "e")),
        ("names: {0: 'a, b', 1: driver's seat}\n", ("a, b", "driver's seat")),
        ("nc: 3\n", ()),
    ],
)
def test_the_names_of_a_small_yaml_are_read(text, names):
    assert yaml_names(text) == names
