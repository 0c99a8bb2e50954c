"""Measuring networks on a device, beside whatever this machine does meanwhile.

A device is slow: seconds per network, and a power window takes ten. Its figures depend on a network's
shape and not on what its weights are, so candidates are measured while they are trained. A board of its own
is asked from a thread; a device that is this very machine is asked before training begins, since each would
disturb the other.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from torch import Tensor, nn

from edgesynth.deploy.onnx import export_onnx
from edgesynth.devices import Device, workload_from_cost
from edgesynth.graph import Cost
from edgesynth.profiler import Measurement, MeasurementPlan, profile
from edgesynth.scratch import Scratch

__all__ = ["MeasuringAhead", "measure"]

_Job: TypeAlias = tuple[Future[Measurement], Callable[[], Measurement]]


def measure(
    module: nn.Module,
    example_input: tuple[Tensor, ...],
    cost: Cost,
    device: Device,
    *,
    name: str,
    thorough: bool,
) -> Measurement:
    """Ask a device for one network, in the form the device takes.

    Args:
        module: The network.
        example_input: One batch of the shape it takes.
        cost: Its cost.
        device: An open device.
        name: For messages.
        thorough: Measure as for a figure that is reported, not as for search.
    """
    precision = device.profile.default_precision
    plan = MeasurementPlan.report(precision) if thorough else MeasurementPlan(precision)
    with Scratch() as folder:
        return _prepared(module, example_input, cost, device, plan, folder.path / f"{name}.onnx")()


class MeasuringAhead:
    """Measurements for search, in the order they were asked for, as many at once as there are boards.

    Args:
        device: An open device; nobody else may use it until every result was taken.
        example_input: One batch of the shape that networks take.
    """

    def __init__(self, device: Device, example_input: tuple[Tensor, ...]) -> None:
        self._device = device
        self._example_input = example_input
        self._coming: dict[str, Future[Measurement]] = {}

    def begin(self, networks: Mapping[str, tuple[nn.Module, Cost]]) -> None:
        """Measure these networks from now on; a device that is this machine has done so on return.

        Args:
            networks: Module and cost, by name.

        Raises:
            DeviceError: The device that is this machine failed; others say so with the result.
        """
        plan = MeasurementPlan(self._device.profile.default_precision)
        # Kept until the last of them is measured, in whichever thread that is.
        folder = Scratch()
        work: deque[_Job] = deque()
        for name, (module, cost) in networks.items():
            path = folder.path / f"{name}.onnx"
            job = _prepared(module, self._example_input, cost, self._device, plan, path)
            self._coming[name] = Future()
            work.append((self._coming[name], job))

        def run() -> None:
            with folder:
                _work_off(work, self._device.capacity)

        if self._device.is_this_machine:
            run()
        else:
            # A daemon: who is interrupted does not wait for a board.
            threading.Thread(target=run, name="measuring", daemon=True).start()

    def take(self, name: str) -> Measurement | None:
        """The measurement of a network, waited for; ``None`` when nobody began one.

        Raises:
            DeviceError: The device failed.
        """
        return self._coming.pop(name).result() if name in self._coming else None


def _work_off(work: deque[_Job], capacity: int) -> None:
    """Do every job, as many at once as the device takes."""
    others = [threading.Thread(target=_work, args=(work,), daemon=True) for _ in range(capacity - 1)]
    for thread in others:
        thread.start()
    _work(work)
    for thread in others:
        thread.join()


def _work(work: deque[_Job]) -> None:
    """Do jobs until there are none; what one raises is told by its future, and by all that were to come."""
    while work:
        with suppress(IndexError):  # another thread took the last one
            future, job = work.popleft()
            try:
                future.set_result(job())
            except Exception as error:  # raised where the result is taken
                future.set_exception(error)
                while work:
                    work.popleft()[0].set_exception(error)


def _prepared(
    module: nn.Module,
    example_input: tuple[Tensor, ...],
    cost: Cost,
    device: Device,
    plan: MeasurementPlan,
    path: Path,
) -> Callable[[], Measurement]:
    """The measurement of one network, of which only the device's part is left to do."""
    if not device.runs_files:
        workload = workload_from_cost(path.stem, cost, example_input[0].shape[1:])
        return lambda: profile(workload, device, plan)
    export_onnx(module, example_input, path)
    return lambda: profile(path, device, plan)
