from importlib import resources
from pathlib import Path

import pytest
import torch

from edgesynth.errors import DataError
from edgesynth.tasks import load_task
from edgesynth.tasks.datasets.fashion import write_subset
from edgesynth.tasks.datasets.idx import read_idx, write_idx

SPLITS = ("train", "validation", "test")


@pytest.fixture
def idx_folder(tmp_path):
    """A data set in the layout of Fashion-MNIST, as small as its reader allows."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 5_100), ("t10k", 1_000)):
        images = torch.randint(256, (count, 4, 4), generator=generator, dtype=torch.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (torch.arange(count) % 10).to(torch.uint8))
    return tmp_path


def test_the_packaged_subset_is_balanced_and_licensed():
    task = load_task("fashion-mnist-subset")
    for split, each in zip(SPLITS, (400, 100, 100), strict=True):
        targets = torch.cat([batch.targets for batch in task.batches(split, batch_size=1000)])
        assert targets.bincount().tolist() == [each] * 10
    folder = resources.files("edgesynth.tasks.datasets") / "fashion_mnist_subset"
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "seed 0" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_packaged_subset_comes_from_the_original_files(tmp_path):
    original = Path("/usr/share/datasets/fashion-mnist")
    if not original.is_dir():
        pytest.skip("the original Fashion-MNIST files are not installed")
    write_subset(original, tmp_path)
    folder = resources.files("edgesynth.tasks.datasets") / "fashion_mnist_subset"
    for file in tmp_path.iterdir():
        assert torch.equal(read_idx(file), read_idx(Path(str(folder / file.name))))


def test_fewer_training_images_leave_the_other_splits_alone():
    whole, part = load_task("fashion-mnist-subset"), load_task("fashion-mnist-subset", train_size=100)
    assert part.size("train") == 100
    assert part.size("validation") == whole.size("validation")
    raw = part._samples["validation"].inputs
    assert torch.equal(raw, whole._samples["validation"].inputs)


def test_fashion_mnist_is_read_from_a_folder_or_the_environment(idx_folder, monkeypatch, tmp_path_factory):
    task = load_task("fashion-mnist", root=idx_folder)
    assert [task.size(split) for split in SPLITS] == [100, 50, 1_000]
    shelf = tmp_path_factory.mktemp("shelf")
    (shelf / "fashion-mnist").symlink_to(idx_folder)
    monkeypatch.setenv("EDGESYNTH_DATA", str(shelf))
    assert load_task("fashion-mnist", train_size=20).size("train") == 20


def test_validation_of_fashion_mnist_never_reaches_into_training(idx_folder):
    large = load_task("fashion-mnist", root=idx_folder)
    small = load_task("fashion-mnist", root=idx_folder, train_size=30)

    def raw(task, split):
        return {image.numpy().tobytes() for image in task._samples[split].inputs}

    assert raw(small, "train") < raw(large, "train")
    assert not raw(small, "validation") & raw(large, "train")
    assert not raw(large, "validation") & raw(large, "test")


@pytest.mark.parametrize("size", [1, 101, -3])
def test_impossible_training_sizes_are_refused(idx_folder, size):
    with pytest.raises(DataError, match=f"between 2 and 100, got {size}"):
        load_task("fashion-mnist", root=idx_folder, train_size=size)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
        load_task("fashion-mnist", root=tmp_path)
