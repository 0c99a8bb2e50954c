"""The ``[task]`` table opens what it names, and refuses keys that are of no use to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgesynth.errors import JobError
from edgesynth.job import EXAMPLE, Job
from edgesynth.job.reader import parse_job


def job(folder: Path, table: str, prototype: str = "lraspp") -> Job:
    return parse_job(f'[prototype]\nname = "{prototype}"\n[task]\n{table}', folder=folder)


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """Twenty pictures, dark left and bright right, with masks that say so and ignore the column between."""
    for name in ("images", "masks"):
        (tmp_path / "own" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(20):
        mask = np.zeros((24, 32), dtype=np.uint8)
        mask[:, 16:], mask[:, 15] = 1, 9
        pixels = rng.integers(0, 60, (24, 32, 3), dtype=np.uint8) + 150 * (mask == 1)[..., None].astype(
            np.uint8
        )
        Image.fromarray(pixels).save(tmp_path / "own" / "images" / f"{index}.png")
        Image.fromarray(mask).save(tmp_path / "own" / "masks" / f"{index}.png")
    return tmp_path


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Twenty pictures with one bright square each, in the format of COCO."""
    home = tmp_path / "own"
    (home / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, found = [], []
    for index in range(20):
        x, y = (int(value) for value in rng.integers(0, 20, 2))
        pixels = np.zeros((40, 40, 3), dtype=np.uint8)
        pixels[y : y + 16, x : x + 16] = 200
        Image.fromarray(pixels).save(home / "images" / f"{index}.png")
        images.append({"id": index, "file_name": f"{index}.png", "width": 40, "height": 40})
        found.append(
            {
                "id": index,
                "image_id": index,
                "category_id": 1,
                "bbox": [x, y, 16, 16],
                "area": 256,
                "iscrowd": 0,
            }
        )
    told = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "square"}]}
    (home / "annotations.json").write_text(json.dumps(told))
    return tmp_path


MASKS = 'data = "mask-folder"\npath = "own"\nsize = 16\nignore_label = 9\n'
BOXES = 'data = "boxes"\npath = "own"\nsize = 32\n'


def test_a_folder_of_masks_is_a_task(masks: Path) -> None:
    task = job(masks, f'{MASKS}classes = ["dark", "bright"]\nmirror = false\nturn = true\n').build_task()
    assert task.metric == "miou"
    assert task.classes == ("dark", "bright")
    assert task.input_shape == (3, 16, 16)
    assert sum(task.size(split) for split in ("train", "validation", "test")) == 20  # type: ignore[arg-type]
    assert task.augmentation.flip is False  # type: ignore[attr-defined]
    assert task.augmentation.turn is True  # type: ignore[attr-defined]


def test_what_was_not_asked_for_is_not_kept_so_that_earlier_runs_go_on(masks: Path) -> None:
    kept = job(masks, MASKS).to_json()["task"]
    assert not {"turn", "fit", "classes"} & kept.keys()


def test_a_folder_of_boxes_is_a_task(boxes: Path) -> None:
    task = job(boxes, f'{BOXES}format = "coco"\nmetric = "map"\nturn = true\n', "centrenet").build_task()
    assert task.metric == "map"
    assert task.augmentation.turn is True  # type: ignore[attr-defined]
    assert task.classes == ("square",)
    assert task.input_shape == (3, 32, 32)


def test_a_folder_is_opened_as_its_loader_can(masks: Path) -> None:
    table = f"{MASKS}class_weights = [1, 2.5]\n".replace("size = 16", "size = [16, 24]")
    asked = job(masks, f'{table}fit = "stretch"\n')
    task = Job.from_json(json.loads(json.dumps(asked.to_json())), masks).build_task()
    assert task.input_shape == (3, 16, 24)
    assert task.class_weights.tolist() == [1, 2.5]  # type: ignore[attr-defined]
    assert task.description.pictures["fit"] == "stretch"  # type: ignore[attr-defined]
    cropped = job(masks, table).build_task()
    assert cropped.description.pictures["fit"] == "crop"  # type: ignore[attr-defined]


