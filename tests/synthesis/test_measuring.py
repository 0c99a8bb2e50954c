"""Devices are asked beside training, and their answers are those they would have given alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from edgesynth.devices import BenchRequest, Device, Pool, PooledDevice, Recording, open_device
from edgesynth.errors import DeviceError
from edgesynth.graph import Cost, Prototype
from edgesynth.space import Architecture
from edgesynth.synthesis.elastic import ElasticWeights
from edgesynth.synthesis.evaluation import Evaluator
from edgesynth.synthesis.measuring import MeasuringAhead, measure
from edgesynth.tasks import ClassificationTask

WAIT_S = 60.0


@pytest.fixture
def networks(prototype: Prototype) -> dict[str, tuple[nn.Module, Cost]]:
    architectures = [prototype.largest(), prototype.smallest()]
    return {prototype.space.key(a): (prototype.slice(a).eval(), prototype.cost(a)) for a in architectures}


class Listener:
    """Stands at a device's door: notes who asks, and can keep them waiting or turn them away."""

    def __init__(self, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[threading.Thread] = []
        self.open = threading.Event()
        self.open.set()
        self.failure: DeviceError | None = None
        real = device.bench

        def bench(request: BenchRequest, **options: Any) -> Recording:
            self.threads.append(threading.current_thread())
            assert self.open.wait(WAIT_S)
            if self.failure is not None:
                raise self.failure
            return real(request, **options)

        monkeypatch.setattr(device, "bench", bench)


def test_a_board_measures_while_this_thread_goes_on(
    prototype: Prototype,
    board: Device,
    networks: dict[str, tuple[nn.Module, Cost]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = Listener(board, monkeypatch)
    listener.open.clear()
    ahead = MeasuringAhead(board, prototype.example_input)
    ahead.begin(networks)  # returns although the board keeps everyone waiting
    listener.open.set()
    found = {name: ahead.take(name) for name in networks}
    assert set(listener.threads).isdisjoint({threading.current_thread()})
    for name, (module, cost) in networks.items():
        alone = measure(module, prototype.example_input, cost, board, name=name, thorough=False)
        assert found[name] == alone


def test_what_was_not_begun_is_not_waited_for(prototype: Prototype, board: Device) -> None:
    assert MeasuringAhead(board, prototype.example_input).take("0") is None


@pytest.mark.slow
def test_this_machine_is_asked_before_anything_else_goes_on(
    prototype: Prototype, networks: dict[str, tuple[nn.Module, Cost]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_device("host-cpu") as device:
        listener = Listener(device, monkeypatch)
        ahead = MeasuringAhead(device, prototype.example_input)
        ahead.begin(networks)
        asked = list(listener.threads)
        found = [ahead.take(name) for name in networks]
    assert len(asked) >= len(networks)
    assert set(asked) == {threading.current_thread()}
    assert all(measurement is not None for measurement in found)


def test_a_board_that_fails_says_so_where_its_answer_is_needed(
    prototype: Prototype,
    task: ClassificationTask,
    board: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener = Listener(board, monkeypatch)
    listener.failure = DeviceError("the board went away")
    calibration = list(task.batches("train", batch_size=64, limit=128))
    evaluator = Evaluator(prototype, ElasticWeights(prototype), task, board, calibration)
    asked = [prototype.largest(), prototype.smallest()]
    evaluator.measure_ahead(asked)
    for architecture in asked:
        with pytest.raises(DeviceError, match="the board went away"):
            evaluator.evaluate(architecture)
    assert len(listener.threads) == 1  # whoever failed is not asked again


def test_an_evaluation_is_the_same_whether_measured_ahead_or_not(
    fresh: Callable[[], Prototype], task: ClassificationTask, board: Device
) -> None:
    prototype = fresh()
    calibration = list(task.batches("train", batch_size=64, limit=128))
    evaluator = Evaluator(prototype, ElasticWeights(prototype), task, board, calibration)
    architecture: Architecture = prototype.smallest()
    alone = evaluator.evaluate(architecture)
    evaluator.measure_ahead([architecture, architecture])
    assert evaluator.evaluate(architecture) == alone


def test_every_board_of_a_pool_measures_at_once(
    prototype: Prototype,
    networks: dict[str, tuple[nn.Module, Cost]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boards = [open_device("jetson-tx2", link="simulated", seed=seed) for seed in (1, 2)]
    together = threading.Barrier(len(boards), timeout=WAIT_S)
    for board in boards:
        real = board.bench

        def bench(request: BenchRequest, *, real: Any = real, **options: Any) -> Recording:
            together.wait()  # broken unless the other board is asked at the same time
            return real(request, **options)

        monkeypatch.setattr(board, "bench", bench)
    with PooledDevice(Pool(boards)) as device:
        assert device.capacity == 2
        ahead = MeasuringAhead(device, prototype.example_input)
        ahead.begin(networks)
        found = [ahead.take(name) for name in networks]
    assert all(measurement is not None and measurement.metrics for measurement in found)
