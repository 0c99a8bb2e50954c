"""A Jetson board that one run has to itself: leased, with the agent on it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Final, Self

from edgesynth.closing import Closing
from edgesynth.devices.bench import BenchRequest, Recording, listen
from edgesynth.devices.catalog import list_profiles, load_profile
from edgesynth.devices.jetson import Agent, board_folder, install_agent
from edgesynth.devices.job import Job
from edgesynth.devices.lease import Lease
from edgesynth.devices.link import Line, Link
from edgesynth.devices.local import LocalLink
from edgesynth.devices.message import read_message
from edgesynth.devices.profile import Profile
from edgesynth.devices.ssh import SshLink
from edgesynth.devices.ssh_address import SshAddress
from edgesynth.devices.stage import Hear, read_stage
from edgesynth.errors import DeviceError, InputError
from edgesynth.progress import NullProgress, Progress

__all__ = ["LEASE_S", "Board", "check_link", "reach_board"]

LEASE_S: Final = 300.0
"""How long a board stays reserved for a run of another machine that has vanished."""
_NOT_PUT_BACK: Final = "not_put_back"
_LEAVE_S: Final = 10.0  # for a thread to see that its board was closed: an agent says something every 5 s


class Board(Closing):
    """A board from the begin of its lease to :meth:`close`; see :meth:`take`.

    Args:
        agent: On the board.
        lease: Held.
        survives: Whether work goes on there when the link drops.

    Attributes:
        agent: On the board.
    """

    def __init__(self, agent: Agent, lease: Lease, *, survives: bool) -> None:
        self.agent = agent
        self._progress: Progress = NullProgress()
        self._complaints: list[str] = []
        self._lease = lease
        self._survives = survives
        self._ended: tuple[str, ...] = ()
        self._closed = False
        self._job: Job | None = None
        self._idle = threading.Event()
        self._idle.set()

    @classmethod
    def take(cls, link: Link, *, wait_s: float = 0.0) -> Self:
        """Have a board to oneself, bring the agent there, and end what a run that vanished has left.

        Args:
            link: To the board; stays open when the board is closed.
            wait_s: How long to wait for another run to end.

        Raises:
            DeviceError: Another run has it, or it has no Python that runs the agent.
            LinkError: It cannot be reached or written to.
        """
        # Before anything else is done there: even looking around would disturb who measures on it.
        lease = Lease(link, duration_s=LEASE_S, wait_s=wait_s)
        lease.acquire()
        try:
            agent = install_agent(link)
            cleaned = agent.ask("clean", {"folder": agent.folder, "engines": False, "stop": True})
        except BaseException:
            lease.release()
            raise
        # Only a link that can drop without this process needs work that outlives it.
        board = cls(agent, lease, survives=isinstance(link, SshLink))
        for event in cleaned:
            for complaint in event.get(_NOT_PUT_BACK, ()):
                board._complain(f"{complaint} (since a run before this one)")
        return board

    @property
    def complaints(self) -> tuple[str, ...]:
        """What of the board could not be put back as it was found, and what to do; mostly empty."""
        return tuple(self._complaints)

    def tell(self, progress: Progress) -> None:
        """Have the complaints noted, the present ones now and every later one at once."""
        self._progress = progress
        for complaint in self._complaints:
            progress.note(f"warning: {complaint}")

    @cached_property
    def tensorrt(self) -> str:
        """Version of the TensorRT that builds here, asked once; empty where nobody knows it.

        Raises:
            LinkError: The board cannot be reached.
        """
        facts, _ = self.agent.info(("tensorrt", "trtexec_version"))
        return str(facts["tensorrt"] or facts["trtexec_version"] or "")

    def bench(self, request: BenchRequest, silence_s: float) -> Recording:
        """Run a benchmark; see :meth:`work`."""
        return self.work("bench", vars(request), silence_s)

    def work(
        self, verb: str, request: Mapping[str, Any], silence_s: float = 60.0, hear: Hear | None = None
    ) -> Recording:
        """Have the agent do something long; the board was this run's own all the while.

        Args:
            verb: ``bench``, ``build`` or ``run``.
            request: Its request.
            silence_s: How long the agent may say nothing.
            hear: Told of each stage of a build, once.

        Returns:
            What it told; facts are among the ``conditions``, and a network that cannot be built or run here
            is a ``failure``.

        Raises:
            LinkError: The link dropped and could not be mended.
            MeasurementError: The board hung, or the work broke off without a result.
            SensorError: No power rail can be read.
            DeviceError: The board cannot do what was asked, or its lease was lost.
        """
        try:
            self._idle.clear()
            self._check()
            recording = self._do(
                verb, {**request, "folder": request.get("folder") or self.agent.folder}, silence_s, hear
            )
            self._check()
            if self._complaints:  # also of those after it: of a repeated measurement the last one is kept
                conditions = {**recording.conditions, _NOT_PUT_BACK: "; ".join(self._complaints)}
                recording = replace(recording, conditions=conditions)
        finally:
            self._job = None
            self._idle.set()
        return recording

    def ask(self, verb: str, request: Mapping[str, Any], *, timeout_s: float = 120.0) -> list[dict[str, Any]]:
        """Have the agent do something short; see :meth:`~edgesynth.devices.jetson.Agent.ask`."""
        self._check()
        return self.agent.ask(verb, request, timeout_s=timeout_s)

    def close(self) -> None:
        """Let others have the board, when what another thread has it do was ended; closing twice is fine."""
        self._closed = True
        job = self._job
        if job is not None:
            job.stop()
        self._idle.wait(_LEAVE_S)
        self._lease.release()

    def _do(self, verb: str, asked: Mapping[str, Any], silence_s: float, hear: Hear | None) -> Recording:
        """Do it in the way that the link needs."""
        if not self._survives:
            command = (*self.agent.command, verb)
            return listen(
                *(self.agent.link, command, json.dumps(asked)),
                silence_s=silence_s,
                through=lambda lines: self._checked(lines, hear),
                late=lambda line: self._hear(line, None),
            )
        self._job = job = Job(
            self.agent,
            verb,
            asked,
            self._check,
            hear=lambda line: self._hear(line, hear),
            forget=self._ended,
        )
        recording = job.run(silence_s)
        self._ended = (job.name,)
        return recording

    def _check(self) -> None:
        """Refuse to go on with a board that is not this run's own any more."""
        if self._closed:
            raise DeviceError(f"the board behind {self.agent.link.name} was closed; open the device again")
        self._lease.check()

    def _checked(self, lines: Iterable[Line], hear: Hear | None = None) -> Iterator[Line]:
        """The lines, as long as the board is this run's own."""
        for line in lines:
            self._check()
            self._hear(line, hear)
            yield line

    def _hear(self, line: Line, hear: Hear | None) -> None:
        """Hand a stage of a build on; keep what the agent could not put back, however its work ends."""
        stage = None if hear is None else read_stage(line)
        if hear is not None and stage is not None:
            hear(stage)
        if _NOT_PUT_BACK not in line.text:
            return
        complaint = (read_message(line.text) or {}).get(_NOT_PUT_BACK)
        if complaint:
            self._complain(str(complaint))

    def _complain(self, complaint: str) -> None:
        told = f"the board behind {self.agent.link.name} is not as it was found: {complaint}"
        if told not in self._complaints:
            self._complaints.append(told)
            self._progress.note(f"warning: {told}")


