"""Several boards of one profile, shared by the threads of one run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from edgesynth.closing import Closing
from edgesynth.devices.device import Device, open_device
from edgesynth.devices.likeness import Likeness, differences, find_traits
from edgesynth.devices.profile import Profile
from edgesynth.errors import DeviceError, InputError, LinkError, MeasurementError
from edgesynth.progress import NullProgress, Progress

__all__ = ["Pool"]

T = TypeVar("T")


class Pool(Closing):
    """Boards that stand in for each other; each serves one thread at a time, the longest idle one first.

    Their figures are compared, so they must be alike in all that figures depend on: the module, L4T and
    TensorRT, and the power mode, the clocks and the power rail (see :mod:`edgesynth.devices.likeness`).

    A board that fails is set aside for good, with a note, and the others go on. A measurement that broke off
    is no such failure: the board may do better the next time. Other runs are kept off a board by a
    :class:`~edgesynth.devices.Lease`, not by its pool.

    Args:
        devices: Open devices of one profile in one power mode; closed with the pool.
        set_aside: Boards that failed before, by the name of their link.
        progress: Told of every board that is set aside.

    Raises:
        InputError: There is no device, or they are not alike.
        DeviceError: None of the boards can be reached any more.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        *,
        set_aside: Mapping[str, DeviceError] | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not devices:
            raise InputError("a pool needs at least one board; give one link per board")
        self._progress = progress or NullProgress()
        self._set_aside = dict(set_aside or {})
        self._closed = False
        self._changed = threading.Condition()
        traits = {}
        for device in devices:
            try:
                traits[device.link.name] = find_traits(device)
            except LinkError as error:
                self._set_aside[device.link.name] = error
        if not traits:
            raise _none_left(self._set_aside)
        if unlike := differences(traits):
            raise InputError(
                f"boards of a pool must be alike for their figures to be compared; {unlike}; "
                "make a pool of those that are alike, or make them so"
            )
        kinds = sorted({f"{device.profile.name} in mode {device.mode.name}" for device in devices})
        if len(kinds) > 1:
            raise InputError(
                f"boards of a pool must be alike, these are {', '.join(kinds)}; make a pool of each"
            )
        self._devices = tuple(devices)
        for device in devices:
            if device.board is not None:
                device.board.tell(self._progress)
        self._free = deque(device for device in devices if device.link.name in traits)
        self._usable = len(self._free)
        self._likeness = Likeness(*next(iter(traits.items())))
        for name, why in self._set_aside.items():
            self._note(name, why)

    @classmethod
    def open(
        cls,
        name: str | Path,
        links: Sequence[str],
        *,
        mode: str | None = None,
        clocks: Literal["found", "fixed"] = "found",
        dla_core: int | None = None,
        wait_s: float = 0.0,
        progress: Progress | None = None,
    ) -> Self:
        """Open one board per link; those that cannot be reached are set aside.

        Args:
            name: A profile, as of :func:`~edgesynth.devices.open_device`.
            links: One per board, without repetition.
            mode: A power mode of the profile; by default the one that the boards are in.
            clocks: ``fixed`` holds them at the highest of the mode while a board measures.
            dla_core: Build engines for this core of every board's DLA.
            wait_s: How long to wait for another run that has a board.
            progress: Told of every board that is set aside.

        Raises:
            InputError: No such profile or mode; a link is malformed or named twice, or none is given; the
                boards are not alike.
            DeviceError: No board can be reached, or a reached one cannot be used.
        """
        if len(set(links)) < len(links):
            raise InputError(f"a board may be in a pool only once; the links were: {', '.join(links)}")
        devices: list[Device] = []
        failed: dict[str, DeviceError] = {}
        with ExitStack() as opened:
            for link in links:
                try:
                    device = open_device(
                        name, link, mode=mode, clocks=clocks, dla_core=dla_core, wait_s=wait_s
                    )
                except LinkError as error:
                    failed[link] = error
                else:
                    devices.append(opened.enter_context(device))
            if failed and not devices:
                raise _none_left(failed)
            pool = cls(devices, set_aside=failed, progress=progress)
            opened.pop_all()
        return pool

    @property
    def profile(self) -> Profile:
        """What is known about every board of the pool."""
        return self._devices[0].profile

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the links of every board that was open at first."""
        return tuple(device.link.name for device in self._devices)

    @property
    def set_aside(self) -> Mapping[str, DeviceError]:
        """Why boards are no longer used, by the name of their link."""
        with self._changed:
            return dict(self._set_aside)

    @property
    def complaints(self) -> tuple[str, ...]:
        """What of each board is not as it was found and could not be put back, and what to do."""
        return tuple(complaint for device in self._devices for complaint in device.complaints)

    @contextmanager
    def acquire(self, *, wait_s: float = 60.0) -> Iterator[Device]:
        """Give a free board for the length of a ``with`` block.

        A ``DeviceError`` that leaves the block sets the board aside, unless it is a ``MeasurementError``.

        Args:
            wait_s: How long a board may take to become free.

        Raises:
            DeviceError: All boards were in use for that long, all are set aside, or the pool is closed.
        """
        with self._serving(self._take(wait_s)) as device:
            yield device

    def run(self, work: Callable[[Device], T], *, wait_s: float = 60.0) -> T:
        """Do some work on any board; on another one when that fails.

        Args:
            work: Called with a board; must not mind being started again elsewhere.
            wait_s: How long a board may take to become free, each time.

        Raises:
            DeviceError: As of :meth:`acquire`.
            MeasurementError: The work broke off.
        """
        while True:
            device = self._take(wait_s)
            try:
                with self._serving(device):
                    return work(device)
            except MeasurementError:
                raise
            except DeviceError:
                continue  # the board is set aside now, so this ends

    def check_likeness(self, device: Device, conditions: Mapping[str, Any]) -> None:
        """Refuse a measurement of a board that cannot be compared with those of the pool before.

        Args:
            device: The board.
            conditions: What it was made under.

        Raises:
            DeviceError: In what it differs.
        """
        self._likeness.check(device.link.name, conditions)

    def close(self) -> None:
        """Close every board; those in use as well."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for device in self._devices:
            device.close()

    @contextmanager
    def _serving(self, device: Device) -> Iterator[Device]:
        """A board in use: afterwards it is free again, or set aside."""
        try:
            yield device
        except MeasurementError:
            self._give_back(device)
            raise
        except DeviceError as error:
            self._drop(device, error)
            raise
        except BaseException:
            self._give_back(device)
            raise
        self._give_back(device)

    def _take(self, wait_s: float) -> Device:
        with self._changed:
            free = self._changed.wait_for(lambda: self._free or not self._usable or self._closed, wait_s)
            if self._closed:
                raise DeviceError("the pool of boards is closed; open it again")
            if not self._usable:
                raise _none_left(self._set_aside)
            if not free:
                raise DeviceError(
                    f"all {self._usable} boards of the pool were in use for {wait_s:g} s; "
                    "wait longer, or add a board"
                )
            return self._free.popleft()

    def _give_back(self, device: Device) -> None:
        with self._changed:
            self._free.append(device)
            self._changed.notify()

    def _drop(self, device: Device, error: DeviceError) -> None:
        with self._changed:
            self._set_aside[device.link.name] = error
            self._usable -= 1
            self._changed.notify_all()
            told = not self._closed and self._usable
        if told:  # else the error itself is told
            self._note(device.link.name, error)
        device.close()

    def _note(self, name: str, error: DeviceError) -> None:
        self._progress.note(f"{name} is left out, the other boards do its work: {error}")


def _none_left(failed: Mapping[str, DeviceError]) -> DeviceError:
    reasons = "; ".join(
        str(error) if name in str(error) else f"{name}: {error}" for name, error in failed.items()
    )
    return DeviceError(f"no board of the pool is left ({reasons}); put one right and repeat")
