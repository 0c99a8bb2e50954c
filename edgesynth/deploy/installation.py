"""Bundles on a board: installed whole or not at all, listed, rolled back, removed."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from edgesynth.deploy.bundle import ENGINE, Bundle
from edgesynth.errors import DeviceError

if TYPE_CHECKING:
    from edgesynth.devices import Board

__all__ = ["Installed", "bring_bundle", "install_bundle", "list_bundles", "remove_bundle", "roll_back"]

_STAGING: Final = "scratch"
_TIMEOUT_S: Final = 300.0  # a slow card is read twice and flushed once


@dataclass(frozen=True)
class Installed:
    """A bundle that is installed on a board.

    Attributes:
        name: Of the bundle.
        path: The folder there that a program opens; it stays the same from version to version.
        version: Of the current one, counted by the board.
        before: The version that a rollback leads to; empty without one.
        bytes: Size of the current one.
        manifest: What it says of itself, without its files.
        problem: What is wrong with it; empty when it is whole and belongs to this board.
    """

    name: str
    path: str
    version: str
    before: str
    bytes: int
    manifest: Mapping[str, Any]
    problem: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def install_bundle(board: Board, bundle: Bundle, *, engine: str = "") -> Installed:
    """Bring a bundle to a board and make it the current version of its name.

    Files go to a folder of their own first. The board compares each with its checksum and the engine with
    itself; then one link is replaced. Whatever happens before leaves the old version current.

    Args:
        board: This run's own.
        bundle: Whole.
        engine: Where the board has its engine already, so that it need not be sent.

    Raises:
        LinkError: The link dropped, or the disk of the board is full.
        DeviceError: The board has another TensorRT or GPU than the engine, or a file arrived damaged.
    """
    request = {"name": bundle.name, "staged": _sent(board, bundle, engine)}
    request |= {"engine": engine} if engine else {}
    return _installed(board.ask("install", request, timeout_s=_TIMEOUT_S))[0]


def bring_bundle(board: Board, bundle: Bundle) -> str:
    """Bring a bundle to a board and install nothing: for its engine to be tried.

    Args:
        board: This run's own.
        bundle: Whole.

    Returns:
        The path of its engine there.

    Raises:
        LinkError: The link dropped, or the disk of the board is full.
        DeviceError: The bundle could not be installed: see :func:`install_bundle`.
    """
    place = _sent(board, bundle)
    board.ask("install", {"name": bundle.name, "staged": place, "try": True}, timeout_s=_TIMEOUT_S)
    return posixpath.join(place, ENGINE)


def _sent(board: Board, bundle: Bundle, engine: str = "") -> str:
    """The folder on the board to which the files went, without an engine that is there already."""
    link = board.agent.link
    place = f"{_STAGING}/{bundle.digest[:16]}"
    for name in bundle.files:
        if not (engine and name == ENGINE):
            link.put(bundle.folder / name, posixpath.join(place, name))
    return link.path(place)


def list_bundles(board: Board, name: str | None = None) -> tuple[Installed, ...]:
    """What is installed on a board, each one checked.

    Args:
        board: This run's own.
        name: Only this one.

    Raises:
        DeviceError: The board cannot be asked, or has none of this name.
    """
    events = board.ask("bundles", {} if name is None else {"name": name}, timeout_s=_TIMEOUT_S)
    found = _installed(events)
    if name is not None and not found:
        raise DeviceError(f"no bundle {name!r} is installed on {board.agent.link.name}")
    return found


def roll_back(board: Board, name: str) -> Installed:
    """Make the version before current again.

    Raises:
        DeviceError: There is none, or it is damaged or does not fit the board any more.
    """
    return _installed(board.ask("rollback", {"name": name}, timeout_s=_TIMEOUT_S))[0]


def remove_bundle(board: Board, name: str) -> None:
    """Remove all versions of a bundle.

    Raises:
        DeviceError: There is none of this name.
    """
    board.ask("remove", {"name": name}, timeout_s=_TIMEOUT_S)


def _installed(events: Iterable[Mapping[str, Any]]) -> tuple[Installed, ...]:
    """The bundles that the agent told of."""
    return tuple(Installed(**entry) for event in events for entry in event.get("bundles", ()))
