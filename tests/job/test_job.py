"""A job builds what it names, and says what is wrong with the user's files before any training."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgesynth import zoo
from edgesynth.errors import DataError, EdgesynthError, InputError, JobError, RequirementError
from edgesynth.job import Job
from edgesynth.job.reader import parse_job

DIGITS = '[task]\ndata = "digits"\n'
RESNET8 = '[prototype]\nname = "resnet8"\n'

OWN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, in_channels, classes):
        super().__init__()
        self.body = nn.Conv2d(in_channels, width, 3, padding=1)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)).mean((2, 3)))


def build(width=8, in_channels=1, classes=10):
    return Net(width, in_channels, classes)


def wrong():
    return "not a module"


def task(samples=60):
    from torch.utils.data import TensorDataset

    from edgesynth.tasks import from_datasets

    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(samples, 1, 8, 8, generator=generator)
    data = TensorDataset(inputs, torch.arange(samples) % 3)
    return from_datasets(data, data, data, name="own", classes=["a", "b", "c"])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A user's folder with code of their own, importable for this test alone."""
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "own_code.py").write_text(OWN)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name == "own_code":
            del sys.modules[name]


def job(text: str, folder: Path) -> Job:
    return parse_job(text, folder=folder)


def pictures(folder: Path, classes: int = 2, each: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        home = folder / "photos" / f"class{label}"
        home.mkdir(parents=True)
        for index in range(each):
            pixels = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(home / f"{index}.png")
    return folder / "photos"


def test_a_named_data_set_and_a_zoo_network_fit_each_other(folder: Path) -> None:
    asked = job(RESNET8 + DIGITS, folder)
    task = asked.build_task()
    prototype = asked.build_prototype(task)
    assert prototype.name == "resnet8"
    assert prototype.module(torch.zeros(2, *task.input_shape)).shape == (2, len(task.classes))


@pytest.mark.parametrize(
    ("prototype", "device", "align"),
    [
        ("", "", 8),
        ("", '[device]\nname = "own.toml"\n', 4),
        ("align = 2\n", '[device]\nname = "own.toml"\n', 2),
    ],
)
def test_widths_are_multiples_of_what_the_device_likes(
    folder: Path, prototype: str, device: str, align: int
) -> None:
    profile = (Path(__file__).parents[2] / "profiles/jetson-tx2.toml").read_text()
    (folder / "own.toml").write_text(profile.replace("fp16 = 8", "fp16 = 4"))
    asked = job(RESNET8 + prototype + DIGITS + device, folder)
    assert asked.build_prototype(asked.build_task()).align == align


def test_the_same_seed_gives_the_same_fresh_weights_and_leaves_torch_alone(folder: Path) -> None:
    asked = job(RESNET8 + DIGITS, folder)
    task = asked.build_task()
    torch.manual_seed(7)
    first = asked.build_module(task)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    second = asked.build_module(task)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_users_module_task_and_arguments_are_used(folder: Path) -> None:
    text = '[prototype]\nname = "own_code:build"\narguments = { width = 24 }\nfreeze = ["head"]\n'
    asked = job(text + '[task]\ndata = "own_code:task"\narguments = { samples = 30 }\n', folder)
    task = asked.build_task()
    assert task.size("train") == 30
    prototype = asked.build_prototype(task)
    assert [dimension.units for dimension in prototype.dimensions] == [24]
    assert prototype.module(torch.zeros(1, 1, 8, 8)).shape == (1, 3)


def test_an_image_folder_is_a_task(folder: Path) -> None:
    pictures(folder)
    asked = job(RESNET8 + '[task]\ndata = "image-folder"\npath = "photos"\nsize = 16\n', folder)
    task = asked.build_task()
    assert task.classes == ("class0", "class1")
    assert task.input_shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('data = "image-folder"\nsize = 16\n', "needs the key 'path'"),
        ('data = "image-folder"\npath = "photos"\n', "needs the key 'size'"),
        ('data = "fashion-minst-subset"\n', "did you mean 'fashion-mnist-subset'"),
        ('data = "digits"\nsize = 8\n', "size is for"),
        ('data = "digits"\narguments = { a = 1 }\n', "arguments are for your own callable"),
        ('data = "own_code:build"\n', "returned a Net, not a task"),
        ('data = "own_code:nothing"\n', "has no 'nothing'"),
    ],
)
def test_a_task_that_cannot_be_says_why(folder: Path, table: str, said: str) -> None:
    with pytest.raises(JobError, match=said):
        job(f"{RESNET8}[task]\n{table}", folder).build_task()


def test_unreadable_pictures_are_left_out_and_mirror_images_avoided_on_request(folder: Path) -> None:
    pictures(folder, 2, 12)
    broken = next((folder / "photos" / "class0").iterdir())
    broken.write_bytes(broken.read_bytes()[:40])
    table = f'{RESNET8}[task]\ndata = "image-folder"\npath = "photos"\nsize = 16\n'
    with pytest.raises(DataError, match=r"skip_corrupt = true"):
        job(table, folder).build_task()
    task = job(f"{table}mirror = false\nturn = true\nskip_corrupt = true\n", folder).build_task()
    assert sum(task.size(split) for split in ("train", "validation", "test")) == 23
    assert task.augmentation.flip is False
    assert task.augmentation.turn is True