def test_masks_in_colours_are_told_by_their_colours(masks: Path) -> None:
    for path in (masks / "own" / "masks").iterdir():
        mask = np.array(Image.open(path))
        colours = np.array([[0, 0, 142], [128, 64, 128]], dtype=np.uint8)
        Image.fromarray(colours[(mask == 1).astype(int)]).save(path)
    colours_by_name = "classes = { road = [128, 64, 128], car = [0, 0, 142] }\n"
    asked = job(masks, f'data = "mask-folder"\npath = "own"\nsize = 16\n{colours_by_name}')
    task = Job.from_json(json.loads(json.dumps(asked.to_json())), masks).build_task()
    assert task.classes == ("road", "car")
    # The left of every mask is not the class that is named first.
    assert next(iter(task.batches("train", batch_size=1))).targets[0, 0].tolist() == [1] * 8 + [0] * 8


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_boxes_are_letterboxed_or_stretched(boxes: Path, fit: str) -> None:
    table = f'{BOXES}fit = "{fit}"\n'.replace("size = 32", "size = [32, 64]")
    task = job(boxes, table, "centrenet").build_task()
    assert task.input_shape == (3, 32, 64)
    assert task.description.pictures["fit"] == fit  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("mirror = false\n", 'mirror is for data = "image-folder" or "mask-folder" or "boxes", '),
        ("turn = true\n", "turn is for"),
        ("skip_corrupt = true\n", "skip_corrupt is for"),
        ('metric = "map"\n', 'metric is for data = "boxes", '),
        ('head = "grid"\n', "head is for"),
        ('class_weights = "balanced"\n', "class_weights is for"),
        ("size = 32\n", "size is for"),
        ('fit = "crop"\n', "fit is for"),
        ('classes = ["a"]\n', "classes is for"),
        ('path = "own"\n', "path is for named data sets and folders, not for"),
        ("train_size = 5\n", "train_size is for named data sets, not for"),
    ],
)
def test_keys_that_a_callable_of_ones_own_would_not_hear_of_are_refused(
    tmp_path: Path, table: str, said: str
) -> None:
    with pytest.raises(JobError, match=rf"{said}.*'unheard:task'; remove it .*arguments"):
        job(tmp_path, f'data = "unheard:task"\narguments = {{ size = 8 }}\n{table}').build_task()


