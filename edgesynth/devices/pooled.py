"""Several boards that look like one device: each measurement runs on whichever board is free."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NoReturn

from edgesynth.devices.bench import BenchRequest, Recording
from edgesynth.devices.clock import Clock
from edgesynth.devices.device import Device, open_device
from edgesynth.devices.pool import Pool
from edgesynth.devices.profile import Precision
from edgesynth.errors import LinkError
from edgesynth.progress import Progress

__all__ = ["PooledDevice", "open_boards"]


class PooledDevice(Device):
    """A pool as a device. Boards take turns; one that fails is set aside and the others go on.

    Boards of one kind differ by a little, so every measurement says in its conditions which one gave it
    (``link``), and which were set aside by then and why (``left_out``); its source names the whole pool.

    Args:
        pool: Closed with the device.
        wait_s: How long a board may take to become free.
    """

    def __init__(self, pool: Pool, *, wait_s: float = 3600.0) -> None:
        with pool.acquire() as board:
            profile, mode, clock = board.profile, board.mode, board.clock
            runs_files, provenance, dla_core = board.runs_files, board.provenance, board.dla_core
            self._has_cuda_graphs = board.has_cuda_graphs
        super().__init__(
            profile,
            _PoolLink(" or ".join(pool.links), clock),
            mode=mode,
            runs_files=runs_files,
            provenance=provenance,
            dla_core=dla_core,
        )
        self._pool = pool
        self._wait_s = wait_s

    @property
    def has_cuda_graphs(self) -> bool:
        """Whether its boards may be asked to launch calls as a CUDA graph."""
        return self._has_cuda_graphs

    @property
    def capacity(self) -> int:
        """How many boards there are."""
        return len(self._pool.links)

    @property
    def complaints(self) -> tuple[str, ...]:
        """What of each board could not be put back."""
        return self._pool.complaints

    def send(self, model: Path) -> str:
        """Leave the file here: which board is to have it shows when it is measured."""
        return str(model)

    def send_for(self, model: Path, precision: Precision) -> str:
        """Leave the file here: in which form it runs depends on the board that is to have it."""
        del precision
        return str(model)

    def bench(self, request: BenchRequest, *, silence_s: float = 60.0) -> Recording:
        """Run the bench program on a free board; on another one when that fails or was not like the others.

        Raises:
            MeasurementError: The device hung, or the program broke off without a result.
            DeviceError: No board is left.
        """

        def measure(board: Device) -> Recording:
            network = dict(request.network)
            if board.runs_files:
                network["model"] = board.send_for(Path(network["model"]), request.precision)
            recording = board.bench(dataclasses.replace(request, network=network), silence_s=silence_s)
            self._pool.check_likeness(board, recording.conditions)
            found = {**recording.conditions, "link": board.link.name}
            left_out = {name: str(error) for name, error in self._pool.set_aside.items()}
            return dataclasses.replace(
                recording, conditions={**found, "left_out": left_out} if left_out else found
            )

        return self._pool.run(measure, wait_s=self._wait_s)

    def close(self) -> None:
        """Let go of every board."""
        self._pool.close()


def open_boards(
    name: str | Path,
    links: Sequence[str],
    *,
    mode: str | None = None,
    seed: int = 0,
    clocks: Literal["found", "fixed"] = "found",
    dla_core: int | None = None,
    wait_s: float = 0.0,
    progress: Progress | None = None,
) -> Device:
    """Open a device over one link, or several boards as one device.

    Args:
        name: A profile's name or file.
        links: One per board; the profile's default link when there is none.
        mode: A power mode of the profile.
        seed: Of a simulated board.
        clocks: Of a board: ``fixed`` holds them at the highest of the mode.
        dla_core: Of a board: build engines for this core of its DLA; see
            :func:`~edgesynth.devices.open_device`.
        wait_s: Of a board: how long to wait for another run that has it.
        progress: Of several boards: told of every one that is set aside; of any, of what could not be put
            back on it.

    Raises:
        InputError: As of :func:`~edgesynth.devices.open_device`, a link is named twice, or the boards are not
            alike.
        DeviceError: No board can be reached, or a reached one cannot be used.
    """
    if len(links) > 1:
        pool = Pool.open(
            name, links, mode=mode, clocks=clocks, dla_core=dla_core, wait_s=wait_s, progress=progress
        )
        return PooledDevice(pool)
    link = links[0] if links else None
    device = open_device(name, link, mode=mode, seed=seed, clocks=clocks, dla_core=dla_core, wait_s=wait_s)
    if device.board is not None and progress is not None:
        device.board.tell(progress)
    return device


class _PoolLink:
    """The name and the clock of a pool; there is no one board to run a command on."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.clock = clock

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise LinkError(f"{self.name} are several boards; take one of them from the pool")

    run = stream = put = get = path = _refuse

    def close(self) -> None:
        """There is nothing to close: the pool closes its boards."""