@pytest.mark.parametrize(("classes", "each"), [(0, 0), (1, 12)])
def test_empty_and_one_class_folders_are_refused(folder: Path, classes: int, each: int) -> None:
    (folder / "photos").mkdir()
    (folder / "other").mkdir()
    if classes:
        pictures(folder / "other", classes, each)
    root = "other/photos" if classes else "photos"
    with pytest.raises(DataError):
        job(f'{RESNET8}[task]\ndata = "image-folder"\npath = "{root}"\nsize = 16\n', folder).build_task()


def test_a_missing_image_folder_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        job(f'{RESNET8}[task]\ndata = "image-folder"\npath = "absent"\nsize = 16\n', folder).build_task()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('name = "resnet9"\n', "did you mean 'resnet8'"),
        ('name = "resnet8"\narguments = { width = 3 }\n', "takes no arguments"),
        ('name = "own_code:wrong"\n', "returned a str, not a torch.nn.Module"),
        ('name = "resnet8"\nepochs = 0\n', "untrained"),
        ('name = "resnet8"\ncheckpoint = "absent.safetensors"\n', "absent.safetensors cannot be read"),
    ],
)
def test_a_prototype_that_cannot_be_says_why(folder: Path, table: str, said: str) -> None:
    asked = job(f"[prototype]\n{table}{DIGITS}", folder)
    with pytest.raises(JobError, match=said):
        asked.build_module(asked.build_task())


def test_a_checkpoint_gives_its_weights_and_no_training_by_default(folder: Path) -> None:
    trained = zoo.build("resnet8", in_channels=1, classes=10)
    save_file(trained.state_dict(), folder / "weights.safetensors")
    asked = job(f'{RESNET8}checkpoint = "weights.safetensors"\n{DIGITS}', folder)
    loaded = asked.build_module(asked.build_task()).state_dict()
    assert not asked.prototype.trained
    assert all(torch.equal(loaded[name], value) for name, value in trained.state_dict().items())


def test_a_checkpoint_of_another_network_names_the_tensors(folder: Path) -> None:
    save_file(zoo.build("resnet8", in_channels=3, classes=4).state_dict(), folder / "other.safetensors")
    asked = job(f'{RESNET8}checkpoint = "other.safetensors"\n{DIGITS}', folder)
    with pytest.raises(JobError, match=r"does not fit: .* is \(.*\), the network needs \("):
        asked.build_module(asked.build_task())


def test_a_checkpoint_that_is_a_pickle_is_refused(folder: Path) -> None:
    torch.save(zoo.build("resnet8").state_dict(), folder / "weights.pt")
    asked = job(f'{RESNET8}checkpoint = "weights.pt"\n{DIGITS}', folder)
    with pytest.raises(JobError, match="save_file"):
        asked.build_module(asked.build_task())


def test_a_device_is_opened_by_profile_link_and_mode(folder: Path) -> None:
    asked = job(RESNET8 + DIGITS + '[device]\nname = "jetson-tx2"\nmode = "MAXQ"\n', folder)
    device = asked.open_device()
    assert device is not None
    with device:
        assert "MAXQ" in device.describe()
    assert job(RESNET8 + DIGITS, folder).open_device() is None


def test_a_device_may_be_several_boards(folder: Path) -> None:
    asked = job(RESNET8 + DIGITS + '[device]\nname = "jetson-tx2"\nlink = ["ssh://a", "ssh://a"]\n', folder)
    assert asked.device is not None
    assert asked.device.links == ("ssh://a", "ssh://a")
    with pytest.raises(InputError, match=r"a board may be in a pool only once.*ssh://a, ssh://a"):
        asked.open_device()


@pytest.mark.parametrize(
    "table",
    [
        'name = "jetson-tx9"',
        'name = "jetson-tx2"\nmode = "MAX"',
        'name = "x.toml"',
        'name = "jetson-tx2"\ndla_core = 0',
    ],
)
def test_an_unknown_device_is_refused(folder: Path, table: str) -> None:
    with pytest.raises(EdgesynthError):
        job(f"{RESNET8}{DIGITS}[device]\n{table}\n", folder).open_device()


def test_requirements_become_numbers_when_the_prototype_is_known(folder: Path) -> None:
    text = RESNET8 + DIGITS + '[requirements]\nmacs = "<= prototype / 4"\naccuracy = ">= prototype - 1%"\n'
    asked = job(text, folder)
    assert asked.resolve({"macs": 8e6}, partial=True).text == "macs <= 2e+06"
    assert asked.resolve({"macs": 8e6, "accuracy": 0.9}).text == "macs <= 2e+06, accuracy >= 0.89"
    with pytest.raises(RequirementError, match="accuracy"):
        asked.resolve({"macs": 8e6})


def test_the_settings_carry_the_budgets_of_the_job(folder: Path) -> None:
    text = RESNET8 + DIGITS + "[synthesis]\ncycles = 3\nseed = 5\nvalidation_limit = 0\n"
    settings = job(text, folder).settings
    assert (settings.cycles, settings.seed, settings.validation_limit) == (3, 5, None)
    assert job(text, folder).training_plan(10_000).seed == 5
