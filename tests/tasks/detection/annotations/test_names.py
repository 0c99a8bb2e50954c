import pytest

from edgesynth.errors import DataError
from edgesynth.tasks.detection.annotations.names import yaml_entries, yaml_names


def names_of(tmp_path, text):
    file = tmp_path / "data.yaml"
    file.write_text(text)
    return yaml_names(file, yaml_entries(file))


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
        ("names:\n  - a\n  - 'b # c'\n", ("a", "b # c")),
        ('names: ["caf\\u00e9", b]\n', ("caf\xe9", "b")),
        ("names: &all [a, b]\n", ("a", "b")),
        ("names: [yes, 1.10, 007]\n", ("yes", "1.10", "007")),
        ("names: {" + ", ".join(f"{index}: c{index}" for index in range(11, -1, -1)) + "}", None),
    ],
)
def test_the_names_of_a_yaml_are_read(text, names, tmp_path):
    assert names_of(tmp_path, text) == (names or tuple(f"c{index}" for index in range(12)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nc: 3\n", r"data\.yaml has no names"),
        ("", r"data\.yaml has no names"),
        ("names: []\n", r"data\.yaml has no names"),
        ("- a\n", r"data\.yaml has no entries"),
        ("names: [a,\n", r"cannot read .*data\.yaml as YAML: .* line 2"),
        ("[" * 100_000, "nested too deeply"),
        ("names: ['', b]\n", "a class whose name is empty"),
        ("names:\n  - a\n  - ~\n", r"line 3: '~' is nothing to YAML"),
        ("names: [a: b, c]\n", r"line 1: a name is not a text"),
        ("names: {0: a, 0: b}\n", r"have the indices \[0, 0\]; number them from 0 on"),
        ("names: {x: a, y: b}\n", r"have the indices \[x, y\]; number them from 0 on"),
        ("names: [a, b]\nnc: 5\n", "has 2 names, and its nc is 5"),
        ('names: ["\\ud800", b]\n', r"names a class '\\ud800', which holds half a character"),
    ],
)
def test_a_yaml_without_usable_names_is_one_clear_line(text, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        names_of(tmp_path, text)
    assert "\n" not in str(caught.value)
