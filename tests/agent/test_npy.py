"""Arrays travel as NumPy's files, read and written without NumPy, on every Python of boards."""

import json
import subprocess

import numpy as np
import pytest

from edgesynth.agent.errors import Refusal
from edgesynth.agent.npy import Array, read_npy, write_npy

KINDS = ["<f4", "<f2", "<f8", "<i8", "<i4", "|i1", "|u1", "|b1"]


@pytest.mark.parametrize("descr", KINDS)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 1, 2), (0, 3)])
def test_numpy_reads_what_is_written_and_the_other_way(tmp_path, descr, shape):
    array = np.arange(int(np.prod(shape))).astype(descr).reshape(shape)
    np.save(tmp_path / "given.npy", array)

    found = read_npy(str(tmp_path / "given.npy"))
    write_npy(str(tmp_path / "written.npy"), found)

    assert found == Array(descr, shape, array.tobytes())
    back = np.load(tmp_path / "written.npy", allow_pickle=False)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_format_is_read(tmp_path, version):
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, np.ones((2, 2), np.float32), version=version)

    assert read_npy(str(tmp_path / "x.npy")).shape == (2, 2)


def damaged(path, name):
    good = np.ones((4, 2), np.float32)
    if name == "objects":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif name == "fortran":
        np.save(path, np.asfortranarray(good))
    elif name == "big-endian":
        np.save(path, good.astype(">f4"))
    elif name == "complex":
        np.save(path, good.astype(np.complex64))
    else:
        np.save(path, good)
        text = path.read_bytes()
        changes = {
            "cut off": lambda: text[:-3],
            "too long": lambda: text + b"1",
            "no header": lambda: text[:9],
            "code": lambda: text.replace(b"{'descr'", b"exit()  "),
            "shape": lambda: text.replace(b"(4, 2)", b"(-4,2)"),
            "other": lambda: b"PK\3\4" + text,
            "empty": lambda: b"",
            "header": lambda: text[:8] + b"\xff\xff" + text[10:],
        }
        path.write_bytes(changes[name]())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("objects", "'\\|O', not plain numbers"),
        ("fortran", "ascontiguousarray"),
        ("big-endian", "not plain numbers"),
        ("complex", "not plain numbers"),
        ("cut off", "29 bytes of 32"),
        ("too long", "33 bytes of 32"),
        ("no header", "header is damaged"),
        ("code", "header is damaged"),
        ("shape", "shape is damaged"),
        ("other", "no .npy file"),
        ("empty", "no .npy file"),
        ("header", "header is damaged"),
    ],
)
def test_anything_else_is_refused_in_words(tmp_path, name, said):
    damaged(tmp_path / "x.npy", name)

    with pytest.raises(Refusal, match=said):
        read_npy(str(tmp_path / "x.npy"))


def test_it_does_so_on_the_pythons_of_boards(bare_board, python, tmp_path):
    bare_board.use_python(python)
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    code = (
        f"import sys; sys.path.insert(0, {str(bare_board.agent)!r})\n"
        "from edgesynth.agent.npy import read_npy, write_npy\n"
        f"found = read_npy({str(tmp_path / 'x.npy')!r})\n"
        f"write_npy({str(tmp_path / 'y.npy')!r}, found)\n"
        "import json; print(json.dumps([found.descr, found.shape]))"
    )
    done = subprocess.run([bare_board.python, "-c", code], capture_output=True, check=True)

    assert json.loads(done.stdout) == ["<f4", [2, 3]]
    assert np.load(tmp_path / "y.npy").tolist() == [[0, 1, 2], [3, 4, 5]]