def test_the_prototype_decides_what_a_detector_says_unless_the_table_does(boxes: Path) -> None:
    heads = [
        job(boxes, table, prototype).build_task().head.name  # type: ignore[attr-defined]
        for table, prototype in (
            (BOXES, "centrenet"),
            (BOXES, "detectnet"),
            (f'{BOXES}head = "grid"\n', "centrenet"),
            ('data = "shapes-boxes"\ntrain_size = 20\n', "detectnet"),
        )
    ]
    assert heads == ["centre", "grid", "grid", "grid"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('data = "mask-folder"\nsize = 16\n', r'data = "mask-folder" needs the key \'path\''),
        ('data = "boxes"\npath = "own"\n', r'data = "boxes" needs the key \'size\''),
        (f"{MASKS}train_size = 5\n", 'train_size is for named data sets; data = "mask-folder" uses all'),
        (f'{MASKS}format = "coco"\n', 'format is for data = "boxes", not for "mask-folder"'),
        (f'{MASKS}head = "grid"\n', 'head is for data = "boxes", not for "mask-folder"'),
        (f"{BOXES}ignore_label = 3\n", 'ignore_label is for data = "mask-folder", not for "boxes"'),
        (
            'data = "image-folder"\npath = "own"\nsize = 16\nclasses = ["a", "b"]\n',
            'classes is for data = "mask-folder" or "boxes", not for "image-folder"',
        ),
        (
            'data = "shapes-masks"\nhead = "grid"\n',
            "head is for data = \"boxes\"; 'shapes-masks' has its own",
        ),
        ('data = "shapes-boxes"\nclasses = ["a"]\n', "'shapes-boxes' has its own"),
        (
            f'{MASKS}fit = "letterbox"\n',
            'fit = "letterbox" is not for "mask-folder"; choose "crop" or "stretch"',
        ),
        (f'{BOXES}fit = "crop"\n', 'fit = "crop" is not for "boxes"; choose "letterbox" or "stretch"'),
        (f"{BOXES}classes = {{ a = [1, 2, 3] }}\n", 'colours of classes are for data = "mask-folder"; give'),
        ('data = "mask-folders"\n', "did you mean 'mask-folder'"),
        ('data = "scene-masks"\n', "did you mean 'scenes-masks'"),
    ],
)
def test_keys_of_no_use_and_missing_ones_are_refused(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        job(tmp_path, table).build_task()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('data = "boxes"\nformat = "cocoa"\n', r'format = "cocoa" should be one of .* did you mean "coco"'),
        ('data = "boxes"\nheads = "grid"\n', "unknown key 'heads'; did you mean 'head'"),
        ('data = "mask-folder"\nignore_label = 300\n', "ignore_label = 300 should be"),
        ('data = "mask-folder"\nclasses = "road"\n', 'classes = "road" should be a list'),
        (
            'data = "mask-folder"\nclasses = []\n',
            r"classes = \[\] should be a list of names that is not empty, .*; leave the key out",
        ),
        (
            'data = "mask-folder"\nclasses = { road = [128, 64] }\n',
            r'classes = \{"road": \[128, 64\]\} should be .* a colour by name, e.g. \{ road',
        ),
        (
            'data = "boxes"\nsize = 60000\n',
            "size = 60000 should be a whole number of pixels from 8 to 8192, or",
        ),
        ('data = "boxes"\nsize = 4\n', "size = 4 should be a whole number of pixels from 8 to 8192, or"),
        (
            'data = "boxes"\nsize = [64]\n',
            r"size = \[64\] should be .* a height and a width, e.g. \[240, 320\]",
        ),
        ('data = "boxes"\nsize = "64"\n', 'size = "64" should be a whole number of pixels'),
        ('data = "boxes"\nfit = "pad"\n', 'fit = "pad" should be one of "crop", "letterbox" or "stretch"'),
        (
            'data = "mask-folder"\nclass_weights = [1, -2]\n',
            r'class_weights = \[1, -2\] should be "balanced", or one number not below 0 for every class',
        ),
    ],
)
def test_impossible_values_are_refused_when_the_job_is_read(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        job(tmp_path, table)


def test_a_jobs_manifest_opens_the_same_folder(masks: Path) -> None:
    asked = job(masks, MASKS)
    again = Job.from_json(json.loads(json.dumps(asked.to_json())), masks)
    assert again.build_task().classes == asked.build_task().classes


@pytest.mark.parametrize(
    ("prototype", "data", "said"),
    [
        ("resnet20", "shapes-masks", "made for classification, and 'shapes-masks' is a set for segmentation"),
        ("refinenet", "digits", "made for segmentation, and 'digits' is a set for classification"),
        ("lraspp", "shapes-boxes", r"a set for detection; prototypes for it: .*centrenet"),
    ],
)
def test_a_prototype_for_another_task_is_refused(
    tmp_path: Path, prototype: str, data: str, said: str
) -> None:
    asked = job(tmp_path, f'data = "{data}"\ntrain_size = 20\n', prototype)
    with pytest.raises(JobError, match=said):
        asked.build_module(asked.build_task())


@pytest.mark.parametrize(("prototype", "data"), [("lraspp", "shapes-masks"), ("centrenet", "shapes-boxes")])
def test_prototypes_fit_the_named_sets_of_their_task(tmp_path: Path, prototype: str, data: str) -> None:
    asked = job(tmp_path, f'data = "{data}"\ntrain_size = 20\n', prototype)
    task = asked.build_task()
    batch = next(task.batches("train", batch_size=2))
    loss = task.loss(asked.build_module(task)(batch.inputs), batch.targets)
    assert bool(torch.isfinite(loss))


@pytest.mark.parametrize("metric", ["miou", "map50"])
def test_quality_may_be_bounded_relative_to_the_prototype(tmp_path: Path, metric: str) -> None:
    bounds = f'[requirements]\n{metric} = ">= prototype - 0.015"\nmacs = "<= prototype / 10"\n'
    text = f'data = "shapes-masks"\n{bounds}'
    asked = job(tmp_path, text)
    requirements = asked.resolve({metric: 0.6, "macs": 2e8})
    found = {item.metric: item.bound for item in requirements}
    assert found == {metric: pytest.approx(0.585), "macs": pytest.approx(2e7)}


def test_the_example_shows_every_key_of_the_task() -> None:
    from edgesynth.job.tables import TaskTable

    text = EXAMPLE.read_text(encoding="utf-8")
    table = text.split("[task]")[1].split("[requirements]")[0]
    shown = {line.removeprefix("# ").split(" = ")[0] for line in table.splitlines() if " = " in line}
    assert set(TaskTable.model_fields) - {"arguments"} <= shown
