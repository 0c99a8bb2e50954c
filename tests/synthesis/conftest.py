"""One small prototype, and one small finished run of every kind of task, for all tests of the synthesis."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from small_runs import SmallRun, synthesize_detectors, synthesize_segmenters
from small_synthesis import (
    BOUND,
    PLAN,
    REQUIREMENTS,
    SETTINGS,
    ReadLog,
    SmallNet,
    Watch,
    digits_task,
    traced,
    untrained,
)

from edgesynth.devices import Device, open_device
from edgesynth.graph import Prototype
from edgesynth.runs import Run
from edgesynth.synthesis.api import Result, synthesize
from edgesynth.tasks import ClassificationTask, fit


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Figures are compared bit by bit, and sums depend on how many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def task() -> ClassificationTask:
    return digits_task()


@pytest.fixture(scope="session")
def weights(task: ClassificationTask) -> dict[str, Tensor]:
    """The state of a trained small network."""
    module = untrained()
    fit(module, task, PLAN)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="session")
def trained(weights: dict[str, Tensor]) -> Callable[[], SmallNet]:
    """Makes a trained network of one's own."""

    def make() -> SmallNet:
        module = untrained()
        module.load_state_dict(weights)
        return module.eval()

    return make


@pytest.fixture(scope="session")
def fresh(trained: Callable[[], SmallNet]) -> Callable[[], Prototype]:
    """Makes a trained prototype of one's own."""
    return lambda: traced(trained())


@pytest.fixture(scope="session")
def prototype(fresh: Callable[[], Prototype]) -> Prototype:
    """A trained prototype for tests that leave it as it is."""
    return fresh()


@pytest.fixture(scope="session")
def board() -> Iterator[Device]:
    with open_device("jetson-tx2", link="simulated") as device:
        yield device


@dataclass(frozen=True)
class Finished:
    """A run that ended, with what was seen on the way; tests only read it."""

    folder: Path
    result: Result
    log: ReadLog
    watch: Watch

    def open(self) -> Run:
        return Run.open(self.folder)


class _Telling(Watch):
    """Tells the log what is going on."""

    def __init__(self, log: ReadLog) -> None:
        super().__init__()
        self.log = log

    def began(self, name: str) -> None:
        self.log.now = name


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    task: ClassificationTask,
    fresh: Callable[[], Prototype],
    board: Device,
) -> Finished:
    folder = tmp_path_factory.mktemp("synthesis") / "run"
    log = ReadLog(task)
    watch = _Telling(log)
    result = synthesize(fresh(), log, REQUIREMENTS, board, run_dir=folder, settings=SETTINGS, progress=watch)
    return Finished(folder, result, log, watch)


@pytest.fixture(scope="session")
def classification_run(
    finished: Finished, task: ClassificationTask, fresh: Callable[[], Prototype]
) -> SmallRun:
    """That run again, as those of the other kinds."""
    return SmallRun(task, fresh(), finished.result, finished.folder, BOUND)


@pytest.fixture(scope="session")
def segmentation_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return synthesize_segmenters(tmp_path_factory.mktemp("segmentation") / "run")


@pytest.fixture(scope="session")
def detectnet_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return synthesize_detectors(tmp_path_factory.mktemp("detectnet") / "run", "detectnet")


@pytest.fixture(scope="session")
def centrenet_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return synthesize_detectors(tmp_path_factory.mktemp("centrenet") / "run", "centrenet")
