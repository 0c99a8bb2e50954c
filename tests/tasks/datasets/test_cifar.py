import numpy as np
import pytest

from edgesynth.errors import DataError
from edgesynth.tasks import load_task

SPLITS = ("train", "validation", "test")


def test_cifar10_is_read_from_its_binary_version(tmp_path):
    generator = np.random.default_rng(0)
    for number, file in enumerate([*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]):
        records = generator.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(20) % 10
        records[:, 1] = number
        records.tofile(tmp_path / file)
    task = load_task("cifar10", root=tmp_path)
    assert [task.size(split) for split in SPLITS] == [90, 10, 20]
    assert task.input_shape == (3, 32, 32)
    assert set(task._samples["test"].inputs[:, 0, 0, 0].tolist()) == {5}
    assert 5 not in task._samples["train"].inputs[:, 0, 0, 0].tolist()
    (tmp_path / "data_batch_2.bin").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match=r"data_batch_2\.bin has 100 bytes"):
        load_task("cifar10", root=tmp_path)


def test_cifar10_without_a_copy_says_where_it_is_looked_for(monkeypatch):
    monkeypatch.delenv("EDGESYNTH_DATA", raising=False)
    with pytest.raises(DataError, match="EDGESYNTH_DATA"):
        load_task("cifar10")