def check_link(profile: Profile, link: str) -> None:
    """Refuse a link that no device of this profile can be opened over, and say what to do.

    Raises:
        InputError: An ``ssh`` URL is malformed, or says no host.
        DeviceError: The profile does not know the link.
    """
    if link == "ssh":
        raise InputError(
            f"{profile.name} is reached over ssh; say where it is, with a link like ssh://nvidia@192.168.1.20"
        )
    kind = link
    if link.startswith("ssh:"):
        SshAddress.parse(link)
        kind = "ssh"
    if link == "simulated" and profile.simulation is None and profile.family == "jetson":
        simulated = [name for name in list_profiles() if load_profile(name).simulation is not None]
        raise DeviceError(
            f"{profile.name} cannot be simulated: its profile has no [simulation], which is given only where "
            "published measurements can check it; open a real board over "
            f"{' or '.join(profile.links)}, or simulate {' or '.join(simulated)}"
        )
    if kind not in profile.links:
        raise DeviceError(
            f"{profile.name} cannot be reached over link {link!r}; its links are: {', '.join(profile.links)}"
        )


def reach_board(link: str) -> Link:
    """Open the link to a board: ``local``, or an ``ssh`` URL.

    Raises:
        LinkError: It cannot be reached.
    """
    return LocalLink(board_folder()) if link == "local" else SshLink(link)
