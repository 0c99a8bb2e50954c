import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from edgesynth.errors import DataError
from edgesynth.tasks import TensorSamples, TrainingPlan, fit, from_datasets, load_task


class Counting(Dataset):
    """Pairs of an image whose every pixel is its index, and a class; counts how often it is read."""

    def __init__(self, count, *, start=0, classes=3):
        self.count, self.start, self.number, self.reads = count, start, classes, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        self.reads += 1
        return torch.full((1, 4, 4), float(self.start + index)), index % self.number


def stored(task, split):
    samples = task._samples[split]
    return set(samples.take(torch.arange(len(samples.labels)))[:, 0, 0, 0].tolist())


def test_validation_is_held_out_of_train_and_never_of_test():
    task = from_datasets(Counting(40), Counting(12, start=1000))
    assert (task.size("train"), task.size("validation"), task.size("test")) == (34, 6, 12)
    assert stored(task, "train") | stored(task, "validation") == set(map(float, range(40)))
    assert not stored(task, "train") & stored(task, "validation")
    assert min(stored(task, "test")) == 1000
    again = from_datasets(Counting(40), Counting(12, start=1000))
    assert stored(again, "validation") == stored(task, "validation")
    assert "15% of the training data" in str(task.description)


def test_a_given_validation_set_is_used_as_it_is():
    task = from_datasets(Counting(20), Counting(5, start=200), Counting(7, start=100))
    assert stored(task, "validation") == set(map(float, range(100, 107)))
    assert task.description.division == "splits as given"


def test_small_data_are_read_once_and_large_data_when_needed():
    small, large = Counting(30), Counting(30)
    kept = from_datasets(small, Counting(9))
    lazy = from_datasets(large, Counting(9), memory_limit_bytes=0)
    before = (small.reads, large.reads)
    batches = [list(task.batches("train", batch_size=8, seed=1, shuffle=True)) for task in (kept, lazy)]
    assert small.reads == before[0]
    assert large.reads == before[1] + lazy.size("train")
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_declared_labels_and_class_names_are_used():
    train = Counting(12)
    train.targets = [index % 3 for index in range(12)]
    train.classes = ["ant", "bee", "cat"]
    assert from_datasets(train, Counting(3)).classes == ("ant", "bee", "cat")
    assert from_datasets(Counting(12), Counting(3)).classes == ("0", "1", "2")


def test_a_network_learns_from_a_tensor_dataset():
    digits = load_task("digits")
    part = digits._samples["train"], digits._samples["test"]
    train, test = (TensorDataset(samples.inputs.float(), samples.labels) for samples in part)
    task = from_datasets(train, test, name="my digits")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    fit(module, task, TrainingPlan(epochs=8, batch_size=64))
    score = task.score(module, "test")
    assert score.metric.value > 0.9
    assert score.metric.source == "my digits test"


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1), 0


class Odd(Counting):
    def __init__(self, item, count=4):
        super().__init__(count)
        self.item = item

    def __getitem__(self, index):
        return self.item(index)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Counting(0), "is empty"),
        (Counting(9, classes=1), "one class"),
        (Counting(1), "nothing can be held out"),
        (Stream(), "has no length"),
        (Odd(lambda index: torch.zeros(1)), "give pairs"),
        (Odd(lambda index: ("picture", 1)), r"\(str, int\); give pairs"),
        (Odd(lambda index: (torch.zeros(1), "cat")), "label of item 0 of Odd is 'cat'"),
        (Odd(lambda index: (torch.zeros(1 + index % 2), index % 2)), "item 1 has shape"),
    ],
)
def test_data_sets_that_cannot_be_used_are_refused_with_the_reason(train, message):
    with pytest.raises(DataError, match=message):
        from_datasets(train, Counting(3))


def test_samples_in_memory_are_a_task_without_any_dataset(make_task):
    samples = TensorSamples(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert samples.shape == (3,)
    assert make_task().description.origin == "user"
