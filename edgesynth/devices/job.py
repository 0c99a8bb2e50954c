"""Work that outlives the link: a job of the board's agent, fetched again after a drop."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from edgesynth.devices.bench import Recording, listen
from edgesynth.devices.jetson import Agent
from edgesynth.devices.link import Line
from edgesynth.errors import DeviceError, LinkError

__all__ = ["GIVE_UP_S", "Job"]

GIVE_UP_S: Final = 120.0
"""How long nothing new may come of a job before the host gives it up; less than its lease lasts unrenewed."""

_ABANDON_S: Final = 180.0  # the board ends a job nobody has followed for so long: longer than any host tries
_WAITS_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)  # before each new try; the last repeats
_STOP_S: Final = 60.0  # for the board to be put back


class Job:
    """One benchmark, build or run under way on a board.

    Every connection gives the events of the job from its start, so what was heard before a drop is dropped
    with it, and the recording is the one that an unbroken link would have given.

    Args:
        agent: Runs it.
        verb: What to do.
        request: Its request, with the ``folder`` that jobs are kept in.
        check: Called with every line; raises when the work must not go on.
        hear: Called with every line once, however often the link breaks.
        forget: Names of ended jobs that the board need not keep.

    Attributes:
        name: Of the job on the board.
    """

    def __init__(
        self,
        agent: Agent,
        verb: str,
        request: Mapping[str, Any],
        check: Callable[[], None],
        *,
        hear: Callable[[Line], None],
        forget: Iterable[str] = (),
    ) -> None:
        self.name = f"{verb}-{secrets.token_hex(8)}"
        self._agent = agent
        self._verb = verb
        self._place: dict[str, object] = {"job": self.name, "folder": request["folder"]}
        self._start = {**request, **self._place, "abandon_s": _ABANDON_S, "forget": list(forget)}
        self._check = check
        self._hear = hear
        self._heard = 0  # lines of the longest connection so far
        self._news_s = 0.0  # when that last grew

    def run(self, silence_s: float) -> Recording:
        """Start the job and follow it to its end, over as many connections as it takes.

        Args:
            silence_s: How long a connection may say nothing.

        Raises:
            LinkError: Nothing new came for :data:`GIVE_UP_S`.
            MeasurementError: The job broke off without a result.
            SensorError: No power rail can be read.
            DeviceError: The device cannot do what was asked, or ``check`` refused to go on.
        """
        self._news_s = self._agent.link.clock.monotonic()
        try:
            return self._follow(silence_s)
        except BaseException:
            self.stop()
            raise

    def _follow(self, silence_s: float) -> Recording:
        clock = self._agent.link.clock
        verb = self._verb
        request: dict[str, object] = self._start
        tries = 0
        while True:
            heard = self._heard
            try:
                return listen(
                    self._agent.link,
                    (*self._agent.command, verb),
                    json.dumps(request),
                    silence_s=silence_s,
                    through=self._lines,
                    mended=True,
                )
            except LinkError as error:
                tries = 1 if self._heard > heard else tries + 1
                silent_s = clock.monotonic() - self._news_s
                if silent_s > GIVE_UP_S:
                    raise LinkError(
                        f"the work on {self._agent.link.name} was lost: nothing new came for "
                        f"{silent_s:.0f} s, and at last: {error}"
                    ) from error
            self._check()
            clock.sleep(_WAITS_S[min(tries, len(_WAITS_S)) - 1])
            # Whether a start that broke off had reached the board, only the board knows.
            verb = "fetch" if self._heard else self._verb
            request = self._place if self._heard else {**self._start, "again": True}

    def _lines(self, stream: Iterable[Line]) -> Iterator[Line]:
        for count, line in enumerate(stream, 1):
            self._check()
            if count > self._heard:
                self._heard, self._news_s = count, line.at_s
                self._hear(line)
            yield line

    def stop(self) -> None:
        """End the job if it still runs; a board that cannot be reached ends it by itself."""
        with contextlib.suppress(DeviceError):
            self._agent.link.run(
                (*self._agent.command, "fetch"),
                stdin=json.dumps({**self._place, "stop": True}),
                timeout_s=_STOP_S,
            )
